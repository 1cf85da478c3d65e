/* A client's streams. Those of a loop are asynchronous; blocking ones run on the loop of a pump, which whoever waits turns. */
#include "core/stream.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/futex.h"
#include "codec/type.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void stream_free(baton_stream *stream)
{
        if (stream->outcome)
                reply_drop(stream->outcome);
        if (stream->current)
                reply_drop(stream->current);
        if (stream->spare)
                reply_drop(stream->spare);
        if (stream->pump)
                pump_unref(stream->pump);
        kept_drop(&stream->kept);
        if (stream->observed)
                observed_free(stream->observed);
        free(stream);
}

/* ---- on the loop's thread --------------------------------------------------------------------------------- */

static void await_opened(baton_stream *stream)
{
        uint32_t seen = STREAM_OPENING;
        atomic_compare_exchange_strong_explicit(&stream->opened, &seen, STREAM_AWAITED, memory_order_acq_rel,
                                                memory_order_acquire);
        while (atomic_load_explicit(&stream->opened, memory_order_acquire) != STREAM_OPENED)
                futex_wait(&stream->opened, STREAM_AWAITED, NULL);
}

void stream_tell(baton_stream *stream)
{
        if (stream->pump) {
                pump_moved(stream->pump, stream);
        } else {
                await_opened(stream);
                stream->ready(stream, stream->context);
        }
}

/* Where it waits for a lane it ends here. */
static bool stop_waiting(baton_stream *stream, baton_code code, const char *text)
{
        if (!waiter_leave(&stream->waiter))
                return false;
        error_set(-ECANCELED, "%s", text);
        stream_end_early(stream, code);
        return true;
}

/* Ends the call here. */
static void stop(baton_stream *stream, baton_code code, const char *text)
{
        if (!stream_has_ended(stream) && !stop_waiting(stream, code, text))
                stream->transport->stream_cancel(&stream->inner, code, text);
}

