/*
 * The graph codec's inner interface: what the walkers that idlc generates are made of. Programs do not need it.
 *
 * A message travels as a stream of 8-byte aligned items:
 *
 *   message  := image item*
 *   image    := the struct's bytes behind its ProtobufCMessage base, padded to 8, at least 8; every pointer in it
 *               is replaced by a slot, and the item a non-zero slot announces follows, in the order of the descriptor's
 *               fields, that is by ascending field number (the struct itself is in the order of the .proto)
 *   slot     := 0                unset, empty, or the default: the receiver restores its own default
 *             | length + 1       a string; `length` bytes follow, padded to 8
 *             | 1 (INLINE)       bytes or scalar array; its data follows, padded to 8; never empty
 *             | offset << 2 | 2  bytes or scalar array at that offset of the sender's heap; nothing follows
 *             | 1 (PRESENT)      sub-message follows; or the n elements of an array of strings, bytes or sub-messages
 *             | 3 (UNKNOWNS)     as PRESENT, and each sub-message is followed by its unknown fields
 *   element of a string array     := u64 length, bytes padded to 8
 *   elements of a bytes array     := n times {u64 length, u64 slot}, then the n items that those slots announce
 *   unknowns := u64 count, then per field: u32 tag, u32 wire type, u64 length, bytes padded to 8
 *
 * A root message is followed by its unknowns where it has some; the stream's length tells.
 *
 * The receiver copies each image to private memory first and reads every slot and count from the copy; its own
 * descriptor, never the sender's data, says what follows. It walks forward only, so no item can overlap another.
 * Every message takes at least 8 bytes, so what decoding allocates is bounded by a multiple of the stream.
 *
 * What every walker does, generated or generic, so that their streams are equal:
 *   - Assigns every field of the image; of a oneof the case enum and the selected member only. A has_ field and its value
 *     travel as they are, except bytes, where baton_graph_put_bytes is given NULL for a field whose has_ is false.
 *   - A string or bytes field outside a oneof has the descriptor's default_value as its default. Inside a oneof it has none
 *     (NULL), for the member is selected: "" must arrive as a string, not as the default that protobuf-c would not send.
 *   - A oneof's case is 0 or the number of one of its fields; anything else is -ENODATA when writing, -EBADMSG when reading.
 *     Where it is 0, the reader zeroes the whole union: programs look at `optional` strings without asking for the case.
 *   - A string or sub-message that is required, or that a oneof selects, must not be NULL, before writing as after reading:
 *     -ENODATA. So is a NULL element of an array, an array that is NULL with a count, bytes that are NULL with a length.
 *
 * Images need not be clean: padding and unused union bytes are whatever the buffer held, which is only ever memory shared
 * with this very peer. No pointer of the sender's is ever written to it.
 *
 * Errors, from all functions below: -EMSGSIZE the writer's room is used up; -EBADMSG malformed stream; -EILSEQ a string is
 * not UTF-8, or holds a NUL, which no C string can carry; -ELOOP nested deeper than BATON_MAX_DEPTH; -ENODATA a required
 * field is missing, or something is NULL as said above; -EINVAL a message to write is of another type than its field, or
 * was never initialised; -ENOMEM.
 */
#ifndef BATON_GRAPH_H
#define BATON_GRAPH_H

#include <errno.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
        BATON_MAX_DEPTH = 100, /* messages within messages; the root counts as one */
        BATON_SLOT_INLINE = 1, /* also: present */
        BATON_SLOT_REFERENCE = 2,
        BATON_SLOT_UNKNOWNS = 3,
};

/* Bump memory that dies as a whole. `at` and `end` bound the free part of the current chunk. */
typedef struct baton_arena {
        uint8_t *at;
        uint8_t *end;
        struct baton_arena_chunk *chunks; /* owned; newest first */
        size_t budget;                    /* bytes that further chunks may still take */
} baton_arena;

/* The slow path of baton_arena_alloc: takes a further chunk. NULL when memory or budget is used up. */
void *baton_arena_grow(baton_arena *arena, size_t size);

/* size bytes, 8-byte aligned, contents undefined; NULL when memory or budget is used up. */
static inline void *baton_arena_alloc(baton_arena *arena, size_t size)
{
        size_t room = (size_t)(arena->end - arena->at);
        if (size > room || ((size + 7) & ~(size_t)7) > room)
                return baton_arena_grow(arena, size);
        void *memory = arena->at;
        arena->at += (size + 7) & ~(size_t)7;
        return memory;
}

typedef struct baton_graph_writer baton_graph_writer;
typedef struct baton_graph_reader baton_graph_reader;

/* One message type: its descriptor and its specialised walkers (either NULL: the generic walk by descriptor is used). */
typedef struct baton_type {
        const ProtobufCMessageDescriptor *descriptor;
        int (*encode)(baton_graph_writer *writer, const ProtobufCMessage *message);
        /* message: uninitialised memory of the struct's size; initialised whole, base included */
        int (*decode)(baton_graph_reader *reader, ProtobufCMessage *message);
} baton_type;

struct baton_graph_writer {
        uint8_t *at;    /* next free byte, 8-byte aligned */
        uint8_t *end;   /* 8-byte aligned */
        uint32_t depth; /* graph_encode sets it */
        /* Payloads of at least lend_min bytes are offered to lend: 0 and their offset in the heap (there already, or copied
         * there), or -ENOBUFS to have them inline; any other error ends the
         * encoding with it. Never offered: empty payloads, strings. NULL: all is inline. */
        uint32_t lend_min;
        int (*lend)(baton_graph_writer *writer, const void *data, size_t size, uint64_t *offset);
};

