/* Short times at little cost: the CPU's own counter where that runs evenly, otherwise CLOCK_MONOTONIC. */
#ifndef BASE_TICKS_H
#define BASE_TICKS_H

#include "base/clock.h"

/* Nanoseconds of a tick, in 2^-32; 0: ticks are nanoseconds. Set by ticks_init. */
extern uint64_t ticks_scale;

/* Measures the counter, which takes a tenth of a millisecond the first time. Before the rest; any thread. */
void ticks_init(void);

static inline uint64_t ticks_counter(void)
{
#if defined(__x86_64__)
        return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
        uint64_t count;
        __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(count));
        return count;
#else
        return 0;
#endif
}

static inline uint64_t ticks_now(void)
{
        return ticks_scale ? ticks_counter() : clock_now_ns();
}

__extension__ typedef unsigned __int128 ticks_product;

/* Of a difference of two; 0 where that is negative, as the counters of two CPUs may be a little apart. */
static inline uint64_t ticks_to_ns(uint64_t ticks)
{
        if ((int64_t)ticks <= 0)
                return 0;
        return ticks_scale ? (uint64_t)((ticks_product)ticks * ticks_scale >> 32) : ticks;
}

#endif
