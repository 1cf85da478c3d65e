/* How long calls took: collects samples, tells percentiles. */
#ifndef EXAMPLES_LATENCY_H
#define EXAMPLES_LATENCY_H

#include <stddef.h>
#include <stdint.h>

/* Zero-initialise it. */
struct latency {
        uint64_t *samples_ns;
        size_t n;
        size_t capacity;
};

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t now_ns(void);

/* Adds one sample; ends the program when out of memory. */
void latency_add(struct latency *latency, uint64_t ns);

/* The smallest sample that `percent` per cent of all are not above, in microseconds; 0 without samples.
 * Sorts the samples. */
double latency_percentile_us(struct latency *latency, unsigned percent);

void latency_free(struct latency *latency);

#endif
