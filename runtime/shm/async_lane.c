#define _GNU_SOURCE
#include "shm/async_lane.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        POLL_BATCH = 64,
        HANG_UP_MS = 20,
        HEAP_RETRY_NS = 1000000, /* there is no bell for returned payloads */
};

/* ---- life ------------------------------------------------------------------------------------------------- */

void async_lane_ref(struct async_lane *lane)
{
        atomic_fetch_add_explicit(&lane->references, 1, memory_order_relaxed);
}

void async_lane_unref(struct async_lane *lane)
{
        if (atomic_fetch_sub_explicit(&lane->references, 1, memory_order_acq_rel) != 1)
                return;
        shm_unref(lane->connection);
        pthread_mutex_destroy(&lane->lock);
        slots_free(lane);
        free(lane);
}

/* A callback may close the channel, and with it the lane in whose function the loop is. */
static void enter(struct async_lane *lane)
{
        lane->entered++;
}

static void shut(struct async_lane *lane)
{
        if (lane->bell.fd >= 0) {
                fork_close(lane->bell.fd);
                connection_close_lane(lane->connection, &lane->ends);
        }
        async_lane_unref(lane);
}

static void leave(struct async_lane *lane)
{
        if (--lane->entered == 0 && lane->closed)
                shut(lane);
}

static struct async_lane *lane_of_poller(struct loop_poller *poller)
{
        return container_of(poller, struct async_lane, poller);
}

/* The lane is of no more use: its owner closes it. */
static void lose(struct async_lane *lane)
{
        if (!lane->closed)
                lane->lost(lane->lost_context);
}

/* ---- waking up for what is due ------------------------------------------------------------------------------ */

static void on_deadline(struct loop_timer *timer)
{
        struct async_lane *lane = container_of(timer, struct async_lane, timer);
        uint64_t now = clock_now_ns();
        enter(lane);
        for (struct slot *slot; !lane->closed && (slot = async_next_due(lane, now));) {
                error_set(-ETIMEDOUT, "%s: no %s before the deadline", slot->call->method->path,
                          slot->stream ? "end" : "reply");
                async_fail_slot(lane, slot, BATON_DEADLINE_EXCEEDED, true, true);
        }
        client_streams_tell(lane);
        leave(lane);
}

static void on_retry(struct loop_timer *timer)
{
        struct async_lane *lane = container_of(timer, struct async_lane, retry);
        enter(lane);
        client_streams_room(lane, true);
        client_streams_tell(lane);
        pthread_mutex_lock(&lane->lock);
        if (!lane->closed && !list_empty(&lane->wanting))
                loop_timer_set(lane->loop, timer, clock_now_ns() + HEAP_RETRY_NS);
        pthread_mutex_unlock(&lane->lock);
        leave(lane);
}

/* ---- attention -------------------------------------------------------------------------------------------- */

void async_lane_attend(struct async_lane *lane)
{
        if (lane->attend_posted || lane->closed)
                return;
        lane->attend_posted = true;
        loop_post(lane->loop, &lane->attend);
}

/* A server that drains waits for its clients to go. */
static void leave_server(struct async_lane *lane)
{
        pthread_mutex_lock(&lane->lock);
        bool idle = !lane->n_used && list_empty(&lane->waiting) && list_empty(&lane->wanting);
        lane->left |= idle; /* another thread may be about to start a call: that one goes elsewhere */
        pthread_mutex_unlock(&lane->lock);
        if (idle)
                lose(lane);
}

static void on_leaving(struct loop_task *task)
{
        struct async_lane *lane = container_of(task, struct async_lane, leaver.leave);
        enter(lane);
        leave_server(lane);
        leave(lane);
}

static void attend(struct loop_task *task)
{
        struct async_lane *lane = container_of(task, struct async_lane, attend);
        enter(lane);
        pthread_mutex_lock(&lane->lock);
        lane->attend_posted = false;
        bool wanting = !list_empty(&lane->wanting);
        pthread_mutex_unlock(&lane->lock);
        async_next_due(lane, 0); /* another thread may have brought an earlier one */
        if (wanting && !lane->retry.node.due_ns)
                loop_timer_set(lane->loop, &lane->retry, clock_now_ns() + HEAP_RETRY_NS);
        /* Also to look at the lane at all, at first, and to ask for a bell where there is room, later. */
        loop_poller_wake(lane->loop, &lane->poller);
        leave(lane);
}

/* ---- replies ---------------------------------------------------------------------------------------------- */

