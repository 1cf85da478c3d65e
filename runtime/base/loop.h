/*
 * The event loop behind baton_loop and behind each server worker. Knows nothing of RPC.
 *
 * It waits in two ways. Sources are fds in one epoll set. Pollers are places in shared memory that the loop looks at
 * while it is awake; before it sleeps it arms them, which asks their peers for a wake-up through some source. A poller
 * that stays quiet for a while is armed and no longer looked at ("parked"), so that idle peers cost nothing.
 *
 * All functions belong to the loop's thread, but for loop_post and baton_loop_stop.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/list.h"
#include "base/timers.h"
#include <baton/loop.h>
#include <stdbool.h>
#include <stdint.h>

struct loop_source {
        int fd;
        /* Handles the epoll events; may remove and free the source. Returns how many events the user would count. */
        int (*ready)(struct loop_source *source, uint32_t events);
};

struct loop_poller {
        /* Handles what has arrived, a bounded amount; must not block. Returns how much that was. May remove the poller. */
        int (*poll)(struct loop_poller *poller);
        /* Asks the peer to wake the loop. True when something arrived before the peer could see that: poll again. */
        bool (*arm)(struct loop_poller *poller);
        /* Takes that request back. */
        void (*disarm)(struct loop_poller *poller);
        struct list link; /* in the loop's list of the active, or of the parked, or alone before it is first woken */
        bool parked;
        uint64_t active_ns;
        bool busy;
};

struct loop_timer {
        void (*fire)(struct loop_timer *timer);
        struct timer_node node; /* due_ns: CLOCK_MONOTONIC; 0: not set */
};

/* Work for the loop's thread; owned by the loop from loop_post until run is called, which may free it; zero-initialised before the first post. */
struct loop_task {
        void (*run)(struct loop_task *task);
        struct list link;
};

/* As baton_loop_new, with the longest polling in nanoseconds (0: none). */
baton_loop *loop_new(uint64_t spin_ns);

int loop_source_add(baton_loop *loop, struct loop_source *source, uint32_t events);
void loop_source_remove(baton_loop *loop, struct loop_source *source);

/* The poller starts active. */
void loop_poller_add(baton_loop *loop, struct loop_poller *poller);
void loop_poller_remove(baton_loop *loop, struct loop_poller *poller);
/* Its peer rang: looks at it again. Harmless when active. */
void loop_poller_wake(baton_loop *loop, struct loop_poller *poller);
/* The poller, whose turn it is, had to stand back: it comes first in the next round. */
void loop_poller_first(baton_loop *loop, struct loop_poller *poller);

/* Sets or moves the timer; due_ns 0 takes it back. */
void loop_timer_set(baton_loop *loop, struct loop_timer *timer, uint64_t due_ns);

/* Runs the task on the loop's thread, soon. Safe from any thread. */
void loop_post(baton_loop *loop, struct loop_task *task);

/* Takes a posted task back; harmless where it is not posted. */
void loop_unpost(baton_loop *loop, struct loop_task *task);

/* Forgets a baton_loop_stop that no run has answered. */
void loop_clear_stop(baton_loop *loop);

/* The loop that this thread is inside; NULL: none. The default model of thread-local memory costs a shared library a call. */
extern _Thread_local const baton_loop *loop_current __attribute__((tls_model("initial-exec")));

/* Whether the calling thread is inside any loop: it had better not wait for anything. */
static inline bool loop_inside(void)
{
        return loop_current;
}

/* Whether the calling thread is inside this loop. */
static inline bool loop_is_current(const baton_loop *loop)
{
        return loop_current == loop;
}

#endif
