/* A client's streams. Those of a loop are asynchronous; blocking ones run on the loop of a pump, which whoever waits turns. */
#define _GNU_SOURCE
#include "base/error.h"
#include "codec/type.h"
#include "core/cancel.h"
#include "core/pump.h"
#include "core/pumps.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPTS = 8 };

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

static baton_stream *stream_of(struct client_stream *inner)
{
        return container_of(inner, baton_stream, inner);
}

static bool has_ended(const baton_stream *stream)
{
        return atomic_load_explicit(&stream->inner.ended, memory_order_acquire);
}

static const char *path(const baton_stream *stream)
{
        return stream->inner.call.method->path;
}

/* ---- on the loop's thread --------------------------------------------------------------------------------- */

static void tell(baton_stream *stream)
{
        if (stream->pump)
                pump_moved(stream->pump);
        else if (stream->ready)
                stream->ready(stream, stream->context);
}

static void on_ready(struct client_stream *inner)
{
        tell(stream_of(inner));
}

static void on_begin(struct loop_task *task)
{
        tell(container_of(task, baton_stream, begin));
}

/* Ends the call here. */
static void stop(baton_stream *stream, baton_code code, const char *text)
{
        if (!has_ended(stream))
                stream->transport->stream_cancel(&stream->inner, code, text);
}

static void on_stop(struct loop_task *task)
{
        baton_stream *stream = container_of(task, baton_stream, stop);
        char text[256];
        snprintf(text, sizeof text, "%.200s: the call was cancelled", path(stream));
        stop(stream, BATON_CANCELLED, text);
        tell(stream);
}

/* Runs on the loop's thread: this is it for asynchronous streams; for blocking ones it takes the seat. */
static void enter(baton_stream *stream)
{
        if (stream->pump)
                pump_enter(stream->pump);
}

