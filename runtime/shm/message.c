#define _GNU_SOURCE
#include "shm/message.h"
#include "base/error.h"
#include "base/list.h"
#include "codec/explain.h"
#include "codec/graph.h"
#include "codec/wire.h"
#include "transport/metadata.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        LEND_MIN = 4096, /* smaller payloads are cheaper to copy than to lend (perf/payload.cpp) */
        PARKED_BODY = 1024,
};

/* ---- sending ---------------------------------------------------------------------------------------------- */

struct sender {
        baton_graph_writer writer;
        struct lane_ends *lane;
        const struct message_form *form;
        int loan;      /* number, or NO_LOAN */
        size_t lent;   /* payload bytes that lie in the heap */
        size_t copied; /* those of them that were copied there */
        uint8_t *body; /* where the record's body is being written */
        size_t prefix; /* bytes of metadata in front of the message; a multiple of 8 */
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
        sender->lent = sender->copied = 0;
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
        if (!heap_contains(&sender->lane->link->heap, data))
                sender->copied += size;
        return 0;
}

/* ---- metadata: in front of the message, or in the heap where it is long ------------------------------------- */

static bool fits_here(const struct lane_ends *lane, size_t flat)
{
        return flat <= ring_largest(&lane->out) / 4;
}

static size_t prefix_size(const struct lane_ends *lane, const baton_metadata *metadata)
{
        size_t flat = metadata ? metadata_flat_size(metadata) : 0;
        if (!flat)
                return 0;
        return sizeof(struct shm_metadata) + (fits_here(lane, flat) ? flat : 0);
}

/* Field by field, without the writer, which encode sets: clearing it all costs as much as sending a small message. */
static void sender_init(struct sender *sender, struct lane_ends *lane, const struct message_form *form, uint8_t *body)
{
        sender->lane = lane;
        sender->form = form;
        sender->loan = NO_LOAN;
        sender->lent = sender->copied = 0;
        sender->body = body;
        sender->prefix = prefix_size(lane, form->metadata);
}

/* Writes the metadata at the body's start. */
static int put_metadata(struct sender *sender, const baton_metadata *metadata)
{
        if (!sender->prefix)
                return 0;
        size_t flat = metadata_flat_size(metadata);
        struct shm_metadata place = { .offset = SHM_HERE, .size = flat };
        uint8_t *at = sender->body + sizeof place;
        if (!fits_here(sender->lane, flat)) {
                struct heap *heap = &sender->lane->link->heap;
                int error = open_loan(sender);
                at = error < 0 ? NULL : heap_lend_new(heap, (uint32_t)sender->loan, flat);
                if (!at)
                        return error < 0 ? error : -ENOBUFS;
                place.offset = (uint64_t)(at - heap->base);
        }
        metadata_flatten(metadata, at);
        memcpy(sender->body, &place, sizeof place);
        return 0;
}

/* Makes room in the ring for metadata and so many bytes more; writes the metadata. *room: what may be written behind it, a loan set
 * aside. */
static int reserve(struct sender *sender, size_t size, size_t *room)
{
        const size_t beside = sender->prefix + sizeof(struct shm_loan);
        int error = ring_reserve(&sender->lane->out, beside + size, &sender->body, room);
        if (error < 0)
                return error;
        *room -= beside;
        return put_metadata(sender, sender->form->metadata);
}

/* ---- the message ------------------------------------------------------------------------------------------ */

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

/* Completes the record whose body of `size` bytes has been written, metadata included: its loan goes behind it. */
static void complete(struct sender *sender, struct shm_record *header, size_t size)
{
        if (sender->prefix)
                header->flags |= SHM_METADATA;
        header->size = (uint32_t)size;
        if (sender->loan == NO_LOAN)
                return;
        size_t padded = (size + 7) & ~(size_t)7;
        struct shm_loan loan = { .loan = (uint64_t)sender->loan, .heap_size = heap_size(&sender->lane->link->heap) };
        memcpy(sender->body + padded, &loan, sizeof loan);
        heap_loan_sent(&sender->lane->link->heap, (uint32_t)sender->loan);
        header->flags |= SHM_LOAN;
        header->size = (uint32_t)(padded + sizeof loan);
        if (header->kind == SHM_MESSAGE)
                header->deadline_ns = sender->lent / SHM_LENT_PER_LINE;
}

/* What was sent took: `size` bytes encoded, and payloads. */
static void count(const struct sender *sender, size_t size)
{
        struct traffic *traffic = sender->form->traffic;
        if (!traffic)
                return;
        traffic->copied += size + sender->copied;
        traffic->lent += sender->lent - sender->copied;
}

/* The same for a message of `size` bytes that stands behind the metadata. */
static int complete_message(struct sender *sender, struct shm_record *header, size_t size)
{
        if (size + sender->lent > sender->form->max_bytes)
                return too_large(sender, size + sender->lent);
        if (sender->form->graph)
                header->flags |= SHM_GRAPH;
        complete(sender, header, sender->prefix + size);
        count(sender, size);
        return 0;
}

