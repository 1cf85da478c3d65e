/*
 * How one side of a lane sleeps and the other wakes it.
 *
 * Sleeper: reads the waker's bell word (S1), publishes a new sleep number in its own word `asleep` (S2), fence (S3), looks
 * once more at what it waits for (S4), then waits until the bell word changes.
 * Waker: publishes what the sleeper waits for (W1), fence (W2), reads `asleep` (W3); where that is a sleep it has not rung for,
 * it changes its bell word (W4) and wakes it.
 *
 * S2 < S3 < S4 and W1 < W2 < W3 with two seq_cst fences: either the sleeper's look (S4) sees W1, or the waker (W3) sees the
 * sleep (Dekker; C11 7.17.3p9-11). In the second case the bell changes after S1, so the wait ends or never starts. A waker
 * rings once for each sleep number, so a slow sleeper costs one system call, not one for each record. Hence S1 must not read
 * what the waker rings for the very sleep that S2 publishes: that ring may be for a change seen long ago, and no other comes.
 * S1 acquires what W4 releases, so that S2 would then come after the W3 that has read it, which cannot be. All else is
 * relaxed. tests/model checks this: wake.pml, and wake.c itself in all interleavings.
 *
 * The bell is a futex word in the waker's own memory, which the sleeper maps read-only; or, where the sleeper polls fds, a
 * datagram on a socket. Neither can block the waker. A futex wait is bounded: a hostile peer can requeue its sleepers.
 */
#ifndef SHM_WAKE_H
#define SHM_WAKE_H

#include "shm/layout.h"
#include <stdbool.h>
#include <stdint.h>

struct waker {
        struct shm_half *mine;
        const struct shm_half *peer;
        uint32_t sleep; /* my last sleep number */
        uint32_t rung;  /* the peer's sleep that I last rang for */
        uint32_t bell;  /* the peer's bell as it was before my sleep */
};

/* Tells the peer that I sleep from now on (S1–S3); the caller then looks once more (S4). room: I wait for room in my ring too, so
 * that the peer rings when it has read, and not only when it has published. */
void wake_arm(struct waker *waker, bool room);

/* I am awake. */
void wake_disarm(struct waker *waker);

/*
 * Waits until the peer rings, *also differs from also_value, or deadline_ns (0: none) or at most half a second passed; may
 * return for no reason. also: a word of this process.
 */
void wake_sleep(struct waker *waker, _Atomic uint32_t *also, uint32_t also_value, uint64_t deadline_ns);

/* As wake_sleep, but returns also when *second, another word of this process, differs from 0. NULL: there is none. */
void wake_sleep_three(struct waker *waker, _Atomic uint32_t *also, uint32_t also_value, _Atomic uint32_t *second,
                      uint64_t deadline_ns);

/* After publishing something (W2, W3): true when the peer sleeps and was not rung for that yet; then ring. */
bool wake_wanted(struct waker *waker);

/* After reading something, the same: true when the peer sleeps and waits for room. */
bool wake_room_wanted(struct waker *waker);

/* Rings by futex (W4). */
void wake_ring(struct waker *waker);

#endif
