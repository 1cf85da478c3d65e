#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "shm/region.h"
#include "shm/server.h"
#include "shm/takeover.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGES_AT_ONCE = 64 };

/* ---- life ------------------------------------------------------------------------------------------------- */

void server_connection_ref(struct server_connection *connection)
{
        atomic_fetch_add_explicit(&connection->references, 1, memory_order_relaxed);
}

static void free_connection(struct server_connection *connection)
{
        for (uint32_t i = 0; i < SHM_LANES; i++)
                if (connection->lanes[i])
                        server_lane_free(connection->lanes[i]);
        server_calls_free(connection);
        link_deinit(&connection->shared);
        free(connection);
}

void server_connection_unref(struct server_connection *connection)
{
        if (atomic_fetch_sub_explicit(&connection->references, 1, memory_order_acq_rel) == 1)
                free_connection(connection);
}

void server_connection_close(struct server_connection *connection, const char *why)
{
        struct listener *listener = connection->listener;
        if (!listener)
                return;
        if (why)
                log_line(BATON_LOG_WARNING, "%s: dropping the client with pid %d: %s", listener->path.sun_path,
                         (int)connection->peer.pid, why);
        atomic_store_explicit(&connection->closed, true, memory_order_release);
        loop_unpost(connection->loop, &connection->adopt);
        loop_source_remove(connection->loop, &connection->source);
        loop_timer_set(connection->loop, &connection->handshake, 0);
        for (uint32_t i = 0; i < SHM_LANES; i++)
                if (connection->lanes[i])
                        server_lane_stop(connection->lanes[i]);
        /* The client sees this at once; the fd itself stays until the last call is gone. */
        shutdown(connection->shared.socket, SHUT_RDWR);
        pthread_mutex_lock(&listener->lock);
        list_remove(&connection->link);
        takeover_forget(connection);
        pthread_mutex_unlock(&listener->lock);
        connection->listener = NULL;
        if (connection->guest == BATON_OK)
                listener->sink->leave(listener->sink, connection->loop, &connection->peer);
        connection->left = true;
        server_connection_enter(connection);
        server_connection_leave(connection);
}

void server_connection_leave(struct server_connection *connection)
{
        if (--connection->entered || !connection->left)
                return;
        connection->left = false;
        server_connection_unref(connection);
}

void server_refuse(int socket, baton_code code, const char *text)
{
        struct shm_refusal refusal = { .kind = SHM_REFUSE, .code = code };
        snprintf(refusal.text, sizeof refusal.text, "%s", text);
        control_send(socket, &refusal, sizeof refusal, NULL, 0);
}

/* ---- shaking hands ---------------------------------------------------------------------------------------- */

