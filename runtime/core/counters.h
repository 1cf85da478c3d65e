/*
 * Counting calls per method. Each thread counts in a shard of its own, which nobody else writes: without locks, nor atomic
 * read-modify-write. Threads beyond THREAD_NUMBERS at once share one, under the lock.
 */
#ifndef CORE_COUNTERS_H
#define CORE_COUNTERS_H

#include "transport/transport.h"
#include <baton/counters.h>

struct counters;

/* NULL: no memory. */
struct counters *counters_new(void);
void counters_free(struct counters *counters);

/* Lists the method, though nobody has called it. 0 or -ENOMEM. */
int counters_list(struct counters *counters, const baton_method *method);

/* What is kept of a call from begin to end. */
struct count_begun {
        struct counts *counts; /* of the thread with that number; NULL: not known */
        unsigned number;
        uint64_t ticks; /* 0: it is not timed */
};

/* A call begins. */
struct count_begun counters_begin(struct counters *counters, const baton_method *method);

/* What is known of a call that ended. */
struct count {
        baton_code code;
        struct count_begun begun; /* what counters_begin told */
        uint64_t sent, received;
        struct traffic traffic;
};

/* It ended. Any thread. */
void counters_end(struct counters *counters, const baton_method *method, const struct count *count);

/* As baton_channel_counters. Any thread. */
size_t counters_read(struct counters *counters, baton_counters *out, size_t n);

#endif
