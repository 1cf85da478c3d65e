#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/loop.h"
#include "shm/client.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        POLL_BATCH = 64,
        SLOT_BITS = 16, /* of a call's number; the rest tells reuses of the slot apart */
        NO_SLOT = UINT32_MAX,
        HANG_UP_MS = 20,
};

/* A call in flight. */
struct slot {
        struct client_call *call; /* NULL: free */
        uint64_t number;
        uint64_t end; /* the line behind its request */
        uint32_t next_free;
};

/* The asynchronous calls of one loop over one connection. */
struct async_lane {
        struct connection *connection;
        baton_loop *loop;
        struct lane_ends ends;
        struct loop_poller poller;
        struct loop_source bell; /* the server rings here, and its death hangs it up */
        struct loop_timer timer; /* the earliest deadline */
        struct loop_task attend; /* tells the loop of an earlier one */
        struct loop_task join;   /* tells the loop of this lane */
        void (*lost)(void *context);
        void *lost_context;
        uint32_t entered; /* how deep the loop is inside this lane */
        bool closed;      /* and freed when the loop leaves it */

        pthread_mutex_t lock; /* all below, and ends.out, ends.waker for ringing */
        struct slot *slots;
        uint32_t n_slots;
        uint32_t free_slot;
        uint64_t next_due_ns; /* no deadline in flight is earlier; 0: none */
        bool attend_posted;
};

static void free_lane(struct async_lane *lane);

/* A callback may close the channel, and with it the lane in whose function the loop is. */
static void enter(struct async_lane *lane)
{
        lane->entered++;
}

static void leave(struct async_lane *lane)
{
        if (--lane->entered == 0 && lane->closed)
                free_lane(lane);
}

static struct async_lane *lane_of_poller(struct loop_poller *poller)
{
        return container_of(poller, struct async_lane, poller);
}

/* ---- slots; the lock is held ------------------------------------------------------------------------------ */

static void release_slot(struct async_lane *lane, uint32_t index)
{
        lane->slots[index].call = NULL;
        lane->slots[index].next_free = lane->free_slot;
        lane->free_slot = index;
}

/* The call with this number, taken out; NULL where none waits for it. */
static struct client_call *take_call(struct async_lane *lane, uint64_t number)
{
        struct client_call *call = NULL;
        uint32_t index = (uint32_t)(number & ((1u << SLOT_BITS) - 1));
        pthread_mutex_lock(&lane->lock);
        if (index < lane->n_slots && lane->slots[index].call && lane->slots[index].number == number) {
                call = lane->slots[index].call;
                release_slot(lane, index);
        }
        pthread_mutex_unlock(&lane->lock);
        return call;
}

/* One pass over the calls in flight, which callbacks may interrupt. */
struct sweep {
        uint64_t now;  /* calls with a deadline up to here are due; UINT64_MAX: all */
        uint32_t next; /* slot */
        uint64_t end;  /* the line behind the request of the call taken last */
};

/* The next call that is due, taken out. After the last, NULL, lane->next_due_ns is right again. */
static struct client_call *take_due(struct async_lane *lane, struct sweep *sweep)
{
        struct client_call *due = NULL;
        pthread_mutex_lock(&lane->lock);
        if (!sweep->next)
                lane->next_due_ns = 0;
        while (!due && sweep->next < lane->n_slots) {
                uint32_t index = sweep->next++;
                struct client_call *call = lane->slots[index].call;
                if (!call)
                        continue;
                if (sweep->now == UINT64_MAX || (call->deadline_ns && call->deadline_ns <= sweep->now)) {
                        due = call;
                        sweep->end = lane->slots[index].end;
                        release_slot(lane, index);
                } else {
                        lane->next_due_ns = deadline_earlier(lane->next_due_ns, call->deadline_ns);
                }
        }
        pthread_mutex_unlock(&lane->lock);
        return due;
}

/* ---- deadlines -------------------------------------------------------------------------------------------- */

