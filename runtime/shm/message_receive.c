/* The receiving half of message.h. */
#define _GNU_SOURCE
#include "base/error.h"
#include "codec/graph.h"
#include "codec/wire.h"
#include "shm/message.h"
#include "transport/metadata.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int malformed(const char *what)
{
        return error_set(-EPROTO, "the peer sent a record with %s", what);
}

/* Takes the loan off the end of the body. */
static int take_loan(struct link *link, struct message_body *body)
{
        struct shm_loan loan;
        if (body->size < sizeof loan)
                return malformed("no room for its loan");
        body->size -= sizeof loan;
        memcpy(&loan, body->at + body->size, sizeof loan);
        __asm__ __volatile__("" ::: "memory");
        if (loan.loan >= SHM_LOANS || loan.heap_size > link->peer_heap_reserved)
                return malformed("an impossible loan");
        if (loan.heap_size > atomic_load_explicit(&link->peer_heap_size, memory_order_acquire))
                return -EAGAIN;
        body->loan = (int64_t)loan.loan;
        return 0;
}

/* Whether these bytes lie in what is mapped of the peer's heap. */
static bool in_heap(const struct link *link, uint64_t offset, uint64_t size)
{
        uint64_t mapped = atomic_load_explicit(&link->peer_heap_size, memory_order_acquire);
        return offset <= mapped && size <= mapped - offset && !(offset & 7);
}

/* Takes the metadata off the start of the body. */
static int find_metadata(const struct link *link, struct message_body *body)
{
        struct shm_metadata place;
        if (body->size < sizeof place)
                return malformed("no room for its metadata");
        memcpy(&place, body->at, sizeof place);
        __asm__ __volatile__("" ::: "memory");
        body->at += sizeof place;
        body->size -= sizeof place;
        body->metadata_size = place.size;
        if (place.offset == SHM_HERE) {
                if (place.size > body->size || place.size & 7)
                        return malformed("metadata of an impossible size");
                body->metadata = body->at;
                body->at += place.size;
                body->size -= place.size;
                return 0;
        }
        if (body->loan == NO_LOAN || !in_heap(link, place.offset, place.size))
                return malformed("metadata outside the heap");
        body->metadata = link->peer_heap + place.offset;
        return 0;
}

static int find_outline(const struct link *link, struct message_body *body)
{
        struct shm_outline outline;
        if (body->loan == NO_LOAN)
                return malformed("a heap message but no loan");
        if (body->size < sizeof outline)
                return malformed("no room for its place");
        memcpy(&outline, body->at, sizeof outline);
        __asm__ __volatile__("" ::: "memory");
        if (!in_heap(link, outline.offset, outline.size))
                return malformed("a place outside the heap");
        body->at = link->peer_heap + outline.offset;
        body->size = outline.size;
        return 0;
}

int message_locate(struct link *link, const struct ring_record *record, struct message_body *body)
{
        *body = (struct message_body){ .at = record->body, .size = record->size, .loan = NO_LOAN };
        int error = record->flags & SHM_LOAN ? take_loan(link, body) : 0;
        if (error >= 0 && record->flags & SHM_METADATA)
                error = find_metadata(link, body);
        if (error >= 0 && record->flags & SHM_OUTLINE)
                error = find_outline(link, body);
        return error;
}

int message_read_metadata(const struct message_body *body, size_t max_bytes, baton_arena *arena,
                          baton_metadata *metadata)
{
        *metadata = (baton_metadata){ 0 };
        int error = metadata_unflatten(body->metadata, body->metadata_size, max_bytes, arena, metadata);
        return error < 0 ? error : 0;
}

static int too_large_to_take(const struct message_form *form, uint64_t bytes)
{
        return error_set(-EMSGSIZE, "%s of %llu bytes is over the receiver's limit of %zu bytes (max_message_bytes)",
                         form->type->descriptor->name, (unsigned long long)bytes, form->max_bytes);
}

static int decode_graph(struct link *link, const struct message_body *body, const struct message_form *form,
                        baton_arena *arena, ProtobufCMessage *message, bool *borrows)
{
        baton_graph_reader reader = { .at = body->at,
                                      .end = body->at + body->size,
                                      .heap = link->peer_heap,
                                      .heap_size = atomic_load_explicit(&link->peer_heap_size, memory_order_acquire),
                                      .arena = arena };
        int error = graph_decode_into(form->type, &reader, message);
        *borrows = reader.references;
        if (error < 0)
                return error;
        if (reader.references && body->loan == NO_LOAN)
                return malformed("payloads in the heap but no loan");
        if (reader.borrowed > form->max_bytes - body->size)
                return too_large_to_take(form, body->size + reader.borrowed);
        return 0;
}

/* The wire decoder reads bytes more than once, so it gets a private copy. */
static int decode_wire(const struct message_body *body, const baton_type *type, baton_arena *arena,
                       ProtobufCMessage *message)
{
        uint8_t small[1024];
        uint8_t *copy = body->size <= sizeof small ? small : malloc(body->size);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, body->at, body->size);
        int error = wire_unpack_into(type->descriptor, copy, body->size, arena, message);
        if (copy != small)
                free(copy);
        return error;
}

static int explain_decode(int error, const baton_type *type)
{
        const char *name = type->descriptor->name;
        switch (error) {
        case -EBADMSG:
                return error_set(error, "the peer sent a malformed %s; are both sides built from the same .proto?",
                                 name);
        case -EILSEQ:
                return error_set(error, "the peer sent a %s with a string that is not valid UTF-8", name);
        case -ELOOP:
                return error_set(error, "the peer sent a %s nested deeper than %d levels", name, BATON_MAX_DEPTH);
        case -ENODATA:
                return error_set(error, "the peer sent a %s without a required field", name);
        case -ENOMEM:
                return error_set(error, "no memory to receive a %s: it unfolds to more than max_message_bytes allows",
                                 name);
        default:
                return error;
        }
}

int message_decode(struct link *link, struct message_body *body, const struct message_form *form, baton_arena *arena,
                   ProtobufCMessage *message)
{
        bool borrows = false;
        int error;
        if (body->size > form->max_bytes)
                error = too_large_to_take(form, body->size);
        else if (form->graph)
                error = decode_graph(link, body, form, arena, message, &borrows);
        else
                error = decode_wire(body, form->type, arena, message);
        if (error < 0 || !borrows)
                message_return(link, body);
        return error < 0 ? explain_decode(error, form->type) : 0;
}

void message_return(struct link *link, struct message_body *body)
{
        if (body->loan != NO_LOAN)
                link_return_loan(link, (uint32_t)body->loan);
        body->loan = NO_LOAN;
}
