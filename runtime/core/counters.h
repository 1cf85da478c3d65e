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

/* What is kept of a call from begin to end. Here and below nothing is copied whole: a copy of what was just written in parts waits for
 * those writes, which takes longer than the counting. */
struct count_begun {
        struct counts *counts; /* of the thread with that number; NULL: not known */
        unsigned number;
        uint64_t ticks; /* 0: it is not timed */
};

/* A call begins. */
void counters_begin(struct counters *counters, const baton_method *method, struct count_begun *begun);

/* What is known of a call that ended. */
struct count {
        baton_code code;
        uint64_t sent, received;       /* messages */
        const struct traffic *traffic; /* NULL: none */
};

/* It ended. Any thread. */
void counters_end(struct counters *counters, const baton_method *method, const struct count_begun *begun,
                  const struct count *count);

/* As baton_channel_counters. Any thread. */
size_t counters_read(struct counters *counters, baton_counters *out, size_t n);

#endif
