#include "codec/graph.h"
#include "codec/graph_walk.h"
#include "codec/type.h"
#include "codec/unknown.h"

int graph_encode(const baton_type *type, baton_graph_writer *writer, const ProtobufCMessage *message)
{
        if (!type_matches(message, type->descriptor))
                return -EINVAL;
        writer->depth = 1;
        int r = graph_walk_put(writer, type, message);
        if (r < 0 || !message->n_unknown_fields)
                return r;
        return unknown_put(writer, message);
}

int graph_decode_into(const baton_type *type, baton_graph_reader *reader, ProtobufCMessage *message)
{
        reader->depth = 1;
        int r = graph_walk_get(reader, type, message);
        if (r == 0 && reader->at != reader->end)
                r = unknown_get(reader, message);
        if (r < 0)
                return r;
        return reader->at == reader->end ? 0 : -EBADMSG;
}

int graph_decode(const baton_type *type, baton_graph_reader *reader, ProtobufCMessage **message)
{
        *message = baton_arena_alloc(reader->arena, type->descriptor->sizeof_message);
        if (!*message)
                return -ENOMEM;
        return graph_decode_into(type, reader, *message);
}
