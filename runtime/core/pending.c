/* Asynchronous calls that can be cancelled, are made again, or wait for a server. */
#define _GNU_SOURCE
#include "core/pending.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "codec/check.h"
#include "core/cancel.h"
#include "core/retry.h"
#include "transport/metadata.h"
#include <errno.h>
#include <stdlib.h>

enum {
        FULL_PAUSE_NS = 1000000, /* until a ring that was full is tried again */
};

struct pending {
        struct reply_box *box;
        struct patience patience;
        baton_cancel *cancel;
        struct cancel_watch watch;
        bool watched;
        struct loop_task cancelled; /* tells the loop */
        bool over;                  /* cancelled: not made again */

        struct channel_loop *entry;    /* the call is in flight there; NULL: it is not */
        ProtobufCMessage *request;     /* a copy; NULL: the call is not made again */
        struct metadata_list metadata; /* likewise */
        bool known;                    /* the two above, and the watch, are set */
        uint32_t attempts;
        struct loop_timer timer; /* the next attempt */
        struct list link;        /* in the channel's list, while it waits for that; alone otherwise */
};

/* ---- life -------------------------------------------------------------------------------------------------- */

bool pending_needed(const baton_channel *channel, const struct call_terms *terms)
{
        return terms->cancel || terms->patience.wait_for_ready || retry_on(channel);
}

static void on_timer(struct loop_timer *timer);
static void on_cancelled(struct loop_task *task);
static void fire(struct cancel_watch *watch);

struct pending *pending_new(struct reply_box *box, const struct call_terms *terms)
{
        struct pending *pending = calloc(1, sizeof *pending);
        if (!pending)
                return NULL;
        pending->box = box;
        pending->patience = terms->patience;
        pending->cancel = terms->cancel;
        pending->watch.fire = fire;
        pending->cancelled.run = on_cancelled;
        pending->timer.fire = on_timer;
        list_init(&pending->link);
        return pending;
}

static void forget_request(struct pending *pending)
{
        if (pending->request)
                protobuf_c_message_free_unpacked(pending->request, NULL);
        metadata_list_deinit(&pending->metadata);
        pending->request = NULL;
}

void pending_free(struct pending *pending)
{
        if (pending->watched)
                cancel_watch_remove(pending->cancel, &pending->watch);
        loop_unpost(pending->box->loop, &pending->cancelled);
        forget_request(pending);
        free(pending);
}

/* ---- keeping the request ------------------------------------------------------------------------------------ */

static ProtobufCMessage *copy(const ProtobufCMessage *message)
{
        size_t size = protobuf_c_message_get_packed_size(message);
        uint8_t *bytes = malloc(size ? size : 1);
        if (!bytes)
                return NULL;
        protobuf_c_message_pack(message, bytes);
        ProtobufCMessage *same = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
        free(bytes);
        return same;
}

/* Where memory is short the call is made once, as one without retries. */
static void keep_request(struct pending *pending)
{
        const baton_channel *channel = pending->box->channel;
        struct client_call *call = &pending->box->call;
        struct check check;
        if (!message_check(call->method->input->descriptor, call->request, &check))
                pending->request = copy(call->request);
        if (pending->request &&
            metadata_list_add_all(&pending->metadata, call->metadata, channel->options.max_metadata_bytes, true) < 0)
                forget_request(pending);
}

void pending_started(struct pending *pending, struct channel_loop *entry)
{
        baton_channel *channel = pending->box->channel;
        pending->entry = entry;
        pending->attempts++;
        if (pending->known)
                return;
        pending->known = true;
        if (retry_on(channel) || (!entry && pending->patience.wait_for_ready))
                keep_request(pending);
        if (pending->cancel)
                pending->watched = cancel_watch_add(pending->cancel, &pending->watch) == 0;
        if (pending->cancel && !pending->watched)
                loop_post(pending->box->loop, &pending->cancelled);
}

/* ---- cancelling --------------------------------------------------------------------------------------------- */

/* On the thread that cancels. */
static void fire(struct cancel_watch *watch)
{
        struct pending *pending = container_of(watch, struct pending, watch);
        loop_post(pending->box->loop, &pending->cancelled);
}

/* Waits for the thread that started the call. Whether the channel is being closed. */
static bool let_start_finish(baton_channel *channel)
{
        pthread_mutex_lock(&channel->lanes_lock);
        bool closing = channel->closing;
        pthread_mutex_unlock(&channel->lanes_lock);
        return closing;
}

