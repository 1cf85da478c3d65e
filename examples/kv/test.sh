#!/usr/bin/env bash
# Runs the kv pair: test.sh BUILDDIR
# shellcheck disable=SC1091,SC2154  # lib.sh sets bin, examples and scratch
source "$(dirname "$0")/../lib.sh"

client=$bin/kv/kv-client
text=/usr/share/common-licenses/GPL-3
[[ -r $text ]] || text=$(dirname "$0")/../../LICENSE

kv() {
        "$client" "$@" 2>"$scratch/client.log" || fail "kv-client $*"
}

basics() {
        kv put colour green
        [[ $(kv get colour) == green ]] || fail "get after put"
        kv put colour blue
        [[ $(kv get colour) == blue ]] || fail "get after a second put"
        kv put empty ""
        [[ -z $(kv get empty) ]] || fail "an empty value"
        [[ $(kv scan | sort | tr '\n' ',') == "colour 4,empty 0," ]] || fail "scan"
        [[ $(kv scan col) == "colour 4" ]] || fail "scan with a prefix"
        [[ $(kv add n 5) == 5 && $(kv add n -7) == -2 && $(kv get n) == -2 ]] || fail "add"
        kv delete empty
        expect_error "NOT_FOUND: there is no key 'empty'" "$client" get empty
}

errors() {
        expect_error "NOT_FOUND: " "$client" delete nothing
        expect_error "INVALID_ARGUMENT: the key has 0 bytes" "$client" get ""
        expect_error "INVALID_ARGUMENT: the key has 257 bytes" "$client" put "$(printf '%0257d' 1)" x
        expect_error "FAILED_PRECONDITION: the value of key 'colour'" "$client" add colour 1
        kv put most 9223372036854775807
        expect_error "OUT_OF_RANGE: " "$client" add most 1
        truncate -s 33M "$scratch/large"
        expect_error "INVALID_ARGUMENT: the value of key 'large'" "$client" put large "@$scratch/large"
        expect_error "usage: kv-client" "$client" nonsense
        expect_error "no/such/file" "$client" put x @no/such/file
}

# Sizes around those where a value begins to travel as a block of its own.
values() {
        local size
        for size in 1 4095 4096 65535 65536 1000003 33554432; do
                head -c "$size" /dev/urandom >"$scratch/value"
                kv put value "@$scratch/value"
                kv get value | cmp - "$scratch/value" || fail "a value of $size bytes came back changed"
        done
}

counting() {
        local loader loaders=()
        for _ in 1 2 3; do
                "$client" count "$text" 2>"$scratch/client.log" &
                loaders+=($!)
        done
        for loader in "${loaders[@]}"; do
                wait "$loader" || fail "count"
        done
        kv verify "$text" "$text" "$text" >/dev/null
        expect_error "words have another count" "$client" verify "$text" "$text"
        kv add word:the 1 >/dev/null
        expect_error "verify: 1 words have another count" "$client" verify "$text" "$text" "$text"
}

# More keys than a page, and holes between them.
pages() {
        local n
        for n in {1..250}; do
                kv put "page:$n" "$n"
        done
        kv delete page:7
        [[ $(kv scan page: | sort -u | wc -l) == 249 && $(kv scan page: | wc -l) == 249 ]] || fail "scan of three pages"
}

bulk() {
        kv delete word:the
        kv load "$text"
        grep -q ' 1 of them new' "$scratch/client.log" || fail "load: $(<"$scratch/client.log")"
        kv put word:copyright nonsense
        expect_error "FAILED_PRECONDITION: the value of key 'word:copyright'" "$client" load "$text"
}

watching() {
        kv put w:a 1
        "$client" follow w: 4 >"$scratch/watch" 2>"$scratch/watch.log" &
        local watcher=$!
        wait_for ready "$scratch/watch"
        kv put w:b 2
        kv put elsewhere 3
        kv delete w:a
        printf 'put w:c 4\nput w:d 5\ncommit\n' | kv transact
        wait "$watcher" || fail "follow"
        [[ $(tr '\n' ',' <"$scratch/watch") == "is w:a 1,ready  ,put w:b 2,delete w:a ,put w:c 4,put w:d 5," ]] ||
                fail "the watcher saw $(<"$scratch/watch")"
}

