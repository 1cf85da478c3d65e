/* Opening streams. */
#include "base/error.h"
#include "base/fork.h"
#include "base/futex.h"
#include "codec/type.h"
#include "core/pumps.h"
#include "core/stream.h"
#include <errno.h>
#include <stdlib.h>

enum { ATTEMPTS = 8 };

static void on_ready(struct client_stream *inner)
{
        stream_tell(container_of(inner, baton_stream, inner));
}

static void on_begin(struct loop_task *task)
{
        stream_tell(container_of(task, baton_stream, begin));
}

static baton_stream *new_stream(baton_channel *channel, baton_loop *loop)
{
        baton_stream *stream = calloc(1, sizeof *stream);
        if (!stream)
                return NULL;
        stream->transport = channel->transport;
        stream->outcome = reply_take(NULL, channel->options.max_message_bytes);
        stream->pump = loop ? NULL : pumps_lease(channel);
        stream->loop = loop ? loop : stream->pump ? stream->pump->loop : NULL;
        if (!stream->outcome || !stream->loop) {
                stream_free(stream);
                return NULL;
        }
        stream->inner.ready = on_ready;
        stream->stop.run = stream_on_stop;
        stream->begin.run = on_begin;
        stream->fork_generation = fork_generation();
        atomic_flag_clear(&stream->stop_posted);
        return stream;
}

void stream_end_early(baton_stream *stream, baton_code code)
{
        stream->inner.call.code = code;
        reply_keep_text(stream->outcome);
        atomic_store_explicit(&stream->inner.ended, true, memory_order_release);
}

/* On a lane, whose lock is held. As stream_open of the transport. */
static int open_on(baton_stream *stream, struct channel_loop *entry)
{
        int error = stream->transport->stream_open(entry->lane, &stream->inner);
        if (error < 0)
                return error;
        uint32_t before = atomic_exchange_explicit(&stream->place, STREAM_THERE, memory_order_acq_rel);
        if (before == STREAM_CLOSES)
                stream->transport->stream_writes_done(&stream->inner);
        return error;
}

/* ---- blocking ---------------------------------------------------------------------------------------------- */

/* 0; 1: it has ended already; or negative: -EAGAIN where there is no room in the ring. */
static int open_once(baton_stream *stream, baton_channel *channel, const struct patience *patience)
{
        struct channel_loop *entry = NULL;
        baton_code code = BATON_OK;
        int error = async_lane(channel, stream->loop, patience, &code, &entry);
        if (error < 0 && code == BATON_OK)
                return error == -EAGAIN ? -EBUSY : error;
        if (error < 0) {
                stream_end_early(stream, code);
                return 1;
        }
        error = open_on(stream, entry);
        async_lane_done(channel);
        if (error == -EAGAIN && patience_over(patience, "waiting for room to open a stream", &code)) {
                stream_end_early(stream, code);
                return 1;
        }
        return error;
}

/* Once the ring was full there is no bell for room, so the loop is turned, for at most a millisecond each time. */
static int open_blocking(baton_stream *stream, baton_channel *channel, const struct patience *patience)
{
        struct pump *pump = stream->pump;
        for (int n_left = 0;;) {
                int error = open_once(stream, channel, patience);
                if (error == -ESHUTDOWN && n_left++ < ATTEMPTS) /* the lane was just being left: on a new one */
                        continue;
                if (error != -EAGAIN)
                        return error;
                pump_enter(pump);
                baton_loop_wait(pump->loop, 1);
                pump_leave(pump);
        }
}

/* ---- asynchronous ------------------------------------------------------------------------------------------ */

/* On a lane that it has waited for. */
static int go(struct waiter *waiter, struct channel_loop *entry, baton_code code)
{
        baton_stream *stream = container_of(waiter, baton_stream, waiter);
        int error = 0;
        if (entry) {
                kept_lend(&stream->kept, &stream->inner.call);
                error = open_on(stream, entry);
                if (error == -EAGAIN || error == -ESHUTDOWN)
                        return error;
        }
        if (!entry || error < 0)
                stream_end_early(stream, entry ? kept_code(error) : code);
        kept_drop(&stream->kept);
        loop_post(stream->loop, &stream->begin);
        return 0;
}

