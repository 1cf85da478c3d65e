/* The reading half of baton/graph.h. The source is the peer's memory: all that steers comes from private copies. */
#include "base/utf8.h"
#include "codec/graph_walk.h"
#include "codec/unknown.h"

static size_t room(const baton_graph_reader *reader)
{
        return (size_t)(reader->end - reader->at);
}

static void set_pointer(void *field, const void *pointer)
{
        memcpy(field, &pointer, sizeof pointer);
}

/* The next `length` bytes as a C string in the arena. */
static int get_text(baton_graph_reader *reader, uint64_t length, char **text)
{
        if (length > room(reader))
                return -EBADMSG;
        char *copy = baton_arena_alloc(reader->arena, (size_t)length + 1);
        if (!copy)
                return -ENOMEM;
        int r = baton_graph_get(reader, copy, (size_t)length);
        if (r < 0)
                return r;
        copy[length] = 0;
        if (!utf8_valid_string(copy, (size_t)length))
                return -EILSEQ;
        *text = copy;
        return 0;
}

int baton_graph_get_string(baton_graph_reader *reader, void *field, const char *default_value)
{
        uint64_t slot = baton_graph_slot(field);
        if (!slot) {
                set_pointer(field, default_value);
                return 0;
        }
        char *text;
        int r = get_text(reader, slot - 1, &text);
        if (r < 0)
                return r;
        set_pointer(field, text);
        return 0;
}

/* n elements in the sender's heap, used where they lie. Their bytes may change; where they lie and how many, not. */
static int alias(baton_graph_reader *reader, void *field, uint64_t offset, size_t n, size_t element_size)
{
        if (offset > reader->heap_size || n > (reader->heap_size - offset) / element_size)
                return -EBADMSG;
        const uint8_t *data = reader->heap + offset;
        if ((uintptr_t)data % element_size)
                return -EBADMSG; /* the program would read misaligned numbers */
        set_pointer(field, data);
        reader->references++;
        reader->borrowed += n * element_size;
        return 0;
}

static int get_data(baton_graph_reader *reader, void *field, uint64_t slot, size_t n, size_t element_size)
{
        if (!slot != !n)
                return -EBADMSG;
        if (!n) {
                set_pointer(field, NULL);
                return 0;
        }
        if ((slot & 3) == BATON_SLOT_REFERENCE)
                return alias(reader, field, slot >> 2, n, element_size);
        if (slot != BATON_SLOT_INLINE || n > room(reader) / element_size)
                return -EBADMSG;
        void *copy = baton_arena_alloc(reader->arena, n * element_size);
        if (!copy)
                return -ENOMEM;
        set_pointer(field, copy);
        return baton_graph_get(reader, copy, n * element_size);
}

int baton_graph_get_data(baton_graph_reader *reader, void *field, size_t n, size_t element_size)
{
        return get_data(reader, field, baton_graph_slot(field), n, element_size);
}

int baton_graph_get_bytes(baton_graph_reader *reader, ProtobufCBinaryData *field,
                          const ProtobufCBinaryData *default_value)
{
        uint64_t slot = baton_graph_slot(&field->data);
        if (!slot && default_value && field->len == default_value->len) {
                *field = *default_value;
                return 0;
        }
        return get_data(reader, &field->data, slot, field->len, 1);
}

/* An array's slot and its count: both are zero or neither. item_size: the least that an element takes of the stream. */
static int check_array(const baton_graph_reader *reader, uint64_t slot, size_t n, size_t item_size)
{
        if (!slot && !n)
                return 0;
        return slot && n && n <= room(reader) / item_size ? 0 : -EBADMSG;
}

int baton_graph_get_strings(baton_graph_reader *reader, void *field, size_t n)
{
        uint64_t slot = baton_graph_slot(field);
        int r = check_array(reader, slot, n, sizeof(uint64_t));
        set_pointer(field, NULL);
        if (r < 0 || !n)
                return r;
        if (slot != BATON_SLOT_INLINE)
                return -EBADMSG;
        char **texts = baton_arena_alloc(reader->arena, n * sizeof *texts);
        if (!texts)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                uint64_t length;
                r = baton_graph_get(reader, &length, sizeof length);
                if (r == 0)
                        r = get_text(reader, length, &texts[i]);
                if (r < 0)
                        return r;
        }
        set_pointer(field, texts);
        return 0;
}

