/*
 * A channel's lanes for asynchronous calls and streams: one for each loop that makes some. Their lock is short: nothing
 * blocks under it, so that a loop never waits for a thread that connects.
 */
#ifndef CORE_ASYNC_LANES_H
#define CORE_ASYNC_LANES_H

#include "core/channel.h"

/* The lane of one loop over one connection. */
struct channel_loop {
        baton_channel *channel;
        baton_loop *loop;
        struct connection *connection;
        struct async_lane *lane;
        struct reply_home *home; /* under the lock */
        bool added;              /* to the channel's list; under the lock */
        struct list link;
};

void async_lanes_init(baton_channel *channel);
void async_lanes_deinit(baton_channel *channel);

/*
 * The loop's lane on a living connection. 1: the lock is held, so that the lane stays open: start the call or stream, which must
 * not block, then async_lane_done. 0: there is none now: connector_join. -EAGAIN: others wait for room on it; -ECANCELED.
 */
int async_lane_now(baton_channel *channel, baton_loop *loop, struct channel_loop **entry);

/*
 * For whom may wait: connects, and opens the lane, where there is none. 0: as 1 above. Negative errno with the reason set, and
 * *code: what the call ends with, or BATON_OK where that is a local failure (-ECANCELED: the channel is being closed; -ENOMEM).
 */
int async_lane(baton_channel *channel, baton_loop *loop, const struct patience *patience, baton_code *code,
               struct channel_loop **entry);
void async_lane_done(baton_channel *channel);

/* The lane, with the lock held before and after; NULL. */
struct channel_loop *async_lane_find(baton_channel *channel, baton_loop *loop);

/* Has no more lanes handed out, and closes all: their calls complete, and their streams end. */
void async_lanes_close(baton_channel *channel);

/* Delivers on the loop, with box->task, an outcome that was known without the server: its text is in baton_error() or the reply. The
 * lock is held. Once it is given back the callback may close the channel: the caller does not touch it any more. */
void async_end_early(struct reply_box *box);

/* The first of one of the channel's lists, taken out; NULL. */
struct list *async_take_first(baton_channel *channel, struct list *head);

/* Takes the box off the list of those to be delivered. */
void async_delivered(struct reply_box *box);

#endif
