#define _GNU_SOURCE
#include "base/spin.h"
#include "base/clock.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum {
        BUDGET_START_NS = 10000,
        BUDGET_LEAST_NS = 4000, /* a reply from a running peer comes within this: never give that up */
        YIELD_ALONE_NS = 2000,  /* sched_yield without another runnable thread takes less */
        YIELDS_MOST = 8,
        PATIENCE_LEAST_NS = 250,
};

/* Asked once: glibc reads a file of sysfs each time, and there is a spin for each stream that is served. */
static bool one_cpu(void)
{
        static _Atomic long cpus;
        long n = atomic_load_explicit(&cpus, memory_order_relaxed);
        if (!n) {
                n = sysconf(_SC_NPROCESSORS_ONLN);
                atomic_store_explicit(&cpus, n, memory_order_relaxed);
        }
        return n < 2;
}

void spin_init(struct spin *spin, uint64_t max_ns, uint64_t patience_ns)
{
        /* Not this thread's affinity: pinned to one CPU, with its peer pinned to another, is where polling is best. */
        if (one_cpu())
                max_ns = 0;
        spin->max_ns = max_ns;
        spin->patience_ns = spin->patience_most_ns = patience_ns;
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

bool spin_again(struct spin *spin, struct spin_wait *wait, uint64_t now_ns)
{
        if (!wait->began_ns)
                wait->began_ns = wait->start_ns = now_ns;
        if (now_ns - wait->start_ns >= spin->budget_ns)
                return false;
        if (now_ns - wait->start_ns < spin->patience_ns)
                return true;
        sched_yield();
        uint64_t after = clock_now_ns();
        if (after - now_ns < YIELD_ALONE_NS)
                return true;
        if (spin->patience_ns > PATIENCE_LEAST_NS)
                spin->patience_ns /= 2;
        wait->start_ns = after;
        return ++wait->yields < YIELDS_MOST;
}
