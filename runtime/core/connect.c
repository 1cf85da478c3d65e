/* Connecting, what a channel knows of its server, and the payload memory that lives as long as a connection. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "core/channel.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What to do within the pause after a failed attempt. */
enum patience {
        FAIL_FAST,
        WAIT,
        TRY_NOW,
};

/* Calls wait out a pause of this length, as a server that restarts is back that soon; within a longer one they fail at once. */
static const uint64_t short_pause_ns = 10000000;

/* ---- state; the lock is held ------------------------------------------------------------------------------- */

/* Lets go of the lock while the user is told. */
static void announce(baton_channel *channel, baton_channel_state state)
{
        if (atomic_load_explicit(&channel->state, memory_order_relaxed) == state)
                return;
        atomic_store_explicit(&channel->state, state, memory_order_relaxed);
        pthread_cond_broadcast(&channel->changed);
        if (!channel->options.state_changed)
                return;
        char error[sizeof channel->backoff.text]; /* the callback may fail at something */
        snprintf(error, sizeof error, "%s", baton_error());
        pthread_mutex_unlock(&channel->lock);
        channel->options.state_changed(channel, state, channel->options.state_context);
        pthread_mutex_lock(&channel->lock);
        error_set(0, "%s", error);
}

static bool is_up(const baton_channel *channel)
{
        return channel->source && channel->transport->state(channel->source->connection) == CONNECTION_UP;
}

/* The server is gone, or drains. On a thread of the transport's. */
static void leaving(struct client_sink *sink, struct connection *connection)
{
        baton_channel *channel = container_of(sink, baton_channel, sink);
        pthread_mutex_lock(&channel->lock);
        if (channel->source && channel->source->connection == connection &&
            atomic_load_explicit(&channel->state, memory_order_relaxed) == BATON_READY)
                announce(channel, BATON_IDLE);
        pthread_mutex_unlock(&channel->lock);
        callers_drop_idle(channel);
}

static baton_channel_state state_now(const baton_channel *channel)
{
        baton_channel_state state = (baton_channel_state)atomic_load_explicit(&channel->state, memory_order_relaxed);
        return state == BATON_READY && !is_up(channel) ? BATON_IDLE : state;
}

/* Waits for a change; false: until_ns (0: none) has come. */
static bool await_change(baton_channel *channel, uint64_t until_ns)
{
        struct timespec until = clock_timespec(until_ns);
        if (until_ns)
                return pthread_cond_timedwait(&channel->changed, &channel->lock, &until) == 0;
        return pthread_cond_wait(&channel->changed, &channel->lock) == 0;
}

/* ---- sources ----------------------------------------------------------------------------------------------- */

/* The connections that nobody needs any more go to `stale`; the lock is held. */
static void retire(baton_channel *channel, struct list *stale)
{
        if (channel->source)
                list_append(&channel->past, &channel->source->link);
        channel->source = NULL;
        for (struct list *at = channel->past.next, *next; at != &channel->past; at = next) {
                struct source *source = container_of(at, struct source, link);
                next = at->next;
                if (source->n_blocks || channel->transport->state(source->connection) != CONNECTION_DOWN)
                        continue;
                list_remove(at);
                list_append(stale, at);
        }
}

static void free_sources(baton_channel *channel, struct list *sources)
{
        while (!list_empty(sources)) {
                struct source *source = container_of(sources->next, struct source, link);
                list_remove(&source->link);
                channel->transport->hang_up(source->connection); /* the sink is called no longer */
                channel->transport->unref(source->connection);
                free(source);
        }
}

void connect_init(baton_channel *channel)
{
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&channel->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_mutex_init(&channel->lock, NULL);
        list_init(&channel->past);
        channel->sink.leaving = leaving;
}

void connect_close(baton_channel *channel)
{
        pthread_mutex_lock(&channel->lock);
        if (channel->source)
                channel->transport->hang_up(channel->source->connection);
        for (struct list *at = channel->past.next; at != &channel->past; at = at->next)
                channel->transport->hang_up(container_of(at, struct source, link)->connection);
        announce(channel, BATON_SHUTDOWN);
        pthread_mutex_unlock(&channel->lock);
}

void connect_deinit(baton_channel *channel)
{
        if (channel->source)
                list_append(&channel->past, &channel->source->link);
        free_sources(channel, &channel->past);
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
        backoff->until_ns = clock_now_ns() + backoff->pause_ns / 1000 * (800 + random_u64() % 401); /* ± 20 % */
        backoff->error = error;
        backoff->code = code;
        snprintf(backoff->text, sizeof backoff->text, "%s", baton_error());
}

/* The failure of the last attempt, for a call that makes none of its own. */
static int fail_fast(const baton_channel *channel, uint64_t now, baton_code *code)
{
        const struct backoff *backoff = &channel->backoff;
        *code = backoff->code;
        return error_set(backoff->error, "%s; the next attempt to connect is due in %llu ms", backoff->text,
                         (unsigned long long)((backoff->until_ns - now + 999999) / 1000000));
}

