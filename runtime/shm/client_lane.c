#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "shm/client.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        ATTACH_POLL_MS = 1,
        PATIENCE_NS = 2000, /* a running server answers sooner */
};

/* A lane that the server had not granted when its opener's deadline came. The next opener waits on, for the server still may;
 * asking anew each time would use up the lanes. */
struct kept_lane {
        struct lane_ends ends;
        int bell; /* the client's end of its bell; -1 */
};

/* ---- numbers; connection->control is held ------------------------------------------------------------------ */

/* bell NULL: a lane without one. */
static int take_kept(struct connection *connection, struct lane_ends *ends, int *bell)
{
        for (int i = 1; i < SHM_LANES; i++) {
                struct kept_lane *kept = connection->kept[i];
                if (!kept || (kept->bell >= 0) != (bell != NULL))
                        continue;
                *ends = kept->ends;
                if (connection->opening[i])
                        connection->opening[i] = ends;
                if (bell) {
                        close(bell[0]);
                        bell[0] = kept->bell;
                }
                free(kept);
                connection->kept[i] = NULL;
                return i;
        }
        return 0;
}

/* first: 0, or 1 where lane 0 will not do, which has no bell. */
static int take_number(struct connection *connection, struct lane_ends *ends, int first)
{
        for (int i = first; i < SHM_LANES; i++) {
                if (connection->lane_used[i])
                        continue;
                connection->lane_used[i] = true;
                ends->number = (uint32_t)i;
                return i;
        }
        return error_set(-EBUSY, "all %d lanes to %s are in use", SHM_LANES, connection->path.sun_path);
}

