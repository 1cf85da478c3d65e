#define _GNU_SOURCE
#include "core/connector.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        STACK_BYTES = 256 * 1024, /* the user's state_changed runs on it */
        PAUSE_NS = 1000000,       /* until a full ring, or what failed, is tried again */
        IN_VAIN = 8,              /* so many lanes came and went with nothing started on them */
};

struct connector {
        baton_channel *channel;
        baton_loop *loop;
        struct list link;      /* in the channel's list */
        struct loop_task task; /* attends to it, as does the timer */
        bool posted;
        struct loop_timer timer;

        struct list waiters; /* in the order in which they came */
        uint32_t n_waiters;
        struct timers deadlines;

        pthread_t thread;
        bool running;      /* until it is joined */
        bool over;         /* it has made its attempt, with the next three for a result */
        int error;         /* 0: a lane is there */
        baton_code code;   /* what those who do not wait for the server end with */
        char text[512];    /* of the last failure; "": none since the last lane */
        uint64_t pause_ns; /* no attempt before */
        uint32_t in_vain;
};

/* ---- waiters; the lock is held ------------------------------------------------------------------------------ */

static struct waiter *first_waiter(const struct connector *connector)
{
        return list_empty(&connector->waiters) ? NULL : container_of(connector->waiters.next, struct waiter, link);
}

static void take_out(struct waiter *waiter)
{
        struct connector *connector = atomic_load_explicit(&waiter->connector, memory_order_relaxed);
        list_remove(&waiter->link);
        timers_remove(&connector->deadlines, &waiter->due);
        connector->n_waiters--;
        atomic_store_explicit(&waiter->connector, NULL, memory_order_release); /* pairs with waiter_leave */
}

/* On the loop's thread. */
static void end_waiter(struct waiter *waiter, baton_code code)
{
        take_out(waiter);
        waiter->go(waiter, NULL, code);
}

/* Ends those that this failure, whose text is in baton_error(), concerns. */
static void fail(struct connector *connector, baton_code code, bool all)
{
        for (struct list *at = connector->waiters.next; at != &connector->waiters;) {
                struct waiter *waiter = container_of(at, struct waiter, link);
                at = at->next;
                if (all || !waiter->patience.wait_for_ready || code != BATON_UNAVAILABLE)
                        end_waiter(waiter, code);
        }
}

static void expire(struct connector *connector, uint64_t now)
{
        char doing[sizeof connector->text + 128];
        struct timer_node *first;
        baton_code code = BATON_DEADLINE_EXCEEDED;
        while ((first = timers_first(&connector->deadlines)) && first->due_ns <= now) {
                struct waiter *waiter = container_of(first, struct waiter, due);
                snprintf(doing, sizeof doing, "while connecting to %s%s%s", connector->channel->address,
                         *connector->text ? ": " : "", connector->text);
                patience_over(&waiter->patience, doing, &code);
                end_waiter(waiter, code);
        }
}

/* Starts what waits, while there is a lane. When to go on with what found no room; 0: not for that. */
static uint64_t start_waiters(struct connector *connector, uint64_t now)
{
        struct channel_loop *entry;
        struct waiter *waiter;
        while ((waiter = first_waiter(connector)) && (entry = async_lane_find(connector->channel, connector->loop))) {
                int error = waiter->go(waiter, entry, BATON_OK);
                if (error == -EAGAIN)
                        return now + PAUSE_NS;
                if (error < 0)
                        return 0;
                take_out(waiter); /* it is still there: the loop's thread cannot free it without the lock */
                connector->in_vain = 0;
                *connector->text = '\0';
        }
        return 0;
}

/* ---- the thread -------------------------------------------------------------------------------------------- */

static void post(struct connector *connector)
{
        if (connector->posted)
                return;
        connector->posted = true;
        loop_post(connector->loop, &connector->task);
}

