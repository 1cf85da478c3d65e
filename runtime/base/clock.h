/* Monotonic time in nanoseconds, and the deadlines made of it (0: none). */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The same to a few milliseconds, at a quarter of the cost; changes with the kernel's tick. */
static inline uint64_t clock_coarse_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline struct timespec clock_timespec(uint64_t ns)
{
        return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
}

/* The earlier of two deadlines. */
static inline uint64_t deadline_earlier(uint64_t a, uint64_t b)
{
        return !a || (b && b < a) ? b : a;
}

static inline bool deadline_passed(uint64_t deadline_ns)
{
        return deadline_ns && clock_now_ns() >= deadline_ns;
}

/* What is left, in milliseconds rounded up, at most limit_ms; for poll(2). limit_ms -1: no limit, and -1 for no deadline. */
static inline int deadline_left_ms(uint64_t deadline_ns, int limit_ms)
{
        if (!deadline_ns)
                return limit_ms;
        uint64_t now = clock_now_ns();
        uint64_t left = now < deadline_ns ? (deadline_ns - now + 999999) / 1000000 : 0;
        if (limit_ms >= 0 && left > (uint64_t)limit_ms)
                return limit_ms;
        return left > INT32_MAX ? INT32_MAX : (int)left;
}

#endif
