#!/usr/bin/env bash
# Shows the examples at work, each program a process of its own, and checks their results: demo.sh BUILDDIR
# shellcheck disable=SC1091,SC2154  # lib.sh sets bin, examples and scratch
source "$(dirname "$0")/lib.sh"

kv=$bin/kv/kv-client
frames=$bin/frames/frames-client
value_size=8000000
repeat=25
n_frames=60

# The texts to count; Debian has them, and where it does not, this project's licence has words too.
texts=()
for text in GPL-3 GPL-2 Apache-2.0 GPL-3; do
        text=/usr/share/common-licenses/$text
        [[ -r $text ]] || text=$examples/../LICENSE
        texts+=("$text")
done

count_words() {
        echo "kv: ${#texts[@]} client processes count the words of ${texts[*]##*/} in one server, all at once"
        local text client clients=()
        for text in "${texts[@]}"; do
                "$kv" count "$text" 2>"$scratch/load-${#clients[@]}.log" &
                clients+=($!)
        done
        for client in "${!clients[@]}"; do
                wait "${clients[$client]}" || fail "counting ${texts[$client]}"
                printf '  %-12s %s\n' "$(basename "${texts[$client]}")" "$(<"$scratch/load-$client.log")"
        done
        "$kv" verify "${texts[@]}" >"$scratch/verify.out" 2>"$scratch/verify.log" || fail "the counts are wrong"
        printf '  %s\n' "$(<"$scratch/verify.out")"
}

move_value() {
        echo "kv: a value of $((value_size / 1000000)) MB goes into the store and comes back, $repeat times each"
        head -c $value_size /dev/urandom >"$scratch/value"
        "$kv" --repeat $repeat put large "@$scratch/value" 2>"$scratch/put.log" || fail "put of a large value"
        "$kv" --repeat $repeat get large >"$scratch/back" 2>"$scratch/get.log" || fail "get of a large value"
        printf '  %-12s %s\n' put "$(<"$scratch/put.log")" get "$(<"$scratch/get.log")"
        local sent received
        sent=$(sha256sum <"$scratch/value")
        received=$(sha256sum <"$scratch/back")
        [[ $sent == "$received" ]] || fail "the large value came back changed"
        echo "  verified: SHA-256 ${sent:0:16}… before and after"
}

# A client stream, and two server streams that it feeds, one of them to a process that does not read.
stream_words() {
        local i
        for i in {1..50}; do
                cat "${texts[0]}"
        done >"$scratch/bulk"
        echo "kv: a process loads 50 times ${texts[0]##*/} in one stream; one watches word:copyr, and one that watches all is stopped"
        local changes watcher stopped
        changes=$(grep -oiE '(^|[^a-z])copyr' "$scratch/bulk" | wc -l)
        "$kv" watch word:copyr "$changes" >"$scratch/watched" 2>"$scratch/watch.log" &
        watcher=$!
        "$kv" watch >"$scratch/unread" 2>"$scratch/stopped.log" &
        stopped=$!
        wait_for ready "$scratch/watched"
        wait_for ready "$scratch/unread"
        kill -STOP $stopped
        "$kv" load "$scratch/bulk" 2>"$scratch/bulk.log" || fail "load"
        kill -CONT $stopped
        wait $watcher || fail "watch"
        ! wait $stopped || fail "the stopped watcher was not dropped"
        [[ $(grep -c ^put "$scratch/watched") == "$changes" ]] || fail "the watcher has missed changes"
        printf '  load         %s\n' "$(<"$scratch/bulk.log")"
        printf '  watch        %s changes as they happened, the last: %s\n' "$changes" "$(tail -n 1 "$scratch/watched")"
        printf '  stopped      %s\n' "$(sed 's/.*: RES/RES/' "$scratch/stopped.log")"
        "$kv" verify "${texts[@]}" "$scratch/bulk" >"$scratch/verify.out" 2>"$scratch/verify.log" || fail "the counts are wrong"
        printf '  %s\n' "$(<"$scratch/verify.out")"
}