static void on_deadline(struct loop_timer *timer)
{
        struct async_lane *lane = container_of(timer, struct async_lane, timer);
        struct sweep sweep = { .now = clock_now_ns() };
        enter(lane);
        for (struct client_call *call; !lane->closed && (call = take_due(lane, &sweep));) {
                error_set(-ETIMEDOUT, "%s: no reply before the deadline", call->method->path);
                call_fail(call, BATON_DEADLINE_EXCEEDED, true);
                call->done(call);
        }
        pthread_mutex_lock(&lane->lock);
        if (!lane->closed)
                loop_timer_set(lane->loop, timer, lane->next_due_ns);
        pthread_mutex_unlock(&lane->lock);
        leave(lane);
}

static void attend(struct loop_task *task)
{
        struct async_lane *lane = container_of(task, struct async_lane, attend);
        pthread_mutex_lock(&lane->lock);
        lane->attend_posted = false;
        loop_timer_set(lane->loop, &lane->timer, lane->next_due_ns);
        pthread_mutex_unlock(&lane->lock);
}

/* Only the loop's thread touches its pollers, and only what the loop was told makes its fd readable. */
static void join(struct loop_task *task)
{
        struct async_lane *lane = container_of(task, struct async_lane, join);
        loop_poller_wake(lane->loop, &lane->poller);
}

/* A call with this deadline was started; the lock is held. */
static void note_deadline(struct async_lane *lane, uint64_t deadline_ns)
{
        if (!deadline_ns || (lane->next_due_ns && lane->next_due_ns <= deadline_ns))
                return;
        lane->next_due_ns = deadline_ns;
        if (loop_is_current(lane->loop)) {
                loop_timer_set(lane->loop, &lane->timer, deadline_ns);
        } else if (!lane->attend_posted) {
                lane->attend_posted = true;
                loop_post(lane->loop, &lane->attend);
        }
}

/* ---- replies ---------------------------------------------------------------------------------------------- */

static int fail_all(struct async_lane *lane)
{
        int n = 0;
        struct sweep sweep = { .now = UINT64_MAX };
        for (struct client_call *call; !lane->closed && (call = take_due(lane, &sweep)); n++) {
                bool taken = atomic_load_explicit(&lane->ends.peer->consumed, memory_order_acquire) >= sweep.end;
                call_fail_dead(lane->connection, call, taken);
                call->done(call);
        }
        return n;
}

/* Handles one record: 1, 0 when there is none, negative when the server broke the protocol. */
static int receive_one(struct async_lane *lane)
{
        struct ring_record record;
        int n = ring_peek(&lane->ends.in, &record);
        if (n <= 0)
                return n;
        struct client_call *call = take_call(lane, record.call);
        n = call_receive(lane->connection, &lane->ends, &record, call);
        if (n < 0 && call)
                call_fail_dead(lane->connection, call, true);
        if (call)
                call->done(call);
        return n < 0 ? n : 1;
}

static int poll_replies(struct loop_poller *poller)
{
        struct async_lane *lane = lane_of_poller(poller);
        int handled = 0, n = 1;
        enter(lane);
        while (!lane->closed && handled < POLL_BATCH && (n = receive_one(lane)) > 0)
                handled++;
        if (n < 0) {
                connection_kill(lane->connection, "the server sent a malformed record");
                handled += 1 + fail_all(lane);
                if (!lane->closed)
                        lane->lost(lane->lost_context);
        }
        leave(lane);
        return handled;
}

