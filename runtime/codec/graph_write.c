/* The writing half of baton/graph.h: one function per kind of field. */
#include "base/utf8.h"
#include "codec/graph_walk.h"
#include "codec/type.h"
#include "codec/unknown.h"

int baton_graph_put_string(baton_graph_writer *writer, void *slot, const char *value, const char *default_value)
{
        if (!value || value == default_value) {
                baton_graph_set_slot(slot, 0);
                return 0;
        }
        size_t length = strlen(value);
        void *copy = baton_graph_put(writer, length);
        if (!copy)
                return -EMSGSIZE;
        if (!utf8_valid_string(value, length))
                return -EILSEQ;
        memcpy(copy, value, length);
        baton_graph_set_slot(slot, (uint64_t)length + 1);
        return 0;
}

/* Offers a payload to the transport. 0, -ENOBUFS: inline then; other errors are final. */
static int lend(baton_graph_writer *writer, void *slot, const void *data, size_t size)
{
        uint64_t offset;
        int r = writer->lend(writer, data, size, &offset);
        if (r < 0)
                return r;
        if (offset > UINTPTR_MAX >> 2)
                return -EMSGSIZE;
        baton_graph_set_slot(slot, offset << 2 | BATON_SLOT_REFERENCE);
        return 0;
}

int baton_graph_put_data(baton_graph_writer *writer, void *slot, const void *data, size_t size)
{
        if (!size) {
                baton_graph_set_slot(slot, 0);
                return 0;
        }
        if (!data)
                return -ENODATA;
        if (size >= writer->lend_min && writer->lend) {
                int r = lend(writer, slot, data, size);
                if (r != -ENOBUFS)
                        return r;
        }
        void *copy = baton_graph_put(writer, size);
        if (!copy)
                return -EMSGSIZE;
        memcpy(copy, data, size);
        baton_graph_set_slot(slot, BATON_SLOT_INLINE);
        return 0;
}

int baton_graph_put_bytes(baton_graph_writer *writer, ProtobufCBinaryData *image, const ProtobufCBinaryData *value,
                          const ProtobufCBinaryData *default_value)
{
        bool unset =
                !value || (default_value && value->data == default_value->data && value->len == default_value->len);
        if (unset) {
                image->len = default_value ? default_value->len : 0;
                baton_graph_set_slot(&image->data, 0);
                return 0;
        }
        image->len = value->len;
        return baton_graph_put_data(writer, &image->data, value->data, value->len);
}

static int put_element_string(baton_graph_writer *writer, const char *value)
{
        if (!value)
                return -ENODATA;
        size_t length = strlen(value);
        uint64_t *head = baton_graph_put(writer, sizeof *head);
        void *copy = baton_graph_put(writer, length);
        if (!head || !copy)
                return -EMSGSIZE;
        if (!utf8_valid_string(value, length))
                return -EILSEQ;
        *head = length;
        memcpy(copy, value, length);
        return 0;
}

int baton_graph_put_strings(baton_graph_writer *writer, void *slot, char *const *values, size_t n)
{
        baton_graph_set_slot(slot, n ? BATON_SLOT_INLINE : 0);
        if (n && !values)
                return -ENODATA;
        for (size_t i = 0; i < n; i++) {
                int r = put_element_string(writer, values[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int baton_graph_put_byteses(baton_graph_writer *writer, void *slot, const ProtobufCBinaryData *values, size_t n)
{
        struct {
                uint64_t size;
                uint64_t slot;
        } * heads;

        baton_graph_set_slot(slot, n ? BATON_SLOT_INLINE : 0);
        if (!n)
                return 0;
        if (!values)
                return -ENODATA;
        if (n > SIZE_MAX / sizeof *heads || !(heads = baton_graph_put(writer, n * sizeof *heads)))
                return -EMSGSIZE;
        for (size_t i = 0; i < n; i++) {
                heads[i].size = values[i].len;
                heads[i].slot = 0; /* where pointers are narrower, the rest of the word */
                int r = baton_graph_put_data(writer, &heads[i].slot, values[i].data, values[i].len);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A message within another, its unknown fields too where the slot announces them. */
static int put_nested(baton_graph_writer *writer, const baton_type *type, const ProtobufCMessage *message,
                      uint64_t slot)
{
        int r = graph_walk_put(writer, type, message);
        if (r < 0 || slot != BATON_SLOT_UNKNOWNS)
                return r;
        return unknown_put(writer, message);
}

int baton_graph_put_message(baton_graph_writer *writer, void *slot, const baton_type *type,
                            const ProtobufCMessage *message)
{
        if (!message) {
                baton_graph_set_slot(slot, 0);
                return 0;
        }
        if (!type_matches(message, type->descriptor))
                return -EINVAL;
        if (writer->depth >= BATON_MAX_DEPTH)
                return -ELOOP;
        uint64_t kind = message->n_unknown_fields ? BATON_SLOT_UNKNOWNS : BATON_SLOT_INLINE;
        baton_graph_set_slot(slot, kind);
        writer->depth++;
        int r = put_nested(writer, type, message, kind);
        writer->depth--;
        return r;
}

int baton_graph_put_messages(baton_graph_writer *writer, void *slot, const baton_type *type,
                             ProtobufCMessage *const *messages, size_t n)
{
        baton_graph_set_slot(slot, 0);
        if (!n)
                return 0;
        if (!messages)
                return -ENODATA;
        if (writer->depth >= BATON_MAX_DEPTH)
                return -ELOOP;
        uint64_t kind = BATON_SLOT_INLINE;
        for (size_t i = 0; i < n; i++) {
                if (!messages[i])
                        return -ENODATA;
                if (!type_matches(messages[i], type->descriptor))
                        return -EINVAL;
                if (messages[i]->n_unknown_fields)
                        kind = BATON_SLOT_UNKNOWNS;
        }
        baton_graph_set_slot(slot, kind);
        writer->depth++;
        for (size_t i = 0; i < n; i++) {
                int r = put_nested(writer, type, messages[i], kind);
                if (r < 0)
                        return r;
        }
        writer->depth--;
        return 0;
}