# A bidirectional stream per transaction.
transfer() {
        echo "kv: 3 processes move 1000 times an amount from one account to another, in transactions over a stream each"
        "$kv" put account:a 10000 2>/dev/null
        "$kv" put account:b 0 2>/dev/null
        local i clients=()
        for i in 1 2 3; do
                "$kv" --repeat 1000 transfer account:a account:b $i >"$scratch/transfer-$i" 2>"$scratch/transfer-$i.log" &
                clients+=($!)
        done
        wait "${clients[@]}" || fail "transfer"
        sed 's/^/  /' "$scratch"/transfer-[123]
        local a b
        a=$("$kv" get account:a 2>/dev/null) b=$("$kv" get account:b 2>/dev/null)
        [[ $a == 4000 && $b == 6000 ]] || fail "the accounts have $a and $b"
        echo "  verified: $a + $b = 10000"
}

deadline() {
        echo "kv: the server is stopped, and a client gives it 100 ms"
        kill -STOP "${servers[kv-server]}"
        expect_error "DEADLINE_EXCEEDED" "$kv" --timeout 100 get account:a
        "$kv" --timeout 100 get account:a 2>&1 | sed 's/^/  /' || true
        kill -CONT "${servers[kv-server]}"
        [[ $("$kv" get account:a 2>/dev/null) == 4000 ]] || fail "the server does not go on"
}

# Interceptors on both sides.
authenticate() {
        echo "kv: a server that asks for a token, and logs calls"
        start_server kv --log --token secret --address shm:vault
        expect_error "UNAUTHENTICATED" "$kv" --address shm:vault put key value
        "$kv" --address shm:vault --token secret put key value 2>/dev/null || fail "put with a token"
        stop_server kv
        grep ' called ' "${logs[kv]}" | sed 's/^/  /'
}

chat() {
        echo "chat: three processes talk, one of them is killed"
        local chat=$bin/chat/chat-client name
        local -A pids=()
        start_server chat
        for name in ann bob carl; do
                # Each says something once all are there, and leaves once bob is gone.
                # shellcheck disable=SC2094
                { wait_for "carl joined" "$scratch/$name" && echo "here is $name" && wait_for "bob is gone" "$scratch/ann"; } |
                        "$chat" $name >"$scratch/$name" 2>"$scratch/$name.log" &
                pids[$name]=$!
                wait_for "$name joined" "$scratch/$name"
        done
        for name in ann bob carl; do
                wait_for "here is $name" "$scratch/ann"
        done
        disown "${pids[bob]}"
        kill -9 "${pids[bob]}"
        wait "${pids[ann]}" "${pids[carl]}" || fail "chat"
        stop_server chat
        sed 's/^/  /' "$scratch/ann"
}

# filter NAME ARGUMENTS…
filter() {
        local name=$1
        shift
        "$frames" --frames $n_frames "$@" "$examples/data/baton.png" "$bin/$name.png" \
                >"$scratch/$name.out" 2>"$scratch/$name.log" || fail "filter $name"
        printf '  %-12s %s\n' "$name" "$(<"$scratch/$name.out")"
}

# Call by call, while new servers take over from old ones.
restart() {
        local frames_filtered=400 n client
        "$frames" --frames $frames_filtered "$examples/data/baton.png" "$bin/edges.png" \
                >"$scratch/restart.out" 2>"$scratch/restart.log" &
        client=$!
        for n in 1 2 3; do
                sleep 0.1
                kill -0 $client 2>/dev/null || break
                restart_server frames
        done
        wait $client || fail "a call failed during a restart"
        printf '  %-12s %s\n' "restarts: $n" "$(<"$scratch/restart.out")"
}

counters() {
        grep '^counted ' "$1" | sed 's/^/  /'
}

start_server kv --workers 2 --counters
count_words
move_value
stream_words
transfer
deadline
stats=$("$kv" stats 2>"$scratch/stats.log") || fail "kv stats"
echo "  the server: $stats (into the store and out of it)"
stop_server kv
counters "${logs[kv]}"
authenticate
chat
echo "loops: the same server and client in two event loops"
"$examples/loops/test.sh" "$1" || fail "loops"

start_server frames
echo "frames: a server process filters examples/data/baton.png, $n_frames frames per filter"
filter edges
filter blur --blur 12
echo "frames: the server is restarted three times meanwhile"
restart
echo "  verified: each frame is what the same filter gives in the client"
stop_server frames

echo "pictures: $bin/edges.png, $bin/blur.png"
echo "All results verified."
