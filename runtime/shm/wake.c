#define _GNU_SOURCE
#include "shm/wake.h"
#include "base/clock.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
        LONGEST_WAIT_NS = 500000000, /* a hostile peer can make a sleeper miss its wake-up, but not for longer */
        FALLBACK_WAIT_NS = 20000000, /* where futex_waitv is refused: how late `also` may be noticed */
};

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

void wake_arm(struct waker *waker, bool room)
{
        waker->bell = atomic_load_explicit(&waker->peer->bell, memory_order_acquire); /* S1 */
        waker->sleep = (waker->sleep | 1) + 1 + room; /* the next even number, plus one for room */
        if (!waker->sleep)
                waker->sleep = 2;
        atomic_store_explicit(&waker->mine->asleep, waker->sleep, memory_order_relaxed); /* S2 */
        atomic_thread_fence(memory_order_seq_cst);                                       /* S3 */
}

void wake_disarm(struct waker *waker)
{
        atomic_store_explicit(&waker->mine->asleep, 0, memory_order_relaxed);
}

void wake_sleep(struct waker *waker, _Atomic uint32_t *also, uint32_t also_value, uint64_t deadline_ns)
{
        wake_sleep_three(waker, also, also_value, NULL, deadline_ns);
}

void wake_sleep_three(struct waker *waker, _Atomic uint32_t *also, uint32_t also_value, _Atomic uint32_t *second,
                      uint64_t deadline_ns)
{
        uint64_t now = clock_now_ns();
        struct timespec until = clock_timespec(deadline_earlier(deadline_ns, now + LONGEST_WAIT_NS));
        struct futex_waitv words[3] = {
                { .val = waker->bell, .uaddr = (uintptr_t)&waker->peer->bell, .flags = FUTEX_32 },
                { .val = also_value, .uaddr = (uintptr_t)also, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
                { .val = 0, .uaddr = (uintptr_t)second, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
        };
        if (syscall(SYS_futex_waitv, words, second ? 3 : 2, 0, &until, CLOCK_MONOTONIC) >= 0 || errno == EAGAIN ||
            errno == EINTR || errno == ETIMEDOUT)
                return;
        /* Before Linux 5.16, or under a seccomp filter. */
        until = clock_timespec(deadline_earlier(deadline_ns, now + FALLBACK_WAIT_NS));
        if (atomic_load_explicit(also, memory_order_acquire) == also_value &&
            !(second && atomic_load_explicit(second, memory_order_acquire)))
                syscall(SYS_futex, &waker->peer->bell, FUTEX_WAIT_BITSET, waker->bell, &until, NULL,
                        FUTEX_BITSET_MATCH_ANY);
}

/* mask: what the sleep's number must have a bit of. */
static bool wanted(struct waker *waker, uint32_t mask)
{
        atomic_thread_fence(memory_order_seq_cst);                                          /* W2 */
        uint32_t asleep = atomic_load_explicit(&waker->peer->asleep, memory_order_relaxed); /* W3 */
        if (!(asleep & mask) || asleep == waker->rung)
                return false;
        waker->rung = asleep;
        return true;
}

bool wake_wanted(struct waker *waker)
{
        return wanted(waker, UINT32_MAX);
}

bool wake_room_wanted(struct waker *waker)
{
        return wanted(waker, 1);
}

void wake_ring(struct waker *waker)
{
        uint32_t bell = atomic_load_explicit(&waker->mine->bell, memory_order_relaxed);
        atomic_store_explicit(&waker->mine->bell, bell + 1, memory_order_release); /* W4 */
        syscall(SYS_futex, &waker->mine->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}