# One that does not read holds up nobody, and is told when it has missed too much.
slow_watcher() {
        "$client" watch word: >"$scratch/slow" 2>"$scratch/slow.log" &
        local watcher=$! status=0
        wait_for ready "$scratch/slow"
        kill -STOP "$watcher"
        kv put word:copyright 0
        kv count "$text"
        kv load "$text"
        kill -CONT "$watcher"
        wait "$watcher" || status=$?
        [[ $status -eq 1 ]] || fail "a slow watcher ended with status $status"
        grep -q "RESOURCE_EXHAUSTED: the watcher of 'word:'" "$scratch/slow.log" || fail "the slow watcher was not told"
}

transactions() {
        kv put t:a 10
        kv put t:b 0
        [[ $(printf 'get t:a\ndelete t:a\nget t:a\nput t:a x y\nget t:a\ncommit\n' | kv transact | tr '\n' ,) == \
                "10,there is no key 't:a',x y," ]] || fail "a transaction sees its own changes"
        [[ $(kv get t:a) == "x y" ]] || fail "commit"
        kv put t:a 10
        expect_error "CANCELLED: the transaction was closed without commit" "$client" transact <<<"put t:a 11"
        expect_error "INVALID_ARGUMENT: the key has 257 bytes" "$client" transact <<<"get $(printf '%0257d' 1)"
        [[ $(kv get t:a) == 10 ]] || fail "a transaction without commit has changed something"

        # Another client comes in between.
        coproc { exec "$client" transact 2>"$scratch/conflict.log"; }
        local pid=$COPROC_PID line in=${COPROC[1]} out=${COPROC[0]}
        echo "get t:a" >&"$in"
        read -r line <&"$out"
        kv put t:a 12
        printf 'get t:a\nput t:b 1\n' >&"$in"
        read -r line <&"$out"
        [[ $line == 10 ]] || fail "a second read in a transaction gave $line"
        echo commit >&"$in"
        ! wait "$pid" || fail "a conflict was committed"
        grep -q "ABORTED: key 't:a'" "$scratch/conflict.log" || fail "$(<"$scratch/conflict.log")"

        # One that is killed in between has changed nothing.
        coproc { exec "$client" transact 2>"$scratch/killed.log"; }
        pid=$COPROC_PID
        printf 'put t:a 13\nget t:a\n' >&"${COPROC[1]}"
        read -r line <&"${COPROC[0]}"
        kill -9 "$pid"
        wait "$pid" 2>/dev/null || true
        [[ $line == 13 && $(kv get t:a) == 12 && $(kv get t:b) == 0 ]] || fail "a killed transaction has changed something"
}

transfers() {
        kv put t:a 1000
        kv put t:b 1000
        local n pids=()
        for n in 1 2 3; do
                "$client" --repeat 300 transfer t:a t:b "$n" >/dev/null 2>"$scratch/client.log" &
                pids+=($!)
        done
        wait "${pids[@]}" || fail "transfer"
        [[ $(kv get t:a) == -800 && $(kv get t:b) == 2800 ]] || fail "transfers: $(kv get t:a) and $(kv get t:b)"
}

start_server kv --workers 2
basics
errors
values
counting
pages
bulk
watching
slow_watcher
transactions
transfers
"$client" watch >"$scratch/last" 2>"$scratch/last.log" &
last=$!
wait_for ready "$scratch/last"
kv stats | grep -q 'calls;' || fail "stats"
stop_server kv
! wait "$last" || fail "a watcher outlived its server"
grep -q 'UNAVAILABLE: ' "$scratch/last.log" || fail "$(<"$scratch/last.log")"
expect_error "UNAVAILABLE: " "$client" get colour
