/*
 * An event loop: where asynchronous calls complete. One fd to poll, so that it nests in any other loop.
 *
 * A loop belongs to one thread at a time: run, wait and dispatch must not overlap. Starting a call on a loop and
 * baton_loop_stop() are safe from any thread. Blocking calls need no loop. After fork() the child
 * makes its own loop: on an inherited one the three return -ECHILD. A NULL loop is -EINVAL.
 */
#ifndef BATON_LOOP_H
#define BATON_LOOP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_loop baton_loop;

/* A new loop, or NULL with the reason in baton_error(). Free it with baton_loop_free. */
baton_loop *baton_loop_new(void);

/* Frees the loop. Every channel with calls on it must have been closed before (closing completes them).
 * NULL is allowed. */
void baton_loop_free(baton_loop *loop);

/* The fd that becomes readable (EPOLLIN) when baton_loop_dispatch has work. It belongs to the loop: poll it,
 * never read or close it. Tells of the next event after a dispatch: after run or wait, dispatch once before polling it. */
int baton_loop_fd(const baton_loop *loop);

/* The events to poll that fd for: POLLIN, which is EPOLLIN too. */
short baton_loop_events(const baton_loop *loop);

/* Runs what is ready, without blocking, and leaves the loop armed so that its fd tells of the next event.
 * Returns the number of events handled (0: none), or a negative errno. */
int baton_loop_dispatch(baton_loop *loop);

/* Waits until at least one event was handled, at most timeout_ms milliseconds (-1: for ever, 0: dispatch without
 * waiting). Polls for a moment before it sleeps: use it, or baton_loop_run, where latency counts and the loop is
 * all the thread does. Returns the number of events handled (0: the time is over or the loop was stopped), or a
 * negative errno. */
int baton_loop_wait(baton_loop *loop, int timeout_ms);

/* Handles events until baton_loop_stop. Returns 0, or a negative errno. */
int baton_loop_run(baton_loop *loop);

/* Makes the running, or else the next, baton_loop_run or baton_loop_wait return. Safe from any thread and from a signal handler. */
void baton_loop_stop(baton_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
