/* Connecting, and what a channel knows of its server. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "core/connector.h"
#include "core/pumps.h"
#include "core/retry.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What to do within the pause after a failed attempt. */
enum in_pause {
        FAIL_FAST,
        WAIT,
        TRY_NOW,
};

enum { LOOK_AGAIN_NS = 10000000 }; /* for what nobody tells: a cancellation, the server's death */
enum { CONNECTED_IN_VAIN = 3 };

/* Calls wait out a pause of this length, as a server that restarts is back that soon; within a longer one they fail at once. */
static const uint64_t short_pause_ns = 10000000;

/* ---- state; the lock is held ------------------------------------------------------------------------------- */

/* Tells the user of the changes in their order, on one thread at a time; lets go of the lock meanwhile. */
static void tell(baton_channel *channel)
{
        char error[sizeof channel->backoff.text]; /* the callback may fail at something */
        snprintf(error, sizeof error, "%s", baton_error());
        channel->telling = true;
        while (channel->n_untold) {
                baton_channel_state state = channel->untold[0];
                memmove(channel->untold, channel->untold + 1, --channel->n_untold * sizeof *channel->untold);
                pthread_mutex_unlock(&channel->lock);
                channel->options.state_changed(channel, state, channel->options.state_context);
                pthread_mutex_lock(&channel->lock);
        }
        channel->telling = false;
        error_set(0, "%s", error);
}

static void announce(baton_channel *channel, baton_channel_state state)
{
        if (channel->state == state)
                return;
        channel->state = state;
        pthread_cond_broadcast(&channel->changed);
        if (!channel->options.state_changed)
                return;
        if (channel->n_untold == UNTOLD) /* the callback is slow: what came between is of no use any more */
                channel->n_untold--;
        channel->untold[channel->n_untold++] = state;
        if (!channel->telling)
                tell(channel);
}

static bool is_up(const baton_channel *channel)
{
        return channel->newest && channel->transport->state(channel->newest) == CONNECTION_UP;
}

/* Blocking streams have something to send, and nobody waits in them. On a thread of the transport's. */
static void turn(struct client_sink *sink)
{
        pumps_dispatch(container_of(sink, baton_channel, sink));
}

/* The server is gone, or drains. On a thread of the transport's. */
static void leaving(struct client_sink *sink, struct connection *connection)
{
        baton_channel *channel = container_of(sink, baton_channel, sink);
        pthread_mutex_lock(&channel->lock);
        if (channel->newest == connection && channel->state == BATON_READY)
                announce(channel, BATON_IDLE);
        pthread_mutex_unlock(&channel->lock);
        callers_drop_idle(channel);
        pumps_dispatch(channel);
}

static baton_channel_state state_now(const baton_channel *channel)
{
        return channel->state == BATON_READY && !is_up(channel) ? BATON_IDLE : channel->state;
}

