/* Asynchronous calls that can be cancelled, are made again, or wait for a connection. */
#define _GNU_SOURCE
#include "core/pending.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "core/cancel.h"
#include "core/connector.h"
#include "core/kept.h"
#include "core/retry.h"
#include <errno.h>
#include <stdlib.h>

enum {
        FULL_PAUSE_NS = 1000000, /* until a call that found too many waiting is tried again */
};

struct pending {
        struct reply_box *box;
        struct patience patience;
        baton_cancel *cancel;
        struct cancel_watch watch;
        bool watched;
        struct loop_task cancelled; /* tells the loop */
        bool over;                  /* cancelled: not made again */

        struct channel_loop *entry; /* the call is in flight there; NULL: it is not */
        struct waiter waiter;       /* for a lane */
        struct kept kept;           /* nothing: the call is not made again */
        bool made;                  /* the watch is set */
        uint32_t attempts;
        struct loop_timer timer; /* the next attempt */
        struct list link;        /* in the channel's list, while it waits for that; alone otherwise */
};

/* ---- life -------------------------------------------------------------------------------------------------- */

bool pending_needed(const baton_channel *channel, const struct call_terms *terms)
{
        return terms->cancel || retry_on(channel);
}

static void on_timer(struct loop_timer *timer);
static void on_cancelled(struct loop_task *task);
static void fire(struct cancel_watch *watch);
static int go(struct waiter *waiter, struct channel_loop *entry, baton_code code);

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
        pending->waiter = (struct waiter){ .go = go, .patience = terms->patience };
        list_init(&pending->link);
        return pending;
}

void pending_free(struct pending *pending)
{
        if (pending->watched)
                cancel_watch_remove(pending->cancel, &pending->watch);
        loop_unpost(pending->box->loop, &pending->cancelled);
        kept_drop(&pending->kept);
        free(pending);
}

/* ---- starting; the lock is held ----------------------------------------------------------------------------- */

/* What is to be done once, when it is certain that the call is made. */
static void note_made(struct pending *pending)
{
        if (pending->made)
                return;
        pending->made = true;
        if (pending->cancel)
                pending->watched = cancel_watch_add(pending->cancel, &pending->watch) == 0;
        if (pending->cancel && !pending->watched)
                loop_post(pending->box->loop, &pending->cancelled);
}

/* Where memory is short the call is made once, as one without retries. */
static void keep_for_retries(struct pending *pending)
{
        const baton_channel *channel = pending->box->channel;
        if (!pending->kept.there && retry_on(channel))
                kept_take(&pending->kept, &pending->box->call, channel->options.max_metadata_bytes);
}

int async_start(struct reply_box *box, struct channel_loop *entry)
{
        const struct client_call *call = &box->call;
        /* Without it the call is not looked at once it is started: its outcome waits for nobody. With it, for the lock. */
        struct pending *pending = box->pending;
        int started = box->channel->transport->async_start(entry->lane, &box->call);
        if (started == 1 && call->code == BATON_UNAVAILABLE && !call->maybe_executed) {
                box->reply.text = NULL;
                return -ESHUTDOWN; /* the server has just gone, maybe to come back: that is no failure of this call */
        }
        if (started < 0 || !pending)
                return started;
        pending->entry = started ? NULL : entry;
        pending->attempts++;
        keep_for_retries(pending);
        note_made(pending);
        return started;
}

static void set_outcome(struct client_call *call, baton_code code)
{
        call->message = NULL;
        call->code = code; /* maybe_executed: as the attempt before has it */
}

/* On a lane that it has waited for. */
static int go(struct waiter *waiter, struct channel_loop *entry, baton_code code)
{
        struct pending *pending = container_of(waiter, struct pending, waiter);
        struct reply_box *box = pending->box;
        int started = 1;
        if (entry) {
                kept_lend(&pending->kept, &box->call);
                started = async_start(box, entry);
                if (started == -EAGAIN || started == -ESHUTDOWN)
                        return started;
        }
        if (!entry || started < 0) {
                set_outcome(&box->call, entry ? kept_code(started) : code);
                pending->attempts++;
        }
        if (started)
                async_end_early(box);
        if (!retry_on(box->channel))
                kept_drop(&pending->kept);
        return 0;
}

int pending_wait(struct pending *pending)
{
        struct reply_box *box = pending->box;
        baton_channel *channel = box->channel;
        uint64_t due_ns;
        baton_code code;
        int error = 0;
        if (!pending->kept.there)
                error = kept_take(&pending->kept, &box->call, channel->options.max_metadata_bytes);
        if (error < 0)
                return error;
        bool admitted = channel_admit(channel, pending->patience.wait_for_ready, &code, &due_ns) >= 0;
        pthread_mutex_lock(&channel->lanes_lock);
        if (admitted)
                error = connector_join(channel, box->loop, &pending->waiter, due_ns);
        if (error >= 0)
                note_made(pending);
        pthread_mutex_unlock(&channel->lanes_lock);
        if (admitted)
                return error;
        set_outcome(&box->call, code);
        pending->attempts++;
        return 1;
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
        bool closing = channel_closing(channel);
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
        bool waited = stop_waiting(pending) || waiter_leave(&pending->waiter);
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
        return retry_on(channel) && retry_due(channel, call, pending->attempts, &at_ns) ? at_ns : 0;
}

bool pending_again(struct pending *pending)
{
        baton_channel *channel = pending->box->channel;
        bool closing = let_start_finish(channel);
        uint64_t at_ns = 0;
        if (!closing && !pending->over && pending->kept.there)
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
        int waits = pending_wait(pending); /* also where there is a lane: it is no hurry */
        if (waits == -EAGAIN)
                wait_until(pending, clock_now_ns() + FULL_PAUSE_NS);
        else if (waits < 0)
                end(pending, kept_code(waits), box->call.maybe_executed);
        else if (waits > 0)
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
