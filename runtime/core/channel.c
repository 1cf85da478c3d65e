#define _GNU_SOURCE
#include "core/channel.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "core/async_lanes.h"
#include "core/pumps.h"
#include "core/observer.h"
#include "core/options.h"
#include "core/retry.h"
#include "shm/shm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct transport *const transports[] = { &shm_transport };

static bool has_scheme(const struct transport *transport, const char *scheme, size_t length)
{
        for (const char *const *at = transport->schemes; *at; at++)
                if (strlen(*at) == length && memcmp(*at, scheme, length) == 0)
                        return true;
        return false;
}

const struct transport *transport_for(const char *address)
{
        size_t length = strcspn(address, ":");
        for (size_t i = 0; address[length] && i < sizeof transports / sizeof *transports; i++)
                if (has_scheme(transports[i], address, length))
                        return transports[i]->check_address(address) < 0 ? NULL : transports[i];
        error_set(-EINVAL, "malformed address \"%.100s\": unknown scheme; expected shm:NAME, shm:/PATH or inproc:NAME",
                  address);
        return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

baton_channel *baton_channel_open(const char *address, const baton_channel_options *options)
{
        baton_channel_options filled = options ? *options : (baton_channel_options){ 0 };
        if (!address) {
                error_set(-EINVAL, "baton_channel_open: the address is NULL");
                return NULL;
        }
        const struct transport *transport = transport_for(address);
        if (!transport || option_fill_channel(&filled) < 0)
                return NULL;
        baton_channel *channel = calloc(1, sizeof *channel);
        char *copy = strdup(address);
        struct observer *observer = NULL;
        int error = observer_new("channel", filled.interceptors, filled.n_interceptors, filled.max_metadata_bytes,
                                 filled.counters, &observer);
        if (!channel || !copy || error < 0) {
                if (error >= 0)
                        error_set(-ENOMEM, "cannot open a channel to %s: out of memory", address);
                observer_unref(observer);
                free(channel);
                free(copy);
                return NULL;
        }
        channel->transport = transport;
        channel->address = copy;
        channel->options = filled;
        channel->observer = observer;
        channel->fork_generation = fork_generation();
        connect_init(channel);
        sources_init(channel);
        async_lanes_init(channel);
        callers_init(channel);
        retry_init(channel);
        return channel;
}

void baton_channel_close(baton_channel *channel)
{
        /* A forked child shares the parent's epoll sets and sockets: whatever it took down would be the parent's. */
        if (!channel || !channel_usable(channel))
                return;
        pumps_enter(channel);
        async_lanes_close(channel);
        pumps_deinit(channel);
        connect_close(channel);
        callers_deinit(channel);
        connect_deinit(channel);
        sources_deinit(channel);
        async_lanes_deinit(channel);
        observer_unref(channel->observer);
        free(channel->address);
        free(channel);
}

bool channel_usable(const baton_channel *channel)
{
        if (channel->fork_generation == fork_generation())
                return true;
        error_set(-ECHILD, "the channel to %s was opened before fork(); open a new one in the child", channel->address);
        return false;
}
