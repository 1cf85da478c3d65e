#define _GNU_SOURCE
#include "shm/async_lane.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/futex.h"
#include "base/hash.h"
#include "codec/layout.h"
#include "shm/shm.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- life and death --------------------------------------------------------------------------------------- */

struct connection *shm_ref(struct connection *connection)
{
        atomic_fetch_add_explicit(&connection->references, 1, memory_order_relaxed);
        return connection;
}

static void free_connection(struct connection *connection)
{
        bool forked = connection->fork_generation != fork_generation();
        watch_remove(&connection->watch);
        /* In a forked child the regions were never mapped, and their addresses may be somebody else's by now. */
        if (!forked) {
                connection_free_lingering(connection);
                connection_free_lanes(connection);
                link_deinit(&connection->link);
        }
        for (uint32_t i = 0; i < METHOD_BUCKETS; i++) {
                struct binding *binding = atomic_load_explicit(&connection->bindings[i], memory_order_relaxed);
                while (binding) {
                        struct binding *next = binding->next;
                        free(binding);
                        binding = next;
                }
        }
        pthread_mutex_destroy(&connection->control);
        free(connection->methods);
        free(connection);
}

void shm_unref(struct connection *connection)
{
        if (atomic_fetch_sub_explicit(&connection->references, 1, memory_order_acq_rel) == 1)
                free_connection(connection);
}

enum connection_state shm_state(const struct connection *connection)
{
        if (atomic_load_explicit(&connection->dead, memory_order_relaxed))
                return CONNECTION_DOWN;
        return atomic_load_explicit(&connection->leaving, memory_order_relaxed) ? CONNECTION_LEAVING : CONNECTION_UP;
}

/* Whoever hears of the end first says how it came. */
static bool mark_dead(struct connection *connection, uint32_t how)
{
        uint32_t alive = ALIVE;
        bool first = atomic_compare_exchange_strong_explicit(&connection->dead, &alive, how, memory_order_acq_rel,
                                                             memory_order_relaxed);
        futex_wake_all(&connection->dead);
        return first;
}

static void give_up(struct connection *connection, enum death how, const char *why)
{
        if (!mark_dead(connection, how))
                return;
        log_line(BATON_LOG_WARNING, "closing the connection to %s: %s", connection->path.sun_path, why);
        /* The server lets go of it, and of the bells of asynchronous lanes, which so hear of it too. */
        shutdown(connection->link.socket, SHUT_RDWR);
}

void connection_kill(struct connection *connection, const char *why)
{
        give_up(connection, KILLED, why);
}

void connection_silent(struct connection *connection, const char *why)
{
        give_up(connection, SILENT, why);
}

void connection_hung_up(struct connection *connection)
{
        mark_dead(connection, HUNG_UP);
}

/* No calls are left to be told. */
void shm_hang_up(struct connection *connection)
{
        mark_dead(connection, KILLED);
        if (connection->fork_generation == fork_generation())
                shutdown(connection->link.socket, SHUT_RDWR);
        watch_remove(&connection->watch); /* the sink is not called any more */
}

/* ---- the control socket ----------------------------------------------------------------------------------- */

/* The server's half of a lane that a thread waits for. */
static int lane_arrived(struct connection *connection, struct control_message *message)
{
        uint32_t number = message->lane.lane;
        int fd = control_take(message, 0);
        int error = -EPROTO;
        if (fd >= 0 && number < SHM_LANES && connection->opening[number]) {
                error = link_lane_attach(connection->opening[number], fd);
                if (error >= 0) /* else whoever waits for it learns that the connection ended */
                        connection->opening[number] = NULL;
        }
        if (fd >= 0)
                close(fd);
        return error;
}

static int handle(struct connection *connection, struct control_message *message)
{
        switch (message->kind) {
        case SHM_SEGMENT:
                return link_segment(&connection->link, message);
        case SHM_LANE:
                return lane_arrived(connection, message);
        case SHM_GOAWAY:
                atomic_store_explicit(&connection->leaving, true, memory_order_relaxed);
                return 0;
        case SHM_PONG:
                return 0;
        default:
                return -EPROTO;
        }
}

void connection_drain_locked(struct connection *connection)
{
        struct control_message message;
        int n;
        while ((n = control_receive(connection->link.socket, &message)) > 0) {
                int error = handle(connection, &message);
                control_discard(&message);
                connection->pinged_ns = 0;
                if (connection->options.keepalive_ms)
                        connection->heard_ns = clock_now_ns();
                if (error < 0) {
                        connection_kill(connection, "the server broke the protocol");
                        return;
                }
        }
        if (n == -ECONNRESET)
                connection_hung_up(connection);
        else if (n < 0)
                connection_kill(connection, baton_error());
}

