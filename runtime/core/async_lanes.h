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
        struct list link;
};

void async_lanes_init(baton_channel *channel);
void async_lanes_deinit(baton_channel *channel);

/*
 * The loop's lane on a living connection; connects, and opens the lane, where there is none. 0: the lock is held, so
 * that the lane stays open: start the call or stream, which must not block, then async_lane_done. Negative errno with the
 * reason set, and *code: what the call ends with, or BATON_OK where that is a local failure (-ECANCELED: the channel is being
 * closed; -ENOMEM).
 */
int async_lane(baton_channel *channel, baton_loop *loop, const struct patience *patience, baton_code *code,
               struct channel_loop **entry);
void async_lane_done(baton_channel *channel);

/* Has no more lanes handed out, and closes all: their calls complete, and their streams end. */
void async_lanes_close(baton_channel *channel);

/* Delivers on the loop an outcome that was known at once. From here on the callback may close the channel: the caller does not
 * touch it any more. */
void async_end_early(struct reply_box *box, void (*deliver)(struct loop_task *task));

/* The first of one of the channel's lists, taken out; NULL. */
struct list *async_take_first(baton_channel *channel, struct list *head);

/* Takes the box off the list of those to be delivered. */
void async_delivered(struct reply_box *box);

#endif
