/*
 * The protobuf wire format, over protobuf-c: what the fallback uses where two builds lay a message out differently, and
 * what gRPC speaks. protobuf-c 1.4.1 trusts its input; here it is checked first.
 *
 * Limits of protobuf-c that show: a message is less than 2 GiB; a string of a oneof that points to protobuf_c_empty_string
 * (or, in proto2, to its default) is not sent; a singular sub-message that comes twice, both times with a oneof unset, is
 * refused as malformed.
 */
#ifndef CODEC_WIRE_H
#define CODEC_WIRE_H

#include <baton/graph.h>

/* The message's size in bytes, after checking it whole: -EILSEQ, -ENODATA, -ELOOP, -EINVAL, -EBADMSG (an unknown field) as
 * in baton/graph.h, -EMSGSIZE from 2 GiB. */
int64_t wire_size(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message);

/* Checks the message, packs it, and returns its size; -EMSGSIZE also where it is larger than room. Nothing is written on
 * failure. No other thread may change the message meanwhile. */
int64_t wire_pack(const ProtobufCMessageDescriptor *descriptor, const ProtobufCMessage *message, void *out,
                  size_t room);

/*
 * Unpacks into the arena. data must be private: memory that a peer can still change would be read twice. Its depth and
 * every length are checked before protobuf-c sees it, so refusing takes one pass at most and no recursion.
 *
 * -EBADMSG malformed; -ELOOP nested deeper than BATON_MAX_DEPTH; -EILSEQ a string is not UTF-8 or holds a NUL; -ENODATA a
 * required field is missing; -ENOMEM memory or the arena's budget is used up; -EMSGSIZE from 2 GiB.
 *
 * The arena also serves as scratch memory, which it keeps until it is reset: up to 32 times the data where that consists
 * of two-byte fields, and more where it consists of empty sub-messages, whose structs may be of any size. The budget
 * bounds both.
 */
int wire_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, baton_arena *arena,
                ProtobufCMessage **message);

/* The same, with the struct itself in memory of descriptor->sizeof_message bytes that the caller provides. */
int wire_unpack_into(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, baton_arena *arena,
                     ProtobufCMessage *message);

#endif