/* The number stays taken, for the server may still answer. */
static void keep(struct connection *connection, struct lane_ends *ends, int *bell)
{
        struct kept_lane *kept = malloc(sizeof *kept);
        struct lane_ends **opening = &connection->opening[ends->number];
        if (!kept) {
                *opening = NULL;
                link_lane_deinit(ends);
                return;
        }
        *kept = (struct kept_lane){ .ends = *ends, .bell = bell ? bell[0] : -1 };
        if (*opening)
                *opening = &kept->ends;
        if (bell)
                bell[0] = -1;
        connection->kept[ends->number] = kept;
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

static int read_half(struct connection *connection, uint32_t number, uint64_t deadline_ns)
{
        for (;;) {
                connection_drain(connection);
                pthread_mutex_lock(&connection->control);
                bool there = !connection->opening[number];
                pthread_mutex_unlock(&connection->control);
                if (there)
                        return 0;
                if (atomic_load_explicit(&connection->dead, memory_order_relaxed))
                        return error_set(-EPIPE, "the server at %s is gone", connection->path.sun_path);
                if (deadline_passed(deadline_ns))
                        return error_set(-ETIMEDOUT, "%s does not answer; is the server stopped or overloaded?",
                                         connection->path.sun_path);
                /* Another thread may take the answer off the socket, so this one looks again soon in any case. */
                struct pollfd ready = { .fd = connection->link.socket, .events = POLLIN };
                poll(&ready, 1, deadline_left_ms(deadline_ns, ATTACH_POLL_MS));
        }
}

/* Meanwhile the watching thread leaves the socket alone, or it would often be the one to take the answer off it. */
static int await_half(struct connection *connection, uint32_t number, uint64_t deadline_ns)
{
        pthread_mutex_lock(&connection->control);
        connection->n_openers++;
        pthread_mutex_unlock(&connection->control);
        int error = read_half(connection, number, deadline_ns);
        pthread_mutex_lock(&connection->control);
        bool last = --connection->n_openers == 0;
        pthread_mutex_unlock(&connection->control);
        if (last) /* what came since, it was told of and did not look at */
                connection_drain(connection);
        return error;
}

/* Sends the own half of the lane. */
static int ask(struct connection *connection, struct lane_ends *ends, const int *bell, uint64_t deadline_ns)
{
        int fd = link_lane_init(&connection->link, ends, ends->number, connection->options.ring_bytes);
        if (fd < 0)
                return fd;
        /* Not before: a hostile server may answer what was not asked. */
        pthread_mutex_lock(&connection->control);
        connection->opening[ends->number] = ends;
        pthread_mutex_unlock(&connection->control);
        struct shm_new_lane message = {
                .kind = SHM_LANE, .lane = ends->number, .ring_bytes = ends->ring_bytes, .has_bell = bell != NULL
        };
        int fds[2] = { fd, bell ? bell[1] : -1 };
        int error =
                control_send_wait(connection->link.socket, &message, sizeof message, fds, bell ? 2 : 1, deadline_ns);
        close(fd);
        return error < 0 ? error_set(error, "cannot open a lane to %s: %s", connection->path.sun_path, strerror(-error))
                         : 0;
}

/* The server does not know of the lane: its number is free again. */
static void take_back(struct connection *connection, struct lane_ends *ends)
{
        pthread_mutex_lock(&connection->control);
        connection->opening[ends->number] = NULL;
        connection->lane_used[ends->number] = false;
        pthread_mutex_unlock(&connection->control);
        link_lane_deinit(ends);
}

static int open_lane(struct connection *connection, struct lane_ends *ends, int bell[2], uint64_t deadline_ns)
{
        pthread_mutex_lock(&connection->control);
        int kept = take_kept(connection, ends, bell);
        int number = kept ? kept : take_number(connection, ends, bell != NULL);
        pthread_mutex_unlock(&connection->control);
        if (number < 0)
                return number;
        if (number == 0) {
                link_lane0(&connection->link, ends);
                return 0;
        }
        int error = kept ? 0 : ask(connection, ends, bell, deadline_ns);
        if (error < 0) {
                take_back(connection, ends);
                return error;
        }
        error = await_half(connection, (uint32_t)number, deadline_ns);
        if (error < 0) {
                pthread_mutex_lock(&connection->control);
                keep(connection, ends, bell);
                pthread_mutex_unlock(&connection->control);
        }
        return error;
}

int connection_open_lane(struct connection *connection, struct lane_ends *ends, int bell[2], uint64_t deadline_ns)
{
        int error = connection_lane_begins(connection);
        if (error < 0)
                return error;
        error = open_lane(connection, ends, bell, deadline_ns);
        if (error < 0)
                connection_lane_ends(connection);
        return error;
}

void connection_close_lane(struct connection *connection, struct lane_ends *ends)
{
        if (connection->fork_generation != fork_generation())
                return;
        link_lane_deinit(ends);
        connection_lane_ends(connection);
}

void connection_free_lanes(struct connection *connection)
{
        for (int i = 0; i < SHM_LANES; i++) {
                struct kept_lane *kept = connection->kept[i];
                if (!kept)
                        continue;
                link_lane_deinit(&kept->ends);
                if (kept->bell >= 0)
                        close(kept->bell);
                free(kept);
        }
}

/* ---- lanes of blocking calls -------------------------------------------------------------------------------- */

int shm_lane_open(struct connection *connection, uint64_t deadline_ns, struct lane **out)
{
        struct lane *lane = aligned_alloc(SHM_LINE, (sizeof *lane + SHM_LINE - 1) / SHM_LINE * SHM_LINE);
        if (!lane)
                return error_set(-ENOMEM, "cannot open a lane: out of memory");
        memset(lane, 0, sizeof *lane);
        int error = connection_open_lane(connection, &lane->ends, NULL, deadline_ns);
        if (error < 0) {
                free(lane);
                return error;
        }
        spin_init(&lane->spin, connection->options.no_spin ? 0 : connection->options.spin_us * UINT64_C(1000),
                  PATIENCE_NS);
        lane->connection = shm_ref(connection);
        *out = lane;
        return 0;
}

/* Whether the server, which lives, has yet to take requests: one-way ones, as the others wait for their replies. */
bool lane_unread(const struct lane *lane)
{
        const struct connection *connection = lane->connection;
        return connection->fork_generation == fork_generation() &&
               !atomic_load_explicit(&connection->dead, memory_order_relaxed) &&
               atomic_load_explicit(&lane->ends.peer->consumed, memory_order_relaxed) != lane->ends.out.tail;
}

void shm_lane_close(struct lane *lane)
{
        struct connection *connection = lane->connection;
        if (lane_unread(lane)) {
                connection_linger(connection, lane);
        } else {
                connection_close_lane(connection, &lane->ends);
                free(lane);
        }
        shm_unref(connection);
}
