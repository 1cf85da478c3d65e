#!/usr/bin/env bash
# Runs the frames pair: test.sh BUILDDIR
# shellcheck disable=SC1091,SC2154  # lib.sh sets bin, examples and scratch
source "$(dirname "$0")/../lib.sh"

client=$bin/frames/frames-client
picture=$examples/data/baton.png

start_server frames
# The client itself compares every pixel with what the filter gives in its own process.
report=$("$client" --frames 5 "$picture" "$scratch/edges.png" 2>"$scratch/client.log") || fail "edges"
[[ $report == *" 0.000 MB copied" ]] || fail "edges were not handed over: $report"
report=$("$client" --frames 5 --blur 8 "$picture" "$scratch/blur.png" 2>"$scratch/client.log") || fail "blur"
[[ $report == *" 0.000 MB copied" ]] || fail "the blurred picture was not handed over: $report"
! cmp -s "$scratch/edges.png" "$scratch/blur.png" || fail "both filters gave the same picture"
# What was written is a picture again.
"$client" --blur 1 "$scratch/edges.png" "$scratch/again.png" >"$scratch/client.log" 2>&1 || fail "a result as input"

expect_error "INVALID_ARGUMENT: radius is 101" "$client" --blur 101 "$picture" "$scratch/out.png"
expect_error "no/such.png" "$client" no/such.png "$scratch/out.png"
expect_error "lib.sh: " "$client" "$examples/lib.sh" "$scratch/out.png"
expect_error "no/such/folder/out.png" "$client" "$picture" no/such/folder/out.png
stop_server frames
