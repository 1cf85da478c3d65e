#include "codec/wire_scan.h"
#include "base/utf8.h"
#include <baton/graph.h>

/* A message that is being read: the stack of them replaces recursion. */
struct level {
        const uint8_t *end;
        const ProtobufCMessageDescriptor *descriptor;
        const ProtobufCFieldDescriptor *last; /* the field met last: the next is often the same */
};

/* Reads a varint of at most `most` bytes. Returns what follows it; NULL where it does not end in time. */
static const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, unsigned most, uint64_t *value)
{
        *value = 0;
        for (unsigned i = 0; i < most && at < end; i++, at++) {
                *value |= (uint64_t)(*at & 0x7f) << (7 * i);
                if (!(*at & 0x80))
                        return at + 1;
        }
        return NULL;
}

const uint8_t *wire_next(const uint8_t *at, const uint8_t *end, struct wire_item *item)
{
        uint64_t value;
        at = get_varint(at, end, 5, &value);
        if (!at || value > UINT32_MAX || value >> 3 == 0)
                return NULL;
        item->tag = (uint32_t)value >> 3;
        item->wire_type = value & 7;
        item->data = at;
        switch (item->wire_type) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
                at = get_varint(at, end, 10, &value);
                if (!at)
                        return NULL;
                item->size = (size_t)(at - item->data);
                return at;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
                item->size = 8;
                break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
                item->size = 4;
                break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
                item->data = get_varint(at, end, 5, &value);
                if (!item->data)
                        return NULL;
                item->size = value;
                break;
        default:
                return NULL; /* groups, which protobuf-c does not know */
        }
        return item->size <= (size_t)(end - item->data) ? item->data + item->size : NULL;
}

static uint32_t own_wire_type(ProtobufCType type)
{
        switch (type) {
        case PROTOBUF_C_TYPE_SFIXED32:
        case PROTOBUF_C_TYPE_FIXED32:
        case PROTOBUF_C_TYPE_FLOAT:
                return PROTOBUF_C_WIRE_TYPE_32BIT;
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return PROTOBUF_C_WIRE_TYPE_64BIT;
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_BYTES:
        case PROTOBUF_C_TYPE_MESSAGE:
                return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
        default:
                return PROTOBUF_C_WIRE_TYPE_VARINT;
        }
}

/* A field that is no sub-message. */
static int check_item(const ProtobufCFieldDescriptor *field, const struct wire_item *item)
{
        uint32_t own = own_wire_type(field->type);
        if (item->wire_type == own) {
                bool text = field->type == PROTOBUF_C_TYPE_STRING;
                return text && !utf8_valid_string(item->data, item->size) ? -EILSEQ : 0;
        }
        /* A repeated number may be packed whatever the .proto says; protobuf-c checks the elements well enough itself. */
        bool packed = field->label == PROTOBUF_C_LABEL_REPEATED && own != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
                      item->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
        return packed ? 0 : -EBADMSG;
}

static const ProtobufCFieldDescriptor *find_field(struct level *level, uint32_t tag)
{
        if (!level->last || level->last->id != tag) {
                const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(level->descriptor, tag);
                if (!field)
                        return NULL;
                level->last = field;
        }
        return level->last;
}

/* Whether a message of this type, from at to end, lacks a required field. */
static bool lacks_required(const ProtobufCMessageDescriptor *descriptor, const uint8_t *at, const uint8_t *end)
{
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (field->label != PROTOBUF_C_LABEL_REQUIRED || field->default_value)
                        continue;
                struct wire_item item = { 0 };
                const uint8_t *next = at;
                while (next && next < end && item.tag != field->id)
                        next = wire_next(next, end, &item);
                if (item.tag != field->id)
                        return true;
        }
        return false;
}

static int scan(const ProtobufCMessageDescriptor *descriptor, const uint8_t *at, size_t size, bool required)
{
        struct level levels[BATON_MAX_DEPTH];
        struct level *level = levels;
        *level = (struct level){ at + size, descriptor, NULL };
        if (required && lacks_required(descriptor, at, at + size))
                return -ENODATA;
        for (;;) {
                if (at == level->end) {
                        if (level == levels)
                                return 0;
                        level--;
                        continue;
                }
                struct wire_item item;
                const uint8_t *next = wire_next(at, level->end, &item);
                if (!next)
                        return -EBADMSG;
                const ProtobufCFieldDescriptor *field = find_field(level, item.tag);
                at = next;
                if (field && field->type == PROTOBUF_C_TYPE_MESSAGE) {
                        if (item.wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
                                return -EBADMSG;
                        if (level == levels + BATON_MAX_DEPTH - 1)
                                return -ELOOP;
                        if (required && lacks_required(field->descriptor, item.data, next))
                                return -ENODATA;
                        *++level = (struct level){ next, field->descriptor, NULL };
                        at = item.data;
                } else if (field) {
                        int r = check_item(field, &item);
                        if (r < 0)
                                return r;
                }
        }
}

int wire_scan(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size)
{
        return size ? scan(descriptor, data, size, false) : 0;
}

bool wire_lacks_required(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size)
{
        return scan(descriptor, size ? data : "", size, true) == -ENODATA;
}
