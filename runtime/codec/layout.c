#include "codec/layout.h"
#include "codec/field.h"
#include <stdlib.h>

enum {
        FORMAT_VERSION = 1, /* of the stream in baton/graph.h */
};

/* The message types met so far, in order of first meeting, and an open-addressed index over them. A sub-message goes into
 * the hash as its number in that order: the same for equal schemas, whatever addresses they lie at. */
struct types {
        const ProtobufCMessageDescriptor **list;
        size_t n;
        uint32_t *index; /* number + 1, or 0 */
        size_t capacity; /* of index; a power of two, at least twice n */
};

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t size)
{
        const uint8_t *bytes = data;
        for (size_t i = 0; i < size; i++)
                hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
        return hash;
}

/* Byte by byte from the lowest, so that the hash itself does not depend on byte order. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
        for (int i = 0; i < 8; i++, value >>= 8)
                hash = (hash ^ (value & 0xff)) * UINT64_C(0x100000001b3);
        return hash;
}

static uint32_t *find(const struct types *types, const ProtobufCMessageDescriptor *descriptor)
{
        size_t at = (size_t)(((uintptr_t)descriptor >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
        for (;; at++) {
                uint32_t *entry = &types->index[at & (types->capacity - 1)];
                if (!*entry || types->list[*entry - 1] == descriptor)
                        return entry;
        }
}

static bool grow(struct types *types)
{
        size_t capacity = types->capacity ? types->capacity * 2 : 64;
        uint32_t *index = calloc(capacity, sizeof *index);
        const ProtobufCMessageDescriptor **list = realloc(types->list, capacity / 2 * sizeof(*list));
        if (list)
                types->list = list;
        if (!index || !list) {
                free(index);
                return false;
        }
        free(types->index);
        types->index = index;
        types->capacity = capacity;
        for (size_t i = 0; i < types->n; i++)
                *find(types, list[i]) = (uint32_t)i + 1;
        return true;
}

/* The number of a type, which is appended where it is new; 0 when out of memory. */
static uint32_t number(struct types *types, const ProtobufCMessageDescriptor *descriptor)
{
        if (types->n >= types->capacity / 2 && !grow(types))
                return 0;
        uint32_t *entry = find(types, descriptor);
        if (!*entry) {
                types->list[types->n++] = descriptor;
                *entry = (uint32_t)types->n;
        }
        return *entry;
}

static uint64_t mix_default(uint64_t hash, const ProtobufCFieldDescriptor *field)
{
        const void *value = field->default_value;
        hash = mix(hash, value != NULL);
        if (!value)
                return hash;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return mix_bytes(hash, value, strlen(value) + 1);
        if (field->type == PROTOBUF_C_TYPE_BYTES) {
                const ProtobufCBinaryData *bytes = value;
                return mix_bytes(mix(hash, bytes->len), bytes->data, bytes->len);
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                return hash;
        return mix_bytes(hash, value, field_element_size(field->type));
}

static uint64_t mix_field(uint64_t hash, const ProtobufCFieldDescriptor *field)
{
        hash = mix(hash, field->id);
        hash = mix(hash, field->type);
        hash = mix(hash, field->label);
        hash = mix(hash, field->offset);
        hash = mix(hash, field->quantifier_offset);
        hash = mix(hash, field_in_oneof(field)); /* packed and deprecated do not show in memory */
        return mix_default(hash, field);
}

uint64_t layout_hash(const ProtobufCMessageDescriptor *descriptor)
{
        struct types types = { 0 };
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        bool failed = !number(&types, descriptor);

        hash = mix(hash, FORMAT_VERSION);
        hash = mix(hash, sizeof(void *));
        hash = mix(hash, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
        hash = mix(hash, sizeof(ProtobufCMessage));
        for (size_t i = 0; !failed && i < types.n; i++) {
                const ProtobufCMessageDescriptor *type = types.list[i];
                hash = mix(mix(hash, type->sizeof_message), type->n_fields);
                for (unsigned f = 0; !failed && f < type->n_fields; f++) {
                        hash = mix_field(hash, &type->fields[f]);
                        if (type->fields[f].type != PROTOBUF_C_TYPE_MESSAGE)
                                continue;
                        uint32_t nested = number(&types, type->fields[f].descriptor);
                        hash = mix(hash, nested);
                        failed = !nested;
                }
        }
        free(types.list);
        free(types.index);
        return failed ? 0 : hash ? hash : 1;
}
