#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/ticks.h"
#include "shm/server.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        BATCH = 16,                  /* records of one connection's turn */
        TURN_NS = 5000,              /* and how long it takes, but for the last of them */
        PARKED_MOST = SHM_LOANS / 2, /* replies that wait, before no more requests are taken; each may need a loan */
        RETRY_LEAST_NS = 1000000,
        RETRY_MOST_NS = 64000000,
};

static struct server_lane *lane_of(struct loop_poller *poller)
{
        return container_of(poller, struct server_lane, poller);
}

/* Its client does not read replies, so it gets no more of them: its requests wait in the ring. */
static bool stalled(const struct server_lane *lane)
{
        return atomic_load_explicit(&lane->n_parked, memory_order_relaxed) >= PARKED_MOST;
}

static void ring(struct server_lane *lane)
{
        char byte = 0;
        if (lane->bell_fd < 0)
                wake_ring(&lane->ends.waker);
        else if (send(lane->bell_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                lane->ends.waker.rung = 0; /* another try with the next record */
}

void server_lane_notify(struct server_lane *lane)
{
        /* The loop alone knows how far it has read; what another thread tells may be older. */
        if (loop_is_current(lane->connection->loop))
                lane->unannounced = false;
        if (wake_wanted(&lane->ends.waker))
                ring(lane);
}

/* The client's ring has room again. */
static void announce(struct server_lane *lane)
{
        lane->unannounced = false;
        pthread_mutex_lock(&lane->lock);
        if (wake_room_wanted(&lane->ends.waker))
                ring(lane);
        pthread_mutex_unlock(&lane->lock);
}

/* Has the loop look after the lane; the lock is held. */
static void post_attend(struct server_lane *lane)
{
        if (lane->attend_posted)
                return;
        lane->attend_posted = true;
        loop_post(lane->connection->loop, &lane->attend);
}

void server_lane_condemn(struct server_lane *lane, const char *why)
{
        struct server_connection *connection = lane->connection;
        if (atomic_exchange_explicit(&connection->closed, true, memory_order_acq_rel))
                return;
        log_line(BATON_LOG_WARNING, "dropping the client with pid %d: %s", (int)connection->peer.pid, why);
        /* The loop hangs up, once it takes no more requests: then the client may trust that what is left was not begun. */
        post_attend(lane);
}

/* Sends what is parked, and has streams get on, with `heap` those too that wait for room there. A client's loop rings when there
 * is room; a client that makes blocking calls, or does not read, is looked at less and less. */
static void flush(struct server_lane *lane, bool heap)
{
        pthread_mutex_lock(&lane->lock);
        bool waiting = !list_empty(&lane->parked);
        struct list *first = lane->parked.next;
        bool done = server_unpark(lane);
        bool progress = first != lane->parked.next;
        if (waiting && progress)
                server_lane_notify(lane);
        pthread_mutex_unlock(&lane->lock);
        done = !server_streams_room(lane, heap) && done;
        progress |= !list_empty(&lane->excited);
        lane->retry_ns = progress || !lane->retry_ns ? RETRY_LEAST_NS : lane->retry_ns * 2;
        if (lane->retry_ns > RETRY_MOST_NS)
                lane->retry_ns = RETRY_MOST_NS;
        loop_timer_set(lane->connection->loop, &lane->retry, done ? 0 : clock_now_ns() + lane->retry_ns);
        if (progress && !stalled(lane) && ring_ready(&lane->ends.in))
                loop_poller_wake(lane->connection->loop, &lane->poller);
}

static void on_retry(struct loop_timer *timer)
{
        struct server_lane *lane = container_of(timer, struct server_lane, retry);
        struct server_connection *connection = lane->connection;
        server_connection_ref(connection);
        flush(lane, true);
        server_streams_tell(lane);
        server_connection_unref(connection);
}

static void attend(struct loop_task *task)
{
        struct server_lane *lane = container_of(task, struct server_lane, attend);
        struct server_connection *connection = lane->connection;
        pthread_mutex_lock(&lane->lock);
        lane->attend_posted = false;
        pthread_mutex_unlock(&lane->lock);
        if (server_closed(connection)) {
                server_connection_close(connection, NULL);
                return;
        }
        server_connection_ref(connection);
        flush(lane, false); /* whoever found no room in the heap just now would find none again */
        server_streams_tell(lane);
        /* Where another thread's writer found no room, the loop has to ask for a bell. */
        if (!server_closed(connection))
                loop_poller_wake(connection->loop, &lane->poller);
        server_connection_unref(connection);
}

void server_lane_attend(struct server_lane *lane)
{
        /* The loop itself looks at what is parked before it sleeps, if it looks at this lane at all. */
        if (loop_is_current(lane->connection->loop))
                loop_poller_wake(lane->connection->loop, &lane->poller);
        else
                post_attend(lane);
}

static void try_unpark(struct server_lane *lane)
{
        pthread_mutex_lock(&lane->lock);
        uint32_t before = lane->n_parked;
        server_unpark(lane);
        if (lane->n_parked != before)
                server_lane_notify(lane);
        pthread_mutex_unlock(&lane->lock);
}

/* Nanoseconds since this thread last asked. */
static uint64_t lap(void)
{
        static _Thread_local uint64_t last;
        uint64_t now = ticks_now(), ns = ticks_to_ns(now - last);
        last = now;
        return ns;
}

static bool turn_over(const struct server_connection *connection)
{
        return connection->n_taken >= BATCH || connection->took_ns >= TURN_NS;
}

/*
 * Whether there is something left for this lane of its connection's turn: so many records, and so much time, for all of its lanes
 * together, so that neither many lanes nor slow handlers win a client more of the server. A lane that comes round again begins the
 * next turn.
 */
static bool has_turn(struct server_lane *lane)
{
        struct server_connection *connection = lane->connection;
        if (lane->n_turns == connection->n_turns) {
                connection->n_turns++;
                connection->n_taken = 0;
                connection->took_ns = 0;
        }
        lane->n_turns = connection->n_turns;
        return !turn_over(connection);
}

/* Counts a record; alone: none waits behind it. Polling since the last one counts as well, and idle time: then the turn ends a little
 * early. The clock is not read for a turn of one record: that would delay a lone client's next call. */
static void count(struct server_connection *connection, bool alone)
{
        if (++connection->n_taken > 1 || !alone)
                connection->took_ns += lap();
}

/* Whether something waits for room in the ring; no lock. */
static bool waits(const struct server_lane *lane)
{
        return atomic_load_explicit(&lane->waits, memory_order_relaxed) ||
               atomic_load_explicit(&lane->n_parked, memory_order_relaxed);
}

/* Takes records until the turn is over. Returns how many; *error: the client broke the protocol, or is gone. */
static int take_records(struct server_lane *lane, int *error)
{
        struct server_connection *connection = lane->connection;
        struct ring_record record;
        int handled = 0;
        if (!has_turn(lane)) {
                loop_poller_first(connection->loop, &lane->poller);
                return 0;
        }
        while ((*error = ring_peek(&lane->ends.in, &record)) > 0) {
                lane->unannounced = true;
                *error = server_record(lane, &record);
                if (*error < 0)
                        break;
                handled++;
                count(connection, !ring_ready(&lane->ends.in));
                if (turn_over(connection) || stalled(lane) || server_closed(connection))
                        break;
        }
        return handled;
}

static int poll_requests(struct loop_poller *poller)
{
        struct server_lane *lane = lane_of(poller);
        struct server_connection *connection = lane->connection;
        int handled = 0, error = 0;
        bool room = waits(lane);
        if (!ring_ready(&lane->ends.in) && !room)
                return 0;
        server_connection_enter(connection);
        if (room) {
                server_streams_room(lane, false);
                try_unpark(lane);
        }
        if (!stalled(lane) && !server_closed(connection))
                handled = take_records(lane, &error);
        if (error == -ECONNRESET)
                server_connection_close(connection, NULL);
        else if (error < 0 || heap_broken(&connection->shared.heap))
                server_connection_close(connection, "it broke the protocol");
        else if (lane->unannounced) /* no reply told the client that its ring has room again */
                announce(lane);
        server_streams_tell(lane);
        server_connection_leave(connection);
        return handled + (error < 0);
}

static bool arm(struct loop_poller *poller)
{
        struct server_lane *lane = lane_of(poller);
        pthread_mutex_lock(&lane->lock);
        bool waiting = waits(lane), wanting = !list_empty(&lane->wanting);
        wake_arm(&lane->ends.waker, waiting);
        bool room = waiting && ring_has_room(&lane->ends.out, ring_largest(&lane->ends.out)) != -EAGAIN;
        pthread_mutex_unlock(&lane->lock);
        if ((waiting || wanting) && !lane->retry.node.due_ns) /* clients of blocking calls ring no bell for room */
                loop_timer_set(lane->connection->loop, &lane->retry, clock_now_ns() + RETRY_LEAST_NS);
        return room || (ring_ready(&lane->ends.in) && !stalled(lane));
}

static void disarm(struct loop_poller *poller)
{
        wake_disarm(&lane_of(poller)->ends.waker);
}

struct server_lane *server_lane_new(struct server_connection *connection, int bell_fd)
{
        struct server_lane *lane = aligned_alloc(SHM_LINE, (sizeof *lane + SHM_LINE - 1) / SHM_LINE * SHM_LINE);
        if (!lane)
                return NULL;
        *lane = (struct server_lane){ .connection = connection, .bell_fd = bell_fd };
        lane->poller = (struct loop_poller){ .poll = poll_requests, .arm = arm, .disarm = disarm };
        list_init(&lane->poller.link); /* it may be stopped without having been started */
        lane->retry.fire = on_retry;
        lane->deadline.fire = server_on_deadline;
        lane->attend.run = attend;
        pthread_mutex_init(&lane->lock, NULL);
        list_init(&lane->parked);
        list_init(&lane->waiting);
        list_init(&lane->wanting);
        list_init(&lane->excited);
        return lane;
}

void server_lane_start(struct server_lane *lane)
{
        loop_poller_add(lane->connection->loop, &lane->poller);
}

void server_lane_stop(struct server_lane *lane)
{
        loop_poller_remove(lane->connection->loop, &lane->poller);
        loop_timer_set(lane->connection->loop, &lane->retry, 0);
        server_calls_cancel(lane);
        loop_timer_set(lane->connection->loop, &lane->deadline, 0);
        /* The client's loop sees the end by the hang-up of its bell. */
        pthread_mutex_lock(&lane->lock);
        if (lane->bell_fd >= 0)
                fork_close(lane->bell_fd);
        lane->bell_fd = -1;
        pthread_mutex_unlock(&lane->lock);
        /* Whoever saw the connection open has let go of the lock: nothing is posted from now on. */
        loop_unpost(lane->connection->loop, &lane->attend);
}

void server_lane_free(struct server_lane *lane)
{
        while (!list_empty(&lane->parked)) {
                struct parked *parked = container_of(lane->parked.next, struct parked, link);
                list_remove(&parked->link);
                free(parked);
        }
        free(lane->calls);
        link_lane_deinit(&lane->ends);
        pthread_mutex_destroy(&lane->lock);
        free(lane);
}
