/*
 * Connects for asynchronous calls and streams, so that starting one never waits: what needs a lane of its loop, and finds none,
 * waits here while a short-lived thread makes the blocking attempt. What waits is started in the order in which it came: by that
 * thread, as the loop may not be turned just then, and where there was no room, by the loop or whoever starts something next.
 *
 * A connector is made for a loop where something waits, and goes when nothing does, on the loop's thread. The lock of the
 * channel's lanes guards it.
 */
#ifndef CORE_CONNECTOR_H
#define CORE_CONNECTOR_H

#include "base/timers.h"
#include "core/async_lanes.h"

struct connector;

/* What waits for a lane. Zero-initialised but for the first two. */
struct waiter {
        /*
         * There is a lane: start on it. 0; or waits on: -EAGAIN there was no room, -ESHUTDOWN the lane is of no use. entry NULL:
         * the wait is over with this code, for the reason in baton_error(); returns 0. Any thread, with the lock held: runs none
         * of the user's code, and what holds the waiter is freed by the loop's thread, after waiter_leave.
         */
        int (*go)(struct waiter *waiter, struct channel_loop *entry, baton_code code);
        struct patience patience;
        _Atomic(struct connector *) connector; /* NULL: it does not wait; release: nobody looks at it any more */
        struct list link;
        struct timer_node due;
};

/* From now on it waits, behind those that wait already; due_ns: when to connect, by channel_admit. 0; -EAGAIN too many wait;
 * -ECANCELED, -ENOMEM; reason set. Any thread; the lock is held. */
int connector_join(baton_channel *channel, baton_loop *loop, struct waiter *waiter, uint64_t due_ns);

/* It waits no longer, and go is not called any more, nor being called. False: it did not wait. The loop's thread, without the lock. */
bool waiter_leave(struct waiter *waiter);

/* Where go is being called, waits until it has returned. Likewise. */
void waiter_settle(struct waiter *waiter);

/* There is a lane: starts first what waits for it. 0; -EAGAIN there was no room for all, reason set. The lock is held. */
int connector_start_first(baton_channel *channel, baton_loop *loop);

/* There is a connection: those that sit out a pause look again. Any thread. */
void connectors_wake(baton_channel *channel);

/* The channel is being closed: ends the threads, for which it may have to wait, and what waits. */
void connectors_close(baton_channel *channel);

#endif