struct baton_graph_reader {
        const uint8_t *at; /* the peer's memory: every byte is read at most once, into private memory */
        const uint8_t *end;
        uint32_t depth;      /* graph_decode sets it */
        uint32_t references; /* how many payloads of the result lie in the sender's heap */
        uint64_t borrowed;   /* and their bytes */
        const uint8_t *heap; /* the sender's heap as mapped here, or NULL */
        uint64_t heap_size;
        baton_arena *arena; /* private memory of the result */
};

/* ---- writing ---------------------------------------------------------------------------------------------- */

/* Room for size bytes, rounded up to 8; NULL when there is none. */
static inline void *baton_graph_put(baton_graph_writer *writer, size_t size)
{
        size_t room = (size_t)(writer->end - writer->at);
        if (size > room || ((size + 7) & ~(size_t)7) > room)
                return NULL;
        void *memory = writer->at;
        writer->at += (size + 7) & ~(size_t)7;
        return memory;
}

/* Room for the image of a struct of `size` bytes. The result points as if the base were there too, so that fields can be
 * assigned by name; the base itself must not be touched. NULL when there is no room. */
static inline void *baton_graph_put_image(baton_graph_writer *writer, size_t size)
{
        size_t image = size - sizeof(ProtobufCMessage);
        uint8_t *memory = (uint8_t *)baton_graph_put(writer, image ? image : 8);
        return memory ? memory - sizeof(ProtobufCMessage) : NULL;
}

/* Stores a slot where the struct has a pointer. */
static inline void baton_graph_set_slot(void *pointer_field, uint64_t slot)
{
        uintptr_t value = (uintptr_t)slot;
        memcpy(pointer_field, &value, sizeof value);
}

/* A string field. value NULL or equal to default_value is unset. slot: address of the char* field in the image. */
int baton_graph_put_string(baton_graph_writer *writer, void *slot, const char *value, const char *default_value);

/* The data of a repeated scalar field (size = n × element size). The caller has set the count in the image. slot: address
 * of the data pointer in the image. */
int baton_graph_put_data(baton_graph_writer *writer, void *slot, const void *data, size_t size);

/* A bytes field, its len included. image: address of the field in the image. value NULL is unset, and so is a value that
 * shares the data of default_value (NULL where the field has none): both travel as the default's len and slot 0. */
int baton_graph_put_bytes(baton_graph_writer *writer, ProtobufCBinaryData *image, const ProtobufCBinaryData *value,
                          const ProtobufCBinaryData *default_value);

/* A repeated string field of n values. */
int baton_graph_put_strings(baton_graph_writer *writer, void *slot, char *const *values, size_t n);

/* A repeated bytes field of n values. */
int baton_graph_put_byteses(baton_graph_writer *writer, void *slot, const ProtobufCBinaryData *values, size_t n);

/* A sub-message, or NULL. */
int baton_graph_put_message(baton_graph_writer *writer, void *slot, const baton_type *type,
                            const ProtobufCMessage *message);

/* A repeated sub-message field of n values. */
int baton_graph_put_messages(baton_graph_writer *writer, void *slot, const baton_type *type,
                             ProtobufCMessage *const *messages, size_t n);

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* Copies the next `size` bytes of the stream (rounded up to 8) to private memory. */
static inline int baton_graph_get(baton_graph_reader *reader, void *memory, size_t size)
{
        size_t room = (size_t)(reader->end - reader->at);
        if (size > room || ((size + 7) & ~(size_t)7) > room)
                return -EBADMSG;
        memcpy(memory, reader->at, size);
        /* The peer may change the source at any time: from here on only the copy may be read, also by the compiler. */
        __asm__ __volatile__("" ::: "memory");
        reader->at += (size + 7) & ~(size_t)7;
        return 0;
}

/* Copies the image of a struct of `size` bytes and sets up its base. */
static inline int baton_graph_get_image(baton_graph_reader *reader, ProtobufCMessage *message, size_t size,
                                        const ProtobufCMessageDescriptor *descriptor)
{
        message->descriptor = descriptor;
        message->n_unknown_fields = 0;
        message->unknown_fields = NULL;
        if (size == sizeof(ProtobufCMessage)) {
                uint64_t nothing;
                return baton_graph_get(reader, &nothing, 8);
        }
        return baton_graph_get(reader, message + 1, size - sizeof(ProtobufCMessage));
}

/* The slot that the image holds in place of a pointer. */
static inline uint64_t baton_graph_slot(const void *pointer_field)
{
        uintptr_t value;
        memcpy(&value, pointer_field, sizeof value);
        return value;
}

/* Each of these replaces, in the private struct, the slot at `field` by a pointer to private memory (or, for large data, to
 * the sender's heap, read-only). Counts are those of the private struct. */
int baton_graph_get_string(baton_graph_reader *reader, void *field, const char *default_value);
int baton_graph_get_data(baton_graph_reader *reader, void *field, size_t n, size_t element_size);
/* A bytes field. Slot 0 with the default's len restores default_value; where there is none (NULL), the field is empty. */
int baton_graph_get_bytes(baton_graph_reader *reader, ProtobufCBinaryData *field,
                          const ProtobufCBinaryData *default_value);
int baton_graph_get_strings(baton_graph_reader *reader, void *field, size_t n);
int baton_graph_get_byteses(baton_graph_reader *reader, void *field, size_t n);
int baton_graph_get_message(baton_graph_reader *reader, void *field, const baton_type *type);
int baton_graph_get_messages(baton_graph_reader *reader, void *field, const baton_type *type, size_t n);

#ifdef __cplusplus
}
#endif
#endif
