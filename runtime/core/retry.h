/* Whether and when a call that failed is made again (baton_retry; gRFC A6). */
#ifndef CORE_RETRY_H
#define CORE_RETRY_H

#include "core/channel.h"

void retry_init(baton_channel *channel);

static inline bool retry_on(const baton_channel *channel)
{
        return channel->options.retry.max_attempts > 1;
}

/*
 * To be told of the outcome of each attempt, where retry_on. True: the call is to be made again at *at_ns. `attempts` were
 * made so far. Any thread.
 */
bool retry_due(baton_channel *channel, const struct client_call *call, uint32_t attempts, uint64_t *at_ns);

/* Sleeps until then; false where nobody waits for the call any more. */
bool retry_pause(const struct patience *patience, uint64_t at_ns);

/* A length between 80 % and 120 % of this one. */
uint64_t jitter(uint64_t ns);

#endif
