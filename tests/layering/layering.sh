#!/bin/sh
# Checks how the sources are cut: what includes what, and how long files and functions are.
#   layering.sh [TREE]    prints file:line: message for each breach; exits 1 when there is one
# The rules:
#   runtime/   base -> codec -> transport -> shm, net -> core; an include points down or stays in its folder, and is
#              written "folder/file.h"
#   include/baton, examples/   only public headers (and in examples/ the example's own and generated ones)
#   idlc/      of the runtime only public headers, base/ and codec/
#   runtime/ and idlc/   files below 500 lines, functions of at most 70
set -eu
rules=$(cd "$(dirname "$0")" && pwd)/layering.awk
cd "${1:-$(dirname "$0")/../..}"

folders=
for folder in runtime idlc examples; do
        [ ! -d "$folder" ] || folders="$folders $folder"
done
[ -n "$folders" ] || { echo "layering.sh: no sources in $PWD" >&2; exit 2; }

# shellcheck disable=SC2086 # the folders' names have no blanks
find $folders -type f \( -name '*.c' -o -name '*.h' \) | LC_ALL=C sort | xargs awk -f "$rules" || exit 1
