#include "random_message.h"
#include "codec/field.h"
#include <assert.h>
#include <stdio.h>

void random_seed(struct random *random, uint64_t seed)
{
        random->state = seed * 2654435761u + 88172645463325252u;
}

uint64_t random_next(struct random *random)
{
        uint64_t x = random->state;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        random->state = x;
        return x * UINT64_C(2685821657736338717);
}

size_t random_below(struct random *random, size_t n)
{
        return (size_t)(random_next(random) >> 33) % n;
}

static void *take(baton_arena *arena, size_t size)
{
        void *memory = baton_arena_alloc(arena, size ? size : 1);
        assert(memory);
        return memory;
}

/* Mostly small, sometimes none, seldom large. */
static size_t random_size(struct random *random, size_t large)
{
        switch (random_below(random, 20)) {
        case 0:
        case 1:
                return 0;
        case 2:
                return random_below(random, large);
        default:
                return random_below(random, 24);
        }
}

static char *random_text(struct random *random, baton_arena *arena)
{
        static const char *const pieces[] = { "a", "xyz", " ", "0123456789", "é",    "߿",  "ࠀ",
                                              "€", "￿", "𐀀", "😀",          "\x7f", "\x01" };
        size_t n = random_size(random, 100);
        char *text = take(arena, n * 10 + 1);
        char *at = text;
        bool ascii = random_below(random, 2);
        for (size_t i = 0; i < n; i++)
                at = stpcpy(at, pieces[random_below(random, ascii ? 4 : sizeof pieces / sizeof *pieces)]);
        *at = 0;
        return text;
}

static ProtobufCBinaryData random_bytes(struct random *random, baton_arena *arena)
{
        ProtobufCBinaryData bytes = { .len = random_size(random, 3000) };
        if (!bytes.len)
                return bytes;
        bytes.data = take(arena, bytes.len);
        for (size_t i = 0; i < bytes.len; i++)
                bytes.data[i] = (uint8_t)random_next(random);
        return bytes;
}

static uint64_t random_bits(struct random *random)
{
        static const uint64_t edges[] = { 0,         1,          UINT64_MAX, INT64_MAX, (uint64_t)INT64_MIN,
                                          INT32_MAX, UINT32_MAX, 127,        128 };
        if (random_below(random, 2))
                return edges[random_below(random, sizeof edges / sizeof *edges)];
        return random_next(random) >> random_below(random, 64);
}

static void random_scalar(struct random *random, ProtobufCType type, void *value)
{
        uint64_t bits = random_bits(random);
        size_t size = field_element_size(type);
        if (type == PROTOBUF_C_TYPE_BOOL)
                bits &= 1;
        if (type == PROTOBUF_C_TYPE_FLOAT && (uint32_t)bits == UINT32_C(1) << 31)
                bits = 0;
        if (type == PROTOBUF_C_TYPE_DOUBLE && bits == UINT64_C(1) << 63)
                bits = 0;
        memcpy(value, &bits, size); /* little-endian, as all machines that the tests run on */
}

static void fill(struct random *random, const ProtobufCFieldDescriptor *field, void *value, baton_arena *arena,
                 unsigned depth)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                *(char **)value = random_text(random, arena);
                return;
        case PROTOBUF_C_TYPE_BYTES:
                *(ProtobufCBinaryData *)value = random_bytes(random, arena);
                return;
        case PROTOBUF_C_TYPE_MESSAGE:
                *(ProtobufCMessage **)value = random_message(random, field->descriptor, arena, depth - 1);
                return;
        default:
                random_scalar(random, field->type, value);
        }
}

static void fill_repeated(struct random *random, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          baton_arena *arena, unsigned depth)
{
        bool nested = field->type == PROTOBUF_C_TYPE_MESSAGE;
        size_t n = nested ? random_below(random, 4) : random_size(random, 400);
        size_t size = field_element_size(field->type);
        if (!n)
                return;
        uint8_t *array = take(arena, n * size);
        for (size_t i = 0; i < n; i++)
                fill(random, field, array + i * size, arena, depth);
        memcpy(field_at(message, field->quantifier_offset), &n, sizeof n);
        memcpy(field_at(message, field->offset), &array, sizeof array);
}

static void fill_field(struct random *random, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       baton_arena *arena, unsigned depth)
{
        bool required = field->label == PROTOBUF_C_LABEL_REQUIRED;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && depth <= 1 && !required)
                return;
        if (!required && random_below(random, 3) == 0)
                return;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                fill_repeated(random, message, field, arena, depth);
                return;
        }
        if (required && field->default_value && random_below(random, 2))
                return;
        if (field_in_oneof(field)) {
                if (field_case(message, field))
                        return;
                memcpy(field_at(message, field->quantifier_offset), &field->id, sizeof field->id);
        }
        if (field_has_quantifier(field))
                *(protobuf_c_boolean *)field_at(message, field->quantifier_offset) = 1;
        fill(random, field, field_at(message, field->offset), arena, depth);
}

static void fill_unknown(struct random *random, ProtobufCMessageUnknownField *field, baton_arena *arena)
{
        static const ProtobufCWireType types[] = { PROTOBUF_C_WIRE_TYPE_VARINT, PROTOBUF_C_WIRE_TYPE_64BIT,
                                                   PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, PROTOBUF_C_WIRE_TYPE_32BIT };
        size_t kind = random_below(random, 4);
        size_t length = random_below(random, 100);
        field->tag = 100000 + (uint32_t)random_below(random, 1000);
        field->wire_type = types[kind];
        field->data = take(arena, 101);
        for (size_t i = 0; i < 101; i++)
                field->data[i] = (uint8_t)random_next(random);
        field->len = kind == 0 ? 3 : kind == 1 ? 8 : kind == 2 ? length + 1 : 4;
        if (kind == 0) {
                field->data[0] |= 0x80;
                field->data[1] |= 0x80;
                field->data[2] &= 0x7f;
        } else if (kind == 2) {
                field->data[0] = (uint8_t)length;
        }
}

static void fill_unknowns(struct random *random, ProtobufCMessage *message, baton_arena *arena)
{
        if (random_below(random, 4))
                return;
        message->n_unknown_fields = (unsigned)random_below(random, 4);
        message->unknown_fields = take(arena, message->n_unknown_fields * sizeof *message->unknown_fields);
        for (unsigned i = 0; i < message->n_unknown_fields; i++)
                fill_unknown(random, &message->unknown_fields[i], arena);
}

ProtobufCMessage *random_message(struct random *random, const ProtobufCMessageDescriptor *descriptor,
                                 baton_arena *arena, unsigned depth)
{
        ProtobufCMessage *message = take(arena, descriptor->sizeof_message);
        protobuf_c_message_init(descriptor, message);
        /* From a random field onwards, so that every member of a oneof is selected at some time. */
        unsigned first = descriptor->n_fields ? (unsigned)random_below(random, descriptor->n_fields) : 0;
        for (unsigned i = 0; i < descriptor->n_fields; i++)
                fill_field(random, message, &descriptor->fields[(first + i) % descriptor->n_fields], arena, depth);
        fill_unknowns(random, message, arena);
        return message;
}
