#define _GNU_SOURCE
#include "core/async_lanes.h"
#include "base/clock.h"
#include "base/error.h"
#include "core/connector.h"
#include "core/pending.h"
#include <errno.h>
#include <stdlib.h>

enum { ATTEMPTS = 8 }; /* servers may restart one after the other */

void async_lanes_init(baton_channel *channel)
{
        pthread_mutex_init(&channel->lanes_lock, NULL);
        pthread_mutex_init(&channel->opening, NULL);
        list_init(&channel->loops);
        list_init(&channel->early);
        list_init(&channel->waiting_calls);
        list_init(&channel->connectors);
        pthread_cond_init(&channel->lane_added, NULL);
}

void async_lanes_deinit(baton_channel *channel)
{
        pthread_mutex_destroy(&channel->lanes_lock);
        pthread_mutex_destroy(&channel->opening);
        pthread_cond_destroy(&channel->lane_added);
}

/* ---- closing; on the loop's thread ------------------------------------------------------------------------- */

/* It is in no list any more, so nobody starts calls on it. */
static void free_entry(struct channel_loop *entry)
{
        const struct transport *transport = entry->channel->transport;
        transport->async_close(entry->lane);
        transport->unref(entry->connection);
        reply_home_leave(entry->home);
        free(entry);
}

/* Every call and stream on the lane has ended. */
static void lost(void *context)
{
        struct channel_loop *entry = context;
        pthread_mutex_lock(&entry->channel->lanes_lock);
        while (!entry->added) /* the thread that opened it, and holds no lock, is about to */
                pthread_cond_wait(&entry->channel->lane_added, &entry->channel->lanes_lock);
        list_remove(&entry->link);
        pthread_mutex_unlock(&entry->channel->lanes_lock);
        free_entry(entry);
}

struct list *async_take_first(baton_channel *channel, struct list *head)
{
        pthread_mutex_lock(&channel->lanes_lock);
        struct list *first = list_empty(head) ? NULL : head->next;
        if (first)
                list_remove(first);
        pthread_mutex_unlock(&channel->lanes_lock);
        return first;
}

