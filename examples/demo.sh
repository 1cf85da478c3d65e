#!/usr/bin/env bash
# Shows kv and frames at work, each program a process of its own, and checks their results: demo.sh BUILDDIR
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

# filter NAME ARGUMENTS…
filter() {
        local name=$1
        shift
        "$frames" --frames $n_frames "$@" "$examples/data/baton.png" "$bin/$name.png" \
                >"$scratch/$name.out" 2>"$scratch/$name.log" || fail "filter $name"
        printf '  %-12s %s\n' "$name" "$(<"$scratch/$name.out")"
}

start_server kv --workers 2
count_words
move_value
stats=$("$kv" stats 2>"$scratch/stats.log") || fail "kv stats"
echo "  the server: $stats (into the store and out of it)"
stop_server kv

start_server frames
echo "frames: a server process filters examples/data/baton.png, $n_frames frames per filter"
filter edges
filter blur --blur 12
echo "  verified: each frame is what the same filter gives in the client"
stop_server frames

echo "pictures: $bin/edges.png, $bin/blur.png"
echo "All results verified."
