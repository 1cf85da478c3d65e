#include "core/options.h"
#include "base/error.h"
#include <errno.h>

enum {
        DEFAULT_MESSAGE_BYTES = 64 << 20,
        LARGEST_MESSAGE_BYTES = 1 << 30,
        SEGMENT_BYTES = 1 << 20, /* a heap is made of whole segments */
        DEFAULT_METADATA_BYTES = 8192,
        MOST_METADATA_BYTES = 1 << 20,
        DEFAULT_WINDOW_BYTES = 64 << 10,
        LEAST_WINDOW_BYTES = 1 << 10,
        MOST_WINDOW_BYTES = 64 << 20,
};

/* Of servers. */
enum {
        DEFAULT_WORKERS = 1,
        MOST_THREADS = 1024, /* workers, and as many for handlers */
        DEFAULT_CONNECTIONS = 4096,
        DEFAULT_CALLS = 16384,
        DEFAULT_SPIN_US = 50,
        DEFAULT_HANDSHAKE_MS = 1000,
        DEFAULT_DRAIN_MS = 30000,
};

static const size_t largest_heap_bytes = (size_t)8 << 30; /* address space that each peer reserves */

int option_refuse(const char *owner, const char *name, unsigned long long value, const char *expected)
{
        return error_set(-EINVAL, "%s option %s is %llu; expected %s", owner, name, value, expected);
}

int option_sizes(const char *owner, size_t *max_message_bytes, size_t *max_heap_bytes)
{
        if (!*max_message_bytes)
                *max_message_bytes = DEFAULT_MESSAGE_BYTES;
        if (*max_message_bytes > LARGEST_MESSAGE_BYTES)
                return option_refuse(owner, "max_message_bytes", *max_message_bytes, "at most 1 GiB");
        if (!*max_heap_bytes)
                *max_heap_bytes = 4 * *max_message_bytes;
        if (*max_heap_bytes > largest_heap_bytes)
                return option_refuse(owner, "max_heap_bytes", *max_heap_bytes, "at most 8 GiB");
        *max_heap_bytes = (*max_heap_bytes + SEGMENT_BYTES - 1) & ~(size_t)(SEGMENT_BYTES - 1);
        return 0;
}

int option_limits(const char *owner, size_t *max_metadata_bytes, uint32_t *stream_window_bytes)
{
        if (!*max_metadata_bytes)
                *max_metadata_bytes = DEFAULT_METADATA_BYTES;
        if (*max_metadata_bytes > MOST_METADATA_BYTES)
                return option_refuse(owner, "max_metadata_bytes", *max_metadata_bytes, "at most 1 MiB");
        *stream_window_bytes = option_or(*stream_window_bytes, DEFAULT_WINDOW_BYTES);
        if (*stream_window_bytes < LEAST_WINDOW_BYTES || *stream_window_bytes > MOST_WINDOW_BYTES)
                return option_refuse(owner, "stream_window_bytes", *stream_window_bytes, "1 KiB to 64 MiB");
        return 0;
}

/* ---- servers ---------------------------------------------------------------------------------------------- */

static void fill(baton_server_options *o)
{
        o->workers = option_or(o->workers, DEFAULT_WORKERS);
        o->max_connections = option_or(o->max_connections, DEFAULT_CONNECTIONS);
        o->max_calls = option_or(o->max_calls, DEFAULT_CALLS);
        o->spin_us = option_or(o->spin_us, DEFAULT_SPIN_US);
        o->handshake_timeout_ms = option_or(o->handshake_timeout_ms, DEFAULT_HANDSHAKE_MS);
        o->drain_timeout_ms = option_or(o->drain_timeout_ms, DEFAULT_DRAIN_MS);
}

static int check(const baton_server_options *o)
{
        if (o->workers > MOST_THREADS)
                return option_refuse("server", "workers", o->workers, "at most 1024");
        if (o->handler_threads > MOST_THREADS)
                return option_refuse("server", "handler_threads", o->handler_threads, "at most 1024");
        if (o->loop && o->workers > 1)
                return option_refuse("server", "workers", o->workers,
                                     "1, or 0, with the option loop: it is the worker");
        if (o->execute && o->handler_threads)
                return option_refuse("server", "handler_threads", o->handler_threads,
                                     "0 with the option execute: handlers run either here or there");
        return 0;
}

int option_fill_server(baton_server_options *o)
{
        fill(o);
        int error = check(o);
        if (error >= 0)
                error = option_limits("server", &o->max_metadata_bytes, &o->stream_window_bytes);
        if (error >= 0)
                error = option_sizes("server", &o->max_message_bytes, &o->max_heap_bytes);
        if (error >= 0 && !o->max_held_bytes)
                o->max_held_bytes = 4 * o->max_message_bytes;
        return error;
}
