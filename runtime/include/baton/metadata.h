/*
 * Metadata: key-value pairs that travel beside the messages of a call, as gRPC has them. The client sends some with its
 * request; the server sends headers ("initial metadata") before its first message and trailers with the status.
 *
 * A key is 1 to 256 characters of a–z 0–9 _ - . and does not begin with "grpc-", which is reserved. The value of a key that
 * ends with "-bin" is any bytes; any other is printable ASCII (0x20 to 0x7E). A key may stand more than once; the order of
 * its values is kept. All pairs of one side together are limited (max_metadata_bytes): each counts its key, its value and
 * 32 bytes. (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)
 */
#ifndef BATON_METADATA_H
#define BATON_METADATA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_metadata_entry {
        const char *key;
        const void *value; /* received ones are followed by a NUL that is not counted, so that text reads as a string */
        size_t size;       /* bytes of the value */
} baton_metadata_entry;

typedef struct baton_metadata {
        size_t n;
        const baton_metadata_entry *entries;
} baton_metadata;

/* An entry with a text for its value; it refers to both strings. */
static inline baton_metadata_entry baton_text(const char *key, const char *value)
{
        baton_metadata_entry entry = { key, value, strlen(value) };
        return entry;
}

/* The first entry with this key (lower case); NULL where there is none, or metadata is NULL. Safe from any thread. */
const baton_metadata_entry *baton_metadata_find(const baton_metadata *metadata, const char *key);

/* The text of the first entry with this key, or NULL. Not for keys that end with "-bin". Safe from any thread. */
const char *baton_metadata_text(const baton_metadata *metadata, const char *key);

#ifdef __cplusplus
}
#endif
#endif
