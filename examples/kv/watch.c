/*
 * The handler of Watch: a server stream fed by what other clients do.
 *
 * Writers put changes into a bounded queue per watcher. send_waiting empties it into the stream until that is full, and runs
 * again when the client has read: nobody ever waits for a watcher, and no watcher costs more memory than its queue.
 */
#include "watch.h"
#include "kv.h"
#include <baton/baton.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WAITING = 4096, MAX_WAITING_BYTES = 64 << 20 };

struct event {
        struct record *record;
        Kv__Event__Kind kind;
};

struct watch {
        struct watches *watches;
        struct watch *next;
        baton_call *call;
        const char *prefix;
        struct record **current; /* what was there at the beginning; NULL: told, or not asked for */
        size_t n_current, current_told;
        bool ready_told;
        bool behind;       /* the queue was full */
        unsigned first, n; /* of the queue */
        size_t bytes;
        struct event queue[MAX_WAITING];
};

void watches_init(struct watches *watches)
{
        /* Recursive: a writer that tells a watcher may run send_waiting right there. */
        pthread_mutexattr_t recursive;
        pthread_mutexattr_init(&recursive);
        pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&watches->lock, &recursive);
        pthread_mutexattr_destroy(&recursive);
        watches->first = NULL;
}

void watches_deinit(struct watches *watches)
{
        pthread_mutex_destroy(&watches->lock);
}

static void join(void *context)
{
        struct watch *self = context;
        pthread_mutex_lock(&self->watches->lock);
        self->next = self->watches->first;
        self->watches->first = self;
        pthread_mutex_unlock(&self->watches->lock);
}

/* The watch lives in the call's memory, and ends with it. */
static void leave(struct watch *self)
{
        struct watch **link = &self->watches->first;
        while (*link != self)
                link = &(*link)->next;
        *link = self->next;
        for (; self->n; self->n--)
                record_release(self->queue[self->first++ % MAX_WAITING].record);
        while (self->current_told < self->n_current)
                record_release(self->current[self->current_told++]);
        free(self->current);
        baton_call_release(self->call);
}

/* Sends the next event: what is there, then READY, then the changes. 1: sent; 0: there is none; or as baton_call_send. */
static int send_next(struct watch *self)
{
        struct event next = { .kind = KV__EVENT__KIND__READY };
        if (self->current_told < self->n_current)
                next = (struct event){ self->current[self->current_told], KV__EVENT__KIND__CURRENT };
        else if (self->ready_told && self->n == 0)
                return 0;
        else if (self->ready_told)
                next = self->queue[self->first % MAX_WAITING];

        Kv__Event event = KV__EVENT__INIT;
        event.kind = next.kind;
        if (next.record)
                event.key = next.record->key;
        if (next.record && next.kind != KV__EVENT__KIND__DELETE)
                event.value = (ProtobufCBinaryData){ next.record->size, next.record->value };
        int error = kv_watch_send(self->call, &event);
        if (error < 0)
                return error;

        if (!next.record) {
                self->ready_told = true;
        } else if (next.kind == KV__EVENT__KIND__CURRENT) {
                self->current_told++;
        } else {
                self->first++;
                self->n--;
                self->bytes -= next.record->size;
        }
        record_release(next.record);
        return 1;
}

/* Runs when there is something to send, room to send it, or the client has gone. */
static void send_waiting(baton_call *call, void *context)
{
        struct watch *self = context;
        struct watches *watches = self->watches; /* outlives self */
        pthread_mutex_lock(&watches->lock);
        int sent = baton_call_cancelled(call) ? -ECANCELED : 1;
        while (sent > 0 && !self->behind)
                sent = send_next(self);
        if (self->behind)
                baton_call_fail(
                        call, BATON_RESOURCE_EXHAUSTED,
                        "the watcher of '%s' reads too slowly, and is %u changes behind: watch again, with current",
                        self->prefix, self->n);
        else if (sent < 0 && sent != -EAGAIN && sent != -ECANCELED)
                baton_call_fail(call, BATON_INTERNAL, "a change under '%s' cannot be sent: %s", self->prefix,
                                baton_error());
        if (self->behind || (sent < 0 && sent != -EAGAIN))
                leave(self);
        pthread_mutex_unlock(&watches->lock);
}

static void tell(struct watch *self, struct record *record, bool deleted)
{
        self->behind = self->n == MAX_WAITING || self->bytes + record->size > MAX_WAITING_BYTES;
        if (!self->behind) {
                self->queue[(self->first + self->n++) % MAX_WAITING] =
                        (struct event){ record_hold(record), deleted ? KV__EVENT__KIND__DELETE : KV__EVENT__KIND__PUT };
                self->bytes += record->size;
        }
        if (self->n == 1 || self->behind) /* else it waits for room already */
                baton_call_on_ready(self->call, send_waiting, self);
}

void watches_tell(void *context, struct record *record, bool deleted)
{
        struct watches *watches = context;
        pthread_mutex_lock(&watches->lock);
        for (struct watch *self = watches->first, *next; self; self = next) {
                next = self->next; /* it may leave meanwhile */
                if (strncmp(record->key, self->prefix, strlen(self->prefix)) == 0)
                        tell(self, record, deleted);
        }
        pthread_mutex_unlock(&watches->lock);
}

void watch(baton_call *call, const Kv__WatchRequest *request, void *context)
{
        struct kv *kv = context;
        struct watch *self = baton_call_scratch(call, sizeof *self);
        if (!self) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no memory to watch '%s'", request->prefix);
                return;
        }
        self->watches = &kv->watches;
        self->call = baton_call_retain(call);
        self->prefix = request->prefix; /* lives as long as the call */
        if (!request->current) {
                join(self);
        } else if (store_snapshot(kv->store, self->prefix, &self->current, &self->n_current, join, self) < 0) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no memory for what is under '%s'", request->prefix);
                baton_call_release(call);
                return;
        }
        baton_call_on_ready(call, send_waiting, self);
}
