#include "base/ticks.h"
#include <pthread.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
        MEASURE_NS = 100000,
        TRIES = 16, /* of reading both clocks at once; an interrupt may come between */
};

uint64_t ticks_scale;

/* Whether the counter runs at one rate, also where the CPU's frequency changes. */
static bool even(void)
{
#if defined(__x86_64__)
        unsigned a, b, c, d;
        return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8); /* "invariant TSC" */
#elif defined(__aarch64__)
        return true; /* by the architecture */
#else
        return false;
#endif
}

struct moment {
        uint64_t ticks, ns;
};

/* Both clocks, as close together as it turned out. */
static struct moment now(void)
{
        struct moment best = { 0 };
        uint64_t gap = UINT64_MAX;
        for (int i = 0; i < TRIES; i++) {
                uint64_t before = ticks_counter(), ns = clock_now_ns(), after = ticks_counter();
                if (after - before < gap) {
                        gap = after - before;
                        best = (struct moment){ before + gap / 2, ns };
                }
        }
        return best;
}

static void measure(void)
{
        if (!even())
                return;
        struct moment start = now(), end;
        do {
                end = now();
        } while (end.ns - start.ns < MEASURE_NS);
        if (end.ticks > start.ticks)
                ticks_scale = ((end.ns - start.ns) << 32) / (end.ticks - start.ticks);
}

void ticks_init(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, measure);
}
