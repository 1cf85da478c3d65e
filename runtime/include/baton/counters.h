/*
 * Counters per method, kept by channels and servers whose option `counters` is set. Each thread counts in memory of its own,
 * without locks; reading adds up what all of them have counted so far.
 */
#ifndef BATON_COUNTERS_H
#define BATON_COUNTERS_H

#include <baton/channel.h>
#include <baton/server.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
        BATON_CODES = 17,
        BATON_LATENCY_BUCKETS = 112, /* to 16 seconds */
};

typedef struct baton_counters {
        const char *method;            /* "/package.Service/Method" */
        uint64_t calls;                /* that ended */
        uint64_t by_code[BATON_CODES]; /* those, by their status */
        /* Latencies of a sample of the calls, in buckets of a quarter of a power of two: see baton_latency_bound. Client: from the
         * call to its outcome. Server: from the request's arrival to the answer. A thread times its first calls, then one in
         * 16; the sum of the buckets is the size of the sample. */
        uint64_t latency[BATON_LATENCY_BUCKETS];
        uint64_t messages_sent, messages_received;
        uint64_t bytes_copied;       /* of messages sent: what was encoded or copied */
        uint64_t bytes_by_reference; /* of messages sent: what was handed over without a copy */
        uint64_t wakes;              /* how often a caller of this method slept, and was woken */
        uint64_t spins;              /* how often polling was enough */
} baton_counters;

/* The upper bound of a bucket, nanoseconds; UINT64_MAX for the last. */
uint64_t baton_latency_bound(unsigned bucket);

/* The bound below which this share (0 to 1) of the sampled latencies lie, nanoseconds; 0 where there are none. */
uint64_t baton_latency_quantile(const baton_counters *counters, double share);

/* Reads the counters of up to n methods: those the channel has called, or those the server offers. Returns how many there are, which
 * may be more than n; 0 where counting is off. Safe from any thread. */
size_t baton_channel_counters(baton_channel *channel, baton_counters *out, size_t n);
size_t baton_server_counters(baton_server *server, baton_counters *out, size_t n);

#ifdef __cplusplus
}
#endif
#endif
