#!/usr/bin/env bash
# refusals.sh IDLC [--update]: each bad/x.proto is refused with exit status 1 and exactly the text of bad/x.error, and nothing
# is written.
# shellcheck source=tests/golden/common.sh
. "$(dirname "$0")/common.sh"
update=${2:-}
cd "$here/bad"
for proto in *.proto; do
        expected=${proto%.proto}.error
        status=0
        "$idlc" --out "$scratch/out" "$proto" > "$scratch/stdout" 2> "$scratch/stderr" || status=$?
        [ "$status" -eq 1 ] || fail "$proto: exit status $status instead of 1"
        [ ! -e "$scratch/out" ] || fail "$proto: files were written"
        [ ! -s "$scratch/stdout" ] || fail "$proto: something was printed on stdout"
        grep -Eq '^[a-z_0-9/]+\.proto:[0-9]+:' "$scratch/stderr" || fail "$proto: no file:line"
        if [ "$update" = --update ]; then
                cp "$scratch/stderr" "$expected"
        fi
        diff -u "$expected" "$scratch/stderr" >&2 || fail "$proto: other messages"
done

# The plugin says the same, behind protoc's prefix.
protoc --plugin="$(dirname "$idlc")/protoc-gen-idlc" --idlc_out="$scratch" field_base.proto 2> "$scratch/stderr" &&
        fail "the plugin accepted field_base.proto"
{ echo '--idlc_out: 2 errors'; cat field_base.error; } | diff -u - "$scratch/stderr" >&2 || fail "the plugin's messages"
finish
