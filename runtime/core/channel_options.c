/* A channel's options: defaults and limits. */
#include "base/error.h"
#include "core/options.h"
#include <errno.h>

enum {
        DEFAULT_CONNECT_MS = 1000,
        DEFAULT_RING_BYTES = 32 << 10,
        LEAST_RING_BYTES = 8 << 10,
        MOST_RING_BYTES = 1 << 20,
        DEFAULT_SPIN_US = 50,
        DEFAULT_IN_FLIGHT = 1 << 14,
        MOST_IN_FLIGHT = 1 << 16,
        DEFAULT_BACKOFF_MS = 1,
        DEFAULT_BACKOFF_MAX_MS = 250,
        DEFAULT_KEEPALIVE_TIMEOUT_MS = 20000,
        DEFAULT_RETRY_MS = 10,
        DEFAULT_RETRY_MAX_MS = 1000,
        DEFAULT_BUDGET = 100,
        MOST_BUDGET = 1 << 20,
        MOST_ATTEMPTS = 100,
        ALL_FAILURES = ((1 << (BATON_UNAUTHENTICATED + 1)) - 1) & ~(1 << BATON_OK),
};

/* The defaults of a pause that grows: what the user gave of the two keeps the other within it. */
static void fill_pause(uint32_t *initial, uint32_t *most, uint32_t default_initial, uint32_t default_most)
{
        if (!*initial)
                *initial = *most && *most < default_initial ? *most : default_initial;
        if (!*most)
                *most = *initial > default_most ? *initial : default_most;
}

static void fill(baton_channel_options *o)
{
        o->connect_timeout_ms = option_or(o->connect_timeout_ms, DEFAULT_CONNECT_MS);
        o->ring_bytes = option_or(o->ring_bytes, DEFAULT_RING_BYTES);
        o->spin_us = option_or(o->spin_us, DEFAULT_SPIN_US);
        o->max_in_flight = option_or(o->max_in_flight, DEFAULT_IN_FLIGHT);
        fill_pause(&o->backoff_initial_ms, &o->backoff_max_ms, DEFAULT_BACKOFF_MS, DEFAULT_BACKOFF_MAX_MS);
        o->keepalive_timeout_ms = option_or(o->keepalive_timeout_ms, DEFAULT_KEEPALIVE_TIMEOUT_MS);
        fill_pause(&o->retry.initial_backoff_ms, &o->retry.max_backoff_ms, DEFAULT_RETRY_MS, DEFAULT_RETRY_MAX_MS);
        o->retry.codes = option_or(o->retry.codes, 1u << BATON_UNAVAILABLE);
        o->retry.budget = option_or(o->retry.budget, DEFAULT_BUDGET);
}

static int check_retry(const baton_retry *retry)
{
        if (retry->max_attempts > MOST_ATTEMPTS)
                return option_refuse("channel", "retry.max_attempts", retry->max_attempts, "at most 100");
        if (retry->initial_backoff_ms > retry->max_backoff_ms)
                return option_refuse("channel", "retry.initial_backoff_ms", retry->initial_backoff_ms,
                                     "at most retry.max_backoff_ms");
        if (retry->codes & ~(uint32_t)ALL_FAILURES)
                return option_refuse("channel", "retry.codes", retry->codes,
                                     "1 << code for codes of failures, which are 1 to 16, or-ed");
        if (retry->budget > MOST_BUDGET)
                return option_refuse("channel", "retry.budget", retry->budget, "at most 1048576");
        return 0;
}

static int check(const baton_channel_options *o)
{
        if (o->ring_bytes < LEAST_RING_BYTES || o->ring_bytes > MOST_RING_BYTES ||
            (o->ring_bytes & (o->ring_bytes - 1)))
                return option_refuse("channel", "ring_bytes", o->ring_bytes, "a power of two from 8 KiB to 1 MiB");
        if (o->max_in_flight > MOST_IN_FLIGHT)
                return option_refuse("channel", "max_in_flight", o->max_in_flight, "at most 65536");
        if (o->backoff_initial_ms > o->backoff_max_ms)
                return option_refuse("channel", "backoff_initial_ms", o->backoff_initial_ms, "at most backoff_max_ms");
        if (o->n_interceptors && !o->interceptors)
                return option_refuse("channel", "n_interceptors", o->n_interceptors,
                                     "0 where the option interceptors is NULL");
        return check_retry(&o->retry);
}

int option_fill_channel(baton_channel_options *o)
{
        fill(o);
        int error = check(o);
        if (error >= 0)
                error = option_limits("channel", &o->max_metadata_bytes, &o->stream_window_bytes);
        return error < 0 ? error : option_sizes("channel", &o->max_message_bytes, &o->max_heap_bytes);
}
