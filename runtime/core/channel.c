#define _GNU_SOURCE
#include "core/channel.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "shm/shm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        DEFAULT_CONNECT_MS = 1000,
        DEFAULT_MESSAGE_BYTES = 64 << 20,
        LARGEST_MESSAGE_BYTES = 1 << 30,
        DEFAULT_RING_BYTES = 32 << 10,
        DEFAULT_SPIN_US = 50,
        DEFAULT_IN_FLIGHT = 1024,
        MOST_IN_FLIGHT = 1 << 16,
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

static int bad_option(const char *name, unsigned long long value, const char *expected)
{
        return error_set(-EINVAL, "channel option %s is %llu; expected %s", name, value, expected);
}

static int fill_options(baton_channel_options *o)
{
        o->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : DEFAULT_CONNECT_MS;
        o->max_message_bytes = o->max_message_bytes ? o->max_message_bytes : DEFAULT_MESSAGE_BYTES;
        o->max_heap_bytes = o->max_heap_bytes ? o->max_heap_bytes : 4 * o->max_message_bytes;
        o->ring_bytes = o->ring_bytes ? o->ring_bytes : DEFAULT_RING_BYTES;
        o->spin_us = o->spin_us ? o->spin_us : DEFAULT_SPIN_US;
        o->max_in_flight = o->max_in_flight ? o->max_in_flight : DEFAULT_IN_FLIGHT;
        if (o->max_message_bytes > LARGEST_MESSAGE_BYTES)
                return bad_option("max_message_bytes", o->max_message_bytes, "at most 1 GiB");
        if (o->max_heap_bytes > (size_t)64 << 30)
                return bad_option("max_heap_bytes", o->max_heap_bytes, "at most 64 GiB");
        if (o->ring_bytes < 4096 || o->ring_bytes > 16 << 20 || (o->ring_bytes & (o->ring_bytes - 1)))
                return bad_option("ring_bytes", o->ring_bytes, "a power of two from 4 KiB to 16 MiB");
        if (o->max_in_flight > MOST_IN_FLIGHT)
                return bad_option("max_in_flight", o->max_in_flight, "at most 65536");
        /* A heap is made of whole segments of 1 MiB and more. */
        o->max_heap_bytes = (o->max_heap_bytes + (1 << 20) - 1) & ~(size_t)((1 << 20) - 1);
        return 0;
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
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&channel->caller_free, &monotonic);
        pthread_condattr_destroy(&monotonic);
        list_init(&channel->loops);
        list_init(&channel->past);
        list_init(&channel->early);
        return channel;
}

