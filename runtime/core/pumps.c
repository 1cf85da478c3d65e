#include "core/pumps.h"
#include "base/thread_number.h"

struct pump *pumps_lease(baton_channel *channel)
{
        struct pump **place = &channel->pumps[thread_number() % PUMPS];
        pthread_mutex_lock(&channel->lanes_lock);
        if (!*place)
                *place = pump_new();
        struct pump *pump = *place;
        if (pump)
                pump_ref(pump);
        pthread_mutex_unlock(&channel->lanes_lock);
        return pump;
}

void pumps_enter(baton_channel *channel)
{
        for (int i = 0; i < PUMPS; i++)
                if (channel->pumps[i])
                        pump_enter(channel->pumps[i]);
}

void pumps_deinit(baton_channel *channel)
{
        for (int i = 0; i < PUMPS; i++) {
                if (!channel->pumps[i])
                        continue;
                pthread_mutex_lock(&channel->lanes_lock); /* a transport's thread may be in pumps_dispatch still */
                struct pump *pump = channel->pumps[i];
                channel->pumps[i] = NULL;
                pthread_mutex_unlock(&channel->lanes_lock);
                pump_leave(pump);
                pump_unref(pump);
        }
}

void pumps_dispatch(baton_channel *channel)
{
        for (int i = 0; i < PUMPS; i++) {
                pthread_mutex_lock(&channel->lanes_lock);
                struct pump *pump = channel->pumps[i];
                if (pump)
                        pump_ref(pump);
                pthread_mutex_unlock(&channel->lanes_lock);
                if (!pump)
                        continue;
                if (pump_try_enter(pump)) {
                        baton_loop_dispatch(pump->loop);
                        pump_leave(pump);
                }
                pump_unref(pump);
        }
}
