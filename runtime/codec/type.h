/* Whether a message is of the type that its place asks for. */
#ifndef CODEC_TYPE_H
#define CODEC_TYPE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

/* The slow path of type_matches: two libraries may each hold a copy of the generated code; then name and size decide. */
bool type_same(const ProtobufCMessageDescriptor *a, const ProtobufCMessageDescriptor *b);

/* False also where the message was never initialised, so that its descriptor is NULL. */
static inline bool type_matches(const ProtobufCMessage *message, const ProtobufCMessageDescriptor *descriptor)
{
        return __builtin_expect(message->descriptor == descriptor, 1) || type_same(message->descriptor, descriptor);
}

#endif
