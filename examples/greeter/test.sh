#!/usr/bin/env bash
# Runs the greeter pair: test.sh BUILDDIR
# shellcheck disable=SC1091,SC2154  # lib.sh sets bin, examples and scratch
source "$(dirname "$0")/../lib.sh"

client=$bin/greeter/greeter-client
expect_error "UNAVAILABLE: " "$client"
start_server greeter
[[ $("$client") == "hello world" ]] || fail "no greeting for nobody in particular"
[[ $("$client" Ümläut) == "hello Ümläut" ]] || fail "no greeting for a name beyond ASCII"
expect_error "INVALID_ARGUMENT: name is empty" "$client" ""
stop_server greeter
expect_error "UNAVAILABLE: " "$client"
