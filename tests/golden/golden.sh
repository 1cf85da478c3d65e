#!/usr/bin/env bash
# golden.sh IDLC [--update]: compares what idlc makes of good/ with expected/, or replaces the latter.
# Then: the same output from another directory, and from protoc with the plugin.
# shellcheck source=tests/golden/common.sh
. "$(dirname "$0")/common.sh"
update=${2:-}
cd "$here/good"
protos=(*.proto dir/*.proto)

# Each file by itself: its output may depend on nothing but the file and its imports. protobuf-c's files are not ours.
for proto in "${protos[@]}"; do
        "$idlc" --out "$scratch/out" "$proto" 2> "$scratch/stderr" || fail "idlc $proto: $(cat "$scratch/stderr")"
done
mkdir "$scratch/new"
(cd "$scratch/out" && find . -name '*.baton.[ch]') | while read -r file; do
        mkdir -p "$(dirname "$scratch/new/$file")"
        sed '1s/idlc [0-9][0-9.]* from/idlc VERSION from/' "$scratch/out/$file" > "$scratch/new/$file"
done
if [ "$update" = --update ]; then
        rm -rf "$here/expected"
        cp -R "$scratch/new" "$here/expected"
fi
diff -ru "$here/expected" "$scratch/new" >&2 || fail "output differs from expected/; if that is wanted: $0 $idlc --update"

cd /
for proto in "${protos[@]}"; do
        "$idlc" -I "$here/good" --out "$scratch/again" "$here/good/$proto" 2> "$scratch/stderr" || fail "again: $proto"
done
diff -r "$scratch/out" "$scratch/again" >&2 || fail "a second run made other files"

mkdir "$scratch/plugin"
for proto in "${protos[@]}"; do
        protoc -I "$here/good" --plugin="$(dirname "$idlc")/protoc-gen-idlc" --idlc_out="$scratch/plugin" \
                "$here/good/$proto" 2> "$scratch/stderr" || fail "plugin: $proto: $(cat "$scratch/stderr")"
done
diff -r "$scratch/out" "$scratch/plugin" >&2 || fail "the plugin made other files than the command"
finish
