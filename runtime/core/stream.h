/* A client's stream inside: what stream.c and stream_open.c share. */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include "core/cancel.h"
#include "core/connector.h"
#include "core/kept.h"
#include "core/observed_client.h"
#include "core/pump.h"
#include "core/reply.h"

struct baton_stream {
        struct client_stream inner;
        const struct transport *transport;
        baton_loop *loop;
        struct pump *pump; /* NULL: asynchronous */
        baton_stream_ready ready;
        void *context;
        struct reply_box *outcome;
        struct reply_box *current; /* the reader's: the message read last */
        struct reply_box *spare;   /* and a fresh one for the next; NULL: none */
        struct observed *observed; /* NULL: not */
        baton_cancel *cancel;      /* NULL: none to be told by */
        struct cancel_watch watch;
        struct loop_task stop;  /* cancels it, on the loop's thread */
        struct loop_task begin; /* tells that it ended before it began, or began late */
        struct waiter waiter;   /* for a lane, if there was none */
        struct kept kept;       /* its request meanwhile */
        _Atomic uint32_t place; /* enum stream_place */
        /* An asynchronous one can be told of, and so be closed, before the thread that opens it is done with it: the loop's thread
         * waits for that. A futex. */
        _Atomic uint32_t opened; /* enum stream_opened */
        uint64_t fork_generation;
        atomic_flag stop_posted;
        atomic_bool finished; /* by the user; the writer may be another thread, as for the next */
        atomic_bool half_closed;
        baton_status status; /* once known_status */
        const ProtobufCMessage *reply;
        bool known_status;
};

enum stream_opened { STREAM_OPENING, STREAM_AWAITED, STREAM_OPENED };

/* Where it is. Changed by the loop's thread that opens it and by the writer that half-closes, of which one sees the other's change
 * (both are read-modify-writes); release, and acquire for whoever finds it STREAM_THERE: then the transport has it. */
enum stream_place {
        STREAM_NOWHERE, /* it waits for a lane, or ended before it had one */
        STREAM_CLOSES,  /* the same, and is to be half-closed at once */
        STREAM_THERE,
};

static inline bool stream_is_there(const baton_stream *stream)
{
        return atomic_load_explicit(&stream->place, memory_order_acquire) == STREAM_THERE;
}

static inline bool stream_has_ended(const baton_stream *stream)
{
        return atomic_load_explicit(&stream->inner.ended, memory_order_acquire);
}

static inline const char *stream_path(const baton_stream *stream)
{
        return stream->inner.call.method->path;
}

/* Tells whoever uses it that it has moved. On the loop's thread. */
void stream_tell(baton_stream *stream);

/* Its task `stop`. */
void stream_on_stop(struct loop_task *task);

/* Has that run, once. Any thread. */
void stream_post_stop(baton_stream *stream);

/* Its call has ended before it began, for the reason in baton_error(). */
void stream_end_early(baton_stream *stream, baton_code code);

void stream_free(baton_stream *stream);

#endif
