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
                "$client" load "$text" 2>"$scratch/client.log" &
                loaders+=($!)
        done
        for loader in "${loaders[@]}"; do
                wait "$loader" || fail "load"
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

start_server kv --workers 2
basics
errors
values
counting
pages
kv stats | grep -q 'calls;' || fail "stats"
stop_server kv
expect_error "UNAVAILABLE: " "$client" get colour
