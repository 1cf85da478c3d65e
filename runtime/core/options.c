#include "core/options.h"
#include "base/error.h"
#include <errno.h>

enum {
        DEFAULT_MESSAGE_BYTES = 64 << 20,
        LARGEST_MESSAGE_BYTES = 1 << 30,
        SEGMENT_BYTES = 1 << 20, /* a heap is made of whole segments */
};

/* Of servers. */
enum {
        DEFAULT_WORKERS = 1,
        MOST_THREADS = 1024, /* workers, and as many for handlers */
        DEFAULT_CONNECTIONS = 4096,
        DEFAULT_CALLS = 16384,
        DEFAULT_METADATA_BYTES = 8192,
        MOST_METADATA_BYTES = 1 << 20,
        DEFAULT_WINDOW_BYTES = 64 << 10,
        LEAST_WINDOW_BYTES = 1 << 10,
        MOST_WINDOW_BYTES = 64 << 20,
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

/* ---- servers ---------------------------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
        return value ? value : otherwise;
}

static void fill(baton_server_options *o)
{
        o->workers = or_default(o->workers, DEFAULT_WORKERS);
        o->max_connections = or_default(o->max_connections, DEFAULT_CONNECTIONS);
        o->max_calls = or_default(o->max_calls, DEFAULT_CALLS);
        o->max_metadata_bytes = o->max_metadata_bytes ? o->max_metadata_bytes : DEFAULT_METADATA_BYTES;
        o->stream_window_bytes = or_default(o->stream_window_bytes, DEFAULT_WINDOW_BYTES);
        o->spin_us = or_default(o->spin_us, DEFAULT_SPIN_US);
        o->handshake_timeout_ms = or_default(o->handshake_timeout_ms, DEFAULT_HANDSHAKE_MS);
        o->drain_timeout_ms = or_default(o->drain_timeout_ms, DEFAULT_DRAIN_MS);
}

static int check(const baton_server_options *o)
{
        if (o->workers > MOST_THREADS)
                return option_refuse("server", "workers", o->workers, "at most 1024");
        if (o->handler_threads > MOST_THREADS)
                return option_refuse("server", "handler_threads", o->handler_threads, "at most 1024");
        if (o->max_metadata_bytes > MOST_METADATA_BYTES)
                return option_refuse("server", "max_metadata_bytes", o->max_metadata_bytes, "at most 1 MiB");
        if (o->stream_window_bytes < LEAST_WINDOW_BYTES || o->stream_window_bytes > MOST_WINDOW_BYTES)
                return option_refuse("server", "stream_window_bytes", o->stream_window_bytes, "1 KiB to 64 MiB");
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
                error = option_sizes("server", &o->max_message_bytes, &o->max_heap_bytes);
        if (error >= 0 && !o->max_held_bytes)
                o->max_held_bytes = 4 * o->max_message_bytes;
        return error;
}
