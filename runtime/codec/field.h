/* How a field lies in its struct, read off the descriptor. */
#ifndef CODEC_FIELD_H
#define CODEC_FIELD_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void *field_at(void *message, unsigned offset)
{
        return (uint8_t *)message + offset;
}

static inline const void *field_of(const void *message, unsigned offset)
{
        return (const uint8_t *)message + offset;
}

static inline bool field_in_oneof(const ProtobufCFieldDescriptor *field)
{
        return field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

static inline bool field_is_pointer(const ProtobufCFieldDescriptor *field)
{
        return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
}

/* Whether the struct has a has_ member for this field. */
static inline bool field_has_quantifier(const ProtobufCFieldDescriptor *field)
{
        return field->label == PROTOBUF_C_LABEL_OPTIONAL && !field_in_oneof(field) && !field_is_pointer(field);
}

/* Bytes of one scalar (enums and booleans are ints); of strings, bytes and messages, of what stands in the struct. */
static inline size_t field_element_size(ProtobufCType type)
{
        switch (type) {
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_SINT32:
        case PROTOBUF_C_TYPE_SFIXED32:
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
        case PROTOBUF_C_TYPE_FLOAT:
                return 4;
        case PROTOBUF_C_TYPE_BOOL:
                return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_ENUM:
                return sizeof(int);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return 8;
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        }
        return 0;
}

/* The number in a oneof's case enum. */
static inline uint32_t field_case(const void *message, const ProtobufCFieldDescriptor *field)
{
        uint32_t number;
        memcpy(&number, field_of(message, field->quantifier_offset), sizeof number);
        return number;
}

/* The has_ member. */
static inline bool field_has(const void *message, const ProtobufCFieldDescriptor *field)
{
        protobuf_c_boolean has;
        memcpy(&has, field_of(message, field->quantifier_offset), sizeof has);
        return has;
}

/* The n_ member of a repeated field. */
static inline size_t field_count(const void *message, const ProtobufCFieldDescriptor *field)
{
        size_t n;
        memcpy(&n, field_of(message, field->quantifier_offset), sizeof n);
        return n;
}

/* The pointer in the struct: to the string, the sub-message or the array. */
static inline const void *field_pointer(const void *message, const ProtobufCFieldDescriptor *field)
{
        const void *pointer;
        memcpy(&pointer, field_of(message, field->offset), sizeof pointer);
        return pointer;
}

/* What a string or bytes field restores to when unset. A member of a oneof is selected, and so never its default. */
static inline const void *field_default(const ProtobufCFieldDescriptor *field)
{
        return field_in_oneof(field) ? NULL : field->default_value;
}

/* Whether the case number of the oneof that field belongs to is 0 or names a member of that same oneof. */
static inline bool field_case_valid(const ProtobufCMessageDescriptor *descriptor, const ProtobufCFieldDescriptor *field,
                                    uint32_t number)
{
        if (!number || number == field->id)
                return true;
        const ProtobufCFieldDescriptor *other = protobuf_c_message_descriptor_get_field(descriptor, number);
        return other && field_in_oneof(other) && other->quantifier_offset == field->quantifier_offset;
}

#endif
