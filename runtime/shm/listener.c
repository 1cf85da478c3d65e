#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/ticks.h"
#include "shm/activation.h"
#include "shm/region.h"
#include "shm/server.h"
#include "shm/shm.h"
#include "shm/takeover.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_AT_ONCE = 64, PAUSE_NS = 50000000 };

/* ---- draining --------------------------------------------------------------------------------------------- */

/* Tells all clients, and comes again for those that have no room for it now. */
static void say_goodbye(struct listener *listener)
{
        bool all = true;
        pthread_mutex_lock(&listener->lock);
        listener->draining = true;
        for (struct list *at = listener->connections.next; at != &listener->connections; at = at->next)
                all = server_connection_goaway(container_of(at, struct server_connection, link)) && all;
        pthread_mutex_unlock(&listener->lock);
        if (!all)
                loop_timer_set(listener->loop, &listener->resume, clock_now_ns() + PAUSE_NS);
}

/* ---- accepting -------------------------------------------------------------------------------------------- */

static void admit(struct listener *listener, int socket)
{
        struct server_sink *sink = listener->sink;
        baton_peer peer = control_peer(socket);
        baton_loop *loop = NULL;
        baton_code code = BATON_OK;
        const char *why = NULL;
        if (!sink->authorize(sink, &peer)) {
                log_line(BATON_LOG_WARNING, "%s: refused pid %d of uid %u: not authorized", listener->path.sun_path,
                         (int)peer.pid, (unsigned)peer.uid);
                code = BATON_PERMISSION_DENIED;
                why = "this user may not use the server; see baton_server_options.authorize";
        } else if (!(loop = sink->place(sink, &peer, &why))) {
                log_line(BATON_LOG_WARNING, "%s: refused pid %d: %s", listener->path.sun_path, (int)peer.pid, why);
                code = BATON_RESOURCE_EXHAUSTED;
        }
        /* A server that is full, or chooses its clients, can be replaced all the same. */
        bool may_take_over = listener->source.fd >= 0 && (peer.uid == geteuid() || peer.uid == 0);
        if (loop || may_take_over) {
                server_connection_adopt(listener, loop ? loop : listener->loop, socket, peer, code, why);
                return;
        }
        server_refuse(socket, code, why);
        fork_close(socket);
}

/* Whether more may wait. */
static bool accept_some(struct listener *listener)
{
        for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
                int socket = accept4(listener->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (socket >= 0) {
                        admit(listener, socket);
                        continue;
                }
                if (errno == EINTR || errno == ECONNABORTED)
                        continue;
                if (errno != EAGAIN) {
                        /* Out of fds or memory: the socket stays readable, so it is left alone for a while. */
                        log_line(BATON_LOG_ERROR, "%s: cannot accept a connection: %s; see ulimit -n",
                                 listener->path.sun_path, strerror(errno));
                        loop_source_remove(listener->loop, &listener->source);
                        loop_timer_set(listener->loop, &listener->resume, clock_now_ns() + PAUSE_NS);
                }
                return false;
        }
        return true;
}

static int on_accept(struct loop_source *source, uint32_t events)
{
        (void)events;
        accept_some(container_of(source, struct listener, source));
        return 0;
}

static void on_arrival(struct inproc_port *port, int socket)
{
        admit(container_of(port, struct listener, port), socket);
}

static void on_resume(struct loop_timer *timer)
{
        struct listener *listener = container_of(timer, struct listener, resume);
        if (!listener->listening)
                say_goodbye(listener);
        else if (loop_source_add(listener->loop, &listener->source, EPOLLIN) < 0)
                loop_timer_set(listener->loop, timer, clock_now_ns() + PAUSE_NS);
}

/* ---- listening -------------------------------------------------------------------------------------------- */

/* The table that clients read at connect. */
static int publish_methods(const struct server_config *config)
{
        struct shm_method *methods = calloc(config->n_offers + 1, sizeof *methods);
        if (!methods)
                return error_set(-ENOMEM, "cannot listen: out of memory");
        for (uint32_t i = 0; i < config->n_offers; i++)
                methods[i] = (struct shm_method){ .path_hash = config->offers[i].path_hash,
                                                  .input_layout = config->offers[i].input_layout,
                                                  .output_layout = config->offers[i].output_layout };
        int fd = region_constant(methods, config->n_offers * sizeof *methods);
        free(methods);
        return fd;
}

