#!/usr/bin/env bash
# stress.sh IDLC: large, deep and broken input: an answer in linear time, never a crash.
# shellcheck source=tests/golden/common.sh
. "$(dirname "$0")/common.sh"
plugin=$(dirname "$idlc")/protoc-gen-idlc
cd "$scratch"

# 1,000 services of 10 methods.
awk 'BEGIN {
        print "syntax = \"proto3\"; package many; message M { string a = 1; }"
        for (i = 0; i < 1000; i++) {
                print "// Service number " i ".\nservice Service" i " {"
                for (j = 0; j < 10; j++)
                        print "  rpc Method" j "(M) returns (M);"
                print "}"
        }
}' > services.proto
"$idlc" --out out services.proto || fail "1,000 services"
[ "$(grep -c '^extern const baton_service' out/services.baton.h)" -eq 1000 ] || fail "1,000 services: not all there"

# Some 10 MB of messages, a large one and a much commented one. Linear: twice the input may not take thrice the time.
large()
{
        awk -v n="$1" 'BEGIN {
                print "syntax = \"proto3\"; package large;"
                for (i = 0; i < n; i++) {
                        print "// Message number " i ", of which there are many, so that the file is large.\nmessage M" i " {"
                        print "  string name = 1;\n  M" int(i / 2) " other = 2;  // what it stands beside\n  repeated int32 n = 3;\n}"
                }
                print "message Wide {"
                for (i = 1; i < n / 20; i++)
                        print "  optional int32 field_number_" i " = " (i < 19000 ? i : i + 1000) ";"
                print "}"
        }'
}
seconds()
{
        start=$(date +%s%N)
        "$@" || fail "$*"
        end=$(date +%s%N)
        echo $(((end - start) / 1000000))
}
large 25000 > half.proto
large 50000 > large.proto
[ "$(wc -c < large.proto)" -ge 8000000 ] || fail "the large file is only $(wc -c < large.proto) bytes"
half=$(seconds "$idlc" --out out half.proto)
whole=$(seconds "$idlc" --out out large.proto)
[ "$whole" -le $((3 * half + 2000)) ] || fail "half the file took $half ms, the whole $whole ms"

# One comment of 10 MB, one line of it and in many.
{ echo 'syntax = "proto3";'; printf '// '; head -c 5000000 /dev/zero | tr '\0' '*'; echo
  head -c 5000000 /dev/zero | tr '\0' 'x' | fold -w 50 | sed 's,^,// */ ,'; echo
  echo 'service S { rpc Get(M) returns (M); } message M {}'; } > comment.proto
"$idlc" --out out comment.proto || fail "10 MB of comment"

# As deep as protoc allows, and deeper.
nested()
{
        awk -v n="$1" 'BEGIN {
                print "syntax = \"proto3\";"
                for (i = 0; i < n; i++) printf "message M%d { ", i
                for (i = 0; i < n; i++) printf "}"
                print ""
        }'
}
nested 30 > deep.proto
"$idlc" --out out deep.proto || fail "30 messages deep"
nested 5000 > deeper.proto
status=0
"$idlc" --out out deeper.proto 2> stderr || status=$?
[ "$status" -eq 1 ] || fail "5,000 messages deep: exit status $status"

# Requests that no protoc sends: answered with an error, in a well-formed response, and exit status 0, as protoc wants it.
answers()
{
        status=0
        "$plugin" < "$1" > answer 2> stderr || status=$?
        if [ "$status" -ne 0 ] || [ ! -s answer ]; then
                fail "$1: exit status $status, $(cat stderr)"
        fi
}
: > empty
answers empty
head -c 100000 /dev/urandom > noise
answers noise
head -c 1000000 /dev/zero > zeros
answers zeros
# 200,000 levels of the shortest nested message: field 15 (proto_file), field 4 (message_type), field 3 (nested_type) …
awk 'BEGIN { for (i = 0; i < 200000; i++) printf "\032\177" }' > levels
answers levels
finish