void stream_on_stop(struct loop_task *task)
{
        baton_stream *stream = container_of(task, baton_stream, stop);
        char text[256];
        snprintf(text, sizeof text, "%.200s: the call was cancelled", stream_path(stream));
        stop(stream, BATON_CANCELLED, text);
        stream_tell(stream);
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

void stream_post_stop(baton_stream *stream)
{
        if (!atomic_flag_test_and_set(&stream->stop_posted))
                loop_post(stream->loop, &stream->stop);
}

/* Whether this process got it by fork(): nothing can be done with it then. */
static bool inherited(const baton_stream *stream)
{
        if (stream->fork_generation == fork_generation())
                return false;
        error_set(-ECHILD, "%s: the stream was opened before fork(); open a new one in the child", stream_path(stream));
        return true;
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

/* What one of the user's threads has said to others; it orders nothing. */
static bool is(const atomic_bool *flag)
{
        return atomic_load_explicit(flag, memory_order_relaxed);
}

struct writing {
        baton_stream *stream;
        const ProtobufCMessage *message;
};

static int write_once(void *context)
{
        struct writing *writing = context;
        baton_stream *stream = writing->stream;
        if (!stream_is_there(stream))
                return stream_has_ended(stream) ? -EPIPE : -EAGAIN;
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
                return error_set(error, "%s: no room for a message now", stream_path(stream));
        case -EPIPE:
                return error_set(error, "%s: the call has ended; baton_stream_finish has its outcome",
                                 stream_path(stream));
        case -ESHUTDOWN:
                return error_set(error, "%s: nothing can be written after writes_done or finish", stream_path(stream));
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
                return error_set(-EINVAL, "%s: %s", stream_path(stream), wrong);
        if (inherited(stream))
                return -ECHILD;
        if (is(&stream->half_closed) || is(&stream->finished))
                return written(stream, -ESHUTDOWN);
        struct writing writing = { stream, message };
        int error = write_once(&writing);
        if (error == -EAGAIN && stream->pump)
                error = pump_wait(stream->pump, stream, write_once, &writing);
        if (error >= 0 && stream->observed)
                observed_message(stream->observed, true);
        return error < 0 ? written(stream, error) : 0;
}

static int half_close(baton_stream *stream)
{
        if (is(&stream->finished) || atomic_exchange_explicit(&stream->half_closed, true, memory_order_relaxed))
                return -ESHUTDOWN;
        uint32_t place = STREAM_NOWHERE;
        if (atomic_compare_exchange_strong_explicit(&stream->place, &place, STREAM_CLOSES, memory_order_acq_rel,
                                                    memory_order_acquire))
                return stream_has_ended(stream) ? -EPIPE : 0;
        return stream->transport->stream_writes_done(&stream->inner);
}

int baton_stream_writes_done(baton_stream *stream)
{
        if (!stream)
                return error_set(-EINVAL, "baton_stream_writes_done: the stream is NULL");
        if (!(stream->inner.call.method->flags & BATON_CLIENT_STREAMING))
                return error_set(-EINVAL, "%s: the method takes a single request, which was sent", stream_path(stream));
        if (inherited(stream))
                return -ECHILD;
        int error = half_close(stream);
        return error < 0 ? written(stream, error) : 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* A message that cannot be decoded ends the call: also one that, for the server, has ended well before it was read. */
static int undecodable(baton_stream *stream, int error)
{
        struct client_call *call = &stream->inner.call;
        baton_code code = error == -ENOMEM || error == -EMSGSIZE ? BATON_RESOURCE_EXHAUSTED : BATON_INTERNAL;
        char text[512];
        snprintf(text, sizeof text, "%.100s: %.380s", stream_path(stream), baton_error());
        enter(stream);
        stop(stream, code, text);
        leave(stream);
        if (call->code == BATON_OK) {
                call->code = code;
                error_set(error, "%s", text);
                reply_keep_text(stream->outcome);
        }
        return 0;
}

/* 1: stream->current is the message; 0: no more; -EAGAIN. */
static int read_once(void *context)
{
        baton_stream *stream = context;
        if (!stream_is_there(stream))
                waiter_settle(
                        &stream->waiter); /* its first messages can be here before the thread that opens it is done */
        if (!stream_is_there(stream))
                return stream_has_ended(stream) ? 0 : -EAGAIN;
        const ProtobufCMessage *message;
        struct reply_box *box = stream->spare ? stream->spare : reply_take(NULL, stream->inner.call.max_reply_bytes);
        if (!box)
                return error_set(-ENOMEM, "%s: no memory to receive a message", stream_path(stream));
        int n = stream->transport->stream_read(&stream->inner, &box->reply, &message);
        if (n > 0) {
                box->message = message;
                stream->spare = stream->current ? reply_renew(stream->current) : NULL;
                stream->current = box;
                return 1;
        }
        stream->spare = reply_renew(box);
        return n == 0 || n == -EAGAIN ? n : undecodable(stream, n);
}

static int read_or_wait(baton_stream *stream)
{
        int n = read_once(stream);
        return n == -EAGAIN && stream->pump ? pump_wait(stream->pump, stream, read_once, stream) : n;
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
                                 stream_path(stream));
        if (inherited(stream))
                return -ECHILD;
        if (is(&stream->finished))
                return 0;
        int n = read_or_wait(stream);
        if (n > 0)
                *message = stream->current->message;
        if (n > 0 && stream->observed)
                observed_message(stream->observed, false);
        return n == -EAGAIN ? error_set(n, "%s: no message has come yet", stream_path(stream)) : n;
}

static int headers_once(void *context)
{
        baton_stream *stream = context;
        return atomic_load_explicit(&stream->inner.headers_known, memory_order_acquire) || stream_has_ended(stream)
                       ? 0
                       : -EAGAIN;
}

const baton_metadata *baton_stream_headers(baton_stream *stream)
{
        if (!stream || inherited(stream))
                return NULL;
        int n = stream->pump ? pump_wait(stream->pump, stream, headers_once, stream) : headers_once(stream);
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
        return stream_has_ended(stream) ? 0 : -EAGAIN;
}

/* Waits for the end, dropping what comes; an asynchronous one is made to end, without a half-close, for it is not complete. */
static void await_end(baton_stream *stream)
{
        if (!stream->pump) {
                stop(stream, BATON_CANCELLED, "the stream was finished before the server ended it");
                return;
        }
        if (stream->inner.call.method->flags & BATON_CLIENT_STREAMING)
                half_close(stream);
        pump_wait(stream->pump, stream, ended_once, stream);
}

/* Once it has ended. */
static void take_outcome(baton_stream *stream)
{
        stream->status = reply_status(stream->outcome, &stream->inner.call, &stream->reply);
        stream->known_status = true;
        if (stream->observed)
                client_observed(stream->observed, &stream->status, &stream->inner.call);
}

baton_status baton_stream_finish(baton_stream *stream, const ProtobufCMessage **reply)
{
        if (reply)
                *reply = NULL;
        if (!stream)
                return (baton_status){ .code = BATON_INVALID_ARGUMENT,
                                       .message = "baton_stream_finish: the stream is NULL; did opening it fail?" };
        if (inherited(stream))
                return (baton_status){ .code = BATON_FAILED_PRECONDITION, .message = baton_error() };
        if (!stream->known_status) {
                await_end(stream);
                atomic_store_explicit(&stream->finished, true, memory_order_relaxed);
                take_outcome(stream);
        }
        if (reply)
                *reply = stream->reply;
        return stream->status;
}

bool baton_stream_ended(const baton_stream *stream)
{
        return !stream || stream_has_ended(stream);
}

void baton_stream_cancel(baton_stream *stream)
{
        if (!stream || stream_has_ended(stream) || inherited(stream))
                return;
        if (stream->pump && pump_try_enter(stream->pump)) { /* nobody turns the loop just now */
                stream_on_stop(&stream->stop);
                pump_leave(stream->pump);
        } else {
                stream_post_stop(stream);
        }
}

void baton_stream_close(baton_stream *stream)
{
        static const char text[] = "the stream was closed before the server ended it";
        if (!stream || inherited(stream))
                return;
        if (stream->cancel)
                cancel_watch_remove(stream->cancel, &stream->watch);
        enter(stream);
        stop_waiting(stream, BATON_CANCELLED, text); /* before it can post anything */
        loop_unpost(stream->loop, &stream->stop);
        loop_unpost(stream->loop, &stream->begin);
        if (stream->observed && !stream->known_status) { /* it was not finished */
                stop(stream, BATON_CANCELLED, text);
                take_outcome(stream);
        }
        if (stream->inner.end)
                stream->transport->stream_close(&stream->inner);
        leave(stream);
        stream_free(stream);
}