/* The call that the reply ends, taken out of its slot; NULL: nobody waits for it. One look under the lock: replies are many. */
static struct client_call *take(struct async_lane *lane, uint64_t number, struct stream_end **stream)
{
        struct client_call *call = NULL;
        pthread_mutex_lock(&lane->lock);
        struct slot *slot = slot_of(lane, number);
        if (slot) {
                call = slot->call;
                *stream = slot->stream;
                slot_release(lane, slot);
                if (*stream)
                        stream_finish(&(*stream)->stream);
        }
        pthread_mutex_unlock(&lane->lock);
        return call;
}

static int receive_reply(struct async_lane *lane, const struct ring_record *record)
{
        struct stream_end *stream = NULL;
        struct client_call *call = take(lane, record->call, &stream);
        int n = call_receive(lane->connection, &lane->ends, record, call);
        if (n < 0 && call) {
                call_fail_dead(lane->connection, call, true);
                reply_keep_error(call->reply);
        }
        if (call)
                async_deliver(call, stream);
        return n;
}

static struct slot *find(struct async_lane *lane, uint64_t number)
{
        pthread_mutex_lock(&lane->lock);
        struct slot *slot = slot_of(lane, number);
        pthread_mutex_unlock(&lane->lock);
        return slot;
}

static int receive_headers(struct async_lane *lane, const struct ring_record *record, struct slot *slot)
{
        if (slot && slot->stream)
                return client_stream_receive(lane, record, slot);
        return call_receive_headers(lane->connection, &lane->ends, record, slot ? slot->call : NULL);
}

/* Handles one record: 1, 0 when there is none, negative when the server broke the protocol. */
static int receive_one(struct async_lane *lane)
{
        struct ring_record record;
        int n = ring_peek(&lane->ends.in, &record);
        if (n <= 0)
                return n;
        if (record.kind == SHM_REPLY)
                n = receive_reply(lane, &record);
        else if (record.kind == SHM_HEADERS)
                n = receive_headers(lane, &record, find(lane, record.call));
        else
                n = client_stream_receive(lane, &record, find(lane, record.call));
        return n < 0 ? n : 1;
}

/* Tells the server that its ring has room again. Only streams wait for that; replies find room by themselves. */
static void announce(struct async_lane *lane)
{
        /* Where there are none, only answers wait, which are also sent without: a bell that is missed costs a millisecond, a fence
         * for each batch of replies more. */
        if (!atomic_load_explicit(&lane->n_streams, memory_order_relaxed) &&
            !(atomic_load_explicit(&lane->ends.peer->asleep, memory_order_relaxed) & 1))
                return;
        pthread_mutex_lock(&lane->lock);
        connection_notify_room(lane->connection, &lane->ends);
        pthread_mutex_unlock(&lane->lock);
}

static int broken(struct async_lane *lane)
{
        connection_kill(lane->connection, "the server sent a malformed record");
        int failed = async_fail_all(lane);
        lose(lane);
        return 1 + failed;
}

static int poll_replies(struct loop_poller *poller)
{
        struct async_lane *lane = lane_of_poller(poller);
        int handled = 0, n = 1;
        bool waits = atomic_load_explicit(&lane->waits, memory_order_relaxed);
        if (!ring_ready(&lane->ends.in) && !waits)
                return 0;
        enter(lane);
        while (!lane->closed && handled < POLL_BATCH && (n = receive_one(lane)) > 0)
                handled++;
        if (n < 0) {
                handled += broken(lane);
        } else if (!lane->closed) {
                if (handled)
                        announce(lane);
                if (waits)
                        client_streams_room(lane, false);
                handled += client_streams_tell(lane);
                if (handled && connection_leaving(lane->connection))
                        leave_server(lane);
        }
        leave(lane);
        return handled;
}

static bool arm(struct loop_poller *poller)
{
        struct async_lane *lane = lane_of_poller(poller);
        pthread_mutex_lock(&lane->lock);
        bool waiting = !list_empty(&lane->waiting);
        wake_arm(&lane->ends.waker, waiting);
        bool room = waiting && ring_has_room(&lane->ends.out, ring_largest(&lane->ends.out)) != -EAGAIN;
        pthread_mutex_unlock(&lane->lock);
        return ring_ready(&lane->ends.in) || room;
}

static void disarm(struct loop_poller *poller)
{
        wake_disarm(&lane_of_poller(poller)->ends.waker);
}

/* Whether the server itself is gone, and not just this lane's bell: its fds are closed one after the other. */
static bool server_gone(struct async_lane *lane)
{
        struct pollfd control = { .fd = lane->connection->link.socket, .events = POLLRDHUP };
        return poll(&control, 1, HANG_UP_MS) > 0;
}

