/* The calls of a lane: started, and ended by something else than their reply. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "shm/async_lane.h"
#include <errno.h>

/* ---- outcomes --------------------------------------------------------------------------------------------- */

/* Delivers the outcome that the call has. */
void async_deliver(struct client_call *call, struct stream_end *stream)
{
        if (stream)
                client_stream_ended(stream);
        else
                call->done(call);
}

/* Takes the call out of its slot and fails it with the text in baton_error(). tell: the server does not know. */
void async_fail_slot(struct async_lane *lane, struct slot *slot, baton_code code, bool maybe_executed, bool tell)
{
        struct client_call *call = slot->call;
        struct stream_end *stream = slot->stream;
        struct shm_record cancel = { .kind = SHM_CANCEL, .call = slot->number };
        pthread_mutex_lock(&lane->lock);
        slot_release(lane, slot);
        if (stream && tell)
                stream_abort(&stream->stream);
        else if (stream)
                stream_finish(&stream->stream);
        else if (tell &&
                 message_send_bytes(&lane->ends, &cancel, "") >= 0) /* a full ring: the handler runs on for nothing */
                connection_notify(lane->connection, &lane->ends);
        pthread_mutex_unlock(&lane->lock);
        call_fail(call, code, maybe_executed);
        reply_keep_error(call->reply);
        async_deliver(call, stream);
}

/* The next slot in use from *at on; NULL: none. The loop's thread: nobody else releases slots. */
struct slot *async_next_slot(struct async_lane *lane, uint32_t *at)
{
        struct slot *found = NULL;
        pthread_mutex_lock(&lane->lock);
        while (lane->n_used && *at < lane->n_slots && !found) {
                struct slot *slot = &lane->slots[*at / SLOTS_AT_ONCE][*at % SLOTS_AT_ONCE];
                found = slot->call ? slot : NULL;
                ++*at;
        }
        pthread_mutex_unlock(&lane->lock);
        return found;
}

/* The server is gone: every call ends. */
int async_fail_all(struct async_lane *lane)
{
        int n = 0;
        uint32_t at = 0;
        pthread_mutex_lock(&lane->lock);
        lane->left = true; /* what another thread is about to start is made elsewhere, and not overlooked below */
        pthread_mutex_unlock(&lane->lock);
        for (struct slot *slot; !lane->closed && (slot = async_next_slot(lane, &at)); n++) {
                bool taken = atomic_load_explicit(&lane->ends.peer->consumed, memory_order_acquire) >= slot->end;
                struct client_call *call = slot->call;
                call_fail_dead(lane->connection, call, taken);
                async_fail_slot(lane, slot, call->code, call->maybe_executed, false);
        }
        return n + client_streams_tell(lane);
}

/* ---- deadlines --------------------------------------------------------------------------------------------- */

/* The earliest slot that is due; NULL: none, and the timer is set for the next. */
struct slot *async_next_due(struct async_lane *lane, uint64_t now)
{
        pthread_mutex_lock(&lane->lock);
        struct timer_node *first = timers_first(&lane->deadlines);
        bool due = first && first->due_ns <= now;
        if (!due && !lane->closed)
                loop_timer_set(lane->loop, &lane->timer, first ? first->due_ns : 0);
        pthread_mutex_unlock(&lane->lock);
        return due ? container_of(first, struct slot, due) : NULL;
}

/* ---- starting --------------------------------------------------------------------------------------------- */

/* What a request that could not be sent means to the caller. */
static int cannot_start(struct async_lane *lane, int error)
{
        if (error == -EAGAIN)
                return error_set(error, "the ring to the server is full; handle replies first");
        if (error == -EBUSY)
                return error_set(-EAGAIN, "no shared memory left for the payload; handle and release replies first");
        if (error == -EPROTO)
                connection_kill(lane->connection, baton_error());
        return error;
}

int async_lane_start(struct async_lane *lane, const struct binding *binding, struct client_call *call,
                     struct stream_end *stream)
{
        int error;
        if (lane->left)
                return error_set(-ESHUTDOWN, "the server at %s drains, or is gone", lane->connection->path.sun_path);
        struct slot *slot = slot_find(lane, &error);
        if (!slot)
                return error;
        uint64_t number = slot->number + (1u << SHM_SLOT_BITS);
        error = call_send(&lane->ends, binding, call, number);
        if (error < 0)
                return cannot_start(lane, error);
        slot->number = number;
        if (stream)
                stream->stream.number = number;
        slot_fill(lane, slot, call, stream);
        if (timers_first(&lane->deadlines) == &slot->due) {
                if (loop_is_current(lane->loop))
                        loop_timer_set(lane->loop, &lane->timer, call->deadline_ns);
                else
                        async_lane_attend(lane);
        }
        connection_notify(lane->connection, &lane->ends);
        return 0;
}

int shm_async_start(struct async_lane *lane, struct client_call *call)
{
        const struct binding *binding = connection_bind(lane->connection, call->method);
        if (!binding)
                return error_set(-ENOMEM, "%s: out of memory", call->method->path);
        if (binding->number < 0) {
                call_fail_unknown(lane->connection, call);
                return 1;
        }
        if (atomic_load_explicit(&lane->connection->dead, memory_order_acquire)) {
                call_fail_unsent(lane->connection, call);
                return 1;
        }
        pthread_mutex_lock(&lane->lock);
        int error = async_lane_start(lane, binding, call, NULL);
        pthread_mutex_unlock(&lane->lock);
        return error == -EBUSY ? -EAGAIN : error;
}

bool shm_async_cancel(struct async_lane *lane, struct client_call *call)
{
        struct shm_record cancel = { .kind = SHM_CANCEL, .call = call->number };
        pthread_mutex_lock(&lane->lock);
        struct slot *slot = slot_of(lane, call->number);
        bool found = slot && slot->call == call;
        if (found) {
                slot_release(lane, slot);
                if (message_send_bytes(&lane->ends, &cancel, "") >= 0)
                        connection_notify(lane->connection, &lane->ends);
        }
        pthread_mutex_unlock(&lane->lock);
        return found;
}