static int new_source(baton_channel *channel, uint64_t deadline_ns, struct source **out, baton_code *code)
{
        struct source *source = calloc(1, sizeof *source);
        if (!source) {
                *code = BATON_RESOURCE_EXHAUSTED;
                return error_set(-ENOMEM, "cannot connect to %s: out of memory", channel->address);
        }
        list_init(&source->link);
        int error = channel->transport->connect(channel->address, &channel->options,
                                                channel_attempt_end(channel, deadline_ns), &channel->sink,
                                                &source->connection, code);
        if (error < 0)
                free(source);
        else
                *out = source;
        return error;
}

static int attempt(baton_channel *channel, uint64_t deadline_ns, baton_code *code)
{
        struct source *source = NULL;
        struct list stale;
        list_init(&stale);
        channel->connecting = true;
        announce(channel, BATON_CONNECTING);
        retire(channel, &stale);
        pthread_mutex_unlock(&channel->lock);
        free_sources(channel, &stale);
        callers_drop_idle(channel);
        int error = new_source(channel, deadline_ns, &source, code);
        pthread_mutex_lock(&channel->lock);
        channel->connecting = false;
        channel->source = source;
        pthread_cond_broadcast(&channel->changed);
        if (error >= 0) {
                channel->backoff.pause_ns = channel->backoff.until_ns = 0;
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

static int too_late(const baton_channel *channel, baton_code *code)
{
        *code = BATON_DEADLINE_EXCEEDED;
        return error_set(-ETIMEDOUT, "the deadline passed while connecting to %s%s%s", channel->address,
                         channel->backoff.until_ns ? ": " : "", channel->backoff.until_ns ? channel->backoff.text : "");
}

/* Sees to it that there is a source, which was just up. */
static int ready(baton_channel *channel, uint64_t deadline_ns, enum patience patience, baton_code *code)
{
        for (;;) {
                uint64_t now = clock_now_ns();
                int error = 0;
                if (is_up(channel))
                        return 0;
                if (channel->connecting) {
                        await_change(channel, deadline_ns);
                } else if (now >= channel->backoff.until_ns || patience == TRY_NOW) {
                        error = attempt(channel, deadline_ns, code);
                        if (error >= 0 && channel->source)
                                return 0;
                } else if (channel->backoff.pause_ns <= short_pause_ns ||
                           (patience == WAIT && channel->backoff.code == BATON_UNAVAILABLE)) {
                        await_change(channel, deadline_earlier(channel->backoff.until_ns, deadline_ns));
                } else {
                        return fail_fast(channel, now, code);
                }
                if (error < 0 && (patience != WAIT || *code != BATON_UNAVAILABLE))
                        return error;
                if (deadline_passed(deadline_ns))
                        return is_up(channel) ? 0 : too_late(channel, code);
        }
}

int channel_connect(baton_channel *channel, uint64_t deadline_ns, bool wait_for_ready, baton_code *code,
                    struct connection **connection)
{
        pthread_mutex_lock(&channel->lock);
        int error = ready(channel, deadline_ns, wait_for_ready ? WAIT : FAIL_FAST, code);
        if (error >= 0)
                *connection = channel->transport->ref(channel->source->connection);
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
                if (ready(channel, 0, TRY_NOW, &code) >= 0)
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
        while ((state = state_now(channel)) == last && await_change(channel, until)) {
        }
        pthread_mutex_unlock(&channel->lock);
        return state;
}

/* ---- payload memory ---------------------------------------------------------------------------------------- */

void *baton_channel_alloc(baton_channel *channel, size_t size)
{
        baton_code code;
        void *memory = NULL;
        if (!channel) {
                error_set(-EINVAL, "baton_channel_alloc: the channel is NULL");
                return NULL;
        }
        if (!channel_usable(channel))
                return NULL;
        pthread_mutex_lock(&channel->lock);
        if (ready(channel, 0, FAIL_FAST, &code) >= 0)
                memory = channel->transport->alloc(channel->source->connection, size);
        if (memory)
                channel->source->n_blocks++;
        pthread_mutex_unlock(&channel->lock);
        return memory;
}

/* Frees the block where it belongs to this source. */
static bool free_from(baton_channel *channel, struct source *source, void *memory)
{
        bool freed = channel->transport->free(source->connection, memory);
        source->n_blocks -= freed;
        return freed;
}

void baton_channel_free(baton_channel *channel, void *memory)
{
        if (!channel || !memory || !channel_usable(channel))
                return;
        pthread_mutex_lock(&channel->lock);
        bool freed = channel->source && free_from(channel, channel->source, memory);
        struct list stale;
        list_init(&stale);
        for (struct list *at = channel->past.next; !freed && at != &channel->past; at = at->next) {
                struct source *source = container_of(at, struct source, link);
                freed = free_from(channel, source, memory);
                if (!freed || source->n_blocks || channel->transport->state(source->connection) != CONNECTION_DOWN)
                        continue;
                list_remove(at);
                list_append(&stale, at);
                break;
        }
        pthread_mutex_unlock(&channel->lock);
        free_sources(channel, &stale);
        if (!freed)
                log_line(BATON_LOG_ERROR,
                         "baton_channel_free: %p is no memory of the channel to %s, or was freed before", memory,
                         channel->address);
}
