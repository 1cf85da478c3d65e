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
        DEFAULT_METADATA_BYTES = 8192,
        MOST_METADATA_BYTES = 1 << 20,
        DEFAULT_WINDOW_BYTES = 64 << 10,
        LEAST_WINDOW_BYTES = 1 << 10,
        MOST_WINDOW_BYTES = 64 << 20,
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

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
        return value ? value : otherwise;
}

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
        o->connect_timeout_ms = or_default(o->connect_timeout_ms, DEFAULT_CONNECT_MS);
        o->ring_bytes = or_default(o->ring_bytes, DEFAULT_RING_BYTES);
        o->spin_us = or_default(o->spin_us, DEFAULT_SPIN_US);
        o->max_in_flight = or_default(o->max_in_flight, DEFAULT_IN_FLIGHT);
        o->max_metadata_bytes = o->max_metadata_bytes ? o->max_metadata_bytes : DEFAULT_METADATA_BYTES;
        o->stream_window_bytes = or_default(o->stream_window_bytes, DEFAULT_WINDOW_BYTES);
        fill_pause(&o->backoff_initial_ms, &o->backoff_max_ms, DEFAULT_BACKOFF_MS, DEFAULT_BACKOFF_MAX_MS);
        o->keepalive_timeout_ms = or_default(o->keepalive_timeout_ms, DEFAULT_KEEPALIVE_TIMEOUT_MS);
        fill_pause(&o->retry.initial_backoff_ms, &o->retry.max_backoff_ms, DEFAULT_RETRY_MS, DEFAULT_RETRY_MAX_MS);
        o->retry.codes = or_default(o->retry.codes, 1u << BATON_UNAVAILABLE);
        o->retry.budget = or_default(o->retry.budget, DEFAULT_BUDGET);
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
        if (o->max_metadata_bytes > MOST_METADATA_BYTES)
                return option_refuse("channel", "max_metadata_bytes", o->max_metadata_bytes, "at most 1 MiB");
        if (o->stream_window_bytes < LEAST_WINDOW_BYTES || o->stream_window_bytes > MOST_WINDOW_BYTES)
                return option_refuse("channel", "stream_window_bytes", o->stream_window_bytes, "1 KiB to 64 MiB");
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
        return error < 0 ? error : option_sizes("channel", &o->max_message_bytes, &o->max_heap_bytes);
}
