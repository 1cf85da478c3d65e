/* A fingerprint of how a message and all it refers to lie in memory: equal on both sides, the graph codec may be used. */
#ifndef CODEC_LAYOUT_H
#define CODEC_LAYOUT_H

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

/* Covers the stream format's version, pointer width, byte order, and for this message and every message type reachable
 * from it the struct's size and each field's number, type, label, offsets, oneof membership and default. Names do not
 * count. 0 when out of memory: equal to none, take the wire format. Linear in the schema; cycles are fine.
 * It guards against honest difference only: decoding is safe whatever the peer claims. */
uint64_t layout_hash(const ProtobufCMessageDescriptor *descriptor);

#endif
