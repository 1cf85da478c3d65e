#include "graph_stream.h"
#include "codec/graph.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

struct lending_writer {
        baton_graph_writer writer;
        struct graph_stream *stream;
};

static int lend(baton_graph_writer *writer, const void *data, size_t size, uint64_t *offset)
{
        struct graph_stream *stream = ((struct lending_writer *)(void *)writer)->stream;
        size_t at = (stream->heap_size + 63) & ~(size_t)63;
        if (at + size > GRAPH_STREAM_HEAP)
                return -ENOBUFS;
        memcpy(stream->heap + at, data, size);
        stream->heap_size = at + size;
        stream->lent++;
        *offset = at;
        return 0;
}

int graph_stream_encode(struct graph_stream *stream, const baton_type *type, const ProtobufCMessage *message,
                        uint32_t lend_min)
{
        *stream = (struct graph_stream){ .lend_min = lend_min };
        int64_t size = graph_size(type, message, lend_min);
        if (size < 0)
                return (int)size;
        stream->size = (size_t)size;
        stream->data = calloc(1, stream->size);
        stream->heap = calloc(1, GRAPH_STREAM_HEAP); /* the gaps are compared too */
        struct lending_writer writer = {
                .writer = { .at = stream->data,
                            .end = stream->data + stream->size,
                            .lend_min = lend_min,
                            .lend = lend_min == UINT32_MAX ? NULL : lend },
                .stream = stream,
        };
        int r = graph_encode(type, &writer.writer, message);
        if (r == 0)
                assert_ptr_equal(writer.writer.at, writer.writer.end);
        return r;
}

int graph_stream_decode(const struct graph_stream *stream, const baton_type *type, baton_arena *arena,
                        ProtobufCMessage **message)
{
        baton_graph_reader reader = { .at = stream->data,
                                      .end = stream->data + stream->size,
                                      .heap = stream->heap,
                                      .heap_size = stream->heap_size,
                                      .arena = arena };
        int r = graph_decode(type, &reader, message);
        if (r == 0)
                assert_int_equal(reader.references, stream->lent);
        return r;
}

void graph_stream_free(struct graph_stream *stream)
{
        free(stream->data);
        free(stream->heap);
        *stream = (struct graph_stream){ 0 };
}

baton_type generic(const baton_type *type)
{
        return (baton_type){ .descriptor = type->descriptor };
}
