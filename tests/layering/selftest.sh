#!/bin/sh
# Shows that layering.sh finds each kind of breach, names its place, and stays silent otherwise.
set -eu
check=$(cd "$(dirname "$0")" && pwd)/layering.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

# file PATH TEXT: a file of the tree.
file() {
        mkdir -p "$tree/$(dirname "$1")"
        printf '%s\n' "$2" >"$tree/$1"
}

# repeat N: so many lines.
repeat() {
        awk -v n="$1" 'BEGIN { while (n--) print "        next();" }'
}

# expect OUTPUT: what layering.sh must print; "" when it must pass. Starts the next tree.
expect() {
        status=0
        got=$(sh "$check" "$tree" 2>&1) || status=$?
        wanted=0
        [ -z "$1" ] || wanted=1
        if [ "$got" != "$1" ] || [ "$status" -ne "$wanted" ]; then
                printf 'expected exit %d and "%s", got %d and "%s"\n' "$wanted" "$1" "$status" "$got" >&2
                failures=$((failures + 1))
        fi
        rm -rf "$tree"
        mkdir "$tree"
}

file runtime/core/call.c '#include "shm/ring.h"
#include "core/call.h"
#include <baton/call.h>
#include <errno.h>'
file runtime/include/baton/call.h '#include <baton/status.h>
#include <protobuf-c/protobuf-c.h>'
file idlc/check.c '#include "check.h"
#include "codec/hash.h"'
file examples/kv/server.c '#include "kv.baton.h"
#include "common/text.h"'
expect ''

file runtime/base/arena.c '
#include "codec/wire.h"'
expect 'runtime/base/arena.c:2: base/ includes codec/wire.h, which is not below it'

file runtime/shm/ring.c ' # include <net/http2.h>'
expect 'runtime/shm/ring.c:1: shm/ includes net/http2.h, which is not below it'

file runtime/codec/wire.h '#include "../base/arena.h"'
expect 'runtime/codec/wire.h:1: write "folder/file.h", relative to runtime/: ../base/arena.h'

file runtime/include/baton/call.h '#include "base/arena.h"'
expect 'runtime/include/baton/call.h:1: a public header includes base/arena.h, which users do not have'

file runtime/extra/new.c ''
expect 'runtime/extra/new.c:1: runtime/extra/ is no layer: tests/layering/layering.sh lists them'

file idlc/emit.c '#include "core/call.h"'
expect 'idlc/emit.c:1: idlc/ includes core/call.h, which is internal to the runtime'

file examples/kv/client.c '#include "base/arena.h"'
expect 'examples/kv/client.c:1: examples/ includes base/arena.h, which is internal to the runtime'

file runtime/base/long.c "$(repeat 499)"
expect ''
file runtime/base/long.c "$(repeat 500)"
expect 'runtime/base/long.c:500: the file has 500 lines, 500 or more'

file idlc/main.c "int main(void)
{
$(repeat 70)
}"
expect ''
file idlc/main.c "int main(void)
{
$(repeat 71)
}"
expect 'idlc/main.c:2: the function has 71 lines, more than 70'

exit "$failures"
