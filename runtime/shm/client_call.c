#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "shm/client.h"
#include <errno.h>
#include <time.h>

enum {
        POLLS_PER_CLOCK = 32,
        HEAP_RETRY_LEAST_NS = 50000, /* there is no bell for returned payloads */
        HEAP_RETRY_MOST_NS = 1000000,
};

/* ---- waiting ---------------------------------------------------------------------------------------------- */

static bool dead(const struct lane *lane)
{
        return atomic_load_explicit(&lane->connection->dead, memory_order_acquire);
}

/* Polls for a reply as long as that is promising. True when there is one. */
static bool spin_for_reply(struct lane *lane, uint64_t deadline_ns, struct spin_wait *wait)
{
        const struct ring_consumer *in = &lane->ends.in;
        for (uint32_t i = 1;; i++) {
                if (ring_ready(in)) {
                        spin_hit(&lane->spin, wait);
                        return true;
                }
                spin_relax();
                if (i % POLLS_PER_CLOCK)
                        continue;
                uint64_t now = clock_now_ns();
                if ((deadline_ns && now >= deadline_ns) || dead(lane) || !spin_again(&lane->spin, wait, now))
                        return ring_ready(in);
        }
}

static bool reply_ready(struct lane *lane);

/* Sleeps until the server rings, dies, or the deadline; looks once more first, and not at all where `ready` already. */
static void sleep_until(struct lane *lane, bool (*ready)(struct lane *), uint64_t deadline_ns)
{
        struct waker *waker = &lane->ends.waker;
        wake_arm(waker, ready != reply_ready);
        if (!ready(lane) && !dead(lane))
                wake_sleep(waker, &lane->connection->dead, ALIVE, deadline_ns);
        wake_disarm(waker);
        if (!ready(lane))
                connection_notify(lane->connection, &lane->ends); /* where the first bell could not be rung */
}

static bool reply_ready(struct lane *lane)
{
        return ring_ready(&lane->ends.in);
}

static bool room_ready(struct lane *lane)
{
        return ring_has_room(&lane->ends.out, ring_largest(&lane->ends.out)) != -EAGAIN;
}

/* 0, or the end of waiting: -EPIPE the server is gone, -ETIMEDOUT. */
static int wait_for_reply(struct lane *lane, uint64_t deadline_ns)
{
        struct spin_wait wait = { 0 };
        if (lane->spin.max_ns && spin_for_reply(lane, deadline_ns, &wait))
                return 0;
        uint64_t start = wait.began_ns ? wait.began_ns : clock_now_ns();
        while (!reply_ready(lane)) {
                if (dead(lane)) /* what it published before it died counts */
                        return reply_ready(lane) ? 0 : -EPIPE;
                if (deadline_passed(deadline_ns))
                        return -ETIMEDOUT;
                sleep_until(lane, reply_ready, deadline_ns);
        }
        spin_slept(&lane->spin, clock_now_ns() - start);
        return 0;
}

/* ---- the call --------------------------------------------------------------------------------------------- */

/* Takes in a reply or headers for this call; NULL: for one that was given up. */
static int receive(struct lane *lane, const struct ring_record *record, struct client_call *call)
{
        return (record->kind == SHM_HEADERS ? call_receive_headers : call_receive)(lane->connection, &lane->ends,
                                                                                   record, call);
}

/* Takes in answers to calls that were given up: a server whose answers pile up stops taking requests. */
static int drop_stale(struct lane *lane)
{
        struct ring_record record;
        int n = ring_peek(&lane->ends.in, &record);
        return n > 0 ? receive(lane, &record, NULL) : n;
}

static bool room_or_reply(struct lane *lane)
{
        return room_ready(lane) || reply_ready(lane);
}

static int wait_for_ring(struct lane *lane, uint64_t deadline_ns)
{
        if (reply_ready(lane))
                return drop_stale(lane);
        sleep_until(lane, room_or_reply, deadline_ns);
        return 0;
}