/* There is no lane: opens it when there is one. 0; 1: it has ended already; or negative. */
static int open_later(baton_stream *stream, baton_channel *channel, const struct patience *patience)
{
        uint64_t due_ns;
        baton_code code;
        int error = kept_take(&stream->kept, &stream->inner.call, channel->options.max_metadata_bytes);
        if (error < 0)
                return error;
        if (channel_admit(channel, patience->wait_for_ready, &code, &due_ns) < 0) {
                stream_end_early(stream, code);
                return 1;
        }
        stream->waiter = (struct waiter){ .go = go, .patience = *patience };
        pthread_mutex_lock(&channel->lanes_lock);
        error = connector_join(channel, stream->loop, &stream->waiter, due_ns);
        pthread_mutex_unlock(&channel->lanes_lock);
        return error;
}

static int open_async(baton_stream *stream, baton_channel *channel, const struct patience *patience)
{
        struct channel_loop *entry;
        int there = async_lane_now(channel, stream->loop, &entry);
        if (there < 0)
                return there;
        int error = there ? open_on(stream, entry) : -ESHUTDOWN;
        if (there)
                async_lane_done(channel);
        return error == -ESHUTDOWN ? open_later(stream, channel, patience) : error;
}

/* ---- both -------------------------------------------------------------------------------------------------- */

/* Also where nobody turns a blocking stream's loop just now. */
static void on_cancel(struct cancel_watch *watch)
{
        baton_stream_cancel(container_of(watch, baton_stream, watch));
}

static void begin_watch(baton_stream *stream, baton_cancel *cancel)
{
        stream->watch.fire = on_cancel;
        stream->cancel = cancel;
        if (cancel_watch_add(cancel, &stream->watch) >= 0)
                return;
        stream->cancel = NULL;
        baton_stream_cancel(stream);
}

/* From here on the loop's thread may tell the user of it, who may close it. ended: before it began. */
static void opened(baton_stream *stream, bool ended)
{
        if (stream->pump)
                return;
        if (ended) {
                atomic_store_explicit(&stream->opened, STREAM_OPENED, memory_order_relaxed);
                loop_post(stream->loop, &stream->begin);
        } else if (atomic_exchange_explicit(&stream->opened, STREAM_OPENED, memory_order_acq_rel) == STREAM_AWAITED) {
                futex_wake_all(&stream->opened);
        }
}

static int begin(baton_stream *stream, baton_channel *channel, const struct call_terms *terms)
{
        int error = stream->pump ? open_blocking(stream, channel, &terms->patience)
                                 : open_async(stream, channel, &terms->patience);
        if (error < 0)
                return error;
        if (!error && terms->cancel)
                begin_watch(stream, terms->cancel);
        opened(stream, error > 0);
        return 0;
}

/* The same, watched by the channel's observer. */
static int begin_observed(baton_stream *stream, baton_channel *channel, struct call_terms *terms)
{
        baton_code refused;
        struct client_call *call = &stream->inner.call;
        struct observed *observed = observed_new(channel->observer, terms, call, &refused);
        if (!observed)
                return -ENOMEM;
        stream->observed = observed;
        if (refused) {
                stream_end_early(stream, refused);
                opened(stream, true);
                return 0;
        }
        int error = begin(stream, channel, terms);
        if (error >= 0)
                return 0;
        stream->observed = NULL;
        return observed_abandon(observed, error);
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
                if ((channel->observer ? begin_observed(stream, channel, &terms) : begin(stream, channel, &terms)) <
                    0) {
                        stream_free(stream);
                        stream = NULL;
                }
        }
        call_terms_deinit(&terms);
        return stream;
}
