#!/usr/bin/env bash
# command.sh IDLC: options, dependency files, and what can go wrong around the .proto itself.
# shellcheck source=tests/golden/common.sh
. "$(dirname "$0")/common.sh"
plugin=$(dirname "$idlc")/protoc-gen-idlc
cd "$here/good"

# refuses TEXT COMMAND…: the command exits with 1 and says TEXT on stderr.
refuses()
{
        text=$1
        shift
        status=0
        "$@" > /dev/null 2> "$scratch/stderr" || status=$?
        [ "$status" -eq 1 ] || fail "$*: exit status $status instead of 1"
        grep -qF -- "$text" "$scratch/stderr" || fail "$*: says '$(cat "$scratch/stderr")' instead of '$text'"
}

refuses 'no output directory' "$idlc" greeter.proto
refuses 'no .proto given' "$idlc" --out "$scratch/out"
refuses 'unrecognized option' "$idlc" --nonsense
refuses 'nowhere.proto: No such file or directory' "$idlc" --out "$scratch/out" nowhere.proto
refuses 'directory does not exist' "$idlc" -I "$scratch/nowhere" --out "$scratch/out" greeter.proto
: > "$scratch/file"
refuses "cannot make the directory $scratch/file/below: Not a directory" "$idlc" --out "$scratch/file/below" greeter.proto
mkdir -p "$scratch/taken/greeter.baton.h"
refuses "cannot write $scratch/taken/greeter.baton.h: Is a directory" "$idlc" --out "$scratch/taken" greeter.proto
[ -z "$(find "$scratch/taken" -name '*.tmp')" ] || fail "a temporary file was left"
refuses 'apt install protobuf-compiler' "$idlc" --protoc "$scratch/protoc" --out "$scratch/out" greeter.proto
refuses 'apt install protobuf-c-compiler' "$idlc" --protoc-gen-c "$scratch/protoc-gen-c" --out "$scratch/out" greeter.proto
refuses '/bin/false failed' "$idlc" --protoc-gen-c /bin/false --out "$scratch/out" greeter.proto
refuses '/bin/true made 0 files where 2 were expected' "$idlc" --protoc-gen-c /bin/true --out "$scratch/out" greeter.proto
refuses 'something else than a CodeGeneratorResponse' "$idlc" --protoc-gen-c /bin/echo --out "$scratch/out" greeter.proto
refuses 'unknown option' protoc --plugin="$plugin" --idlc_out=nonsense:"$scratch" greeter.proto
[ ! -e "$scratch/out" ] || fail "something was written in spite of errors"

# An alone-standing idlc says what it misses.
mkdir "$scratch/alone"
cp "$idlc" "$scratch/alone/idlc"
refuses 'install it beside idlc' "$scratch/alone/idlc" --out "$scratch/out" greeter.proto

"$idlc" --help | grep -q '^Usage: idlc' || fail "--help"
"$idlc" --version | grep -q '^idlc [0-9]' || fail "--version"
"$plugin" --version | grep -q '^protoc-gen-idlc [0-9]' || fail "protoc-gen-idlc --version"

# Every file that was read is a dependency; protoc's own collection is not ours to watch.
"$idlc" -I . --out "$scratch/dep" --dependency-file "$scratch/dep/x.d" imports.proto
expected="$scratch/dep/imports.baton.h $scratch/dep/imports.baton.c $scratch/dep/imports.pb-c.h $scratch/dep/imports.pb-c.c:"
expected="$expected dir/common-types.proto dir/relay.proto imports.proto"
[ "$(cat "$scratch/dep/x.d")" = "$expected" ] || fail "dependency file: $(cat "$scratch/dep/x.d")"

"$idlc" --package-prefix --without-structs --out "$scratch/prefix" greeter.proto
grep -q '^int demo_greeter_register(' "$scratch/prefix/greeter.baton.h" || fail "--package-prefix"
[ ! -e "$scratch/prefix/greeter.pb-c.h" ] || fail "--without-structs"

# Two services of one name in one run: both take their package's.
"$idlc" --out "$scratch/both" imports.proto dir/common-types.proto
grep -q '^int common_clash_register(' "$scratch/both/dir/common-types.baton.h" || fail "ambiguous services in one run"
finish