/* Waits for what message_send ran short of. 0: try again. */
static int wait_for_room(struct lane *lane, int error, uint64_t deadline_ns, uint64_t *pause_ns)
{
        if (dead(lane))
                return -EPIPE;
        if (deadline_passed(deadline_ns))
                return -ETIMEDOUT;
        if (error == -EAGAIN)
                return wait_for_ring(lane, deadline_ns);
        /* Room in the heap comes only from loans that come back. */
        if (!heap_has_loans(&lane->connection->link.heap))
                return error;
        struct timespec pause = { .tv_nsec = (long)*pause_ns };
        nanosleep(&pause, NULL);
        if (*pause_ns < HEAP_RETRY_MOST_NS)
                *pause_ns *= 2;
        return 0;
}

/* True when the request is on its way; else the call has ended. */
static bool send_request(struct lane *lane, const struct binding *binding, struct client_call *call)
{
        uint64_t pause = HEAP_RETRY_LEAST_NS;
        for (;;) {
                int error = call_send(&lane->ends, binding, call, ++lane->last_call << SHM_SLOT_BITS);
                if (error >= 0)
                        break;
                if (error == -EAGAIN || error == -ENOBUFS)
                        error = wait_for_room(lane, error, call->deadline_ns, &pause);
                if (error >= 0)
                        continue;
                if (error == -EPROTO)
                        connection_kill(lane->connection, baton_error());
                if (error == -ETIMEDOUT) {
                        error_set(error,
                                  "%s: no room to send the request before the deadline; the server does not keep up",
                                  call->method->path);
                        call_fail(call, BATON_DEADLINE_EXCEEDED, false);
                } else if (error == -EPIPE) {
                        call_fail_unsent(lane->connection, call);
                } else {
                        call_fail_send(call, error);
                }
                return false;
        }
        connection_notify(lane->connection, &lane->ends);
        return true;
}

/* Whether the server has taken the request that was sent last. */
static bool taken(const struct lane *lane)
{
        return atomic_load_explicit(&lane->ends.peer->consumed, memory_order_acquire) >= lane->ends.out.tail;
}

static void give_up(struct lane *lane, struct client_call *call, int error)
{
        if (error == -EPIPE) {
                call_fail_dead(lane->connection, call, taken(lane));
                return;
        }
        error_set(error, "%s: no reply before the deadline", call->method->path);
        call_fail(call, BATON_DEADLINE_EXCEEDED, true);
}

static void await_reply(struct lane *lane, struct client_call *call)
{
        for (;;) {
                struct ring_record record;
                int n = wait_for_reply(lane, call->deadline_ns);
                if (n < 0) {
                        give_up(lane, call, n);
                        return;
                }
                n = ring_peek(&lane->ends.in, &record);
                if (n == 0)
                        continue;
                bool ours = n > 0 && record.call == lane->last_call << SHM_SLOT_BITS;
                /* Other numbers are answers to calls that were given up. */
                if (n > 0)
                        n = receive(lane, &record, ours ? call : NULL);
                if (n < 0) {
                        connection_kill(lane->connection, "the server sent a malformed record");
                        call_fail_dead(lane->connection, call, true);
                        return;
                }
                if (ours && record.kind == SHM_REPLY)
                        return;
                if (deadline_passed(call->deadline_ns)) {
                        give_up(lane, call, -ETIMEDOUT);
                        return;
                }
        }
}

void shm_call(struct lane *lane, struct client_call *call)
{
        const struct binding *binding = connection_bind(lane->connection, call->method);
        if (!binding) {
                error_set(-ENOMEM, "%s: out of memory", call->method->path);
                call_fail(call, BATON_RESOURCE_EXHAUSTED, false);
        } else if (binding->number < 0) {
                call_fail_unknown(lane->connection, call);
        } else if (deadline_passed(call->deadline_ns)) {
                error_set(-ETIMEDOUT, "%s: the deadline had passed before the call began", call->method->path);
                call_fail(call, BATON_DEADLINE_EXCEEDED, false);
        } else if (send_request(lane, binding, call)) {
                await_reply(lane, call);
        }
}