static void *run(void *argument)
{
        struct connector *connector = argument;
        baton_channel *channel = connector->channel;
        struct patience patience = { .who = channel->address, .cancelled = &channel->closing };
        struct channel_loop *entry;
        baton_code code;
        int error = async_lane(channel, connector->loop, &patience, &code, &entry);
        if (error < 0)
                pthread_mutex_lock(&channel->lanes_lock);
        connector->error = error;
        connector->code = code == BATON_OK ? BATON_RESOURCE_EXHAUSTED : code; /* a local failure */
        if (error < 0)
                snprintf(connector->text, sizeof connector->text, "%s", baton_error());
        else
                start_waiters(connector, 0);
        connector->over = true;
        post(connector);
        async_lane_done(channel);
        return NULL;
}

/* The rest: the lock is held. */
static int start_thread(struct connector *connector)
{
        int error = thread_start(&connector->thread, STACK_BYTES, run, connector);
        connector->running = !error;
        return error ? error_set(error, "cannot start a thread to connect to %s: %s; see ulimit -u",
                                 connector->channel->address, strerror(-error))
                     : 0;
}

/* The thread has made its attempt: all that it has left to do is to end. */
static void conclude(struct connector *connector)
{
        pthread_join(connector->thread, NULL);
        connector->running = connector->over = false;
        if (connector->error < 0) {
                connector->pause_ns = clock_now_ns() + PAUSE_NS;
                error_set(connector->error, "%s", connector->text);
                fail(connector, connector->code, false);
        } else if (first_waiter(connector) && ++connector->in_vain > IN_VAIN) {
                channel_vanished(connector->channel);
                fail(connector, BATON_UNAVAILABLE, true);
        }
}

/* Makes the next attempt, or says when. */
static uint64_t go_on(struct connector *connector, uint64_t due_ns, uint64_t now)
{
        if (due_ns < connector->pause_ns)
                due_ns = connector->pause_ns;
        if (due_ns > now)
                return due_ns;
        if (start_thread(connector) >= 0)
                return 0;
        fail(connector, BATON_RESOURCE_EXHAUSTED, true);
        return now;
}

/* ---- on the loop's thread ---------------------------------------------------------------------------------- */

static void free_connector(struct connector *connector)
{
        list_remove(&connector->link);
        loop_timer_set(connector->loop, &connector->timer, 0);
        loop_unpost(connector->loop, &connector->task);
        free(connector);
}

static void attend(struct connector *connector)
{
        baton_channel *channel = connector->channel;
        uint64_t due_ns = channel_next_attempt(channel), again_ns; /* takes a lock that comes before ours */
        pthread_mutex_lock(&channel->lanes_lock);
        uint64_t now = clock_now_ns();
        if (connector->over)
                conclude(connector);
        expire(connector, now);
        again_ns = start_waiters(connector, now);
        if (!list_empty(&connector->waiters) && !connector->running && !again_ns)
                again_ns = go_on(connector, due_ns, now);
        const struct timer_node *first = timers_first(&connector->deadlines);
        if (list_empty(&connector->waiters) && !connector->running)
                free_connector(connector);
        else
                loop_timer_set(connector->loop, &connector->timer,
                               deadline_earlier(again_ns, first ? first->due_ns : 0));
        pthread_mutex_unlock(&channel->lanes_lock);
}

static void on_task(struct loop_task *task)
{
        struct connector *connector = container_of(task, struct connector, task);
        pthread_mutex_lock(&connector->channel->lanes_lock);
        connector->posted = false;
        pthread_mutex_unlock(&connector->channel->lanes_lock);
        attend(connector);
}

static void on_timer(struct loop_timer *timer)
{
        attend(container_of(timer, struct connector, timer));
}

/* ---- interface --------------------------------------------------------------------------------------------- */

static struct connector *find(const baton_channel *channel, const baton_loop *loop)
{
        for (struct list *at = channel->connectors.next; at != &channel->connectors; at = at->next) {
                struct connector *connector = container_of(at, struct connector, link);
                if (connector->loop == loop)
                        return connector;
        }
        return NULL;
}

