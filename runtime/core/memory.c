/* Payload memory that lives as long as its connection, and the connections that a channel keeps for it. */
#define _GNU_SOURCE
#include "base/error.h"
#include "core/channel.h"
#include <errno.h>
#include <stdlib.h>

enum { ATTEMPTS = 3 };

void sources_init(baton_channel *channel)
{
        pthread_mutex_init(&channel->sources_lock, NULL);
        list_init(&channel->sources);
}

void sources_deinit(baton_channel *channel)
{
        while (!list_empty(&channel->sources)) {
                struct source *source = container_of(channel->sources.next, struct source, link);
                list_remove(&source->link);
                channel->transport->unref(source->connection);
                free(source);
        }
        pthread_mutex_destroy(&channel->sources_lock);
}

int sources_add(baton_channel *channel, struct connection *connection)
{
        struct source *source = calloc(1, sizeof *source);
        if (!source)
                return error_set(-ENOMEM, "cannot connect to %s: out of memory", channel->address);
        source->connection = channel->transport->ref(connection);
        pthread_mutex_lock(&channel->sources_lock);
        list_append(&channel->sources, &source->link);
        pthread_mutex_unlock(&channel->sources_lock);
        return 0;
}

void sources_prune(baton_channel *channel)
{
        const struct transport *transport = channel->transport;
        struct list stale;
        list_init(&stale);
        pthread_mutex_lock(&channel->sources_lock);
        for (struct list *at = channel->sources.next, *next; at != &channel->sources; at = next) {
                struct source *source = container_of(at, struct source, link);
                next = at->next;
                if (source->n_blocks || transport->state(source->connection) != CONNECTION_DOWN)
                        continue;
                list_remove(at);
                list_append(&stale, at);
        }
        pthread_mutex_unlock(&channel->sources_lock);
        while (!list_empty(&stale)) {
                struct source *source = container_of(stale.next, struct source, link);
                list_remove(&source->link);
                transport->hang_up(source->connection); /* the sink is called no longer */
                transport->unref(source->connection);
                free(source);
        }
}

void sources_hang_up(baton_channel *channel)
{
        for (struct list *at = channel->sources.next; at != &channel->sources; at = at->next)
                channel->transport->hang_up(container_of(at, struct source, link)->connection);
}

/* The lock is held. NULL: it is gone again. */
static struct source *find(const baton_channel *channel, const struct connection *connection)
{
        for (struct list *at = channel->sources.next; at != &channel->sources; at = at->next) {
                struct source *source = container_of(at, struct source, link);
                if (source->connection == connection)
                        return source;
        }
        return NULL;
}

/* again: where there is none, as the server drains or has gone just now. */
static void *try_alloc(baton_channel *channel, size_t size, bool *again)
{
        static const struct patience none;
        baton_code code;
        struct connection *connection;
        void *memory = NULL;
        *again = false;
        if (channel_connect(channel, &none, &code, &connection) < 0)
                return NULL;
        pthread_mutex_lock(&channel->sources_lock);
        struct source *source = find(channel, connection);
        if (source)
                memory = channel->transport->alloc(connection, size);
        else
                channel_vanished(channel);
        if (memory)
                source->n_blocks++;
        pthread_mutex_unlock(&channel->sources_lock);
        *again = channel->transport->state(connection) != CONNECTION_UP;
        channel->transport->unref(connection);
        return memory;
}

void *baton_channel_alloc(baton_channel *channel, size_t size)
{
        void *memory = NULL;
        bool again = true;
        if (!channel)
                error_set(-EINVAL, "baton_channel_alloc: the channel is NULL");
        else if (channel_usable(channel))
                for (int i = 0; i < ATTEMPTS && !memory && again; i++)
                        memory = try_alloc(channel, size, &again);
        return memory;
}

void baton_channel_free(baton_channel *channel, void *memory)
{
        if (!channel || !memory || !channel_usable(channel))
                return;
        bool freed = false, stale = false;
        pthread_mutex_lock(&channel->sources_lock);
        for (struct list *at = channel->sources.next; !freed && at != &channel->sources; at = at->next) {
                struct source *source = container_of(at, struct source, link);
                freed = channel->transport->free(source->connection, memory);
                source->n_blocks -= freed;
                stale = freed && !source->n_blocks;
        }
        pthread_mutex_unlock(&channel->sources_lock);
        if (stale)
                sources_prune(channel);
        if (!freed)
                log_line(BATON_LOG_ERROR,
                         "baton_channel_free: %p is no memory of the channel to %s, or was freed before", memory,
                         channel->address);
}
