#define _GNU_SOURCE
#include "shm/message.h"
#include "base/error.h"
#include "base/list.h"
#include "codec/explain.h"
#include "codec/graph.h"
#include "codec/wire.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        LEND_MIN = 4096, /* smaller payloads are cheaper to copy than to lend (perf/payload.cpp) */
        NO_LOAN = -1,
};

/* ---- sending ---------------------------------------------------------------------------------------------- */

struct sender {
        baton_graph_writer writer;
        struct lane_ends *lane;
        const struct message_form *form;
        int loan;      /* number, or NO_LOAN */
        size_t lent;   /* payload bytes that lie in the heap */
        uint8_t *body; /* where the record's body is being written */
};

static int too_large(const struct sender *sender, uint64_t bytes)
{
        return error_set(-EFBIG,
                         "%s of %llu bytes is over the limit of %zu bytes; raise max_message_bytes on both sides",
                         sender->form->type->descriptor->name, (unsigned long long)bytes, sender->form->max_bytes);
}

static int open_loan(struct sender *sender)
{
        if (sender->loan == NO_LOAN)
                sender->loan = heap_loan_open(&sender->lane->link->heap);
        if (sender->loan >= 0)
                return 0;
        int error = sender->loan;
        sender->loan = NO_LOAN;
        return error;
}

static void cancel_loan(struct sender *sender)
{
        if (sender->loan != NO_LOAN)
                heap_loan_cancel(&sender->lane->link->heap, (uint32_t)sender->loan);
        sender->loan = NO_LOAN;
        sender->lent = 0;
}

static int lend(baton_graph_writer *writer, const void *data, size_t size, uint64_t *offset)
{
        struct sender *sender = container_of(writer, struct sender, writer);
        sender->lent += size;
        if (sender->lent > sender->form->max_bytes)
                return too_large(sender, sender->lent);
        int error = open_loan(sender);
        if (error < 0)
                return error;
        int64_t at = heap_lend(&sender->lane->link->heap, (uint32_t)sender->loan, data, size);
        if (at < 0)
                return at == -ENOMEM ? -ENOMEM : -ENOBUFS;
        *offset = (uint64_t)at;
        return 0;
}

/* Encodes a graph stream into `room` bytes at `at`: its size, or negative errno. */
static int64_t encode(struct sender *sender, const ProtobufCMessage *message, uint8_t *at, size_t room)
{
        sender->writer =
                (baton_graph_writer){ .at = at, .end = at + (room & ~(size_t)7), .lend_min = LEND_MIN, .lend = lend };
        int error = graph_encode(sender->form->type, &sender->writer, message);
        return error < 0 ? error : sender->writer.at - at;
}

static int64_t size_of(const struct sender *sender, const ProtobufCMessage *message, bool lending)
{
        if (!sender->form->graph)
                return wire_size(sender->form->type->descriptor, message);
        return graph_size(sender->form->type, message, lending ? LEND_MIN : UINT32_MAX);
}

static int64_t write_message(struct sender *sender, const ProtobufCMessage *message, uint8_t *at, size_t room)
{
        if (sender->form->graph)
                return encode(sender, message, at, room);
        return wire_pack(sender->form->type->descriptor, message, at, room);
}

/* Completes the record whose message of `size` bytes has been written: its loan goes behind it. */
static int complete(struct sender *sender, struct shm_record *header, size_t size)
{
        if (size + sender->lent > sender->form->max_bytes)
                return too_large(sender, size + sender->lent);
        if (sender->form->graph)
                header->flags |= SHM_GRAPH;
        header->size = (uint32_t)size;
        if (sender->loan == NO_LOAN)
                return 0;
        size_t padded = (size + 7) & ~(size_t)7;
        struct shm_loan loan = { .loan = (uint64_t)sender->loan, .heap_size = heap_size(&sender->lane->link->heap) };
        memcpy(sender->body + padded, &loan, sizeof loan);
        heap_loan_sent(&sender->lane->link->heap, (uint32_t)sender->loan);
        header->flags |= SHM_LOAN;
        header->size = (uint32_t)(padded + sizeof loan);
        return 0;
}

static int publish(struct sender *sender, struct shm_record *header, size_t size)
{
        int error = complete(sender, header, size);
        if (error >= 0)
                ring_publish(&sender->lane->out, header);
        return error;
}

/* Writes the message to the heap and its place to the body, which has SHM_OUTLINE_BODY bytes. */
static int outline(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message, uint64_t size)
{
        if (size + sender->lent > sender->form->max_bytes)
                return too_large(sender, size + sender->lent);
        int error = open_loan(sender);
        if (error < 0)
                return error;
        struct heap *heap = &sender->lane->link->heap;
        uint8_t *block = heap_lend_new(heap, (uint32_t)sender->loan, size);
        if (!block)
                return -ENOBUFS;
        int64_t written = write_message(sender, message, block, size);
        if (written < 0)
                return (int)written;
        struct shm_outline place = { .offset = (uint64_t)(block - heap->base), .size = (uint64_t)written };
        memcpy(sender->body, &place, sizeof place);
        header->flags |= SHM_OUTLINE;
        sender->lent += (size_t)written;
        return complete(sender, header, sizeof place);
}

