/*
 * An exhaustive checker for lock-free C code of two threads, which runs the real code: ring.c and wake.c are compiled with
 * hooks.h, which turns each atomic operation, fence, memcpy and futex call into a call of this machine. The machine runs the
 * two threads as coroutines, and a scenario again and again until every choice has been taken both ways: which thread goes on,
 * which store a load reads, and where one thread stops for ever (a crash).
 *
 * The memory is that of C11 as an operational semantics with views (Kang and others, "A promising semantics for
 * relaxed-memory concurrency", POPL 2017, without promises; fences as there): a location is the history of its stores, and
 * a thread's view says, for each location, the oldest store it may still read. A relaxed load may read any store from there
 * on; release stores carry the view along, acquire loads take it in; seq_cst fences join the view with a global one.
 * Load buffering, where a relaxed load drifts behind a later store: a load of a 32-bit word may guess a value that is stored only
 * later; the other thread has to store it before the guesser's next release, acquire, fence or system call.
 * Plain memory is checked for data races by vector clocks that follow release and acquire only, so that a plain
 * load that could drift behind a later store is reported as the race it is.
 *
 * A state that was seen before is left: views, the stores that may still be read, accesses that may still race, and each
 * thread's private state where it calls machine_settle, with what it has read since. Plain memory need not be part of it: without
 * races its contents follow from how far its writer is. A 64-bit hash stands for a state, so that one could be missed by a
 * collision, at odds of about 1e-7 for a million states.
 *
 * Covered: all interleavings and all stale reads of the bounded scenarios; in the ring a crash of either thread at every
 * operation; spurious ends of futex waits, and futex waits that compare a stale word while no FUTEX_WAKE came after it.
 * Not covered: more than two threads; longer runs than the scenarios'; load buffering of the ring's 64-bit words (a guessed
 * mark would have to be stored before the consumer asks for it); timeouts (none, so that a lost wake-up cannot hide); a waker
 * that dies instead of ringing (the socket tells of that, tests/crash); compilers that break C11; hostile peers
 * (tests/unit/shm, tests/hostile).
 */
#ifndef MODEL_MACHINE_H
#define MODEL_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum machine_mutation {
        MACHINE_SOUND,
        MACHINE_RELAX, /* the operation's order becomes relaxed; a fence is left out */
        MACHINE_DROP,  /* the operation, a store, is left out */
};

struct machine_scenario {
        const char *name;
        void (*reset)(void);      /* puts the shared memory back to its start */
        void (*threads[2])(void); /* what the threads do */
        /* Called when no thread can go on; calls machine_fail where that may not be. */
        void (*end)(void);
        unsigned crashes;  /* bit t: thread t may stop for ever at any operation */
        unsigned spurious; /* how many futex waits of one run may end for no reason */
        unsigned guesses;  /* a relaxed load of a 32-bit word may read 1 … guesses before that is stored */
};

struct machine_result {
        const char *failure; /* NULL: none in all runs */
        uint64_t runs;
        uint64_t states;
};

/* Registers shared memory: before the first run. Atomic words must lie in it. */
void machine_share(void *memory, size_t size);

/* Tells which labels ("P1") stand at which lines of the source that hooks.h reports. False when it cannot be read. */
bool machine_labels(const char *path);

/* Runs the scenario in all ways. label: NULL, or the operation to mutate, which must exist. */
struct machine_result machine_explore(const struct machine_scenario *scenario, const char *label,
                                      enum machine_mutation mutation);

/* Whether the label was met while running. */
bool machine_mutated(void);

/* For the scenarios. */
void machine_fail(const char *why);
/* All private state of the calling thread is in these bytes, which have no padding: what it did before does not matter more. */
void machine_settle(const void *state, size_t size);
/* After a look that found nothing: goes on when the location last loaded has a newer store. */
void machine_wait(void);
bool machine_crashed(int thread);

/* For hooks.h. file and line: of the operation. In memory.c, as machine_share is. */
uint64_t machine_load(const volatile void *at, size_t size, int order, const char *file, int line);
void machine_store(volatile void *at, size_t size, uint64_t value, int order, const char *file, int line);
void machine_fence(int order, const char *file, int line);
void *machine_memcpy(void *to, const void *from, size_t size);
long machine_syscall(long number, ...);

#endif
