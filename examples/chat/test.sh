#!/usr/bin/env bash
# Lets several processes chat: test.sh BUILDDIR
# shellcheck disable=SC1091,SC2154  # lib.sh sets bin, examples and scratch
source "$(dirname "$0")/../lib.sh"

client=$bin/chat/chat-client
text=$examples/../LICENSE

# enter NAME: a participant that says what is written to ${said[NAME]}, and whose output goes to the file NAME.
declare -A said=() pids=()
enter() {
        local in
        mkfifo "$scratch/$1.in"
        (
                for in in "${said[@]}"; do
                        exec {in}>&- # or the others' input would not end before this process does
                done
                exec "$client" "$1" <"$scratch/$1.in" >"$scratch/$1" 2>"$scratch/$1.log"
        ) &
        pids[$1]=$!
        exec {in}>"$scratch/$1.in"
        said[$1]=$in
        wait_for "* $1 joined" "$scratch/$1"
}

say() {
        printf '%s\n' "$2" >&"${said[$1]}"
}

quit() {
        local in=${said[$1]}
        exec {in}>&-
        wait "${pids[$1]}" || fail "$1 could not leave"
}

expect_error "UNAVAILABLE: " "$client" ann </dev/null
start_server chat
expect_error "INVALID_ARGUMENT: give a name" "$client" "" </dev/null

enter ann
enter bob
say ann "hello bob"
wait_for "ann: hello bob" "$scratch/bob"
enter carl
wait_for "ann: hello bob" "$scratch/carl" # from the history
say bob "hello carl"
for name in ann bob carl; do
        wait_for "bob: hello carl" "$scratch/$name"
done

disown "${pids[bob]}" # or bash would report the kill
kill -9 "${pids[bob]}"
wait_for "* bob is gone" "$scratch/ann"

# One that does not read is dropped; the others go on.
enter dora
kill -STOP "${pids[dora]}"
for n in {1..12}; do
        cat "$text" >&"${said[ann]}"
        say ann "end of round $n"
        wait_for "ann: end of round $n\$" "$scratch/carl"
done
wait_for "* dora was too slow" "$scratch/carl"
kill -CONT "${pids[dora]}"
! wait "${pids[dora]}" || fail "dora was not dropped"
grep -q "RESOURCE_EXHAUSTED: dora reads too slowly" "$scratch/dora.log" || fail "dora was not told why"

quit ann
wait_for "* ann left" "$scratch/carl"
[[ $(grep -c '^ann: ' "$scratch/carl") == $((13 + 12 * $(wc -l <"$text"))) ]] || fail "carl has missed something"
cmp <(sed -n '/^\* carl joined/,/^\* ann left/p' "$scratch/carl" | head -n -1) \
        <(sed -n '/^\* carl joined/,$p' "$scratch/ann" | grep -v '^\* ann left') || fail "ann and carl heard different things"

stop_server chat
! wait "${pids[carl]}" || fail "carl did not hear of the server's end"
