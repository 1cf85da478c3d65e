#include "codec/unknown.h"

enum {
        TAG_MAX = 0x1fffffff,
};

/* The head of an unknown field in the stream; its data follows. */
struct head {
        uint32_t tag;
        uint32_t wire_type;
        uint64_t size;
};

/* The bytes of the varint at data; 0 where it does not end. */
static size_t varint(const uint8_t *data, size_t size, uint64_t *value)
{
        *value = 0;
        for (size_t i = 0; i < size && i < 10; i++) {
                *value |= (uint64_t)(data[i] & 0x7f) << (7 * i);
                if (!(data[i] & 0x80))
                        return i + 1;
        }
        return 0;
}

bool unknown_valid(uint32_t tag, uint32_t wire_type, const uint8_t *data, size_t size)
{
        uint64_t value;
        if (!tag || tag > TAG_MAX)
                return false;
        switch (wire_type) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
                return size && varint(data, size, &value) == size;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
                return size == 8;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
                return size == 4;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED: {
                size_t prefix = varint(data, size, &value);
                return prefix && value == size - prefix;
        }
        default:
                return false;
        }
}

static int put_one(baton_graph_writer *writer, const ProtobufCMessageUnknownField *field)
{
        if (!unknown_valid(field->tag, field->wire_type, field->data, field->len))
                return -EBADMSG;
        struct head *head = baton_graph_put(writer, sizeof *head);
        void *data = baton_graph_put(writer, field->len);
        if (!head || !data)
                return -EMSGSIZE;
        *head = (struct head){ field->tag, (uint32_t)field->wire_type, field->len };
        memcpy(data, field->data, field->len);
        return 0;
}

int unknown_put(baton_graph_writer *writer, const ProtobufCMessage *message)
{
        uint64_t *count = baton_graph_put(writer, sizeof *count);
        if (!count)
                return -EMSGSIZE;
        *count = message->n_unknown_fields;
        for (unsigned i = 0; i < message->n_unknown_fields; i++) {
                int r = put_one(writer, &message->unknown_fields[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

size_t unknown_size(const ProtobufCMessage *message)
{
        size_t size = sizeof(uint64_t);
        for (unsigned i = 0; i < message->n_unknown_fields; i++)
                size += sizeof(struct head) + ((message->unknown_fields[i].len + 7) & ~(size_t)7);
        return size;
}

static int get_one(baton_graph_reader *reader, ProtobufCMessageUnknownField *field)
{
        struct head head;
        int r = baton_graph_get(reader, &head, sizeof head);
        if (r < 0)
                return r;
        if (!head.size || head.size > (size_t)(reader->end - reader->at))
                return -EBADMSG;
        uint8_t *data = baton_arena_alloc(reader->arena, head.size);
        if (!data)
                return -ENOMEM;
        r = baton_graph_get(reader, data, head.size);
        if (r < 0)
                return r;
        if (!unknown_valid(head.tag, head.wire_type, data, head.size))
                return -EBADMSG;
        field->tag = head.tag;
        field->wire_type = (ProtobufCWireType)head.wire_type;
        field->len = head.size;
        field->data = data;
        return 0;
}

int unknown_get(baton_graph_reader *reader, ProtobufCMessage *message)
{
        uint64_t n;
        int r = baton_graph_get(reader, &n, sizeof n);
        if (r < 0 || !n)
                return r;
        if (n > (size_t)(reader->end - reader->at) / sizeof(struct head) || n > UINT32_MAX)
                return -EBADMSG;
        message->unknown_fields = baton_arena_alloc(reader->arena, n * sizeof *message->unknown_fields);
        if (!message->unknown_fields)
                return -ENOMEM;
        for (uint64_t i = 0; i < n; i++) {
                r = get_one(reader, &message->unknown_fields[i]);
                if (r < 0)
                        return r;
                message->n_unknown_fields = (unsigned)(i + 1);
        }
        return 0;
}
