/*
 * The graph codec as transports use it: one message to or from a stream (baton/graph.h has the format).
 *
 * Writing: prepare a baton_graph_writer over the buffer (at, end; lend, lend_min where payloads can be lent), call
 * graph_encode; writer.at then says how far the stream reaches. On failure what was written is meaningless, and payloads
 * lent meanwhile are the caller's to take back.
 *
 * Reading: prepare a baton_graph_reader over exactly the stream (at, end, arena; heap and heap_size where the sender may
 * lend), call graph_decode. The stream may be memory that its sender can still change. On failure the message must not be
 * looked at; what was allocated stays in the arena.
 *
 * Errors are those of baton/graph.h. Nothing here logs, and explain.h turns an encoder's error into words.
 */
#ifndef CODEC_GRAPH_H
#define CODEC_GRAPH_H

#include <baton/graph.h>

/* Appends a message of this type, with its unknown fields. Through the specialised walkers where the type has them. */
int graph_encode(const baton_type *type, baton_graph_writer *writer, const ProtobufCMessage *message);

/* Reads the whole stream as one message. The struct is taken from reader->arena. -EBADMSG also where bytes are left. */
int graph_decode(const baton_type *type, baton_graph_reader *reader, ProtobufCMessage **message);

/* The same, into memory of descriptor->sizeof_message bytes that the caller provides, 8-byte aligned, uninitialised. */
int graph_decode_into(const baton_type *type, baton_graph_reader *reader, ProtobufCMessage *message);

/* How many bytes graph_encode writes when every payload of lend_min bytes or more is lent: 0 for all but the empty,
 * UINT32_MAX for none. Where the lender answers -ENOBUFS it is more. Negative: -ENODATA, -EINVAL, -ELOOP as graph_encode
 * would say, or -EMSGSIZE beyond 16 GiB (a graph that shares sub-messages can unfold to any size). UTF-8 is not checked. */
int64_t graph_size(const baton_type *type, const ProtobufCMessage *message, uint32_t lend_min);

#endif
