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
cd "${1:-$(dirname "$0")/../..}"

folders=
for folder in runtime idlc examples; do
        [ ! -d "$folder" ] || folders="$folders $folder"
done
[ -n "$folders" ] || { echo "layering.sh: no sources in $PWD" >&2; exit 2; }

# shellcheck disable=SC2086 # the folders' names have no blanks
find $folders -type f \( -name '*.c' -o -name '*.h' \) | LC_ALL=C sort | xargs awk '
function breach(line, message)
{
        printf "%s:%d: %s\n", FILENAME, line, message
        breaches++
}

function check_include(name, quoted,    folder)
{
        folder = name
        sub("/.*", "", folder)
        if (place == "public") {
                if (quoted || folder in rank)
                        breach(FNR, "a public header includes " name ", which users do not have")
        } else if (place == "examples" || place == "idlc") {
                if (folder in rank && folder != name && !(place == "idlc" && rank[folder] <= rank["codec"]))
                        breach(FNR, place "/ includes " name ", which is internal to the runtime")
        } else if (quoted && !(folder in rank)) {
                breach(FNR, "write \"folder/file.h\", relative to runtime/: " name)
        } else if (folder in rank && folder != place && rank[folder] >= rank[place]) {
                breach(FNR, place "/ includes " name ", which is not below it")
        }
}

function end_file()
{
        if (lines >= 500)
                printf "%s:%d: the file has %d lines, 500 or more\n", previous, lines, lines
        breaches += lines >= 500
}

BEGIN {
        rank["base"] = 0; rank["codec"] = 1; rank["transport"] = 2; rank["shm"] = 3; rank["net"] = 3; rank["core"] = 4
}

FNR == 1 {
        end_file()
        previous = FILENAME
        lines = body = 0
        split(FILENAME, part, "/")
        place = part[1] != "runtime" ? part[1] : part[2] == "include" ? "public" : part[2]
        if (part[1] == "runtime" && place != "public" && !(place in rank))
                breach(1, "runtime/" place "/ is no layer: tests/layering/layering.sh lists them")
}

part[1] != "examples" { lines = FNR }

/^[ \t]*#[ \t]*include[ \t]*["<]/ {
        name = $0
        sub(/^[^"<]*["<]/, "", name)
        sub(/[">].*/, "", name)
        check_include(name, $0 ~ /include[ \t]*"/)
}

# By the style of the house only the body of a function opens with a brace alone in the first column.
/^{/ { body = FNR }
/^}/ {
        if (body && FNR - body - 1 > 70)
                breach(body, "the function has " FNR - body - 1 " lines, more than 70")
        body = 0
}

END {
        end_file()
        exit breaches > 0
}
'
