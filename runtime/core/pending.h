/*
 * What some asynchronous calls need beside their reply: to be cancelled, to be made again, or to wait for a connection. All
 * belongs to the loop's thread but for what starting does under the lock of the channel's lanes.
 */
#ifndef CORE_PENDING_H
#define CORE_PENDING_H

#include "core/async_lanes.h"

struct pending;

/* Whether a call with these terms needs it, though there is a lane. */
bool pending_needed(const baton_channel *channel, const struct call_terms *terms);

/* NULL: no memory. The box's, until pending_free. */
struct pending *pending_new(struct reply_box *box, const struct call_terms *terms);
void pending_free(struct pending *pending);

/* The call, whose request can still be read, is to be started when there is a lane. 0: it will be; 1: it has ended, and its outcome is to
 * be delivered; or a negative errno with the reason set: it was not made. Without the lock. */
int pending_wait(struct pending *pending);

/* The call has ended. True: not for its user, for it will be made again. */
bool pending_again(struct pending *pending);

/* The channel is being closed: those who wait for their next attempt end. */
void pending_close_all(baton_channel *channel);

/* Starts the box's call, which may have no `pending`, on this lane. 0, and it may be gone; 1: it has ended, and its outcome is to be
 * delivered; -ESHUTDOWN: the lane is of no more use; or another negative errno with the reason set: it was not made. The lock is held. */
int async_start(struct reply_box *box, struct channel_loop *entry);

#endif
