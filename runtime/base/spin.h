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
};

/* max_ns is taken as 0 on a machine with one CPU: the peer could not run meanwhile. */
void spin_init(struct spin *spin, uint64_t max_ns);

/* Reports a whole wait that did not end by polling: its length, sleep included. */
void spin_slept(struct spin *spin, uint64_t waited_ns);

/* Gives the CPU to whoever else is runnable. False when the pause shows that others are: polling then takes the CPU
 * from the peer that is waited for, and the caller had better sleep. */
bool spin_yield(void);

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
