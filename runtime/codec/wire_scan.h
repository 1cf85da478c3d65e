/* Reads protobuf wire bytes without building anything: whether protobuf-c may be trusted with them. */
#ifndef CODEC_WIRE_SCAN_H
#define CODEC_WIRE_SCAN_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0; -EBADMSG malformed, or a known field with a wire type that is not its own; -ELOOP nested deeper than BATON_MAX_DEPTH;
 * -EILSEQ a string is not UTF-8 or holds a NUL. One pass, constant memory. The elements of packed arrays are not looked at. */
int wire_scan(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size);

/* Whether some message in data, which passed wire_scan, lacks a required field that has no default. For error paths. */
bool wire_lacks_required(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size);

/* One field as it lies in the data. */
struct wire_item {
        uint32_t tag;
        uint32_t wire_type;
        const uint8_t *data; /* for a length-prefixed field behind the prefix */
        size_t size;
};

/* Reads one field. Returns what follows it; NULL where it is malformed. at < end. */
const uint8_t *wire_next(const uint8_t *at, const uint8_t *end, struct wire_item *item);

#endif
