#!/usr/bin/env bash
# compile.sh IDLC CC CXX BATON_INCLUDE: every generated header compiles alone, as C11 and as C++17, without a warning; so do the
# sources, as C11.
# shellcheck source=tests/golden/common.sh
. "$(dirname "$0")/common.sh"
cc=$2
cxx=$3
include=$4
strict=(-Wall -Wextra -Wpedantic -Werror)

"$idlc" -I /usr/include --out "$scratch/out" google/protobuf/any.proto google/protobuf/descriptor.proto google/protobuf/empty.proto \
                google/protobuf/struct.proto google/protobuf/timestamp.proto google/protobuf/wrappers.proto
cd "$here/good"
for proto in *.proto dir/*.proto; do
        "$idlc" --out "$scratch/out" "$proto"
done
cd "$scratch/out"
for header in *.baton.h */*.baton.h */*/*.baton.h; do
        echo "#include \"$header\"" > ../alone.c
        cp ../alone.c ../alone.cc
        "$cc" -std=c11 "${strict[@]}" -fsyntax-only -I. -I"$include" ../alone.c || fail "$header as C11"
        "$cxx" -std=c++17 "${strict[@]}" -fsyntax-only -I. -I"$include" ../alone.cc || fail "$header as C++17"
done
for source in *.baton.c */*.baton.c */*/*.baton.c; do
        "$cc" -std=c11 "${strict[@]}" -Wshadow -fsyntax-only -I. -I"$include" "$source" || fail "$source as C11"
done
for source in *.pb-c.c */*.pb-c.c */*/*.pb-c.c; do
        "$cc" -std=c11 -w -fsyntax-only -I. "$source" || fail "$source as C11"
done
finish