static void drop_lane(baton_channel *channel, struct caller *caller)
{
        if (caller->lane)
                channel->transport->lane_close(caller->lane);
        if (caller->connection)
                channel->transport->unref(caller->connection);
        caller->lane = NULL;
        caller->connection = NULL;
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
        for (uint32_t i = 0; i < atomic_load(&channel->n_callers); i++) {
                drop_lane(channel, channel->callers[i]);
                reply_home_leave(channel->callers[i]->home);
                free(channel->callers[i]);
        }
        if (channel->source)
                free_source(channel, channel->source);
        while (!list_empty(&channel->past))
                free_source(channel, container_of(channel->past.next, struct source, link));
        pthread_cond_destroy(&channel->caller_free);
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

/* Callers that nobody leases let go of a lost connection: its fds and memory would stay until they are leased again. */
static void drop_idle_lanes(baton_channel *channel)
{
        for (uint32_t i = 0; i < atomic_load_explicit(&channel->n_callers, memory_order_relaxed); i++) {
                struct caller *caller = channel->callers[i];
                if (atomic_exchange_explicit(&caller->leased, true, memory_order_acquire))
                        continue;
                if (caller->lane && !channel->transport->alive(caller->connection))
                        drop_lane(channel, caller);
                channel_give_back(channel, caller);
        }
}

int channel_connect(baton_channel *channel, uint64_t deadline_ns, baton_code *code)
{
        const struct transport *transport = channel->transport;
        if (channel->source && transport->alive(channel->source->connection))
                return 0;
        struct source *source = calloc(1, sizeof *source);
        if (!source)
                return error_set(-ENOMEM, "cannot connect to %s: out of memory", channel->address);
        uint64_t until = clock_now_ns() + channel->options.connect_timeout_ms * UINT64_C(1000000);
        int error = transport->connect(channel->address, &channel->options, deadline_earlier(until, deadline_ns),
                                       &source->connection, code);
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
        drop_idle_lanes(channel);
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

int channel_ready(baton_channel *channel, struct caller *caller, uint64_t deadline_ns, baton_code *code)
{
        const struct transport *transport = channel->transport;
        if (caller->lane && transport->alive(caller->connection))
                return 0;
        drop_lane(channel, caller);
        int error = channel_lock(channel, deadline_ns);
        *code = BATON_DEADLINE_EXCEEDED;
        if (error < 0)
                return error;
        error = channel_connect(channel, deadline_ns, code);
        if (error >= 0)
                caller->connection = transport->ref(channel->source->connection);
        pthread_mutex_unlock(&channel->lock);
        if (error < 0)
                return error;
        uint64_t until = clock_now_ns() + channel->options.connect_timeout_ms * UINT64_C(1000000);
        error = transport->lane_open(caller->connection, deadline_earlier(until, deadline_ns), &caller->lane);
        if (error < 0) {
                *code = deadline_passed(deadline_ns) ? BATON_DEADLINE_EXCEEDED : BATON_UNAVAILABLE;
                caller->lane = NULL;
        }
        return error;
}

/* ---- callers ---------------------------------------------------------------------------------------------- */

/* Threads start looking at different callers, so that each tends to keep one. */
static uint32_t first_choice(void)
{
        static atomic_uint n_threads;
        static _Thread_local uint32_t mine;
        if (!mine)
                mine = atomic_fetch_add_explicit(&n_threads, 1, memory_order_relaxed) + 1;
        return mine - 1;
}

static struct caller *try_lease(baton_channel *channel)
{
        uint32_t n = atomic_load_explicit(&channel->n_callers, memory_order_acquire); /* pairs with add_caller */
        for (uint32_t i = 0, at = n ? first_choice() % n : 0; i < n; i++, at = at + 1 < n ? at + 1 : 0) {
                struct caller *caller = channel->callers[at];
                /* acquire pairs with the release in channel_give_back: what the last holder did to the lane is seen. */
                if (!atomic_load_explicit(&caller->leased, memory_order_relaxed) &&
                    !atomic_exchange_explicit(&caller->leased, true, memory_order_acquire))
                        return caller;
        }
        return NULL;
}

/* A new caller, leased; NULL when there may be no more or memory is short. The lock is held. */
static struct caller *add_caller(baton_channel *channel)
{
        uint32_t n = atomic_load_explicit(&channel->n_callers, memory_order_relaxed);
        if (n == CALLERS)
                return NULL;
        struct caller *caller = aligned_alloc(64, sizeof *caller);
        if (!caller)
                return NULL;
        memset(caller, 0, sizeof *caller);
        caller->home = reply_home_new();
        if (!caller->home) {
                free(caller);
                return NULL;
        }
        atomic_store_explicit(&caller->leased, true, memory_order_relaxed);
        channel->callers[n] = caller;
        atomic_store_explicit(&channel->n_callers, n + 1, memory_order_release);
        return caller;
}

/* Waits for a caller to be given back; the lock is held. */
static struct caller *await_caller(baton_channel *channel, uint64_t deadline_ns)
{
        struct caller *caller;
        atomic_fetch_add(&channel->waiting, 1);
        while (!(caller = try_lease(channel)) && !deadline_passed(deadline_ns)) {
                /* Bounded: a caller may be given back between the look and the wait. */
                uint64_t until = deadline_earlier(deadline_ns, clock_now_ns() + 10000000);
                struct timespec when = { .tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u) };
                pthread_cond_timedwait(&channel->caller_free, &channel->lock, &when);
        }
        atomic_fetch_sub(&channel->waiting, 1);
        return caller;
}

struct caller *channel_lease(baton_channel *channel, uint64_t deadline_ns)
{
        struct caller *caller = try_lease(channel);
        if (caller)
                return caller;
        pthread_mutex_lock(&channel->lock);
        caller = add_caller(channel);
        if (!caller && atomic_load(&channel->n_callers))
                caller = await_caller(channel, deadline_ns);
        pthread_mutex_unlock(&channel->lock);
        return caller;
}

void channel_give_back(baton_channel *channel, struct caller *caller)
{
        atomic_store_explicit(&caller->leased, false, memory_order_release);
        if (atomic_load_explicit(&channel->waiting, memory_order_relaxed))
                pthread_cond_signal(&channel->caller_free);
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
                log_line(BATON_LOG_ERROR, "baton_channel_free: %p is no memory of the channel to %s, or was freed before",
                         memory, channel->address);
}
