/* Encoding and decoding in a test: buffers of exactly the right size, and a heap to lend from. */
#ifndef TESTS_GRAPH_STREAM_H
#define TESTS_GRAPH_STREAM_H

#include <baton/graph.h>

struct graph_stream {
        uint8_t *data; /* malloc'ed, exactly `size` bytes, so that a sanitizer sees any step beyond */
        size_t size;
        uint32_t lend_min; /* UINT32_MAX: nothing is lent */
        uint8_t *heap;
        size_t heap_size;
        uint32_t lent;
};

enum {
        GRAPH_STREAM_HEAP = 1 << 20,
};

/* Encodes into a new stream whose size graph_size told. 0 or the encoder's error. */
int graph_stream_encode(struct graph_stream *stream, const baton_type *type, const ProtobufCMessage *message,
                        uint32_t lend_min);

/* Decodes the stream; the message lives in the arena. */
int graph_stream_decode(const struct graph_stream *stream, const baton_type *type, baton_arena *arena,
                        ProtobufCMessage **message);

void graph_stream_free(struct graph_stream *stream);

/* The same type, without its walkers. */
baton_type generic(const baton_type *type);

#endif
