#!/usr/bin/env bash
# install.sh TEST PLACE: one test of the installed Baton; tests/install/CMakeLists.txt lists them. Works in PLACE;
# BUILD is the build directory, CC and CXX the compilers, LIBDIR the library folder in the prefix.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
test=$1
prefix=$2/prefix
work=$2/$test
rm -rf "$work"
mkdir -p "$work"
cd "$work"

# Nothing of the build tree is to be found by chance, and installed programs must find their libraries by themselves.
export PKG_CONFIG_PATH=$prefix/$LIBDIR/pkgconfig PATH=$prefix/bin:$PATH
unset LD_LIBRARY_PATH

fail() {
        printf '%s: %s\n' "$test" "$*" >&2
        exit 1
}

# A path in the work folder may be too long for a socket.
sockets=$(mktemp -d /tmp/baton-install.XXXXXX)
server=
clean_up() {
        if [[ $server ]]; then
                kill -KILL "$server" 2>/dev/null || true
        fi
        rm -rf "$sockets"
}
trap clean_up EXIT

# converse DIR: the server and the client in it talk to each other.
converse() {
        local address=shm:$sockets/greeter reply
        "$1/server" "$address" >server.out &
        server=$!
        for ((i = 0; i < 100; i++)); do
                grep -q ready server.out && break
                kill -0 "$server" 2>/dev/null || fail "the server ended before it was ready"
                sleep 0.1
        done
        reply=$("$1/client" "$address" world) || fail "the client failed"
        [[ $reply == "hello world, at 2001-09-09" ]] || fail "the client printed '$reply'"
        kill -TERM "$server"
        wait "$server" || fail "the server did not end well: exit status $?"
        server=
}

# generate: runs the installed idlc, by hand.
generate() {
        idlc -I "$here/project" --out . greeter.proto
}

# serves PROGRAM: the standard services work in it.
serves() {
        [[ $("$1") == SERVING ]] || fail "$1 does not say that it is SERVING"
}

# standard KIND OPTION...: the same by pkg-config.
standard() {
        local kind=$1
        shift
        idlc -I "$here/project" -I "$(pkg-config --variable=idldir baton-standard)" --out standard outcome.proto
        "$CC" -Istandard "$here/project/standard.c" standard/*.c -o "standard-$kind" "$@"
        serves "./standard-$kind"
}

case $test in
prefix)
        rm -rf "$prefix"
        cmake --install "$BUILD" --prefix "$prefix"
        ;;

exports) # nothing but baton_*, and the name that programs are bound to
        library=$prefix/$LIBDIR/libbaton.so
        nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $NF); print $NF }' >names
        grep -q '^baton_channel_open$' names || fail "baton_channel_open is not exported"
        ! grep -v -e '^baton_' -e '^BATON_0$' names || fail "the above is exported"
        objdump -p "$library" >dump
        grep -q 'SONAME *libbaton.so.0$' dump || fail "SONAME is not libbaton.so.0"
        ! grep -E 'R(UN)?PATH' dump || fail "the library has a run path"
        ;;

archive) # a program's own names, even those we use inside, do not meet ours
        nm -g --defined-only "$prefix/$LIBDIR/libbaton.a" | awk 'NF == 3 { print $3 }' >names
        grep -q '^baton_channel_open$' names || fail "baton_channel_open is missing"
        ! grep -v '^baton_' names || fail "the above would clash with a user's names"
        nm -g --defined-only "$prefix/$LIBDIR/libbaton_standard.a" | awk 'NF == 3 { print $3 }' >names
        grep -q '^baton_health_register$' names || fail "baton_health_register is missing"
        ! grep -vE '^(baton_|grpc_|google__rpc__|idl_g)' names || fail "the above would clash with a user's names"
        ;;

headers) # each alone, as C11 and as C++17, by strict compilers
        read -ra includes <<<"$(pkg-config --cflags baton)"
        flags=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only "${includes[@]}")
        for header in "$prefix"/include/baton/*.h; do
                printf '#include <baton/%s>\n' "$(basename "$header")" >one.c
                "$CC" -std=c11 "${flags[@]}" one.c
                "$CXX" -x c++ -std=c++17 "${flags[@]}" one.c
        done
        generate
        for header in greeter.pb-c.h greeter.baton.h; do
                printf '#include "%s"\n' "$header" >one.c
                "$CC" -std=c11 "${flags[@]}" -I. one.c
                "$CXX" -x c++ -std=c++17 "${flags[@]}" -I. one.c
        done
        ;;

cmake)
        cmake -G Ninja -S "$here/project" -B build "-DCMAKE_PREFIX_PATH=$prefix" "-DCMAKE_C_COMPILER=$CC" >cmake.log ||
                { cat cmake.log; fail "cmake failed"; }
        cmake --build build
        converse build
        converse build/static
        serves build/standard
        serves build/static/standard
        ;;

pkgconfig-shared)
        generate
        for program in server client; do
                # shellcheck disable=SC2046 # pkg-config prints words
                "$CC" -I. "$here/project/$program.c" ./*.baton.c ./*.pb-c.c -o "$program" \
                        $(pkg-config --cflags --libs baton) "-Wl,-rpath,$prefix/$LIBDIR"
        done
        [[ $(ldd server) == *"$prefix/$LIBDIR/libbaton.so.0 "* ]] || fail "the server does not use the installed library"
        converse .
        # shellcheck disable=SC2046
        standard shared $(pkg-config --cflags --libs baton-standard) "-Wl,-rpath,$prefix/$LIBDIR"
        ;;

pkgconfig-static)
        generate
        for program in server client; do
                # shellcheck disable=SC2046
                "$CC" -static -I. "$here/project/$program.c" ./*.baton.c ./*.pb-c.c -o "$program" \
                        $(pkg-config --static --cflags --libs baton)
        done
        converse .
        # shellcheck disable=SC2046
        standard static -static $(pkg-config --static --cflags --libs baton-standard)
        ;;

man)
        for page in man1/idlc.1 man3/baton.3; do
                [[ -s $prefix/share/man/$page ]] || fail "$page is not installed"
        done
        ;;

*)
        fail "no such test"
        ;;
esac
