/* What becomes of a connection while nobody calls: the watching thread hears that the server drains, or has gone, or hangs. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "shm/client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_KEEPALIVE_TIMEOUT_MS = 20000, LEAVE_RETRY_NS = 10000000 };

/* ---- counting lanes ----------------------------------------------------------------------------------------- */

static bool dead(const struct connection *connection)
{
        return atomic_load_explicit(&connection->dead, memory_order_acquire);
}

static bool leaving(const struct connection *connection)
{
        return atomic_load_explicit(&connection->leaving, memory_order_relaxed);
}

int connection_lane_begins(struct connection *connection)
{
        pthread_mutex_lock(&connection->control);
        int error = connection->left ? -ESHUTDOWN : dead(connection) ? -EPIPE : 0;
        if (!error)
                connection->n_lanes++;
        pthread_mutex_unlock(&connection->control);
        return error ? error_set(error, "the server at %s is gone", connection->path.sun_path) : 0;
}

/* No lanes are left on a LEAVING connection, and none will be. connection->control is held. */
static bool leaves_now(struct connection *connection)
{
        if (connection->n_lanes || connection->left || !leaving(connection))
                return false;
        return connection->left = true;
}

void connection_lane_ends(struct connection *connection)
{
        pthread_mutex_lock(&connection->control);
        connection->n_lanes--;
        bool now = leaves_now(connection);
        pthread_mutex_unlock(&connection->control);
        if (now)
                shm_hang_up(connection);
}

/* ---- leaving ------------------------------------------------------------------------------------------------ */

void connection_leave_later(struct connection *connection, struct leaver *leaver)
{
        pthread_mutex_lock(&connection->control);
        list_init(&leaver->link);
        if (leaving(connection))
                loop_post(leaver->loop, &leaver->leave);
        else
                list_append(&connection->leavers, &leaver->link);
        pthread_mutex_unlock(&connection->control);
}

void connection_stay(struct connection *connection, struct leaver *leaver)
{
        pthread_mutex_lock(&connection->control);
        list_remove(&leaver->link);
        pthread_mutex_unlock(&connection->control);
        loop_unpost(leaver->loop, &leaver->leave);
}

void connection_linger(struct connection *connection, struct lane *lane)
{
        pthread_mutex_lock(&connection->control);
        list_append(&connection->lingering, &lane->link);
        pthread_mutex_unlock(&connection->control);
}

void connection_free_lingering(struct connection *connection)
{
        while (!list_empty(&connection->lingering)) {
                struct lane *lane = container_of(connection->lingering.next, struct lane, link);
                list_remove(&lane->link);
                link_lane_deinit(&lane->ends);
                free(lane);
        }
}

/* Closes the lanes whose last calls the server has taken by now. connection->control is held. */
static void close_read(struct connection *connection)
{
        for (struct list *at = connection->lingering.next, *next; at != &connection->lingering; at = next) {
                struct lane *lane = container_of(at, struct lane, link);
                next = at->next;
                connection_notify(connection, &lane->ends); /* where the last bell could not be rung */
                if (lane_unread(lane))
                        continue;
                list_remove(at);
                link_lane_deinit(&lane->ends);
                free(lane);
                connection->n_lanes--;
        }
}

static void tell_channel(struct connection *connection)
{
        if (connection->sink && connection->sink->leaving)
                connection->sink->leaving(connection->sink, connection);
}

/* Tells the loops, and the channel, again and again until no lane is left. */
static uint64_t leave(struct connection *connection)
{
        pthread_mutex_lock(&connection->control);
        while (!list_empty(&connection->leavers)) {
                struct leaver *leaver = container_of(connection->leavers.next, struct leaver, link);
                list_remove(&leaver->link);
                loop_post(leaver->loop, &leaver->leave);
        }
        pthread_mutex_unlock(&connection->control);
        tell_channel(connection);
        pthread_mutex_lock(&connection->control);
        close_read(connection);
        bool now = leaves_now(connection);
        pthread_mutex_unlock(&connection->control);
        if (now)
                shm_hang_up(connection);
        return clock_now_ns() + LEAVE_RETRY_NS;
}

/* Streams that wait for room to tell the server of their end. */
static uint64_t tell_of_ends(struct connection *connection)
{
        if (!atomic_load_explicit(&connection->n_untold, memory_order_relaxed) || !connection->sink)
                return 0;
        connection->sink->turn(connection->sink);
        return clock_now_ns() + LEAVE_RETRY_NS;
}

/* ---- keepalive ---------------------------------------------------------------------------------------------- */

static uint64_t keep_alive(struct connection *connection)
{
        const baton_channel_options *options = &connection->options;
        uint32_t timeout_ms =
                options->keepalive_timeout_ms ? options->keepalive_timeout_ms : DEFAULT_KEEPALIVE_TIMEOUT_MS;
        uint64_t now = clock_now_ns(), timeout_ns = timeout_ms * UINT64_C(1000000);
        uint64_t idle_ns = options->keepalive_ms * UINT64_C(1000000);
        if (!connection->pinged_ns && now - connection->heard_ns >= idle_ns) {
                connection->pinged_ns = now;
                /* Where there is no room for it the server does not read, and the time counts as well. */
                control_send_plain(connection->link.socket, SHM_PING);
        }
        if (!connection->pinged_ns)
                return connection->heard_ns + idle_ns;
        if (now - connection->pinged_ns < timeout_ns)
                return connection->pinged_ns + timeout_ns;
        char why[100];
        snprintf(why, sizeof why, "the server did not answer for %u ms; it hangs, or is stopped", timeout_ms);
        connection_silent(connection, why);
        return 0;
}

/* ---- the watching thread ------------------------------------------------------------------------------------ */

/* One more reference, where it is not being freed already. */
static bool try_ref(struct connection *connection)
{
        unsigned n = atomic_load_explicit(&connection->references, memory_order_relaxed);
        while (n)
                if (atomic_compare_exchange_weak_explicit(&connection->references, &n, n + 1, memory_order_relaxed,
                                                          memory_order_relaxed))
                        return true;
        return false;
}

uint64_t connection_attend(struct watch *watch, bool hung_up)
{
        struct connection *connection = container_of(watch, struct connection, watch);
        if (hung_up)
                connection_hung_up(connection);
        /* The channel may drop its references while it is told. */
        if (!try_ref(connection))
                return 0;
        if (hung_up) {
                tell_channel(connection);
                shm_unref(connection);
                return 0;
        }
        uint64_t due_ns = 0;
        pthread_mutex_lock(&connection->control);
        bool others_read = connection->n_openers;
        if (!others_read)
                connection_drain_locked(connection);
        if (connection->options.keepalive_ms && !dead(connection))
                due_ns = others_read ? clock_now_ns() + LEAVE_RETRY_NS : keep_alive(connection);
        pthread_mutex_unlock(&connection->control);
        if (leaving(connection) && !dead(connection))
                due_ns = deadline_earlier(due_ns, leave(connection));
        if (!dead(connection))
                due_ns = deadline_earlier(due_ns, tell_of_ends(connection));
        shm_unref(connection);
        return due_ns;
}
