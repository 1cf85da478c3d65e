#include "core/pump.h"
#include "base/error.h"
#include <errno.h>
#include <stdlib.h>

static void on_kick(struct loop_task *task)
{
        struct pump *pump = container_of(task, struct pump, kick);
        pthread_mutex_lock(&pump->lock);
        pump->kicked = false;
        pthread_mutex_unlock(&pump->lock);
}

struct pump *pump_new(void)
{
        struct pump *pump = calloc(1, sizeof *pump);
        if (!pump) {
                error_set(-ENOMEM, "cannot make a loop for blocking streams: out of memory");
                return NULL;
        }
        pump->loop = baton_loop_new();
        if (!pump->loop) {
                free(pump);
                return NULL;
        }
        atomic_init(&pump->references, 1);
        pthread_mutex_init(&pump->lock, NULL);
        pthread_cond_init(&pump->moved, NULL);
        pump->kick.run = on_kick;
        return pump;
}

void pump_ref(struct pump *pump)
{
        atomic_fetch_add_explicit(&pump->references, 1, memory_order_relaxed);
}

void pump_unref(struct pump *pump)
{
        if (atomic_fetch_sub_explicit(&pump->references, 1, memory_order_acq_rel) != 1)
                return;
        baton_loop_free(pump->loop);
        pthread_cond_destroy(&pump->moved);
        pthread_mutex_destroy(&pump->lock);
        free(pump);
}

/* ---- the lock is held ------------------------------------------------------------------------------------- */

static void announce(struct pump *pump)
{
        pump->moves++;
        if (pump->waiting)
                pthread_cond_broadcast(&pump->moved);
}

static void sleep_locked(struct pump *pump)
{
        pump->waiting++;
        pthread_cond_wait(&pump->moved, &pump->lock);
        pump->waiting--;
}

/* Turns the loop until something happens. */
static void drive(struct pump *pump)
{
        pump->driven = true;
        pthread_mutex_unlock(&pump->lock);
        baton_loop_wait(pump->loop, -1);
        pthread_mutex_lock(&pump->lock);
        pump->driven = false;
        announce(pump);
}

/* ---- for streams ------------------------------------------------------------------------------------------ */

void pump_moved(struct pump *pump)
{
        pthread_mutex_lock(&pump->lock);
        announce(pump);
        pthread_mutex_unlock(&pump->lock);
}

int pump_wait(struct pump *pump, int (*attempt)(void *context), void *context)
{
        for (;;) {
                pthread_mutex_lock(&pump->lock);
                uint64_t seen = pump->moves;
                pthread_mutex_unlock(&pump->lock);
                int n = attempt(context);
                if (n != -EAGAIN)
                        return n;
                pthread_mutex_lock(&pump->lock);
                if (pump->moves == seen) {
                        if (!pump->driven && !pump->wanted)
                                drive(pump);
                        else
                                sleep_locked(pump);
                }
                pthread_mutex_unlock(&pump->lock);
        }
}

void pump_enter(struct pump *pump)
{
        pthread_mutex_lock(&pump->lock);
        pump->wanted++;
        while (pump->driven) {
                if (!pump->kicked) {
                        pump->kicked = true;
                        loop_post(pump->loop, &pump->kick);
                }
                sleep_locked(pump);
        }
        pump->wanted--;
        pump->driven = true;
        pthread_mutex_unlock(&pump->lock);
}

bool pump_try_enter(struct pump *pump)
{
        pthread_mutex_lock(&pump->lock);
        bool entered = !pump->driven && !pump->wanted;
        pump->driven |= entered;
        pthread_mutex_unlock(&pump->lock);
        return entered;
}

void pump_leave(struct pump *pump)
{
        pthread_mutex_lock(&pump->lock);
        pump->driven = false;
        announce(pump);
        pthread_mutex_unlock(&pump->lock);
}