static void leave(baton_stream *stream)
{
        if (stream->pump)
                pump_leave(stream->pump);
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

static void free_stream(baton_stream *stream)
{
        if (stream->outcome)
                reply_drop(stream->outcome);
        if (stream->current)
                reply_drop(stream->current);
        if (stream->home)
                reply_home_leave(stream->home);
        if (stream->pump)
                pump_unref(stream->pump);
        free(stream);
}

static baton_stream *new_stream(baton_channel *channel, baton_loop *loop)
{
        baton_stream *stream = calloc(1, sizeof *stream);
        if (!stream)
                return NULL;
        stream->transport = channel->transport;
        stream->home = reply_home_new();
        stream->outcome = reply_take(NULL, channel->options.max_message_bytes);
        stream->pump = loop ? NULL : pumps_lease(channel);
        stream->loop = loop ? loop : stream->pump ? stream->pump->loop : NULL;
        if (!stream->home || !stream->outcome || !stream->loop) {
                free_stream(stream);
                return NULL;
        }
        stream->inner.ready = on_ready;
        stream->stop.run = on_stop;
        stream->begin.run = on_begin;
        atomic_flag_clear(&stream->stop_posted);
        return stream;
}

/* The call has ended before it began, for the reason in baton_error(). */
static void end_early(baton_stream *stream, baton_code code)
{
        stream->inner.call.code = code;
        reply_keep_text(stream->outcome);
        atomic_store_explicit(&stream->inner.ended, true, memory_order_release);
}

/* What a blocking stream that finds no room tries again. */
struct opening {
        baton_stream *stream;
        baton_channel *channel;
        const struct patience *patience;
};

/* 0; 1: it has ended already; or negative: -EAGAIN where there is no room in the ring. */
static int open_once(void *context)
{
        struct opening *opening = context;
        baton_stream *stream = opening->stream;
        struct channel_loop *entry = NULL;
        baton_code code = BATON_OK;
        int error = async_lane(opening->channel, stream->loop, opening->patience, &code, &entry);
        if (error < 0 && code == BATON_OK)
                return error == -EAGAIN ? -EBUSY : error;
        if (error < 0) {
                end_early(stream, code);
                return 1;
        }
        error = stream->transport->stream_open(entry->lane, &stream->inner);
        async_lane_done(opening->channel);
        if (error == -EAGAIN && stream->pump &&
            patience_over(opening->patience, "waiting for room to open a stream", &code)) {
                end_early(stream, code);
                return 1;
        }
        return error;
}

/* Once the ring was full there is no bell for room, so the loop is turned, for at most a millisecond each time. */
static int open_or_wait(struct opening *opening)
{
        struct pump *pump = opening->stream->pump;
        for (int n_left = 0;;) {
                int error = open_once(opening);
                if (error == -ESHUTDOWN && n_left++ < ATTEMPTS) /* the lane was just being left: on a new one */
                        continue;
                if (error != -EAGAIN || !pump)
                        return error;
                pump_enter(pump);
                baton_loop_wait(pump->loop, 1);
                pump_leave(pump);
        }
}

static void post_stop(baton_stream *stream)
{
        if (!atomic_flag_test_and_set(&stream->stop_posted))
                loop_post(stream->loop, &stream->stop);
}

static void on_cancel(struct cancel_watch *watch)
{
        post_stop(container_of(watch, baton_stream, watch));
}

static int begin(baton_stream *stream, baton_channel *channel, const struct call_terms *terms)
{
        struct opening opening = { stream, channel, &terms->patience };
        int error = open_or_wait(&opening);
        if (error < 0)
                return error;
        if (error > 0 && !stream->pump)
                loop_post(stream->loop, &stream->begin);
        if (!terms->cancel)
                return 0;
        stream->watch.fire = on_cancel;
        if (cancel_watch_add(terms->cancel, &stream->watch) >= 0)
                stream->cancel = terms->cancel;
        else
                baton_stream_cancel(stream);
        return 0;
}

static const char *wrong_open(const baton_channel *channel, const baton_loop *loop, const baton_method *method,
                              const ProtobufCMessage *request, baton_stream_ready ready)
{
        if (!method)
                return "the method is NULL";
        if (!channel)
                return "the channel is NULL; did baton_channel_open fail? See baton_error()";
        if (!(method->flags & (BATON_CLIENT_STREAMING | BATON_SERVER_STREAMING)))
                return "it is a unary method: call it instead";
        if (!(method->flags & BATON_CLIENT_STREAMING) && !request)
                return "the request is NULL";
        if (method->flags & BATON_CLIENT_STREAMING && request)
                return "the client streams its requests: open with NULL, and write";
        if (request && !type_matches(request, method->input->descriptor))
                return "the request is not of the method's type; is it initialised with its __INIT?";
        if (!loop != !ready)
                return loop ? "the callback is NULL" : "a callback needs a loop";
        return NULL;
}

baton_stream *baton_stream_open(baton_channel *channel, baton_loop *loop, const baton_method *method,
                                const ProtobufCMessage *request, const baton_call_options *options,
                                baton_stream_ready ready, void *context)
{
        const char *wrong = wrong_open(channel, loop, method, request, ready);
        if (wrong) {
                error_set(-EINVAL, "%s: %s", method ? method->path : "baton_stream_open", wrong);
                return NULL;
        }
        struct call_terms terms;
        if (!channel_usable(channel) || call_terms_init(&terms, channel, method, options) < 0)
                return NULL;
        baton_stream *stream = new_stream(channel, loop);
        if (!stream) {
                error_set(-ENOMEM, "%s: out of memory", method->path);
        } else {
                call_terms_apply(&terms, &stream->inner.call, method, request);
                stream->inner.call.reply = &stream->outcome->reply;
                stream->ready = ready;
                stream->context = context;
                if (begin(stream, channel, &terms) < 0) {
                        free_stream(stream);
                        stream = NULL;
                }
        }
        call_terms_deinit(&terms);
        return stream;
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

struct writing {
        baton_stream *stream;
        const ProtobufCMessage *message;
};

static int write_once(void *context)
{
        struct writing *writing = context;
        baton_stream *stream = writing->stream;
        if (!stream->inner.end)
                return -EPIPE;
        return stream->transport->stream_write(&stream->inner, writing->message);
}

static const char *wrong_write(const baton_stream *stream, const ProtobufCMessage *message)
{
        const baton_method *method = stream->inner.call.method;
        if (!(method->flags & BATON_CLIENT_STREAMING))
                return "the method takes a single request, which was sent";
        if (!message)
                return "the message is NULL";
        if (!type_matches(message, method->input->descriptor))
                return "the message is not of the method's type; is it initialised with its __INIT?";
        return NULL;
}

static int written(const baton_stream *stream, int error)
{
        switch (error) {
        case -EAGAIN:
                return error_set(error, "%s: no room for a message now", path(stream));
        case -EPIPE:
                return error_set(error, "%s: the call has ended; baton_stream_finish has its outcome", path(stream));
        case -ESHUTDOWN:
                return error_set(error, "%s: nothing can be written after writes_done or finish", path(stream));
        default:
                return error;
        }
}

int baton_stream_write(baton_stream *stream, const ProtobufCMessage *message)
{
        if (!stream)
                return error_set(-EINVAL, "baton_stream_write: the stream is NULL");
        const char *wrong = wrong_write(stream, message);
        if (wrong)
                return error_set(-EINVAL, "%s: %s", path(stream), wrong);
        if (stream->half_closed || stream->finished)
                return written(stream, -ESHUTDOWN);
        struct writing writing = { stream, message };
        int error = write_once(&writing);
        if (error == -EAGAIN && stream->pump)
                error = pump_wait(stream->pump, write_once, &writing);
        return error < 0 ? written(stream, error) : 0;
}

static int half_close(baton_stream *stream)
{
        if (stream->half_closed || stream->finished)
                return -ESHUTDOWN;
        stream->half_closed = true;
        return stream->inner.end ? stream->transport->stream_writes_done(&stream->inner) : -EPIPE;
}

int baton_stream_writes_done(baton_stream *stream)
{
        if (!stream)
                return error_set(-EINVAL, "baton_stream_writes_done: the stream is NULL");
        if (!(stream->inner.call.method->flags & BATON_CLIENT_STREAMING))
                return error_set(-EINVAL, "%s: the method takes a single request, which was sent", path(stream));
        int error = half_close(stream);
        return error < 0 ? written(stream, error) : 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* A message that cannot be decoded ends the call. */
static int undecodable(baton_stream *stream, int error)
{
        char text[512];
        snprintf(text, sizeof text, "%.100s: %.380s", path(stream), baton_error());
        enter(stream);
        stop(stream, error == -ENOMEM || error == -EMSGSIZE ? BATON_RESOURCE_EXHAUSTED : BATON_INTERNAL, text);
        leave(stream);
        return 0;
}

/* 1: stream->current is the message; 0: no more; -EAGAIN. */
static int read_once(void *context)
{
        baton_stream *stream = context;
        if (!stream->inner.end)
                return 0;
        const ProtobufCMessage *message;
        struct reply_box *box = reply_take(stream->home, stream->inner.call.max_reply_bytes);
        if (!box)
                return error_set(-ENOMEM, "%s: no memory to receive a message", path(stream));
        int n = stream->transport->stream_read(&stream->inner, &box->reply, &message);
        if (n > 0) {
                if (stream->current)
                        reply_drop(stream->current);
                stream->current = box;
                box->message = message;
                return 1;
        }
        reply_drop(box);
        return n == 0 || n == -EAGAIN ? n : undecodable(stream, n);
}

static int read_or_wait(baton_stream *stream)
{
        int n = read_once(stream);
        return n == -EAGAIN && stream->pump ? pump_wait(stream->pump, read_once, stream) : n;
}

int baton_stream_read(baton_stream *stream, const ProtobufCMessage **message)
{
        if (message)
                *message = NULL;
        if (!stream || !message)
                return error_set(-EINVAL, "baton_stream_read: the %s is NULL",
                                 stream ? "place for the message" : "stream");
        if (!(stream->inner.call.method->flags & BATON_SERVER_STREAMING))
                return error_set(-EINVAL, "%s: the method has a single reply, which baton_stream_finish returns",
                                 path(stream));
        if (stream->finished)
                return 0;
        int n = read_or_wait(stream);
        if (n > 0)
                *message = stream->current->message;
        return n == -EAGAIN ? error_set(n, "%s: no message has come yet", path(stream)) : n;
}

static int headers_once(void *context)
{
        baton_stream *stream = context;
        return atomic_load_explicit(&stream->inner.headers_known, memory_order_acquire) || has_ended(stream) ? 0
                                                                                                             : -EAGAIN;
}

const baton_metadata *baton_stream_headers(baton_stream *stream)
{
        if (!stream)
                return NULL;
        int n = stream->pump ? pump_wait(stream->pump, headers_once, stream) : headers_once(stream);
        const baton_metadata *headers = &stream->outcome->reply.headers;
        return n == 0 && headers->n ? headers : NULL;
}

/* ---- ending ----------------------------------------------------------------------------------------------- */

static int ended_once(void *context)
{
        baton_stream *stream = context;
        if (stream->inner.call.method->flags & BATON_SERVER_STREAMING)
                while (read_once(stream) > 0) {
                }
        return has_ended(stream) ? 0 : -EAGAIN;
}

/* Waits for the end, dropping what comes; an asynchronous one is made to end. */
static void await_end(baton_stream *stream)
{
        if (stream->inner.call.method->flags & BATON_CLIENT_STREAMING && !stream->half_closed)
                half_close(stream);
        if (stream->pump)
                pump_wait(stream->pump, ended_once, stream);
        else
                stop(stream, BATON_CANCELLED, "the stream was finished before the server ended it");
}

baton_status baton_stream_finish(baton_stream *stream, const ProtobufCMessage **reply)
{
        if (reply)
                *reply = NULL;
        if (!stream)
                return (baton_status){ .code = BATON_INVALID_ARGUMENT,
                                       .message = "baton_stream_finish: the stream is NULL; did opening it fail?" };
        if (!stream->known_status) {
                await_end(stream);
                stream->finished = true;
                stream->status = reply_status(stream->outcome, &stream->inner.call, &stream->reply);
                stream->known_status = true;
        }
        if (reply)
                *reply = stream->reply;
        return stream->status;
}

bool baton_stream_ended(const baton_stream *stream)
{
        return !stream || has_ended(stream);
}

void baton_stream_cancel(baton_stream *stream)
{
        if (!stream || has_ended(stream))
                return;
        if (stream->pump && pump_try_enter(stream->pump)) { /* nobody turns the loop just now */
                on_stop(&stream->stop);
                pump_leave(stream->pump);
        } else {
                post_stop(stream);
        }
}

void baton_stream_close(baton_stream *stream)
{
        if (!stream)
                return;
        if (stream->cancel)
                cancel_watch_remove(stream->cancel, &stream->watch);
        enter(stream);
        loop_unpost(stream->loop, &stream->stop);
        loop_unpost(stream->loop, &stream->begin);
        if (stream->inner.end)
                stream->transport->stream_close(&stream->inner);
        leave(stream);
        free_stream(stream);
}
