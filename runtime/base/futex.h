/* Sleeping on a word of this process, and waking those who do. */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Wakes all who wait for this word as a private futex. The word was changed before. */
static inline void futex_wake_all(_Atomic uint32_t *word)
{
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Waits until the word is woken, or `until` (CLOCK_MONOTONIC) has come; not at all where it has another value. May return for
 * no reason. */
static inline void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *until)
{
        syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
}

#endif