/* Waits for a change, or until_ns (0: none). */
static void await_change(baton_channel *channel, uint64_t until_ns)
{
        struct timespec until = clock_timespec(until_ns);
        if (until_ns)
                pthread_cond_timedwait(&channel->changed, &channel->lock, &until);
        else
                pthread_cond_wait(&channel->changed, &channel->lock);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

void connect_init(baton_channel *channel)
{
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&channel->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_mutex_init(&channel->lock, NULL);
        channel->sink.leaving = leaving;
        channel->sink.turn = turn;
}

void connect_close(baton_channel *channel)
{
        pthread_mutex_lock(&channel->lock);
        announce(channel, BATON_SHUTDOWN);
        pthread_mutex_unlock(&channel->lock);
        sources_hang_up(channel);
}

void connect_deinit(baton_channel *channel)
{
        if (channel->newest)
                channel->transport->unref(channel->newest);
        pthread_cond_destroy(&channel->changed);
        pthread_mutex_destroy(&channel->lock);
}

/* ---- attempts; the lock is held but while one is made ------------------------------------------------------- */

uint64_t channel_attempt_end(const baton_channel *channel, uint64_t deadline_ns)
{
        return deadline_earlier(clock_now_ns() + channel->options.connect_timeout_ms * UINT64_C(1000000), deadline_ns);
}

static void note_failure(baton_channel *channel, int error, baton_code code)
{
        struct backoff *backoff = &channel->backoff;
        uint64_t least = channel->options.backoff_initial_ms * UINT64_C(1000000);
        uint64_t most = channel->options.backoff_max_ms * UINT64_C(1000000);
        uint64_t pause = backoff->pause_ns ? backoff->pause_ns / 10 * 16 : least;
        backoff->pause_ns = pause < most ? pause : most;
        backoff->until_ns = clock_now_ns() + jitter(backoff->pause_ns);
        backoff->error = error;
        backoff->code = code;
        snprintf(backoff->text, sizeof backoff->text, "%s", baton_error());
}

uint64_t channel_next_attempt(baton_channel *channel)
{
        pthread_mutex_lock(&channel->lock);
        uint64_t due_ns = is_up(channel) ? 0 : channel->backoff.until_ns;
        pthread_mutex_unlock(&channel->lock);
        return due_ns;
}

/* Whether a call waits until the pause is over, rather than failing. */
static bool sits_out(const baton_channel *channel, enum in_pause in_pause)
{
        const struct backoff *backoff = &channel->backoff;
        return (in_pause == WAIT && backoff->code == BATON_UNAVAILABLE) || backoff->pause_ns <= short_pause_ns;
}

/* The failure of the last attempt, for a call that makes none of its own. */
static int fail_fast(const baton_channel *channel, uint64_t now, baton_code *code)
{
        const struct backoff *backoff = &channel->backoff;
        *code = backoff->code;
        return error_set(backoff->error, "%s; the next attempt to connect is due in %llu ms", backoff->text,
                         (unsigned long long)((backoff->until_ns - now + 999999) / 1000000));
}

/* Without the lock. */
static struct connection *try_to_connect(baton_channel *channel, uint64_t deadline_ns, int *error, baton_code *code)
{
        struct connection *connection;
        sources_prune(channel);
        callers_drop_idle(channel);
        *error = channel->transport->connect(channel->address, &channel->options,
                                             channel_attempt_end(channel, deadline_ns), &channel->sink, &connection,
                                             code);
        if (*error < 0)
                return NULL;
        *error = sources_add(channel, connection);
        if (*error >= 0)
                return connection;
        *code = BATON_RESOURCE_EXHAUSTED;
        channel->transport->hang_up(connection);
        channel->transport->unref(connection);
        return NULL;
}

static int attempt(baton_channel *channel, uint64_t deadline_ns, baton_code *code)
{
        int error;
        struct connection *last = channel->newest;
        channel->newest = NULL;
        channel->connecting = true;
        announce(channel, BATON_CONNECTING);
        pthread_mutex_unlock(&channel->lock);
        if (last)
                channel->transport->unref(last);
        struct connection *newest = try_to_connect(channel, deadline_ns, &error, code);
        pthread_mutex_lock(&channel->lock);
        channel->connecting = false;
        channel->newest = newest;
        pthread_cond_broadcast(&channel->changed);
        if (error >= 0) {
                channel->n_connected++;
                channel->backoff.pause_ns = channel->backoff.until_ns = 0;
                connectors_wake(channel);
                announce(channel, BATON_READY);
        } else if (deadline_passed(deadline_ns)) { /* which says nothing about the server: others try at once */
                *code = BATON_DEADLINE_EXCEEDED;
                announce(channel, BATON_IDLE);
        } else {
                note_failure(channel, error, *code);
                announce(channel, BATON_TRANSIENT_FAILURE);
        }
        return error;
}

/* Waits for a change, or until_ns (0: none). -EPIPE where the call is over. */
static int await(baton_channel *channel, const struct patience *patience, uint64_t until_ns, baton_code *code)
{
        char doing[sizeof channel->backoff.text + 128];
        const struct backoff *backoff = &channel->backoff;
        until_ns = deadline_earlier(until_ns, patience->deadline_ns);
        if (patience->cancelled)
                until_ns = deadline_earlier(until_ns, clock_now_ns() + LOOK_AGAIN_NS);
        await_change(channel, until_ns);
        snprintf(doing, sizeof doing, "while connecting to %s%s%s", channel->address, backoff->until_ns ? ": " : "",
                 backoff->until_ns ? backoff->text : "");
        return !is_up(channel) && patience_over(patience, doing, code) ? -EPIPE : 0;
}

/* One step towards a connection: 0, or -EPIPE with the reason set and *code. */
static int step(baton_channel *channel, const struct patience *patience, enum in_pause in_pause, baton_code *code)
{
        const struct backoff *backoff = &channel->backoff;
        uint64_t now = clock_now_ns();
        bool pause = now < backoff->until_ns && in_pause != TRY_NOW;
        if (channel->connecting)
                return await(channel, patience, 0, code);
        if (pause && sits_out(channel, in_pause))
                return await(channel, patience, backoff->until_ns, code);
        if (pause)
                return fail_fast(channel, now, code);
        if (patience_over(patience, "before there was a connection", code))
                return -EPIPE;
        int error = attempt(channel, patience->deadline_ns, code);
        return error < 0 && in_pause == WAIT && *code == BATON_UNAVAILABLE ? 0 : error;
}

/* Sees to it that there is a connection, which was just up. */
static int ready(baton_channel *channel, const struct patience *patience, enum in_pause in_pause, baton_code *code)
{
        uint32_t before = channel->n_connected;
        while (!is_up(channel)) {
                int error = step(channel, patience, in_pause, code);
                if (error < 0)
                        return error;
                if (!is_up(channel) && channel->n_connected - before >= CONNECTED_IN_VAIN) {
                        *code = BATON_UNAVAILABLE;
                        return channel_vanished(channel);
                }
        }
        return 0;
}

int channel_vanished(const baton_channel *channel)
{
        return error_set(-EPIPE, "the server at %s went away as soon as it was connected", channel->address);
}

int channel_connect(baton_channel *channel, const struct patience *patience, baton_code *code,
                    struct connection **connection)
{
        pthread_mutex_lock(&channel->lock);
        int error = ready(channel, patience, patience->wait_for_ready ? WAIT : FAIL_FAST, code);
        if (error >= 0)
                *connection = channel->transport->ref(channel->newest);
        pthread_mutex_unlock(&channel->lock);
        return error;
}

int channel_admit(baton_channel *channel, bool wait_for_ready, baton_code *code, uint64_t *due_ns)
{
        int error = 0;
        pthread_mutex_lock(&channel->lock);
        uint64_t now = clock_now_ns();
        bool pause = !channel->connecting && !is_up(channel) && now < channel->backoff.until_ns;
        *due_ns = pause ? channel->backoff.until_ns : 0;
        if (pause && !sits_out(channel, wait_for_ready ? WAIT : FAIL_FAST))
                error = fail_fast(channel, now, code);
        pthread_mutex_unlock(&channel->lock);
        return error;
}

/* ---- interface ---------------------------------------------------------------------------------------------- */

baton_status baton_channel_connect(baton_channel *channel)
{
        baton_code code = BATON_OK;
        if (!channel) {
                error_set(-EINVAL, "baton_channel_connect: the channel is NULL");
                code = BATON_INVALID_ARGUMENT;
        } else if (!channel_usable(channel)) {
                code = BATON_FAILED_PRECONDITION;
        } else {
                pthread_mutex_lock(&channel->lock);
                if (ready(channel, &(struct patience){ 0 }, TRY_NOW, &code) >= 0)
                        code = BATON_OK;
                pthread_mutex_unlock(&channel->lock);
        }
        return (baton_status){ .code = code, .message = code == BATON_OK ? "" : baton_error() };
}

baton_channel_state baton_channel_get_state(const baton_channel *channel)
{
        if (!channel || !channel_usable(channel))
                return BATON_SHUTDOWN;
        pthread_mutex_t *lock = (pthread_mutex_t *)&channel->lock;
        pthread_mutex_lock(lock);
        baton_channel_state state = state_now(channel);
        pthread_mutex_unlock(lock);
        return state;
}

baton_channel_state baton_channel_wait_state(baton_channel *channel, baton_channel_state last, int timeout_ms)
{
        if (!channel || !channel_usable(channel))
                return BATON_SHUTDOWN;
        uint64_t until = timeout_ms < 0 ? 0 : clock_now_ns() + (uint64_t)timeout_ms * 1000000u;
        baton_channel_state state;
        pthread_mutex_lock(&channel->lock);
        while ((state = state_now(channel)) == last && !deadline_passed(until)) {
                uint64_t again = state == BATON_READY ? clock_now_ns() + LOOK_AGAIN_NS : 0;
                await_change(channel, deadline_earlier(until, again));
        }
        pthread_mutex_unlock(&channel->lock);
        return state;
}
