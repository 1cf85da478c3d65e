/* Words for a message that could not be encoded. For error paths only: it walks the message again. */
#ifndef CODEC_EXPLAIN_H
#define CODEC_EXPLAIN_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/*
 * Writes what is wrong with the message, by the path of the field, to text (cut to size bytes, NUL included), such as
 *
 *   demo.HelloRequest.items[3].name: not valid UTF-8 at byte 5
 *
 * error is what graph_encode, graph_size, wire_size or wire_pack returned. Where the message shows nothing wrong that fits
 * it (it was too large, say, or was changed meanwhile) the text names the message and says what the error means.
 */
void explain(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message, int error, char *text,
             size_t size);

#endif
