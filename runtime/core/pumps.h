/* A channel's pumps: a few, so that threads with blocking streams seldom wait for each other. */
#ifndef CORE_PUMPS_H
#define CORE_PUMPS_H

#include "core/async_lanes.h"
#include "core/pump.h"

/* This thread's pump, with a reference; made when first needed. NULL with the reason set. */
struct pump *pumps_lease(baton_channel *channel);

/* The channel is being closed: takes the seats of all, so that their lanes can be closed here; then lets go of them. */
void pumps_enter(baton_channel *channel);
void pumps_deinit(baton_channel *channel);

/* Turns those loops that nobody turns, for what was posted to them. Any thread; does not block. */
void pumps_dispatch(baton_channel *channel);

#endif