static int refuse(struct server_connection *connection, baton_code code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static int refuse(struct server_connection *connection, baton_code code, const char *format, ...)
{
        char text[SHM_TEXT];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        server_refuse(connection->shared.socket, code, text);
        return error_set(-EPROTO, "refused: %s", text);
}

static int check_hello(struct server_connection *connection, const struct control_message *message)
{
        const struct shm_hello *hello = &message->hello;
        if (hello->magic != SHM_MAGIC)
                return refuse(connection, BATON_INVALID_ARGUMENT, "the greeting is not Baton's");
        if (hello->version != SHM_VERSION)
                return refuse(connection, BATON_FAILED_PRECONDITION,
                              "the client speaks version %u of the local protocol, the server version %d; rebuild the "
                              "older one",
                              hello->version, SHM_VERSION);
        if (!link_ring_bytes_valid(hello->ring_bytes) || hello->heap_max > SHM_HEAP_MOST ||
            hello->stream_window > SHM_CREDIT_MOST || message->n_fds != 1)
                return refuse(connection, BATON_INVALID_ARGUMENT, "the greeting asks for impossible sizes");
        return 0;
}

static int send_welcome(struct server_connection *connection, int base_fd)
{
        const struct server_config *config = connection->listener->config;
        struct shm_hello welcome = { .kind = SHM_WELCOME,
                                     .version = SHM_VERSION,
                                     .magic = SHM_MAGIC,
                                     .heap_max = config->options.max_heap_bytes,
                                     .ring_bytes = connection->shared.ring_bytes,
                                     .n_methods = config->n_offers,
                                     .stream_window = connection->stream_window };
        int fds[2] = { base_fd, connection->listener->methods_fd };
        int error = control_send(connection->shared.socket, &welcome, sizeof welcome, fds, 2);
        if (error < 0)
                error_set(error, "it does not take the welcome: %s", strerror(-error));
        return error == -EPIPE ? -ECONNRESET : error;
}

bool server_connection_goaway(struct server_connection *connection)
{
        if (connection->established && !connection->told_goaway)
                connection->told_goaway = control_send_plain(connection->shared.socket, SHM_GOAWAY) != -EAGAIN;
        return connection->told_goaway || !connection->established;
}

/* A client that came while the listener began to drain is told too. */
static void begin_serving(struct server_connection *connection)
{
        pthread_mutex_lock(&connection->listener->lock);
        connection->established = true;
        if (connection->listener->draining)
                server_connection_goaway(connection);
        pthread_mutex_unlock(&connection->listener->lock);
}

static int establish(struct server_connection *connection, struct control_message *message)
{
        int error = check_hello(connection, message);
        if (error < 0)
                return error;
        if (connection->guest != BATON_OK)
                return refuse(connection, connection->guest, "%s", connection->guest_text);
        const baton_server_options *options = &connection->listener->config->options;
        connection->stream_credit = message->hello.stream_window;
        int base_fd = link_init(&connection->shared, connection->shared.socket, message->hello.ring_bytes,
                                options->max_heap_bytes);
        if (base_fd < 0)
                return refuse(connection, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
        error = link_attach(&connection->shared, message->fds[0], message->hello.heap_max);
        if (error < 0)
                error = refuse(connection, BATON_INVALID_ARGUMENT, "%s", baton_error());
        struct server_lane *lane = error < 0 ? NULL : server_lane_new(connection, -1);
        if (lane) {
                link_lane0(&connection->shared, &lane->ends);
                connection->lanes[0] = lane;
                error = send_welcome(connection, base_fd);
        } else if (error >= 0) {
                error = refuse(connection, BATON_RESOURCE_EXHAUSTED, "the server is out of memory");
        }
        close(base_fd);
        if (error < 0)
                return error;
        begin_serving(connection);
        loop_timer_set(connection->loop, &connection->handshake, 0);
        server_lane_start(lane);
        return 0;
}

static void on_handshake_timeout(struct loop_timer *timer)
{
        struct server_connection *connection = container_of(timer, struct server_connection, handshake);
        server_connection_close(connection, "it did not introduce itself in time");
}

/* ---- control messages ------------------------------------------------------------------------------------- */

/* The client's bell must be a Unix socket: sending to one with MSG_DONTWAIT never blocks, whatever else it is. */
static bool is_bell(int fd)
{
        int domain = 0;
        socklen_t size = sizeof domain;
        return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

static int open_lane(struct server_connection *connection, struct control_message *message)
{
        const struct shm_new_lane *asked = &message->lane;
        bool has_bell = asked->has_bell;
        if (asked->lane == 0 || asked->lane >= SHM_LANES || connection->lanes[asked->lane] ||
            !link_ring_bytes_valid(asked->ring_bytes) || message->n_fds != 1 + has_bell ||
            (has_bell && !is_bell(message->fds[1])))
                return -EPROTO;
        struct server_lane *lane = server_lane_new(connection, -1);
        if (!lane)
                return -ENOMEM;
        connection->lanes[asked->lane] = lane;
        int fd = link_lane_init(&connection->shared, &lane->ends, asked->lane, asked->ring_bytes);
        int error = fd < 0 ? fd : link_lane_attach(&lane->ends, message->fds[0]);
        struct shm_new_lane answer = { .kind = SHM_LANE, .lane = asked->lane, .ring_bytes = asked->ring_bytes };
        if (error >= 0)
                error = control_send(connection->shared.socket, &answer, sizeof answer, &fd, 1);
        if (fd >= 0)
                close(fd);
        if (error < 0)
                return error;
        if (has_bell)
                lane->bell_fd = fork_guard(control_take(message, 1));
        server_lane_start(lane);
        return 0;
}

/* The first message, or of a new server the second. */
static int greet(struct server_connection *connection, struct control_message *message)
{
        switch (message->kind) {
        case SHM_HELLO:
                return establish(connection, message);
        case SHM_TAKEOVER:
                return takeover_give(connection, message);
        case SHM_TAKEN:
                return takeover_taken(connection);
        default:
                return error_set(-EPROTO, "it did not begin with a greeting");
        }
}

static int handle(struct server_connection *connection, struct control_message *message)
{
        if (!connection->established)
                return greet(connection, message);
        switch (message->kind) {
        case SHM_BELL:
                if (message->bell.lane >= SHM_LANES || !connection->lanes[message->bell.lane])
                        return -EPROTO;
                loop_poller_wake(connection->loop, &connection->lanes[message->bell.lane]->poller);
                return 0;
        case SHM_LANE:
                return open_lane(connection, message);
        case SHM_SEGMENT:
                return link_segment(&connection->shared, message);
        case SHM_PING:
                control_send_plain(connection->shared.socket, SHM_PONG); /* no room: the client does not read */
                return 0;
        default:
                return -EPROTO;
        }
}

int server_connection_drain(struct server_connection *connection)
{
        struct control_message message;
        for (int i = 0; i < MESSAGES_AT_ONCE; i++) {
                int n = control_receive(connection->shared.socket, &message);
                if (n == -EPROTO && !connection->established)
                        server_refuse(connection->shared.socket, BATON_UNAVAILABLE, baton_error());
                if (n <= 0)
                        return n;
                int error = handle(connection, &message);
                control_discard(&message);
                if (error < 0)
                        return error;
        }
        return 0;
}

static int on_socket(struct loop_source *source, uint32_t events)
{
        (void)events;
        struct server_connection *connection = container_of(source, struct server_connection, source);
        int error = server_connection_drain(connection);
        if (error == -ECONNRESET)
                server_connection_close(connection, NULL);
        else if (error < 0)
                server_connection_close(connection, connection->established ? "it broke the protocol" : baton_error());
        return 0;
}

/* ---- begin ------------------------------------------------------------------------------------------------ */

static void adopt(struct loop_task *task)
{
        struct server_connection *connection = container_of(task, struct server_connection, adopt);
        uint64_t timeout_ns = connection->listener->config->options.handshake_timeout_ms * UINT64_C(1000000);
        loop_timer_set(connection->loop, &connection->handshake, clock_now_ns() + timeout_ns);
        if (loop_source_add(connection->loop, &connection->source, EPOLLIN | EPOLLRDHUP) < 0)
                server_connection_close(connection, baton_error());
}

void server_connection_adopt(struct listener *listener, baton_loop *loop, int socket, baton_peer peer, baton_code code,
                             const char *text)
{
        struct server_connection *connection = aligned_alloc(64, (sizeof *connection + 63) / 64 * 64);
        if (!connection) {
                server_refuse(socket, BATON_RESOURCE_EXHAUSTED, "the server is out of memory");
                fork_close(socket);
                if (code == BATON_OK)
                        listener->sink->leave(listener->sink, loop, &peer);
                return;
        }
        memset(connection, 0, sizeof *connection);
        atomic_init(&connection->references, 1);
        connection->listener = listener;
        connection->loop = loop;
        connection->peer = peer;
        connection->guest = code;
        connection->guest_text = text;
        connection->sink = listener->sink;
        const baton_server_options *options = &listener->config->options;
        connection->max_message_bytes = options->max_message_bytes;
        connection->max_metadata_bytes = options->max_metadata_bytes;
        connection->stream_window = options->stream_window_bytes / SHM_LINE;
        connection->held.limit = options->max_held_bytes;
        connection->shared.socket = fork_guard(socket);
        connection->source = (struct loop_source){ .fd = socket, .ready = on_socket };
        connection->handshake.fire = on_handshake_timeout;
        connection->adopt.run = adopt;
        pthread_mutex_lock(&listener->lock);
        list_append(&listener->connections, &connection->link);
        pthread_mutex_unlock(&listener->lock);
        loop_post(loop, &connection->adopt);
}
