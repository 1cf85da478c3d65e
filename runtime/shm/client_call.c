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

/* How long something is waited for. */
struct until {
        uint64_t deadline_ns;
        _Atomic uint32_t *cancelled; /* client_call.cancelled; NULL */
};

/* ---- waiting ---------------------------------------------------------------------------------------------- */

static bool dead(const struct lane *lane)
{
        return atomic_load_explicit(&lane->connection->dead, memory_order_acquire);
}

static bool cancelled(const struct until *until)
{
        return until->cancelled && atomic_load_explicit(until->cancelled, memory_order_acquire);
}

/* 0; or -EPIPE the server is gone, -ECANCELED, -ETIMEDOUT. */
static int over(const struct lane *lane, const struct until *until)
{
        if (dead(lane))
                return -EPIPE;
        if (cancelled(until))
                return -ECANCELED;
        return deadline_passed(until->deadline_ns) ? -ETIMEDOUT : 0;
}

/* Polls for a reply as long as that is promising. True when there is one. */
static bool spin_for_reply(struct lane *lane, const struct until *until, struct spin_wait *wait)
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
                if ((until->deadline_ns && now >= until->deadline_ns) || dead(lane) || cancelled(until) ||
                    !spin_again(&lane->spin, wait, now))
                        return ring_ready(in);
        }
}

static bool reply_ready(struct lane *lane);

