/*
 * A queue of times: a pairing heap (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986) whose nodes lie in what they
 * time. Inserting is O(1), removing any node O(log n) amortised; nothing allocates. Not thread-safe: the owner locks.
 */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include <stdint.h>

/* Zero-initialised before the first use. */
struct timer_node {
        uint64_t due_ns; /* 0: in no queue */
        struct timer_node *child;
        struct timer_node *next;     /* sibling */
        struct timer_node *previous; /* sibling, or the first child's parent */
};

/* Zero-initialised: empty. */
struct timers {
        struct timer_node *first;
};

/* The earliest; NULL: none. */
static inline struct timer_node *timers_first(const struct timers *timers)
{
        return timers->first;
}

/* Adds a node that is in no queue. due_ns: not 0. */
void timers_insert(struct timers *timers, struct timer_node *node, uint64_t due_ns);

/* Takes any node out; harmless for one that is in no queue. */
void timers_remove(struct timers *timers, struct timer_node *node);

#endif
