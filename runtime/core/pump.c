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
        list_init(&pump->sleepers);
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
        pthread_mutex_destroy(&pump->lock);
        free(pump);
}

/* ---- the lock is held ------------------------------------------------------------------------------------- */

/* A thread that waits. */
struct sleeper {
        const void *stream; /* NULL: for the seat alone */
        bool moved;
        pthread_cond_t wake;
        struct list link;
};

static void lie_down(struct pump *pump, struct sleeper *self, const void *stream)
{
        *self = (struct sleeper){ .stream = stream };
        pthread_cond_init(&self->wake, NULL);
        list_append(&pump->sleepers, &self->link);
}

static void get_up(struct sleeper *self)
{
        list_remove(&self->link);
        pthread_cond_destroy(&self->wake);
}

/* The seat is free: one who waits is to take it, first of all one who wants nothing else. */
static void pass_seat(struct pump *pump)
{
        struct sleeper *next = NULL;
        if (pump->driven)
                return;
        for (struct list *at = pump->sleepers.next; at != &pump->sleepers; at = at->next) {
                struct sleeper *sleeper = container_of(at, struct sleeper, link);
                if (!next || (next->stream && !sleeper->stream))
                        next = sleeper;
        }
        if (next)
                pthread_cond_signal(&next->wake);
}

/* Turns the loop until something happens. */
static void drive(struct pump *pump)
{
        pump->driven = true;
        pthread_mutex_unlock(&pump->lock);
        baton_loop_wait(pump->loop, -1);
        pthread_mutex_lock(&pump->lock);
        pump->driven = false;
}

/* Sleeps until the stream has moved, or turns the loop once. */
static void await_move(struct pump *pump, struct sleeper *self)
{
        while (!self->moved) {
                if (!pump->driven && !pump->wanted) {
                        drive(pump);
                        return;
                }
                if (!pump->driven) /* another one has just left it to those who want it */
                        pass_seat(pump);
                pthread_cond_wait(&self->wake, &pump->lock);
        }
}

/* ---- for streams ------------------------------------------------------------------------------------------ */

void pump_moved(struct pump *pump, const void *stream)
{
        pthread_mutex_lock(&pump->lock);
        for (struct list *at = pump->sleepers.next; at != &pump->sleepers; at = at->next) {
                struct sleeper *sleeper = container_of(at, struct sleeper, link);
                if (sleeper->stream != stream)
                        continue;
                sleeper->moved = true;
                pthread_cond_signal(&sleeper->wake);
        }
        pthread_mutex_unlock(&pump->lock);
}

int pump_wait(struct pump *pump, const void *stream, int (*attempt)(void *context), void *context)
{
        struct sleeper self;
        int n;
        pthread_mutex_lock(&pump->lock);
        lie_down(pump, &self, stream); /* before the attempt: what moves meanwhile is not missed */
        for (;;) {
                self.moved = false;
                pthread_mutex_unlock(&pump->lock);
                n = attempt(context);
                pthread_mutex_lock(&pump->lock);
                if (n != -EAGAIN)
                        break;
                await_move(pump, &self);
        }
        get_up(&self);
        pass_seat(pump);
        pthread_mutex_unlock(&pump->lock);
        return n;
}

void pump_enter(struct pump *pump)
{
        struct sleeper self;
        pthread_mutex_lock(&pump->lock);
        lie_down(pump, &self, NULL);
        pump->wanted++;
        while (pump->driven) {
                if (!pump->kicked) {
                        pump->kicked = true;
                        loop_post(pump->loop, &pump->kick);
                }
                pthread_cond_wait(&self.wake, &pump->lock);
        }
        pump->wanted--;
        get_up(&self);
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
        pass_seat(pump);
        pthread_mutex_unlock(&pump->lock);
}
