#include "common/latency.h"
#include "common/report.h"
#include <stdlib.h>
#include <time.h>

uint64_t now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void latency_add(struct latency *latency, uint64_t ns)
{
        if (latency->n == latency->capacity) {
                size_t capacity = latency->capacity ? 2 * latency->capacity : 1024;
                uint64_t *samples = realloc(latency->samples_ns, capacity * sizeof *samples);
                if (!samples)
                        die("out of memory for %zu latency samples", capacity);
                latency->samples_ns = samples;
                latency->capacity = capacity;
        }
        latency->samples_ns[latency->n++] = ns;
}

static int compare_samples(const void *left, const void *right)
{
        uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
        return (a > b) - (a < b);
}

double latency_percentile_us(struct latency *latency, unsigned percent)
{
        if (latency->n == 0)
                return 0;
        qsort(latency->samples_ns, latency->n, sizeof *latency->samples_ns, compare_samples);
        size_t rank = (latency->n * percent + 99) / 100; /* nearest rank, counted from 1 */
        return (double)latency->samples_ns[rank ? rank - 1 : 0] / 1000;
}

void latency_free(struct latency *latency)
{
        free(latency->samples_ns);
        *latency = (struct latency){ 0 };
}
