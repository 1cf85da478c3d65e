/* The limits that channels and servers have in common. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <baton/channel.h>
#include <baton/server.h>
#include <stddef.h>

/* Refuses a value with -EINVAL, naming the option ("channel option ring_bytes"). */
int option_refuse(const char *owner, const char *name, unsigned long long value, const char *expected);

/* Fills in defaults of the sizes of messages and payload memory, and checks them. owner: "channel" or "server". */
int option_sizes(const char *owner, size_t *max_message_bytes, size_t *max_heap_bytes);

/* The value, or where it is 0 the other. */
static inline uint32_t option_or(uint32_t value, uint32_t otherwise)
{
        return value ? value : otherwise;
}

/* Fills in defaults of the limits of metadata and of a stream's window, and checks them. Likewise. */
int option_limits(const char *owner, size_t *max_metadata_bytes, uint32_t *stream_window_bytes);

/* Fills in the defaults of a channel's options, and checks them all. */
int option_fill_channel(baton_channel_options *options);

/* Fills in the defaults of a server's options, and checks them all. */
int option_fill_server(baton_server_options *options);

#endif
