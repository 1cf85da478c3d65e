/* How a client comes to a connection: the handshake. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "shm/client.h"
#include "shm/inproc.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int send_hello(struct connection *connection, int base_fd, uint64_t deadline_ns)
{
        struct shm_hello hello = { .kind = SHM_HELLO,
                                   .version = SHM_VERSION,
                                   .magic = SHM_MAGIC,
                                   .heap_max = connection->options.max_heap_bytes,
                                   .ring_bytes = connection->options.ring_bytes,
                                   .stream_window = connection->options.stream_window_bytes / SHM_LINE };
        int error = control_send_wait(connection->link.socket, &hello, sizeof hello, &base_fd, 1, deadline_ns);
        return error == -EPIPE ? 0 : error; /* refused already: the refusal is there to be read */
}

static int receive_answer(struct connection *connection, struct control_message *message, uint64_t deadline_ns)
{
        bool reset = false;
        for (;;) {
                int n = control_receive(connection->link.socket, message);
                if (n > 0)
                        return 0;
                /* A server that closes with our greeting unread resets the socket, and its refusal follows that error. */
                if (n == -ECONNRESET && !reset) {
                        reset = true;
                        continue;
                }
                if (n < 0)
                        return error_set(n, "%s closed the connection during the handshake%s",
                                         connection->path.sun_path, n == -EPROTO ? ": it is no Baton server" : "");
                struct pollfd ready = { .fd = connection->link.socket, .events = POLLIN };
                if (poll(&ready, 1, deadline_left_ms(deadline_ns, -1)) == 0)
                        return error_set(-ETIMEDOUT, "%s does not answer; is the server stopped or overloaded?",
                                         connection->path.sun_path);
        }
}

static int refused(struct connection *connection, struct shm_refusal *refusal, baton_code *code)
{
        refusal->text[SHM_TEXT - 1] = '\0';
        *code = refusal->code > 0 && refusal->code <= BATON_UNAUTHENTICATED ? (baton_code)refusal->code
                                                                            : BATON_UNAVAILABLE;
        return error_set(-ECONNREFUSED, "%s refused the connection: %s", connection->path.sun_path, refusal->text);
}

static int read_methods(struct connection *connection, int fd, uint32_t n)
{
        /* A memfd, which nobody can change any more: reading anything else might block. */
        if (fcntl(fd, F_GET_SEALS) < 0 || !(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE))
                return error_set(-EPROTO, "%s sent a method table that is not sealed", connection->path.sun_path);
        if (n > 1u << 20)
                return error_set(-EPROTO, "%s offers %u methods", connection->path.sun_path, n);
        size_t size = n * sizeof *connection->methods;
        connection->methods = malloc(size ? size : 1);
        connection->n_methods = n;
        if (!connection->methods)
                return error_set(-ENOMEM, "cannot connect: out of memory");
        if (pread(fd, connection->methods, size, 0) != (ssize_t)size)
                return error_set(-EPROTO, "%s sent a method table that cannot be read", connection->path.sun_path);
        return 0;
}

static int accept_welcome(struct connection *connection, struct control_message *message, baton_code *code)
{
        if (message->kind == SHM_REFUSE)
                return refused(connection, &message->refusal, code);
        if (message->kind != SHM_WELCOME || message->hello.magic != SHM_MAGIC)
                return error_set(-EPROTO, "%s is no Baton server", connection->path.sun_path);
        *code = BATON_FAILED_PRECONDITION;
        if (message->hello.version != SHM_VERSION)
                return error_set(
                        -EPROTO,
                        "%s speaks version %u of the local protocol, this program version %u; rebuild the older one",
                        connection->path.sun_path, message->hello.version, SHM_VERSION);
        *code = BATON_UNAVAILABLE;
        if (message->hello.stream_window > SHM_CREDIT_MOST)
                return error_set(-EPROTO, "%s offers an impossible stream window", connection->path.sun_path);
        connection->stream_credit = message->hello.stream_window;
        if (message->n_fds != 2)
                return error_set(-EPROTO, "%s sent no memory; is this process out of file descriptors (ulimit -n)?",
                                 connection->path.sun_path);
        int error = link_attach(&connection->link, message->fds[0], message->hello.heap_max);
        return error < 0 ? error : read_methods(connection, message->fds[1], message->hello.n_methods);
}

static int shake_hands(struct connection *connection, int base_fd, uint64_t deadline_ns, baton_code *code)
{
        struct control_message message;
        int error = send_hello(connection, base_fd, deadline_ns);
        if (error < 0)
                return error_set(error, "cannot greet %s: %s", connection->path.sun_path, strerror(-error));
        error = receive_answer(connection, &message, deadline_ns);
        if (error < 0)
                return error;
        error = accept_welcome(connection, &message, code);
        control_discard(&message);
        return error;
}

static int establish(struct connection *connection, int socket, uint64_t deadline_ns, baton_code *code)
{
        int base_fd = link_init(&connection->link, socket, connection->options.ring_bytes,
                                connection->options.max_heap_bytes);
        if (base_fd < 0)
                return base_fd;
        int error = shake_hands(connection, base_fd, deadline_ns, code);
        close(base_fd);
        if (error < 0)
                return error;
        connection->heard_ns = clock_now_ns();
        uint64_t keepalive_ns = connection->options.keepalive_ms * UINT64_C(1000000);
        connection->watch = (struct watch){ .fd = socket,
                                            .attend = connection_attend,
                                            .due_ns = keepalive_ns ? connection->heard_ns + keepalive_ns : 0 };
        return watch_add(&connection->watch);
}

int connection_make(const struct sockaddr_un *path, int socket, const baton_channel_options *options,
                    uint64_t deadline_ns, struct client_sink *sink, struct connection **out, baton_code *code)
{
        *code = BATON_UNAVAILABLE;
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) {
                fork_close(socket);
                return error_set(-ENOMEM, "cannot connect: out of memory");
        }
        connection->fork_generation = fork_generation();
        connection->options = *options;
        connection->path = *path;
        connection->sink = sink;
        atomic_init(&connection->references, 1);
        pthread_mutex_init(&connection->control, NULL);
        list_init(&connection->watch.link);
        list_init(&connection->leavers);
        list_init(&connection->lingering);
        connection->link.socket = -1;
        int error = establish(connection, socket, deadline_ns, code);
        if (error < 0)
                shm_unref(connection);
        else
                *out = connection;
        return error;
}

int shm_connect(const char *address, const baton_channel_options *options, uint64_t deadline_ns,
                struct client_sink *sink, struct connection **out, baton_code *code)
{
        struct sockaddr_un path;
        int error = control_path(address, &path);
        bool here = error >= 0 && inproc_is(&path);
        int socket = error < 0 ? error : here ? inproc_connect(path.sun_path) : control_connect(&path, deadline_ns);
        if (socket < 0) {
                *code = socket == -EACCES    ? BATON_PERMISSION_DENIED
                        : socket == -EDEADLK ? BATON_FAILED_PRECONDITION
                                             : BATON_UNAVAILABLE;
                return socket;
        }
        return connection_make(&path, here ? socket : fork_guard(socket), options, deadline_ns, sink, out, code);
}
