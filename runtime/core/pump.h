/*
 * Who turns the loop of blocking streams: the threads that wait in them, in turns. Whoever waits takes the seat if it is free, and
 * turns the loop for all; the others sleep until their stream has moved, or the seat is free (leader and followers; Schmidt et
 * al., POSA 2). So a thread that is alone is woken by the server itself, with no thread between.
 */
#ifndef CORE_PUMP_H
#define CORE_PUMP_H

#include "base/loop.h"
#include <pthread.h>
#include <stdatomic.h>

struct pump {
        atomic_uint references;
        baton_loop *loop;
        pthread_mutex_t lock;  /* all below */
        bool driven;           /* some thread has the seat */
        uint32_t wanted;       /* threads that want it for something else than turning the loop */
        struct list sleepers;  /* threads that wait, those among them */
        struct loop_task kick; /* makes the driver let go */
        bool kicked;
};

/* NULL with the reason set. One reference. */
struct pump *pump_new(void);
void pump_ref(struct pump *pump);
void pump_unref(struct pump *pump);

/* Waits until attempt(context) is not -EAGAIN, and returns that. It is called again whenever this stream has moved, without the
 * lock. stream: any name for it. */
int pump_wait(struct pump *pump, const void *stream, int (*attempt)(void *context), void *context);

/* Takes the seat: from here to pump_leave this is the loop's thread. */
void pump_enter(struct pump *pump);
/* The same, where it is free at once. */
bool pump_try_enter(struct pump *pump);
void pump_leave(struct pump *pump);

/* This stream has moved: those who wait for it, and nobody else, look again. Any thread. */
void pump_moved(struct pump *pump, const void *stream);

#endif