/* From whoever passed one, from the server that runs there, or a new one. */
static int get_socket(struct listener *listener)
{
        listener->source.fd = activation_take(&listener->path);
        if (listener->source.fd >= 0)
                fork_guard(listener->source.fd);
        if (listener->source.fd != -ENOENT)
                return listener->source.fd;
        if (listener->config->options.takeover)
                return takeover_listen(listener);
        listener->source.fd = control_listen(&listener->path, &listener->lock_fd);
        listener->owns_file = listener->source.fd >= 0;
        return listener->source.fd;
}

static int start(struct listener *listener, const char *address)
{
        listener->methods_fd = publish_methods(listener->config);
        if (listener->methods_fd < 0)
                return listener->methods_fd;
        int error = control_path(address, &listener->path);
        if (error < 0)
                return error;
        if (inproc_is(&listener->path)) {
                error = inproc_listen(&listener->port);
                listener->listening = error >= 0;
                return error;
        }
        error = get_socket(listener);
        if (error < 0)
                return error;
        listener->listening = true;
        return loop_source_add(listener->loop, &listener->source, EPOLLIN);
}

/* Whether the socket file is this listener's, and neither its old nor its new server's. The lock is held. */
static bool owns_file(const struct listener *listener)
{
        return listener->owns_file && !listener->successor && listener->predecessor < 0;
}

static void stop_listening(struct listener *listener)
{
        if (!listener->listening)
                return;
        listener->listening = false;
        loop_timer_set(listener->loop, &listener->resume, 0);
        if (listener->source.fd < 0) {
                inproc_unlisten(&listener->port);
                return;
        }
        loop_source_remove(listener->loop, &listener->source);
        pthread_mutex_lock(&listener->lock);
        control_unlisten(owns_file(listener) ? &listener->path : NULL, listener->source.fd, listener->lock_fd);
        listener->source.fd = listener->lock_fd = -1;
        pthread_mutex_unlock(&listener->lock);
        if (listener->predecessor >= 0) /* it goes on */
                fork_close(listener->predecessor);
        listener->predecessor = -1;
        loop_unpost(listener->loop, &listener->confirm);
}

/* A new server serves there now. */
static void on_taken(struct loop_task *task)
{
        struct listener *listener = container_of(task, struct listener, taken);
        log_line(BATON_LOG_INFO, "%s: another server has taken over", listener->path.sun_path);
        stop_listening(listener);
        listener->sink->taken_over(listener->sink);
}

void shm_drain(struct listener *listener)
{
        pthread_mutex_lock(&listener->lock);
        bool last = listener->listening && owns_file(listener);
        pthread_mutex_unlock(&listener->lock);
        if (last) {
                /* Nobody comes any more, and those who wait are let in, and told at once. */
                unlink(listener->path.sun_path);
                while (accept_some(listener))
                        ;
        }
        stop_listening(listener);
        say_goodbye(listener);
}

static void free_listener(struct listener *listener)
{
        stop_listening(listener);
        if (listener->methods_fd >= 0)
                close(listener->methods_fd);
        pthread_mutex_destroy(&listener->lock);
        free(listener);
}

int shm_listen(const char *address, const struct server_config *config, struct server_sink *sink, baton_loop *loop,
               struct listener **out)
{
        struct listener *listener = calloc(1, sizeof *listener);
        if (!listener)
                return error_set(-ENOMEM, "cannot listen: out of memory");
        ticks_init();
        listener->source = (struct loop_source){ .fd = -1, .ready = on_accept };
        listener->resume.fire = on_resume;
        listener->port =
                (struct inproc_port){ .address = listener->path.sun_path, .loop = loop, .arrived = on_arrival };
        listener->loop = loop;
        listener->config = config;
        listener->sink = sink;
        listener->methods_fd = listener->lock_fd = listener->predecessor = -1;
        listener->taken.run = on_taken;
        pthread_mutex_init(&listener->lock, NULL);
        list_init(&listener->connections);
        int error = start(listener, address);
        if (error < 0) {
                free_listener(listener);
                return error;
        }
        *out = listener;
        return 0;
}

static void turn_away(struct inproc_port *port, int socket)
{
        (void)port;
        fork_close(socket);
}

void shm_unlisten(struct listener *listener)
{
        listener->port.arrived = turn_away;
        loop_unpost(listener->loop, &listener->taken);
        stop_listening(listener);
        loop_timer_set(listener->loop, &listener->resume, 0);
        while (!list_empty(&listener->connections))
                server_connection_close(container_of(listener->connections.next, struct server_connection, link), NULL);
        free_listener(listener);
}
