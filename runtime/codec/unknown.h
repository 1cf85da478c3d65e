/* Unknown fields: what a newer sender said that this build's .proto does not know. They travel on unread. */
#ifndef CODEC_UNKNOWN_H
#define CODEC_UNKNOWN_H

#include <baton/graph.h>

/* Whether the field could stand in a message of the wire format: else packing it again would garble what follows. */
bool unknown_valid(uint32_t tag, uint32_t wire_type, const uint8_t *data, size_t size);

/* The item `unknowns` of the graph stream, also for a message that has none. */
int unknown_put(baton_graph_writer *writer, const ProtobufCMessage *message);
int unknown_get(baton_graph_reader *reader, ProtobufCMessage *message);
/* The bytes that unknown_put writes. */
size_t unknown_size(const ProtobufCMessage *message);

#endif
