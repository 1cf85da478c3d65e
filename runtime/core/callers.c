/* Lanes for blocking calls, which threads lease for the length of one. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "core/channel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void callers_init(baton_channel *channel)
{
        pthread_mutex_init(&channel->callers_lock, NULL);
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&channel->caller_free, &monotonic);
        pthread_condattr_destroy(&monotonic);
}

enum { LOOK_AGAIN_NS = 10000000, ATTEMPTS = 8 };

static void drop_lane(baton_channel *channel, struct caller *caller)
{
        /* A server that drains still takes what is on its way. */
        if (atomic_load_explicit(&caller->unflushed, memory_order_relaxed) && caller->lane) {
                if (channel->transport->state(caller->connection) == CONNECTION_DOWN)
                        atomic_store_explicit(&caller->lost, true, memory_order_relaxed);
                atomic_store_explicit(&caller->unflushed, false, memory_order_relaxed);
        }
        if (caller->lane)
                channel->transport->lane_close(caller->lane);
        if (caller->connection)
                channel->transport->unref(caller->connection);
        caller->lane = NULL;
        caller->connection = NULL;
}

void callers_deinit(baton_channel *channel)
{
        for (uint32_t i = 0; i < atomic_load(&channel->n_callers); i++) {
                /* acquire pairs with the release in channel_give_back, as in try_lease */
                (void)atomic_load_explicit(&channel->callers[i]->leased, memory_order_acquire);
                drop_lane(channel, channel->callers[i]);
                reply_home_leave(channel->callers[i]->home);
                free(channel->callers[i]);
        }
        pthread_cond_destroy(&channel->caller_free);
        pthread_mutex_destroy(&channel->callers_lock);
}

void callers_drop_idle(baton_channel *channel)
{
        for (uint32_t i = 0; i < atomic_load_explicit(&channel->n_callers, memory_order_acquire); i++) {
                struct caller *caller = channel->callers[i];
                if (atomic_exchange_explicit(&caller->leased, true, memory_order_acquire))
                        continue;
                if (caller->connection && channel->transport->state(caller->connection) != CONNECTION_UP)
                        drop_lane(channel, caller);
                channel_give_back(channel, caller);
        }
}

/* ---- leasing ---------------------------------------------------------------------------------------------- */

/* Threads start looking at different callers, so that each tends to keep one. */
static uint32_t first_choice(void)
{
        static atomic_uint n_threads;
        static _Thread_local uint32_t mine;
        if (!mine)
                mine = atomic_fetch_add_explicit(&n_threads, 1, memory_order_relaxed) + 1;
        return mine - 1;
}

static bool try_this(struct caller *caller)
{
        /* acquire pairs with the release in channel_give_back: what the last holder did to the lane is seen. */
        return !atomic_load_explicit(&caller->leased, memory_order_relaxed) &&
               !atomic_exchange_explicit(&caller->leased, true, memory_order_acquire);
}

static struct caller *try_lease(baton_channel *channel)
{
        uint32_t n = atomic_load_explicit(&channel->n_callers, memory_order_acquire); /* pairs with add_caller */
        for (uint32_t i = 0, at = n ? first_choice() % n : 0; i < n; i++, at = at + 1 < n ? at + 1 : 0) {
                if (try_this(channel->callers[at]))
                        return channel->callers[at];
        }
        return NULL;
}

/* A new caller, leased; NULL when there may be no more or memory is short. The lock is held. */
static struct caller *add_caller(baton_channel *channel)
{
        uint32_t n = atomic_load_explicit(&channel->n_callers, memory_order_acquire);
        if (n == CALLERS)
                return NULL;
        struct caller *caller = aligned_alloc(64, sizeof *caller);
        if (!caller)
                return NULL;
        memset(caller, 0, sizeof *caller);
        caller->home = reply_home_new();
        if (!caller->home) {
                free(caller);
                return NULL;
        }
        atomic_store_explicit(&caller->leased, true, memory_order_relaxed);
        channel->callers[n] = caller;
        atomic_store_explicit(&channel->n_callers, n + 1, memory_order_release);
        return caller;
}

/* Waits for a caller to be given back, a while; the lock is held. Bounded: one may be given back between the look and the wait. */
static void await_one(baton_channel *channel, uint64_t deadline_ns)
{
        struct timespec until = clock_timespec(deadline_earlier(deadline_ns, clock_now_ns() + LOOK_AGAIN_NS));
        pthread_cond_timedwait(&channel->caller_free, &channel->callers_lock, &until);
}

static struct caller *await_caller(baton_channel *channel, const struct patience *patience, const char *why,
                                   baton_code *code)
{
        struct caller *caller;
        atomic_fetch_add(&channel->waiting, 1);
        while (!(caller = try_lease(channel)) && !patience_over(patience, why, code))
                await_one(channel, patience->deadline_ns);
        atomic_fetch_sub(&channel->waiting, 1);
        return caller;
}

bool channel_lease_this(baton_channel *channel, struct caller *caller, uint64_t deadline_ns)
{
        bool leased = try_this(caller);
        if (leased)
                return true;
        pthread_mutex_lock(&channel->callers_lock);
        atomic_fetch_add(&channel->waiting, 1);
        while (!(leased = try_this(caller)) && !deadline_passed(deadline_ns))
                await_one(channel, deadline_ns);
        atomic_fetch_sub(&channel->waiting, 1);
        pthread_mutex_unlock(&channel->callers_lock);
        return leased;
}

static struct caller *lease_slowly(baton_channel *channel, const struct patience *patience, baton_code *code)
{
        static const char why[] = "while calls of as many other threads were in progress as a channel can make";
        pthread_mutex_lock(&channel->callers_lock);
        struct caller *caller = add_caller(channel);
        bool some = atomic_load(&channel->n_callers);
        if (!caller && some)
                caller = await_caller(channel, patience, why, code);
        pthread_mutex_unlock(&channel->callers_lock);
        if (!caller && !some) {
                *code = BATON_RESOURCE_EXHAUSTED;
                error_set(-ENOMEM, "%s: out of memory", patience->who);
        }
        return caller;
}

struct caller *channel_lease(baton_channel *channel, const struct patience *patience, baton_code *code)
{
        struct caller *caller = try_lease(channel);
        return caller ? caller : lease_slowly(channel, patience, code);
}

void channel_give_back(baton_channel *channel, struct caller *caller)
{
        atomic_store_explicit(&caller->leased, false, memory_order_release);
        if (atomic_load_explicit(&channel->waiting, memory_order_relaxed))
                pthread_cond_signal(&channel->caller_free);
}

static int open_lane(baton_channel *channel, struct caller *caller, const struct patience *patience, baton_code *code)
{
        const struct transport *transport = channel->transport;
        drop_lane(channel, caller);
        int error = channel_connect(channel, patience, code, &caller->connection);
        if (error < 0)
                return error;
        error = transport->lane_open(caller->connection, channel_attempt_end(channel, patience->deadline_ns),
                                     &caller->lane);
        if (error < 0) {
                *code = deadline_passed(patience->deadline_ns) ? BATON_DEADLINE_EXCEEDED : BATON_UNAVAILABLE;
                caller->lane = NULL;
        }
        return error;
}

int channel_ready(baton_channel *channel, struct caller *caller, const struct patience *patience, baton_code *code)
{
        if (caller->lane && channel->transport->state(caller->connection) == CONNECTION_UP)
                return 0;
        int error = -ESHUTDOWN;
        for (int i = 0; i < ATTEMPTS && error == -ESHUTDOWN; i++)
                error = open_lane(channel, caller, patience, code);
        return error;
}
