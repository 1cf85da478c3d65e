#!/bin/sh
# protoc-gen-c 1.4.1 copes with proto3 `optional` but does not say so, and protoc then refuses. Appending field 2
# (supported_features = 1) to its answer says it. idlc drives protoc-gen-c by itself and needs no such thing.
protoc-gen-c "$@" && printf '\020\001'
