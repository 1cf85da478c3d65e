#define _GNU_SOURCE
#include "core/channel.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "core/options.h"
#include "shm/shm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        DEFAULT_CONNECT_MS = 1000,
        DEFAULT_RING_BYTES = 32 << 10,
        DEFAULT_SPIN_US = 50,
        DEFAULT_IN_FLIGHT = 1024,
        MOST_IN_FLIGHT = 1 << 16,
        LEAST_RING_BYTES = 8 << 10,
        MOST_RING_BYTES = 1 << 20,
};

static const struct transport *const transports[] = { &shm_transport };

const struct transport *transport_for(const char *address)
{
        size_t length = strcspn(address, ":");
        for (size_t i = 0; address[length] && i < sizeof transports / sizeof *transports; i++)
                if (strlen(transports[i]->scheme) == length && memcmp(transports[i]->scheme, address, length) == 0)
                        return transports[i]->check_address(address) < 0 ? NULL : transports[i];
        error_set(-EINVAL, "malformed address \"%.100s\": unknown scheme; expected shm:NAME or shm:/PATH", address);
        return NULL;
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static int fill_options(baton_channel_options *o)
{
        o->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : DEFAULT_CONNECT_MS;
        o->ring_bytes = o->ring_bytes ? o->ring_bytes : DEFAULT_RING_BYTES;
        o->spin_us = o->spin_us ? o->spin_us : DEFAULT_SPIN_US;
        o->max_in_flight = o->max_in_flight ? o->max_in_flight : DEFAULT_IN_FLIGHT;
        if (o->ring_bytes < LEAST_RING_BYTES || o->ring_bytes > MOST_RING_BYTES ||
            (o->ring_bytes & (o->ring_bytes - 1)))
                return option_refuse("channel", "ring_bytes", o->ring_bytes, "a power of two from 8 KiB to 1 MiB");
        if (o->max_in_flight > MOST_IN_FLIGHT)
                return option_refuse("channel", "max_in_flight", o->max_in_flight, "at most 65536");
        return option_sizes("channel", &o->max_message_bytes, &o->max_heap_bytes);
}

uint64_t channel_deadline(const baton_call_options *options)
{
        if (!options)
                return 0;
        uint64_t relative = options->timeout_ms ? clock_now_ns() + options->timeout_ms * UINT64_C(1000000) : 0;
        return deadline_earlier(options->deadline_ns, relative);
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
        if (!transport || fill_options(&filled) < 0)
                return NULL;
        baton_channel *channel = calloc(1, sizeof *channel);
        char *copy = strdup(address);
        if (!channel || !copy) {
                error_set(-ENOMEM, "cannot open a channel to %s: out of memory", address);
                free(channel);
                free(copy);
                return NULL;
        }
        channel->transport = transport;
        channel->address = copy;
        channel->options = filled;
        channel->fork_generation = fork_generation();
        pthread_mutex_init(&channel->lock, NULL);
        callers_init(channel);
        list_init(&channel->loops);
        list_init(&channel->past);
        list_init(&channel->early);
        return channel;
}

static void free_source(baton_channel *channel, struct source *source)
{
        list_remove(&source->link);
        channel->transport->unref(source->connection);
        free(source);
}

void channel_loop_free(struct channel_loop *loop)
{
        const struct transport *transport = loop->channel->transport;
        transport->async_close(loop->lane);
        transport->unref(loop->connection);
        reply_home_leave(loop->home);
        free(loop);
}

void baton_channel_close(baton_channel *channel)
{
        /* A forked child shares the parent's epoll sets and sockets: whatever it took down would be the parent's. */
        if (!channel || !channel_usable(channel))
                return;
        channel->closing = true; /* callbacks that make further calls are told */
        while (!list_empty(&channel->loops)) {
                struct channel_loop *loop = container_of(channel->loops.next, struct channel_loop, link);
                list_remove(&loop->link);
                channel_loop_free(loop);
        }
        while (!list_empty(&channel->early)) {
                struct reply_box *box = container_of(channel->early.next, struct reply_box, link);
                loop_unpost(box->loop, &box->task);
                box->task.run(&box->task);
        }
        callers_deinit(channel);
        if (channel->source)
                channel->transport->hang_up(channel->source->connection);
        if (channel->source)
                free_source(channel, channel->source);
        while (!list_empty(&channel->past))
                free_source(channel, container_of(channel->past.next, struct source, link));
        pthread_mutex_destroy(&channel->lock);
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

/* ---- connecting ------------------------------------------------------------------------------------------- */

int channel_lock(baton_channel *channel, uint64_t deadline_ns)
{
        if (!deadline_ns) {
                pthread_mutex_lock(&channel->lock);
                return 0;
        }
        struct timespec until = { .tv_sec = (time_t)(deadline_ns / 1000000000u),
                                  .tv_nsec = (long)(deadline_ns % 1000000000u) };
        int error = pthread_mutex_trylock(&channel->lock);
        if (error)
                error = pthread_mutex_clocklock(&channel->lock, CLOCK_MONOTONIC, &until);
        return error ? error_set(-ETIMEDOUT, "the deadline passed while connecting to %s", channel->address) : 0;
}

int channel_connect(baton_channel *channel, uint64_t deadline_ns, baton_code *code)
{
        const struct transport *transport = channel->transport;
        if (channel->source && transport->state(channel->source->connection) == CONNECTION_UP)
                return 0;
        struct source *source = calloc(1, sizeof *source);
        if (!source) {
                *code = BATON_RESOURCE_EXHAUSTED;
                return error_set(-ENOMEM, "cannot connect to %s: out of memory", channel->address);
        }
        uint64_t until = clock_now_ns() + channel->options.connect_timeout_ms * UINT64_C(1000000);
        int error = transport->connect(channel->address, &channel->options, deadline_earlier(until, deadline_ns),
                                       &channel->sink, &source->connection, code);
        if (error < 0) {
                free(source);
                if (deadline_passed(deadline_ns))
                        *code = BATON_DEADLINE_EXCEEDED;
                return error;
        }
        list_init(&source->link);
        if (channel->source && channel->source->n_blocks)
                list_append(&channel->past, &channel->source->link);
        else if (channel->source)
                free_source(channel, channel->source);
        channel->source = source;
        callers_drop_idle(channel);
        return 0;
}

baton_status baton_channel_connect(baton_channel *channel)
{
        baton_code code = BATON_OK;
        if (!channel) {
                error_set(-EINVAL, "baton_channel_connect: the channel is NULL");
                code = BATON_INVALID_ARGUMENT;
        } else if (!channel_usable(channel)) {
                code = BATON_FAILED_PRECONDITION;
        } else {
                pthread_mutex_lock(&channel->lock);
                if (channel_connect(channel, 0, &code) >= 0)
                        code = BATON_OK;
                pthread_mutex_unlock(&channel->lock);
        }
        return (baton_status){ .code = code, .message = code == BATON_OK ? "" : baton_error() };
}

/* ---- payload memory --------------------------------------------------------------------------------------- */

void *baton_channel_alloc(baton_channel *channel, size_t size)
{
        baton_code code;
        void *memory = NULL;
        if (!channel) {
                error_set(-EINVAL, "baton_channel_alloc: the channel is NULL");
                return NULL;
        }
        if (!channel_usable(channel))
                return NULL;
        pthread_mutex_lock(&channel->lock);
        if (channel_connect(channel, 0, &code) >= 0)
                memory = channel->transport->alloc(channel->source->connection, size);
        if (memory)
                channel->source->n_blocks++;
        pthread_mutex_unlock(&channel->lock);
        return memory;
}

/* Frees the block where it belongs to this source. */
static bool free_from(baton_channel *channel, struct source *source, void *memory)
{
        if (!source || !channel->transport->free(source->connection, memory))
                return false;
        if (--source->n_blocks == 0 && source != channel->source)
                free_source(channel, source);
        return true;
}

void baton_channel_free(baton_channel *channel, void *memory)
{
        if (!channel || !memory || !channel_usable(channel))
                return;
        pthread_mutex_lock(&channel->lock);
        bool freed = free_from(channel, channel->source, memory);
        for (struct list *at = channel->past.next; !freed && at != &channel->past; at = at->next) {
                freed = free_from(channel, container_of(at, struct source, link), memory);
                if (freed)
                        break; /* the entry may be gone */
        }
        pthread_mutex_unlock(&channel->lock);
        if (!freed)
                log_line(BATON_LOG_ERROR,
                         "baton_channel_free: %p is no memory of the channel to %s, or was freed before", memory,
                         channel->address);
}
