#define _GNU_SOURCE
#include "base/spin.h"
#include "base/clock.h"
#include <sched.h>
#include <unistd.h>

enum {
        BUDGET_START_NS = 10000,
        BUDGET_LEAST_NS = 4000, /* a reply from a running peer comes within this: never give that up */
        YIELD_AFTER_NS = 2000,
        YIELD_ALONE_NS = 2000, /* sched_yield without another runnable thread takes less */
};

void spin_init(struct spin *spin, uint64_t max_ns)
{
        /* Not this thread's affinity: pinned to one CPU, with its peer pinned to another, is where polling is best. */
        if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
                max_ns = 0;
        spin->max_ns = max_ns;
        spin->budget_ns = max_ns < BUDGET_START_NS ? max_ns : BUDGET_START_NS;
}

void spin_slept(struct spin *spin, uint64_t waited_ns)
{
        /* Waking takes about as long as the longest polling is worth, so a wait counts as short up to a multiple. */
        if (waited_ns <= 4 * spin->max_ns)
                spin->budget_ns = spin->budget_ns * 2 < spin->max_ns ? spin->budget_ns * 2 : spin->max_ns;
        else if (spin->budget_ns / 2 >= BUDGET_LEAST_NS)
                spin->budget_ns /= 2;
}

bool spin_yield(struct spin *spin, uint64_t waited_ns)
{
        if (!spin->crowded && waited_ns < YIELD_AFTER_NS)
                return true;
        uint64_t before = clock_now_ns();
        sched_yield();
        spin->crowded = clock_now_ns() - before >= YIELD_ALONE_NS;
        return !spin->crowded;
}
