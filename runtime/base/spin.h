/*
 * How long to poll before sleeping, and before giving the CPU to others. Both adapt.
 *
 * The budget grows while waits turn out short and shrinks while they turn out long, as KVM's halt polling does (Linux,
 * Documentation/virt/kvm/halt-polling.rst). The patience grows while polling succeeds, and shrinks while it takes a yield
 * for the peer to get on: then the peer was waiting for this very CPU. On a crowded machine yielding is better than sleeping,
 * which would cost the peer a wake-up for each answer.
 */
#ifndef BASE_SPIN_H
#define BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
        uint64_t max_ns;    /* 0: never poll */
        uint64_t budget_ns; /* what the next wait may poll */
        uint64_t patience_most_ns;
        uint64_t patience_ns; /* how long it polls before it yields */
};

/* max_ns is taken as 0 on a machine with one CPU: the peer could not run meanwhile. patience_ns: the most of it. */
void spin_init(struct spin *spin, uint64_t max_ns, uint64_t patience_ns);

/* Reports a whole wait that did not end by polling: its length, sleep included. */
void spin_slept(struct spin *spin, uint64_t waited_ns);

/* One wait; zero-initialised. */
struct spin_wait {
        uint64_t began_ns; /* the wait */
        uint64_t start_ns; /* of the polling that counts */
        uint32_t yields;   /* how often others took the CPU meanwhile */
};

/* To be called now and then while polling: whether to go on, or rather sleep. May yield; what others run meanwhile does not
 * count as waiting. */
bool spin_again(struct spin *spin, struct spin_wait *wait, uint64_t now_ns);

/* Reports that polling found what it waited for. */
static inline void spin_hit(struct spin *spin, const struct spin_wait *wait)
{
        if (wait->yields || spin->patience_ns >= spin->patience_most_ns)
                return;
        uint64_t more = spin->patience_ns + spin->patience_ns / 8;
        spin->patience_ns = more < spin->patience_most_ns ? more : spin->patience_most_ns;
}

/* Tells the core that this is a polling loop. */
static inline void spin_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
}

#endif
