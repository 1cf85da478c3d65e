/*
 * What some asynchronous calls need beside their reply: to be cancelled, to be made again, or to wait for a server. All
 * belongs to the loop's thread but for what pending_started does, under the lock of the channel's lanes.
 */
#ifndef CORE_PENDING_H
#define CORE_PENDING_H

#include "core/async_lanes.h"

struct pending;

/* Whether a call with these terms needs it. */
bool pending_needed(const baton_channel *channel, const struct call_terms *terms);

/* NULL: no memory. The box's, until pending_free. */
struct pending *pending_new(struct reply_box *box, const struct call_terms *terms);
void pending_free(struct pending *pending);

/* The call was started on this lane (NULL: it has failed before); its request can still be read. The lock is held: until it is given
 * back, no outcome is delivered. */
void pending_started(struct pending *pending, struct channel_loop *entry);

/* The call has ended. True: not for its user, for it will be made again. */
bool pending_again(struct pending *pending);

/* The channel is being closed: those who wait for their next attempt end. */
void pending_close_all(baton_channel *channel);

/* unary_async.c: makes the box's call on its loop's lane. 0; 1: it has ended, and its outcome is to be delivered; or a negative
 * errno with the reason set: it was not made. */
int async_start(struct reply_box *box, const struct patience *patience);

#endif