/* Takes it off the list; false: it was not there. */
static bool stop_waiting(struct pending *pending)
{
        baton_channel *channel = pending->box->channel;
        pthread_mutex_lock(&channel->lanes_lock);
        bool waits = !list_empty(&pending->link);
        list_remove(&pending->link);
        pthread_mutex_unlock(&channel->lanes_lock);
        if (waits)
                loop_timer_set(pending->box->loop, &pending->timer, 0);
        return waits;
}

static void end(struct pending *pending, baton_code code, bool maybe_executed)
{
        struct client_call *call = &pending->box->call;
        pending->over = true;
        pending->box->reply.text = NULL; /* it is in baton_error() */
        call->message = NULL;
        call->code = code;
        call->maybe_executed = maybe_executed;
        call->done(call);
}

static void on_cancelled(struct loop_task *task)
{
        struct pending *pending = container_of(task, struct pending, cancelled);
        struct reply_box *box = pending->box;
        let_start_finish(box->channel);
        bool waited = stop_waiting(pending);
        struct async_lane *lane = pending->entry ? pending->entry->lane : NULL;
        pending->over = true;
        if (!waited && !(lane && box->channel->transport->async_cancel(lane, &box->call)))
                return; /* its outcome is on its way */
        error_set(-ECANCELED, "%s: the call was cancelled", box->call.method->path);
        end(pending, BATON_CANCELLED, !waited || box->call.maybe_executed);
}

/* ---- the next attempt --------------------------------------------------------------------------------------- */

static void wait_until(struct pending *pending, uint64_t at_ns)
{
        baton_channel *channel = pending->box->channel;
        pthread_mutex_lock(&channel->lanes_lock);
        list_append(&channel->waiting_calls, &pending->link);
        pthread_mutex_unlock(&channel->lanes_lock);
        loop_timer_set(pending->box->loop, &pending->timer, deadline_earlier(at_ns, pending->patience.deadline_ns));
}

/* When the call is to be made again; 0: not at all. */
static uint64_t next_attempt(struct pending *pending)
{
        baton_channel *channel = pending->box->channel;
        const struct client_call *call = &pending->box->call;
        uint64_t at_ns = 0;
        if (pending->patience.wait_for_ready && !pending->entry && call->code == BATON_UNAVAILABLE) {
                pending->attempts--; /* it was none */
                return channel_next_attempt(channel);
        }
        return retry_on(channel) && retry_due(channel, call, pending->attempts, &at_ns) ? at_ns : 0;
}

bool pending_again(struct pending *pending)
{
        baton_channel *channel = pending->box->channel;
        bool closing = let_start_finish(channel);
        uint64_t at_ns = 0;
        if (!closing && !pending->over && pending->request)
                at_ns = next_attempt(pending);
        pending->entry = NULL;
        if (!at_ns)
                return false;
        wait_until(pending, at_ns);
        return true;
}

static void on_timer(struct loop_timer *timer)
{
        struct pending *pending = container_of(timer, struct pending, timer);
        struct reply_box *box = pending->box;
        baton_code code;
        stop_waiting(pending);
        if (patience_over(&pending->patience, "while the call waited for its next attempt", &code)) {
                end(pending, code, box->call.maybe_executed);
                return;
        }
        arena_reset(&box->reply.arena);
        box->reply.text = NULL;
        box->reply.headers.n = box->reply.trailers.n = 0;
        box->call.request = pending->request;
        box->call.metadata = &pending->metadata.metadata;
        int started = async_start(box, &pending->patience);
        if (started == -EAGAIN)
                wait_until(pending, clock_now_ns() + FULL_PAUSE_NS);
        else if (started < 0)
                end(pending, BATON_INTERNAL, box->call.maybe_executed);
        else if (started > 0)
                box->call.done(&box->call);
}

void pending_close_all(baton_channel *channel)
{
        struct list *first;
        while ((first = async_take_first(channel, &channel->waiting_calls))) {
                struct pending *pending = container_of(first, struct pending, link);
                loop_timer_set(pending->box->loop, &pending->timer, 0);
                error_set(-ECANCELED, "%s: the channel was closed", pending->box->call.method->path);
                end(pending, BATON_CANCELLED, pending->box->call.maybe_executed);
        }
}
