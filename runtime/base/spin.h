/*
 * How long to poll before sleeping. Grows while waits turn out short and shrinks while they turn out long, as KVM's
 * halt polling does (Linux, Documentation/virt/kvm/halt-polling.rst).
 */
#ifndef BASE_SPIN_H
#define BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
        uint64_t max_ns;    /* 0: never poll */
        uint64_t budget_ns; /* what the next wait may poll */
        bool crowded;       /* the last yield found others waiting for this CPU */
};

/* max_ns is taken as 0 on a machine with one CPU: the peer could not run meanwhile. */
void spin_init(struct spin *spin, uint64_t max_ns);

/* Reports a whole wait that did not end by polling: its length, sleep included. */
void spin_slept(struct spin *spin, uint64_t waited_ns);

/*
 * To be called now and then while polling, with the time since the wait began: gives the CPU to whoever else is runnable, after a
 * while that a running peer would have answered in. False when others are runnable: polling then takes the CPU from the peer that
 * is waited for, and the caller had better sleep. As long as that is so, the while is nothing.
 */
bool spin_yield(struct spin *spin, uint64_t waited_ns);

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
