/* Encoding and decoding in a test: buffers of exactly the right size, and a heap to lend from. */
#ifndef TESTS_STREAM_H
#define TESTS_STREAM_H

#include <baton/graph.h>

struct stream {
        uint8_t *data; /* malloc'ed, exactly `size` bytes, so that a sanitizer sees any step beyond */
        size_t size;
        uint32_t lend_min; /* UINT32_MAX: nothing is lent */
        uint8_t *heap;
        size_t heap_size;
        uint32_t lent;
};

enum {
        STREAM_HEAP = 1 << 20,
};

/* Encodes into a new stream whose size graph_size told. 0 or the encoder's error. */
int stream_encode(struct stream *stream, const baton_type *type, const ProtobufCMessage *message, uint32_t lend_min);

/* Decodes the stream; the message lives in the arena. */
int stream_decode(const struct stream *stream, const baton_type *type, baton_arena *arena, ProtobufCMessage **message);

void stream_free(struct stream *stream);

/* The same type, without its walkers. */
baton_type generic(const baton_type *type);

#endif
