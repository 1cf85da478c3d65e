#!/usr/bin/env bash
# Runs server and client on every loop that is built: test.sh BUILDDIR
# shellcheck disable=SC1091,SC2154  # lib.sh sets bin, examples and scratch
source "$(dirname "$0")/../lib.sh"

# pair SERVER CLIENT: the loops they run on.
pair() {
        local name=loops-$1 client=$bin/loops/loops-$2 status=0
        "$bin/loops/$name" server 2>"$scratch/$name.log" &
        servers["$name"]=$!
        wait_for 'serving shm:loops' "$scratch/$name.log"
        seq 1 1000 | "$client" client >"$scratch/greeted" 2>"$scratch/client.log" || fail "$client"
        cmp "$scratch/greeted" <(seq -f 'hello %g' 1 1000) || fail "$client on $name: wrong greetings"
        wait_for 'loops-server: 1000 greeted' "$scratch/$name.log" # by the timer
        kill -TERM "${servers[$name]}"
        wait "${servers[$name]}" || status=$?
        unset "servers[$name]"
        [[ $status -eq 0 ]] || fail "$name ended with status $status"
        echo "  a server on $1 has greeted 1000 times, for a client on $2"
}

loops=(epoll)
[[ ! -x $bin/loops/loops-uv ]] || loops+=(uv)
for server in "${loops[@]}"; do
        for client in "${loops[@]}"; do
                pair "$server" "$client"
        done
done
# A client without a server.
output=$(echo nobody | "$bin/loops/loops-epoll" client 2>&1)
[[ $output == *"UNAVAILABLE: "* ]] || fail "a client without a server said '$output'"