void connection_drain(struct connection *connection)
{
        pthread_mutex_lock(&connection->control);
        bool before = atomic_load_explicit(&connection->leaving, memory_order_relaxed);
        connection_drain_locked(connection);
        bool leaves = !before && atomic_load_explicit(&connection->leaving, memory_order_relaxed);
        pthread_mutex_unlock(&connection->control);
        if (leaves) /* the watching thread tells the channel, which this one may be inside */
                watch_poke(&connection->watch);
}

static void ring(struct connection *connection, struct lane_ends *ends)
{
        struct shm_bell bell = { .kind = SHM_BELL, .lane = ends->number };
        if (control_send(connection->link.socket, &bell, sizeof bell, NULL, 0) < 0)
                ends->waker.rung = 0; /* another try with the next record, or while waiting */
}

void connection_notify(struct connection *connection, struct lane_ends *ends)
{
        if (wake_wanted(&ends->waker))
                ring(connection, ends);
}

void connection_notify_room(struct connection *connection, struct lane_ends *ends)
{
        if (wake_room_wanted(&ends->waker))
                ring(connection, ends);
}

/* ---- methods ---------------------------------------------------------------------------------------------- */

static int32_t find_method(const struct connection *connection, uint64_t hash)
{
        uint32_t low = 0, high = connection->n_methods;
        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                if (connection->methods[middle].path_hash < hash)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < connection->n_methods && connection->methods[low].path_hash == hash ? (int32_t)low : -1;
}

static struct binding *make_binding(const struct connection *connection, const baton_method *method)
{
        struct binding *binding = calloc(1, sizeof *binding);
        if (!binding)
                return NULL;
        binding->method = method;
        binding->number = find_method(connection, hash_string(method->path));
        if (binding->number < 0)
                return binding;
        const struct shm_method *theirs = &connection->methods[binding->number];
        uint64_t input = layout_hash(method->input->descriptor), output = layout_hash(method->output->descriptor);
        binding->graph_request = input && input == theirs->input_layout;
        binding->graph_reply = output && output == theirs->output_layout;
        return binding;
}

const struct binding *connection_bind(struct connection *connection, const baton_method *method)
{
        _Atomic(struct binding *) *bucket =
                &connection->bindings[((uintptr_t)method / sizeof *method) % METHOD_BUCKETS];
        struct binding *first = atomic_load_explicit(bucket, memory_order_acquire); /* pairs with the exchange below */
        for (struct binding *at = first; at; at = at->next)
                if (at->method == method)
                        return at;
        struct binding *binding = make_binding(connection, method);
        if (!binding)
                return NULL;
        /* Two threads may both add the method: the second entry is never found, and harmless. */
        do
                binding->next = first;
        while (!atomic_compare_exchange_weak_explicit(bucket, &first, binding, memory_order_release,
                                                      memory_order_relaxed));
        return binding;
}

/* ---- payload memory --------------------------------------------------------------------------------------- */

void *shm_alloc(struct connection *connection, size_t size)
{
        return heap_alloc(&connection->link.heap, size ? size : 1);
}

bool shm_free(struct connection *connection, void *memory)
{
        return heap_free(&connection->link.heap, memory);
}

static int check_address(const char *address)
{
        struct sockaddr_un path;
        return control_path(address, &path);
}

const struct transport shm_transport = {
        .schemes = { "shm", "inproc" },
        .check_address = check_address,
        .connect = shm_connect,
        .ref = shm_ref,
        .unref = shm_unref,
        .state = shm_state,
        .hang_up = shm_hang_up,
        .lane_open = shm_lane_open,
        .lane_close = shm_lane_close,
        .call = shm_call,
        .oneway = shm_oneway,
        .flush = shm_flush,
        .async_open = shm_async_open,
        .async_start = shm_async_start,
        .async_cancel = shm_async_cancel,
        .async_close = shm_async_close,
        .stream_open = shm_stream_open,
        .stream_write = shm_stream_write,
        .stream_writes_done = shm_stream_writes_done,
        .stream_read = shm_stream_read,
        .stream_cancel = shm_stream_cancel,
        .stream_close = shm_stream_close,
        .alloc = shm_alloc,
        .free = shm_free,
        .listen = shm_listen,
        .drain = shm_drain,
        .unlisten = shm_unlisten,
};