/* No more replies will come; what was published before counts. */
static int hung_up(struct async_lane *lane)
{
        int handled = 0;
        enter(lane);
        loop_source_remove(lane->loop, &lane->bell);
        if (server_gone(lane))
                connection_hung_up(lane->connection);
        else
                connection_kill(lane->connection, "the server let go of a lane");
        /* No more than the ring can hold: a hostile server may go on publishing. */
        for (uint64_t i = 0; i < lane->ends.in.n_lines && !lane->closed && receive_one(lane) > 0; i++)
                handled++;
        handled += async_fail_all(lane);
        lose(lane);
        leave(lane);
        return handled;
}

static int on_bell(struct loop_source *source, uint32_t events)
{
        struct async_lane *lane = container_of(source, struct async_lane, bell);
        char byte;
        ssize_t n = 1;
        for (int i = 0; i < POLL_BATCH && n > 0; i++)
                n = recv(source->fd, &byte, 1, MSG_DONTWAIT);
        if (n == 0 || (events & (EPOLLHUP | EPOLLERR)) || (n < 0 && errno != EAGAIN && errno != EINTR))
                return hung_up(lane);
        loop_poller_wake(lane->loop, &lane->poller);
        return 0;
}

/* ---- opening and closing ---------------------------------------------------------------------------------- */

static int open_ends(struct async_lane *lane, uint64_t deadline_ns)
{
        int bell[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bell) < 0)
                return error_set(-errno, "cannot make a socket pair: %s; see ulimit -n", strerror(errno));
        int error = connection_open_lane(lane->connection, &lane->ends, bell, deadline_ns);
        close(bell[1]);
        if (error < 0) {
                if (bell[0] >= 0)
                        close(bell[0]);
                return error;
        }
        lane->bell = (struct loop_source){ .fd = fork_guard(bell[0]), .ready = on_bell };
        return 0;
}

static void enlist(struct async_lane *lane)
{
        lane->leaver.loop = lane->loop;
        lane->leaver.leave.run = on_leaving;
        connection_leave_later(lane->connection, &lane->leaver);
        pthread_mutex_lock(&lane->lock);
        async_lane_attend(lane); /* only what the loop was told makes its fd readable */
        pthread_mutex_unlock(&lane->lock);
}

int shm_async_open(struct connection *connection, baton_loop *loop, uint64_t deadline_ns, void (*lost)(void *context),
                   void *context, struct async_lane **out)
{
        struct async_lane *lane = calloc(1, sizeof *lane);
        if (!lane)
                return error_set(-ENOMEM, "cannot open a lane: out of memory");
        atomic_init(&lane->references, 1);
        lane->connection = shm_ref(connection);
        lane->loop = loop;
        lane->lost = lost;
        lane->lost_context = context;
        lane->bell.fd = -1;
        lane->free_slot = NO_SLOT;
        pthread_mutex_init(&lane->lock, NULL);
        lane->poller = (struct loop_poller){ .poll = poll_replies, .arm = arm, .disarm = disarm };
        lane->timer.fire = on_deadline;
        lane->retry.fire = on_retry;
        lane->attend.run = attend;
        list_init(&lane->poller.link);
        list_init(&lane->excited);
        list_init(&lane->waiting);
        list_init(&lane->wanting);
        int error = open_ends(lane, deadline_ns);
        if (error >= 0)
                error = loop_source_add(loop, &lane->bell, EPOLLIN);
        if (error < 0) {
                shut(lane);
                return error;
        }
        enlist(lane);
        *out = lane;
        return 0;
}

void shm_async_close(struct async_lane *lane)
{
        enter(lane);
        connection_stay(lane->connection, &lane->leaver);
        pthread_mutex_lock(&lane->lock);
        lane->closed = true;
        pthread_mutex_unlock(&lane->lock);
        loop_poller_remove(lane->loop, &lane->poller);
        loop_source_remove(lane->loop, &lane->bell);
        loop_timer_set(lane->loop, &lane->timer, 0);
        loop_timer_set(lane->loop, &lane->retry, 0);
        loop_unpost(lane->loop, &lane->attend);
        uint32_t at = 0;
        for (struct slot *slot; (slot = async_next_slot(lane, &at));) {
                error_set(-ECANCELED, "%s: the channel was closed", slot->call->method->path);
                async_fail_slot(lane, slot, BATON_CANCELLED, true, false);
        }
        client_streams_tell(lane);
        client_streams_forget(lane);
        leave(lane);
}
