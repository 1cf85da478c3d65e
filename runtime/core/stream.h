/* A client's stream inside: what stream.c and stream_open.c share. */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include "core/cancel.h"
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
        struct reply_home *home;   /* the reader's, as is the next */
        struct reply_box *current; /* the message read last */
        struct observed *observed; /* NULL: not */
        baton_cancel *cancel;      /* NULL: none to be told by */
        struct cancel_watch watch;
        struct loop_task stop;  /* cancels it, on the loop's thread */
        struct loop_task begin; /* tells that it ended before it began */
        atomic_flag stop_posted;
        bool finished; /* by the user */
        bool half_closed;
        baton_status status; /* once known_status */
        const ProtobufCMessage *reply;
        bool known_status;
};

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

void stream_free(baton_stream *stream);

#endif