int connector_start_first(baton_channel *channel, baton_loop *loop)
{
        struct connector *connector = find(channel, loop);
        if (!connector)
                return 0;
        start_waiters(connector, 0);
        return first_waiter(connector)
                       ? error_set(-EAGAIN, "calls wait for room to %s already; handle replies first", channel->address)
                       : 0;
}

static struct connector *add(baton_channel *channel, baton_loop *loop)
{
        struct connector *connector = calloc(1, sizeof *connector);
        if (!connector)
                return NULL;
        connector->channel = channel;
        connector->loop = loop;
        connector->task.run = on_task;
        connector->timer.fire = on_timer;
        list_init(&connector->waiters);
        list_append(&channel->connectors, &connector->link);
        return connector;
}

int connector_join(baton_channel *channel, baton_loop *loop, struct waiter *waiter, uint64_t due_ns)
{
        uint64_t now = clock_now_ns();
        if (channel_closing(channel))
                return error_set(-ECANCELED, "the channel to %s is being closed", channel->address);
        struct connector *connector = find(channel, loop);
        if (!connector)
                connector = add(channel, loop);
        if (!connector)
                return error_set(-ENOMEM, "cannot connect to %s: out of memory", channel->address);
        if (connector->n_waiters >= channel->options.max_in_flight)
                return error_set(-EAGAIN,
                                 "%u calls are in flight already, waiting for a connection to %s (max_in_flight); "
                                 "handle replies first",
                                 connector->n_waiters, channel->address);
        atomic_store_explicit(&waiter->connector, connector, memory_order_relaxed);
        list_append(&connector->waiters, &waiter->link);
        connector->n_waiters++;
        if (waiter->patience.deadline_ns)
                timers_insert(&connector->deadlines, &waiter->due, waiter->patience.deadline_ns);
        if (!connector->running && connector->pause_ns <= now && due_ns <= now)
                start_thread(connector); /* if that fails, the loop tries once more, and tells */
        post(connector);
        return 0;
}

bool waiter_leave(struct waiter *waiter)
{
        /* Connectors, and channels that have some, go on this very thread. */
        struct connector *connector = atomic_load_explicit(&waiter->connector, memory_order_acquire);
        if (!connector)
                return false;
        pthread_mutex_t *lock = &connector->channel->lanes_lock;
        pthread_mutex_lock(lock);
        bool waits = atomic_load_explicit(&waiter->connector, memory_order_relaxed);
        if (waits)
                take_out(waiter);
        pthread_mutex_unlock(lock);
        return waits;
}

void waiter_settle(struct waiter *waiter)
{
        struct connector *connector = atomic_load_explicit(&waiter->connector, memory_order_acquire);
        if (!connector)
                return;
        pthread_mutex_lock(&connector->channel->lanes_lock);
        pthread_mutex_unlock(&connector->channel->lanes_lock);
}

void connectors_wake(baton_channel *channel)
{
        pthread_mutex_lock(&channel->lanes_lock);
        for (struct list *at = channel->connectors.next; at != &channel->connectors; at = at->next)
                post(container_of(at, struct connector, link));
        pthread_mutex_unlock(&channel->lanes_lock);
}

/* Joined without the lock, which the thread takes at its end. */
static void stop_thread(struct connector *connector)
{
        if (!connector->running)
                return;
        pthread_mutex_unlock(&connector->channel->lanes_lock);
        pthread_join(connector->thread, NULL);
        pthread_mutex_lock(&connector->channel->lanes_lock);
}

void connectors_close(baton_channel *channel)
{
        pthread_mutex_lock(&channel->lanes_lock);
        while (!list_empty(&channel->connectors)) {
                struct connector *connector = container_of(channel->connectors.next, struct connector, link);
                struct waiter *waiter;
                stop_thread(connector);
                while ((waiter = first_waiter(connector))) {
                        error_set(-ECANCELED, "%s: the channel was closed", waiter->patience.who);
                        end_waiter(waiter, BATON_CANCELLED);
                }
                free_connector(connector);
        }
        pthread_mutex_unlock(&channel->lanes_lock);
}
