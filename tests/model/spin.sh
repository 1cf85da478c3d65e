#!/bin/bash
# Has spin verify ring.pml and wake.pml in full, then each of their mutants, which must fail. Argument: a directory to build in.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${1:?"usage: $0 DIRECTORY"}
if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
        echo "skipped: needs the Debian packages spin and gcc"
        exit 77
fi
mkdir -p "$build"
failures=0

# verify MODEL MUTANT: prints "ok STATES", "fails REASON", or "broken REASON" where spin could not tell.
verify() {
        local directory="$build/$1$2"
        mkdir -p "$directory" && cd "$directory" || return
        rm -f ./*.trail pan pan.*
        if ! spin -a ${2:+"-DWEAK_$2"} "$here/$1.pml" >spin.log 2>&1 || ! gcc -O1 -w -DSAFETY -o pan pan.c 2>>spin.log; then
                echo "broken: see $directory/spin.log"
                return
        fi
        ./pan -m1000000 >pan.log 2>&1
        if grep -q "max search depth too small\|out of memory" pan.log; then
                echo "broken: the search was cut off; see $directory/pan.log"
        elif grep -q "errors: 0$" pan.log; then
                echo "ok, $(sed -n 's/^ *\([0-9.e+]*\) states, stored$/\1/p' pan.log) states"
        else
                echo "fails: $(sed -n '/^pan:1: /{s/^pan:1: //;s/ (at depth.*//;p;q}' pan.log)"
        fi
}

# expect WORD MODEL [MUTANT]
expect() {
        local answer verdict=passed
        answer=$(verify "$2" "${3:-}")
        if [[ $answer != "$1"* ]]; then
                verdict=FAILED
                failures=$((failures + 1))
        fi
        printf '%s: %s%s %s\n' "$verdict" "$2" "${3:+ weakened at $3}" "$answer"
}

expect ok ring
for label in P0 P1 P2 C1 C2; do
        expect fails ring $label
done
expect ok wake
for label in S1 S2 S3 W1 W2 W4; do
        expect fails wake $label
done
exit $((failures > 0))