static int publish(struct sender *sender, struct shm_record *header, size_t size)
{
        int error = complete_message(sender, header, size);
        if (error >= 0)
                ring_publish(&sender->lane->out, header);
        return error;
}

/* Writes the message to the heap and its place to the body, behind the metadata. */
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
        memcpy(sender->body + sender->prefix, &place, sizeof place);
        header->flags |= SHM_OUTLINE;
        if (sender->form->graph)
                header->flags |= SHM_GRAPH;
        count(sender, (size_t)written);
        sender->lent += (size_t)written;
        complete(sender, header, sender->prefix + sizeof place);
        return 0;
}

static int send_outline(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message,
                        uint64_t size)
{
        size_t room;
        int error = reserve(sender, sizeof(struct shm_outline), &room);
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
        if ((uint64_t)size + sender->prefix + sizeof(struct shm_loan) + 8 > ring_largest(&sender->lane->out))
                return send_outline(sender, header, message, (uint64_t)size);
        size_t room;
        int error = reserve(sender, (size_t)size + 8, &room);
        if (error < 0)
                return error;
        int64_t written = write_message(sender, message, sender->body + sender->prefix, room);
        return written < 0 ? (int)written : publish(sender, header, (size_t)written);
}

/* Small messages need no size: they are encoded into what room there is. */
static int send_direct(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message)
{
        size_t room;
        int error = reserve(sender, 0, &room);
        if (error < 0)
                return error;
        int64_t size = encode(sender, message, sender->body + sender->prefix, room);
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
        if (message && (error == -EILSEQ || error == -ENODATA || error == -ELOOP || error == -EINVAL))
                explain_failure(error, sender->form->type, message);
        return error == -EFBIG ? -EMSGSIZE : error;
}

int message_send(struct lane_ends *lane, struct shm_record *header, const struct message_form *form,
                 const ProtobufCMessage *message)
{
        struct sender sender;
        sender_init(&sender, lane, form, NULL);
        uint8_t flags = header->flags;
        for (bool again = false;; again = true) {
                int error = send(&sender, header, message);
                if (error >= 0)
                        return 0;
                error = failed(&sender, header, flags, error, message);
                if (error != -ENOBUFS)
                        return error;
                /* Room comes only from loans that come back. Where none is out, the last may have come back just now. */
                if (heap_has_loans(&lane->link->heap))
                        return -EBUSY;
                if (again)
                        return error;
        }
}

/* ---- texts ------------------------------------------------------------------------------------------------ */

static int put_text(struct sender *sender, struct shm_record *header, const char *text, size_t size)
{
        if (size)
                memcpy(sender->body + sender->prefix, text, size);
        complete(sender, header, sender->prefix + size);
        return 0;
}

int message_send_text(struct lane_ends *lane, struct shm_record *header, const baton_metadata *metadata,
                      const char *text, size_t size)
{
        struct message_form form = { .metadata = metadata };
        struct sender sender;
        sender_init(&sender, lane, &form, NULL);
        uint8_t flags = header->flags;
        size_t room;
        int error = reserve(&sender, size, &room);
        if (error < 0)
                return failed(&sender, header, flags, error, NULL);
        put_text(&sender, header, text, size);
        ring_publish(&lane->out, header);
        return 0;
}

/* ---- parking ---------------------------------------------------------------------------------------------- */

size_t message_parked_room(const struct lane_ends *lane, const baton_metadata *metadata)
{
        return prefix_size(lane, metadata) + PARKED_BODY + sizeof(struct shm_loan);
}

static int park(struct sender *sender, struct shm_record *header, const ProtobufCMessage *message)
{
        int64_t size = size_of(sender, message, true);
        if (size < 0)
                return (int)size;
        int error = put_metadata(sender, sender->form->metadata);
        if (error < 0)
                return error;
        if ((uint64_t)size + 8 > PARKED_BODY)
                return outline(sender, header, message, (uint64_t)size);
        int64_t written = write_message(sender, message, sender->body + sender->prefix, PARKED_BODY);
        return written < 0 ? (int)written : complete_message(sender, header, (size_t)written);
}

int message_park_text(struct lane_ends *lane, struct shm_record *header, const baton_metadata *metadata,
                      const char *text, size_t size, uint8_t *body)
{
        struct message_form form = { .metadata = metadata };
        struct sender sender;
        sender_init(&sender, lane, &form, body);
        uint8_t flags = header->flags;
        int error = put_metadata(&sender, metadata);
        return error < 0 ? failed(&sender, header, flags, error, NULL) : put_text(&sender, header, text, size);
}

int message_park(struct lane_ends *lane, struct shm_record *header, const struct message_form *form,
                 const ProtobufCMessage *message, uint8_t *body)
{
        struct sender sender;
        sender_init(&sender, lane, form, body);
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
