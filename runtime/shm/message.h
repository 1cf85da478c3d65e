/*
 * Messages in and out of a lane: encoding straight into the ring, or where a message is larger, into the heap, whose offset
 * then travels in the ring; and back.
 */
#ifndef SHM_MESSAGE_H
#define SHM_MESSAGE_H

#include "shm/link.h"
#include "transport/transport.h"
#include <baton/graph.h>

enum { NO_LOAN = -1 };

/* How a message travels. */
struct message_form {
        const baton_type *type;
        bool graph;                     /* else protobuf wire format */
        size_t max_bytes;               /* -EMSGSIZE beyond, payloads included */
        const baton_metadata *metadata; /* sent with it; NULL: none */
        struct traffic *traffic;        /* counts what is sent; NULL: nobody does */
};

/*
 * Sends one record with this message; header: method, kind, call and deadline set. The caller owns lane->out.
 * 0; -EAGAIN: the ring is full, nothing was done; -EBUSY: no room in the heap until loans come back; -ENOBUFS: nor then;
 * -EPROTO: the peer broke the rules; -EMSGSIZE; -EILSEQ, -ENODATA, -ELOOP, -EINVAL: the message itself; -ENOMEM. In all but
 * -EAGAIN the reason is set.
 */
int message_send(struct lane_ends *lane, struct shm_record *header, const struct message_form *form,
                 const ProtobufCMessage *message);

/* Sends one record with these bytes for its body, at most SHM_TEXT_MOST, behind the metadata (NULL: none). As message_send. */
int message_send_text(struct lane_ends *lane, struct shm_record *header, const baton_metadata *metadata,
                      const char *text, size_t size);

enum { SHM_TEXT_MOST = 1024 };

/* For a full ring: the room that `body` needs for a message with this metadata. */
size_t message_parked_room(const struct lane_ends *lane, const baton_metadata *metadata);

/* Writes the message into `body`, or to the heap where it is larger, so that header and body can be sent later by
 * message_send_bytes. Never -EAGAIN; else as message_send. */
int message_park(struct lane_ends *lane, struct shm_record *header, const struct message_form *form,
                 const ProtobufCMessage *message, uint8_t *body);
int message_park_text(struct lane_ends *lane, struct shm_record *header, const baton_metadata *metadata,
                      const char *text, size_t size, uint8_t *body);

/* Sends one record with these header->size bytes as its body. 0; -EAGAIN; -EPROTO; -EMSGSIZE over ring_largest. */
int message_send_bytes(struct lane_ends *lane, struct shm_record *header, const void *bytes);

/* A received body: where the message's bytes lie, in the ring or in the peer's heap, and the loan to give back, or NO_LOAN. */
struct message_body {
        const uint8_t *at;
        size_t size;
        int64_t loan;
        const uint8_t *metadata; /* in its flat form, in the ring or in the heap */
        size_t metadata_size;
};

/*
 * Finds the message of a record. 0; -EAGAIN: it lies in a segment that was announced but is not mapped yet; -EPROTO.
 * On success the caller owes the loan.
 */
int message_locate(struct link *link, const struct ring_record *record, struct message_body *body);

/*
 * Decodes the body into `message` (descriptor->sizeof_message bytes, uninitialised), taking memory from the arena. Gives the loan
 * back at once where nothing of the result lies in the peer's heap; else body->loan stays to be given back. On failure it is
 * given back too. -EMSGSIZE over form->max_bytes, borrowed payloads included; errors of codec/graph.h and codec/wire.h; -EPROTO;
 * reason set.
 */
int message_decode(struct link *link, struct message_body *body, const struct message_form *form, baton_arena *arena,
                   ProtobufCMessage *message);

/* Copies the metadata of a located body into the arena; before the body is decoded or returned. 0; -EPROTO, -EMSGSIZE, -ENOMEM. */
int message_read_metadata(const struct message_body *body, size_t max_bytes, baton_arena *arena,
                          baton_metadata *metadata);

static inline int message_metadata(const struct message_body *body, size_t max_bytes, baton_arena *arena,
                                   baton_metadata *metadata)
{
        if (body->metadata) /* most have none */
                return message_read_metadata(body, max_bytes, arena, metadata);
        metadata->n = 0;
        return 0;
}

/* Gives the loan back, if there is one. */
void message_return(struct link *link, struct message_body *body);

#endif