int baton_graph_get_byteses(baton_graph_reader *reader, void *field, size_t n)
{
        struct {
                uint64_t size;
                uint64_t slot;
        } head;

        uint64_t slot = baton_graph_slot(field);
        int r = check_array(reader, slot, n, sizeof head);
        set_pointer(field, NULL);
        if (r < 0 || !n)
                return r;
        if (slot != BATON_SLOT_INLINE)
                return -EBADMSG;
        /* The heads become the result in place: an element of it is no larger than a head, so it overwrites none unread. */
        uint8_t *heads = baton_arena_alloc(reader->arena, n * sizeof head);
        if (!heads)
                return -ENOMEM;
        r = baton_graph_get(reader, heads, n * sizeof head);
        if (r < 0)
                return r;
        ProtobufCBinaryData *values = (ProtobufCBinaryData *)(void *)heads;
        for (size_t i = 0; i < n; i++) {
                memcpy(&head, heads + i * sizeof head, sizeof head);
                if (head.size > SIZE_MAX)
                        return -EBADMSG;
                ProtobufCBinaryData value = { .len = (size_t)head.size };
                r = get_data(reader, &value.data, head.slot, value.len, 1);
                if (r < 0)
                        return r;
                values[i] = value;
        }
        set_pointer(field, values);
        return 0;
}

static int get_nested(baton_graph_reader *reader, const baton_type *type, ProtobufCMessage *message, uint64_t slot)
{
        int r = graph_walk_get(reader, type, message);
        if (r < 0 || slot != BATON_SLOT_UNKNOWNS)
                return r;
        return unknown_get(reader, message);
}

int baton_graph_get_message(baton_graph_reader *reader, void *field, const baton_type *type)
{
        uint64_t slot = baton_graph_slot(field);
        set_pointer(field, NULL);
        if (!slot)
                return 0;
        if (slot != BATON_SLOT_INLINE && slot != BATON_SLOT_UNKNOWNS)
                return -EBADMSG;
        if (reader->depth >= BATON_MAX_DEPTH)
                return -ELOOP;
        ProtobufCMessage *message = baton_arena_alloc(reader->arena, type->descriptor->sizeof_message);
        if (!message)
                return -ENOMEM;
        reader->depth++;
        int r = get_nested(reader, type, message, slot);
        reader->depth--;
        if (r < 0)
                return r;
        set_pointer(field, message);
        return 0;
}

/* The least that a message of this type takes of the stream: its image. */
static size_t image_size(const ProtobufCMessageDescriptor *descriptor)
{
        size_t image = descriptor->sizeof_message - sizeof(ProtobufCMessage);
        return image ? (image + 7) & ~(size_t)7 : 8;
}

int baton_graph_get_messages(baton_graph_reader *reader, void *field, const baton_type *type, size_t n)
{
        uint64_t slot = baton_graph_slot(field);
        int r = check_array(reader, slot, n, image_size(type->descriptor));
        set_pointer(field, NULL);
        if (r < 0 || !n)
                return r;
        if (slot != BATON_SLOT_INLINE && slot != BATON_SLOT_UNKNOWNS)
                return -EBADMSG;
        if (reader->depth >= BATON_MAX_DEPTH)
                return -ELOOP;
        /* The count fits the stream, so these sizes are small multiples of what is left of it, and cannot overflow. */
        size_t stride = (type->descriptor->sizeof_message + 7) & ~(size_t)7;
        ProtobufCMessage **messages = baton_arena_alloc(reader->arena, n * sizeof *messages);
        uint8_t *structs = baton_arena_alloc(reader->arena, n * stride);
        if (!messages || !structs)
                return -ENOMEM;
        reader->depth++;
        for (size_t i = 0; i < n; i++, structs += stride) {
                messages[i] = (ProtobufCMessage *)(void *)structs;
                r = get_nested(reader, type, messages[i], slot);
                if (r < 0)
                        return r;
        }
        reader->depth--;
        set_pointer(field, messages);
        return 0;
}