static int send_outline(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message,
                        uint64_t size)
{
        size_t room;
        int error = ring_reserve(&sender->lane->out, SHM_OUTLINE_BODY, &sender->body, &room);
        if (error >= 0)
                error = outline(sender, header, message, size);
        if (error >= 0)
                ring_publish(&sender->lane->out, header);
        return error;
}

/* Sends a message whose size is worked out first. */
static int send_sized(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message, bool lending)
{
        int64_t size = size_of(sender, message, lending);
        if (size < 0)
                return (int)size;
        if ((uint64_t)size + sizeof(struct shm_loan) + 8 > ring_largest(&sender->lane->out))
                return send_outline(sender, header, message, (uint64_t)size);
        size_t room;
        int error = ring_reserve(&sender->lane->out, (size_t)size + 8 + sizeof(struct shm_loan), &sender->body, &room);
        if (error < 0)
                return error;
        int64_t written = write_message(sender, message, sender->body, room - sizeof(struct shm_loan));
        return written < 0 ? (int)written : publish(sender, header, (size_t)written);
}

/* Small messages need no size: they are encoded into what room there is. */
static int send_direct(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message)
{
        size_t room;
        int error = ring_reserve(&sender->lane->out, sizeof(struct shm_loan), &sender->body, &room);
        if (error < 0)
                return error;
        int64_t size = encode(sender, message, sender->body, room - sizeof(struct shm_loan));
        return size < 0 ? (int)size : publish(sender, header, (size_t)size);
}

static int send(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message)
{
        int error = sender->form->graph ? send_direct(sender, header, message) : -EMSGSIZE;
        if (error == -EMSGSIZE) {
                cancel_loan(sender);
                error = send_sized(sender, header, message, true);
        }
        /* A payload that found no room in the heap was taken inline, and the stream outgrew its computed size. */
        if (error == -EMSGSIZE && sender->form->graph) {
                cancel_loan(sender);
                error = send_sized(sender, header, message, false);
        }
        return error;
}

static void explain_failure(int error, const baton_type *type, const ProtobufCMessage *message)
{
        char text[512];
        explain(type->descriptor, message, error, text, sizeof text);
        error_set(error, "%s", text);
}

/* What the outside world is told: the reason set, the loan taken back, the header as it was. */
static int failed(struct sender *sender, struct shm_record *header, uint8_t flags, int error,
                  const ProtobufCMessage *message)
{
        cancel_loan(sender);
        header->flags = flags;
        if (error == -EPROTO)
                error_set(error, "the peer's read position is impossible");
        if (error == -EILSEQ || error == -ENODATA || error == -ELOOP || error == -EINVAL)
                explain_failure(error, sender->form->type, message);
        return error == -EFBIG ? -EMSGSIZE : error;
}

int message_send(struct lane_ends *lane, struct shm_record *header, const struct message_form *form,
                 const ProtobufCMessage *message)
{
        struct sender sender = { .lane = lane, .form = form, .loan = NO_LOAN };
        uint8_t flags = header->flags;
        int error = send(&sender, header, message);
        return error < 0 ? failed(&sender, header, flags, error, message) : 0;
}

static int park(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message)
{
        int64_t size = size_of(sender, message, true);
        if (size < 0)
                return (int)size;
        if ((uint64_t)size + 8 + sizeof(struct shm_loan) > SHM_PARKED_BODY)
                return outline(sender, header, message, (uint64_t)size);
        int64_t written = write_message(sender, message, sender->body, SHM_PARKED_BODY - sizeof(struct shm_loan));
        return written < 0 ? (int)written : complete(sender, header, (size_t)written);
}

int message_park(struct lane_ends *lane, struct shm_record *header, const struct message_form *form,
                 const ProtobufCMessage *message, uint8_t body[SHM_PARKED_BODY])
{
        struct sender sender = { .lane = lane, .form = form, .loan = NO_LOAN, .body = body };
        uint8_t flags = header->flags;
        int error = park(&sender, header, message);
        if (error == -EMSGSIZE) /* the heap had no room for a payload */
                error = -ENOBUFS;
        return error < 0 ? failed(&sender, header, flags, error, message) : 0;
}

int message_send_bytes(struct lane_ends *lane, struct shm_record *header, const void *bytes)
{
        uint8_t *body;
        size_t room;
        int error = ring_reserve(&lane->out, header->size, &body, &room);
        if (error < 0)
                return error;
        memcpy(body, bytes, header->size);
        ring_publish(&lane->out, header);
        return 0;
}

/* ---- receiving -------------------------------------------------------------------------------------------- */

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

int message_locate(struct link *link, const struct ring_record *record, struct message_body *body)
{
        *body = (struct message_body){ .at = record->body, .size = record->size, .loan = NO_LOAN };
        if (!(record->flags & SHM_LOAN))
                return record->flags & SHM_OUTLINE ? malformed("a heap message but no loan") : 0;
        int error = take_loan(link, body);
        if (error < 0 || !(record->flags & SHM_OUTLINE))
                return error;
        struct shm_outline outline;
        if (body->size < sizeof outline)
                return malformed("no room for its place");
        memcpy(&outline, body->at, sizeof outline);
        __asm__ __volatile__("" ::: "memory");
        uint64_t mapped = atomic_load_explicit(&link->peer_heap_size, memory_order_acquire);
        if (outline.offset > mapped || outline.size > mapped - outline.offset || outline.offset & 7)
                return malformed("a place outside the heap");
        body->at = link->peer_heap + outline.offset;
        body->size = outline.size;
        return 0;
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