static bool arm(struct loop_poller *poller)
{
        struct async_lane *lane = lane_of_poller(poller);
        wake_arm(&lane->ends.waker);
        return ring_ready(&lane->ends.in);
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
        handled += fail_all(lane);
        if (!lane->closed)
                lane->lost(lane->lost_context);
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

/* ---- starting --------------------------------------------------------------------------------------------- */

/* What a request that could not be sent means to the caller. */
static int cannot_start(struct async_lane *lane, int error)
{
        if (error == -EAGAIN)
                return error_set(error, "the ring to the server is full; handle replies first");
        /* Room in the heap comes only from loans that come back. */
        if (error == -ENOBUFS && heap_has_loans(&lane->connection->link.heap))
                return error_set(-EAGAIN, "no shared memory left for the payload; handle and release replies first");
        if (error == -EPROTO)
                connection_kill(lane->connection, baton_error());
        return error;
}

/* Writes the request; the lock is held. */
static int start_locked(struct async_lane *lane, const struct binding *binding, struct client_call *call)
{
        uint32_t index = lane->free_slot;
        if (index == NO_SLOT)
                return error_set(-EAGAIN,
                                 "%u calls are in flight on this loop; handle replies first, or raise max_in_flight",
                                 lane->n_slots);
        struct slot *slot = &lane->slots[index];
        uint64_t number = slot->number + (1u << SLOT_BITS);
        int error = call_send(&lane->ends, binding, call, number);
        if (error < 0)
                return cannot_start(lane, error);
        lane->free_slot = slot->next_free;
        slot->number = number;
        slot->call = call;
        slot->end = lane->ends.out.tail;
        note_deadline(lane, call->deadline_ns);
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
        int error = start_locked(lane, binding, call);
        pthread_mutex_unlock(&lane->lock);
        return error;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int make_slots(struct async_lane *lane, uint32_t n)
{
        lane->slots = calloc(n, sizeof *lane->slots);
        if (!lane->slots)
                return error_set(-ENOMEM, "cannot open a lane: out of memory");
        lane->n_slots = n;
        for (uint32_t i = 0; i < n; i++) {
                lane->slots[i].number = i;
                lane->slots[i].next_free = i + 1 < n ? i + 1 : NO_SLOT;
        }
        return 0;
}

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

int shm_async_open(struct connection *connection, baton_loop *loop, uint64_t deadline_ns, void (*lost)(void *context),
                   void *context, struct async_lane **out)
{
        struct async_lane *lane = calloc(1, sizeof *lane);
        if (!lane)
                return error_set(-ENOMEM, "cannot open a lane: out of memory");
        lane->connection = shm_ref(connection);
        lane->loop = loop;
        lane->lost = lost;
        lane->lost_context = context;
        lane->bell.fd = -1;
        pthread_mutex_init(&lane->lock, NULL);
        lane->poller = (struct loop_poller){ .poll = poll_replies, .arm = arm, .disarm = disarm };
        lane->timer.fire = on_deadline;
        lane->attend.run = attend;
        lane->join.run = join;
        list_init(&lane->poller.link);
        int error = make_slots(lane, connection->options.max_in_flight);
        if (error >= 0)
                error = open_ends(lane, deadline_ns);
        if (error >= 0)
                error = loop_source_add(loop, &lane->bell, EPOLLIN);
        if (error < 0) {
                free_lane(lane);
                return error;
        }
        loop_post(loop, &lane->join);
        *out = lane;
        return 0;
}

static void free_lane(struct async_lane *lane)
{
        if (lane->bell.fd >= 0) {
                fork_close(lane->bell.fd);
                connection_close_lane(lane->connection, &lane->ends);
        }
        shm_unref(lane->connection);
        pthread_mutex_destroy(&lane->lock);
        free(lane->slots);
        free(lane);
}

void shm_async_close(struct async_lane *lane)
{
        enter(lane);
        loop_poller_remove(lane->loop, &lane->poller);
        loop_source_remove(lane->loop, &lane->bell);
        loop_timer_set(lane->loop, &lane->timer, 0);
        loop_unpost(lane->loop, &lane->attend);
        loop_unpost(lane->loop, &lane->join);
        struct sweep sweep = { .now = UINT64_MAX };
        for (struct client_call *call; (call = take_due(lane, &sweep));) {
                error_set(-ECANCELED, "%s: the channel was closed", call->method->path);
                call_fail(call, BATON_CANCELLED, true);
                call->done(call);
        }
        lane->closed = true;
        leave(lane);
}
