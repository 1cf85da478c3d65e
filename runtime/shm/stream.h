/*
 * One end of a stream, the same on both sides: how much may be sent, and what waits to be read.
 *
 * Threads: write for one thread at a time, read for another. Deliveries come from the thread that takes records off the ring. What
 * these share is under the lane's lock, which the functions take themselves unless they say that it is held.
 */
#ifndef SHM_STREAM_H
#define SHM_STREAM_H

#include "base/list.h"
#include "shm/inbox.h"
#include "transport/transport.h"

struct stream;

/* What differs between the client's lanes and the server's. All with the lane's lock held. */
struct stream_side {
        /* Whether nothing older waits for room in the ring. */
        bool (*turn)(struct stream *stream);
        /* Something was published: rings the peer where it sleeps. */
        void (*notify)(struct stream *stream);
        /* The ring is full: puts the stream into the lane's list of those that wait, once, and sees that its loop looks after them. */
        void (*wait)(struct stream *stream);
};

struct stream {
        const struct stream_side *side;
        struct link *link;
        struct lane_ends *ends;
        pthread_mutex_t *lock;
        uint64_t number; /* of the call */

        /* Under the lock. */
        int64_t credit;      /* lines that the peer takes yet */
        int64_t allowance;   /* lines that the peer may send yet */
        uint64_t due;        /* credit to be given that found no room in the ring */
        bool half_close_due; /* likewise, as is the next */
        bool cancel_due;
        bool out_done;       /* half-closed */
        bool gone;           /* the call has ended: nothing more is sent */
        bool in_done;        /* nothing more will come */
        bool hungry;         /* the reader found nothing, and wants to be told of more */
        bool starved;        /* the writer found no room, and wants to be told of it */
        bool needs_heap;     /* there was none in the heap, for which there is no bell */
        struct list waiting; /* in the lane's list, or alone */

        /* The reader's. */
        struct inbox inbox;
        uint32_t window;     /* lines */
        uint32_t unreturned; /* lines that were read since it last gave credit */
};

/* What a stream is made of: lines of window, own and peer's. */
struct stream_terms {
        const struct stream_side *side;
        struct link *link;
        struct lane_ends *ends;
        pthread_mutex_t *lock;
        struct inbox_budget *budget;
        uint32_t window;
        uint64_t credit;
};

/* A stream whose reader wants to be told of the first message. */
void stream_init(struct stream *stream, const struct stream_terms *terms, uint64_t number);

/* Gives back what was not read. Nobody uses it any more, and it waits in no list. */
void stream_deinit(struct stream *stream);

/* Sends a MESSAGE. 0; -EAGAIN: no credit or no room, and the stream is starved; -EPIPE, -ESHUTDOWN; else as message_send. */
int stream_write(struct stream *stream, const struct message_form *form, const ProtobufCMessage *message);

/* Half-closes: now or when there is room. 0, -EPIPE, -ESHUTDOWN. */
int stream_half_close(struct stream *stream);

/* Ends it from this side, and tells the peer so with CANCEL, now or when there is room; the lock is held. */
void stream_abort(struct stream *stream);

/* Sends credit, half-close and cancellation that are due; the lock is held. False: the ring is full. */
bool stream_send_due(struct stream *stream);

/* There may be room for a stream that waits: sends what is due; the lock is held. heap: there may be some in the heap too. 1: the
 * writer is to be told; 0: not; -EAGAIN: there is none after all. */
int stream_room(struct stream *stream, bool heap);

/* A MESSAGE has come, which the caller then takes off the ring; the lock is held. 1: the reader is to be told; 0: not; -EPROTO: it is
 * malformed, or more than was allowed; -EAGAIN as message_locate; -ENOMEM, -ENOBUFS. */
int stream_deliver(struct stream *stream, const struct ring_record *record);

/* CREDIT has come; the lock is held. 1: the writer is to be told; 0: not; -EPROTO. */
int stream_add_credit(struct stream *stream, uint64_t lines);

/* The call has ended: nothing more will come or go; the lock is held. */
void stream_finish(struct stream *stream);

/* The peer has half-closed; the lock is held. True: the reader is to be told. */
bool stream_end_input(struct stream *stream);

/* The next message: 1, decoded into the reply, with *loan owed for what it borrows, or NO_LOAN; 0: no more will come; -EAGAIN: none
 * yet, and the stream is hungry; else it could not be decoded. Gives credit as needed. */
int stream_read(struct stream *stream, const struct message_form *form, struct reply *reply,
                const ProtobufCMessage **message, int64_t *loan);

#endif