/* Sleeps until the server rings or dies, or nobody waits any more; looks once more first, and not at all where `ready` already. */
static void sleep_until(struct lane *lane, bool (*ready)(struct lane *), const struct until *until)
{
        struct waker *waker = &lane->ends.waker;
        wake_arm(waker, ready != reply_ready);
        if (!ready(lane) && !dead(lane))
                wake_sleep_three(waker, &lane->connection->dead, ALIVE, until->cancelled, until->deadline_ns);
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

/* 0: polling was enough; 1: it slept; or the end of waiting, as `over` has it. */
static int wait_for_reply(struct lane *lane, const struct until *until)
{
        struct spin_wait wait = { 0 };
        if (lane->spin.max_ns && spin_for_reply(lane, until, &wait))
                return 0;
        uint64_t start = wait.began_ns ? wait.began_ns : clock_now_ns();
        while (!reply_ready(lane)) {
                int error = over(lane, until);
                if (error < 0) /* what the server published before it died counts */
                        return reply_ready(lane) ? 0 : error;
                sleep_until(lane, reply_ready, until);
        }
        spin_slept(&lane->spin, clock_now_ns() - start);
        return 1;
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

/* Takes in a reply or headers for this call; NULL: for one that was given up, or a fence. */
static int receive(struct lane *lane, const struct ring_record *record, struct client_call *call)
{
        if (record->kind == SHM_HEADERS)
                return call_receive_headers(lane->connection, &lane->ends, record, call);
        if (record->kind == SHM_FENCE)
                return call_drop(lane->connection, &lane->ends, record);
        return call_receive(lane->connection, &lane->ends, record, call);
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

static int wait_for_ring(struct lane *lane, const struct until *until)
{
        if (reply_ready(lane))
                return drop_stale(lane);
        sleep_until(lane, room_or_reply, until);
        return 0;
}

/* Waits for what message_send ran short of. 0: try again. */
static int wait_for_room(struct lane *lane, int error, const struct until *until, uint64_t *pause_ns)
{
        int end = over(lane, until);
        if (end < 0)
                return end;
        if (error == -EAGAIN)
                return wait_for_ring(lane, until);
        struct timespec pause = { .tv_nsec = (long)*pause_ns };
        nanosleep(&pause, NULL);
        if (*pause_ns < HEAP_RETRY_MOST_NS)
                *pause_ns *= 2;
        return 0;
}

/* Sends the request, or with call NULL a fence, waiting for room. 0, or why it was not sent, with the reason set for the
 * message's own faults. */
static int send_request(struct lane *lane, const struct binding *binding, struct client_call *call,
                        const struct until *until)
{
        uint64_t pause = HEAP_RETRY_LEAST_NS;
        for (;;) {
                struct shm_record fence = { .kind = SHM_FENCE, .call = ++lane->last_call << SHM_SLOT_BITS };
                int error = call ? call_send(&lane->ends, binding, call, fence.call)
                                 : message_send_bytes(&lane->ends, &fence, "");
                if (error >= 0)
                        break;
                if (error == -EAGAIN || error == -EBUSY)
                        error = wait_for_room(lane, error, until, &pause);
                if (error == -EPROTO)
                        connection_kill(lane->connection, baton_error());
                if (error < 0)
                        return error;
        }
        connection_notify(lane->connection, &lane->ends);
        return 0;
}

static const char no_room[] = "%s: no room to send the request before the deadline; the server does not keep up";
static const char cancelled_text[] = "%s: the call was cancelled";

/* Ends a call whose request could not be sent. */
static void fail_unsent(struct lane *lane, struct client_call *call, int error)
{
        if (error == -ETIMEDOUT) {
                error_set(error, no_room, call->method->path);
                call_fail(call, BATON_DEADLINE_EXCEEDED, false);
        } else if (error == -ECANCELED) {
                error_set(error, cancelled_text, call->method->path);
                call_fail(call, BATON_CANCELLED, false);
        } else if (error == -EPIPE) {
                call_fail_unsent(lane->connection, call);
        } else {
                call_fail_send(call, error);
        }
}

/* ---- the call --------------------------------------------------------------------------------------------- */

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
        /* Where there is no room, the server goes on for nothing until it takes the next request. */
        struct shm_record cancel = { .kind = SHM_CANCEL, .call = lane->last_call << SHM_SLOT_BITS };
        if (message_send_bytes(&lane->ends, &cancel, "") >= 0)
                connection_notify(lane->connection, &lane->ends);
        error_set(error, error == -ECANCELED ? cancelled_text : "%s: no reply before the deadline", call->method->path);
        call_fail(call, error == -ECANCELED ? BATON_CANCELLED : BATON_DEADLINE_EXCEEDED, true);
}

static void await_reply(struct lane *lane, struct client_call *call, const struct until *until)
{
        for (;;) {
                struct ring_record record;
                int n = wait_for_reply(lane, until);
                if (n < 0) {
                        give_up(lane, call, n);
                        return;
                }
                call->traffic.slept += n > 0;
                call->traffic.spun += n == 0;
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
                n = over(lane, until); /* -EPIPE is seen once there is nothing left to read */
                if (n < 0 && n != -EPIPE) {
                        give_up(lane, call, n);
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
        } else {
                const struct until until = { call->deadline_ns, call->cancelled };
                int error = send_request(lane, binding, call, &until);
                if (error < 0)
                        fail_unsent(lane, call, error);
                else
                        await_reply(lane, call, &until);
        }
}

/* ---- one-way calls ---------------------------------------------------------------------------------------- */

int shm_oneway(struct lane *lane, struct client_call *call)
{
        const struct binding *binding = connection_bind(lane->connection, call->method);
        if (!binding)
                return error_set(-ENOMEM, "%s: out of memory", call->method->path);
        if (binding->number < 0) {
                call_fail_unknown(lane->connection, call);
                return -ENOSYS;
        }
        int error = send_request(lane, binding, call, &(struct until){ call->deadline_ns, call->cancelled });
        if (error == -ETIMEDOUT || error == -ECANCELED || error == -EPIPE)
                fail_unsent(lane, call, error);
        return error;
}

int shm_flush(struct lane *lane, uint64_t deadline_ns)
{
        const struct until until = { .deadline_ns = deadline_ns };
        const char *path = lane->connection->path.sun_path;
        int n = send_request(lane, NULL, NULL, &until);
        bool there = false;
        while (n >= 0 && !there) {
                struct ring_record record;
                n = wait_for_reply(lane, &until);
                if (n >= 0)
                        n = ring_peek(&lane->ends.in, &record);
                if (n <= 0)
                        continue;
                there = record.kind == SHM_FENCE && record.call == lane->last_call << SHM_SLOT_BITS;
                n = receive(lane, &record, NULL);
                if (n < 0)
                        connection_kill(lane->connection, "the server sent a malformed record");
        }
        if (n == -ETIMEDOUT)
                return error_set(n, "the server at %s has not taken all one-way calls in time", path);
        return n < 0 ? error_set(-EPIPE, "the server at %s is gone, and with it the one-way calls it had not taken",
                                 path)
                     : 0;
}