void async_lanes_close(baton_channel *channel)
{
        struct list *first;
        pthread_mutex_lock(&channel->lanes_lock);
        /* Callbacks that make further calls are told; so are threads that connect (patience_cancelled). */
        atomic_store_explicit(&channel->closing, 1, memory_order_release);
        pthread_mutex_unlock(&channel->lanes_lock);
        connectors_close(channel);
        while ((first = async_take_first(channel, &channel->loops)))
                free_entry(container_of(first, struct channel_loop, link));
        while ((first = async_take_first(channel, &channel->early))) {
                struct reply_box *box = container_of(first, struct reply_box, link);
                loop_unpost(box->loop, &box->task);
                box->task.run(&box->task);
        }
        pending_close_all(channel);
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

struct channel_loop *async_lane_find(baton_channel *channel, baton_loop *loop)
{
        for (struct list *at = channel->loops.next; at != &channel->loops; at = at->next) {
                struct channel_loop *entry = container_of(at, struct channel_loop, link);
                if (entry->loop == loop && channel->transport->state(entry->connection) == CONNECTION_UP)
                        return entry;
        }
        return NULL;
}

/* 1 and the lock is held; 0: there is none; or -ECANCELED. */
static int take(baton_channel *channel, baton_loop *loop, struct channel_loop **entry)
{
        pthread_mutex_lock(&channel->lanes_lock);
        bool closing = channel_closing(channel);
        *entry = closing ? NULL : async_lane_find(channel, loop);
        if (*entry)
                return 1;
        pthread_mutex_unlock(&channel->lanes_lock);
        return closing ? error_set(-ECANCELED, "the channel to %s is being closed", channel->address) : 0;
}

static struct channel_loop *new_entry(baton_channel *channel, baton_loop *loop, struct connection *connection)
{
        struct channel_loop *entry = calloc(1, sizeof *entry);
        if (!entry)
                return NULL;
        *entry = (struct channel_loop){
                .channel = channel, .loop = loop, .connection = connection, .home = reply_home_new()
        };
        if (entry->home)
                return entry;
        free(entry);
        return NULL;
}

/* Opens a lane on this connection, and takes over the reference to it. */
static int add(baton_channel *channel, baton_loop *loop, struct connection *connection, uint64_t deadline_ns)
{
        struct channel_loop *entry = new_entry(channel, loop, connection);
        if (!entry) {
                channel->transport->unref(connection);
                return error_set(-ENOMEM, "cannot open a lane to %s: out of memory", channel->address);
        }
        int error = channel->transport->async_open(connection, loop, channel_attempt_end(channel, deadline_ns), lost,
                                                   entry, &entry->lane);
        if (error < 0) {
                channel->transport->unref(connection);
                reply_home_leave(entry->home);
                free(entry);
                return error;
        }
        pthread_mutex_lock(&channel->lanes_lock);
        list_append(&channel->loops, &entry->link);
        entry->added = true;
        pthread_cond_broadcast(&channel->lane_added);
        pthread_mutex_unlock(&channel->lanes_lock);
        return 0;
}

/* One thread at a time opens a lane, or a loop might get two. False: the deadline. */
static bool lock_opening(baton_channel *channel, uint64_t deadline_ns)
{
        struct timespec until = clock_timespec(deadline_ns);
        if (!deadline_ns)
                return !pthread_mutex_lock(&channel->opening);
        return !pthread_mutex_clocklock(&channel->opening, CLOCK_MONOTONIC, &until);
}

/* Sees to it that there is a lane. */
static int open_lane(baton_channel *channel, baton_loop *loop, const struct patience *patience, baton_code *code)
{
        uint64_t deadline_ns = patience->deadline_ns;
        struct connection *connection;
        struct channel_loop *entry;
        int error = channel_connect(channel, patience, code, &connection);
        if (error < 0)
                return error;
        *code = BATON_UNAVAILABLE;
        if (!lock_opening(channel, deadline_ns)) {
                channel->transport->unref(connection);
                patience_over(patience, "while another thread was connecting", code);
                return -EPIPE;
        }
        int there = take(channel, loop, &entry);
        if (there > 0)
                async_lane_done(channel);
        if (there)
                channel->transport->unref(connection);
        else
                error = add(channel, loop, connection, deadline_ns);
        pthread_mutex_unlock(&channel->opening);
        /* A lane that was opened too late is for the next call: this one is not even sent. */
        return patience_over(patience, "while connecting", code) ? -EPIPE : error;
}

int async_lane(baton_channel *channel, baton_loop *loop, const struct patience *patience, baton_code *code,
               struct channel_loop **entry)
{
        for (int i = 0; i < ATTEMPTS; i++) {
                int error = take(channel, loop, entry);
                *code = BATON_OK;
                if (error)
                        return error < 0 ? error : 0;
                error = open_lane(channel, loop, patience, code);
                if (error < 0 && error != -ESHUTDOWN)
                        return error;
        }
        int there = take(channel, loop, entry);
        if (there)
                return there < 0 ? there : 0;
        *code = BATON_UNAVAILABLE;
        return channel_vanished(channel);
}

int async_lane_now(baton_channel *channel, baton_loop *loop, struct channel_loop **entry)
{
        int there = take(channel, loop, entry);
        if (there <= 0 || list_empty(&channel->connectors))
                return there;
        int error = connector_start_first(channel, loop);
        if (error < 0)
                async_lane_done(channel);
        return error < 0 ? error : 1;
}

void async_lane_done(baton_channel *channel)
{
        pthread_mutex_unlock(&channel->lanes_lock);
}

/* ---- outcomes that are known without the server -------------------------------------------------------------- */

void async_end_early(struct reply_box *box)
{
        reply_keep_text(box);
        list_append(&box->channel->early, &box->link);
        loop_post(box->loop, &box->task);
}

void async_delivered(struct reply_box *box)
{
        pthread_mutex_lock(&box->channel->lanes_lock);
        list_remove(&box->link);
        pthread_mutex_unlock(&box->channel->lanes_lock);
}
