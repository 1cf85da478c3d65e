/*
 * The generic walk: encodes and decodes any message by its descriptor. The reference for the walkers that idlc generates,
 * and what is used where there are none. Both write the same stream.
 */
#ifndef CODEC_GRAPH_WALK_H
#define CODEC_GRAPH_WALK_H

#include <baton/graph.h>

/* One message, without its unknown fields. As baton_type.encode and .decode, with the descriptor beside. */
int graph_walk_encode(baton_graph_writer *writer, const ProtobufCMessage *message,
                      const ProtobufCMessageDescriptor *descriptor);
int graph_walk_decode(baton_graph_reader *reader, ProtobufCMessage *message,
                      const ProtobufCMessageDescriptor *descriptor);

/* The walk for this type: the specialised one where there is one. */
static inline int graph_walk_put(baton_graph_writer *writer, const baton_type *type, const ProtobufCMessage *message)
{
        return type->encode ? type->encode(writer, message) : graph_walk_encode(writer, message, type->descriptor);
}

static inline int graph_walk_get(baton_graph_reader *reader, const baton_type *type, ProtobufCMessage *message)
{
        return type->decode ? type->decode(reader, message) : graph_walk_decode(reader, message, type->descriptor);
}

#endif
