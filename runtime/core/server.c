/* A server's life: its threads, and what it listens at. */
#define _GNU_SOURCE
#include "core/server.h"
#include "base/error.h"
#include "base/fork.h"
#include "core/call.h"
#include "core/channel.h"
#include "core/executor.h"
#include "core/options.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int server_check_process(const baton_server *server)
{
        if (server->fork_generation == fork_generation())
                return 0;
        return error_set(-ECHILD, "the server was made before fork(); make it in the child");
}

baton_loop *server_listening_loop(const baton_server *server)
{
        return server->acceptor.loop ? server->acceptor.loop : server->workers[0].loop;
}

bool baton_server_serving(const baton_server *server)
{
        return server && server->fork_generation == fork_generation() && atomic_load(&server->running);
}

/* ---- ending ----------------------------------------------------------------------------------------------- */

static void unlisten_all(baton_server *server)
{
        while (server->listening) {
                struct listening *first = server->listening;
                server->listening = first->next;
                first->transport->unlisten(first->listener);
                free(first);
        }
}

static void join_thread(struct worker *worker)
{
        if (worker->running)
                pthread_join(worker->thread, NULL);
        worker->running = false;
}

static void join(baton_server *server)
{
        join_thread(&server->acceptor);
        for (uint32_t i = 1; i < server->config.options.workers; i++)
                join_thread(&server->workers[i]);
}

/* Ends all threads, and what they serve; every client is told. On the first worker's thread, or while none runs. */
static void end(baton_server *server)
{
        baton_server_stop(server);
        join(server);
        drain_reset(server);
        if (server->executor)
                executor_close(server->executor);
        unlisten_all(server); /* handlers that wait for their clients see them go */
        if (server->executor)
                executor_join(server->executor);
        atomic_store(&server->running, false);
}

void baton_server_stop(baton_server *server)
{
        if (!server || server->fork_generation != fork_generation())
                return;
        if (server->config.options.loop) {
                int saved = errno; /* it runs in signal handlers */
                eventfd_write(server->stopper.fd, 1);
                errno = saved;
                return;
        }
        for (uint32_t i = 0; i < server->config.options.workers; i++)
                baton_loop_stop(server->workers[i].loop);
        if (server->acceptor.loop)
                baton_loop_stop(server->acceptor.loop);
}

static void clear_stops(baton_server *server)
{
        eventfd_t ignored;
        if (server->config.options.loop) {
                eventfd_read(server->stopper.fd, &ignored);
                return;
        }
        for (uint32_t i = 0; i < server->config.options.workers; i++)
                loop_clear_stop(server->workers[i].loop);
        if (server->acceptor.loop)
                loop_clear_stop(server->acceptor.loop);
}

/* Forgets stops that came while, or after, an earlier run ended. One that comes before the first run ends that. */
static void forget_stops(baton_server *server)
{
        if (server->ran)
                clear_stops(server);
        server->ran = true;
}

/* With the option loop: baton_server_stop was called. */
static int on_stop(struct loop_source *source, uint32_t events)
{
        (void)events;
        baton_server *server = container_of(source, baton_server, stopper);
        if (atomic_load(&server->running))
                end(server);
        clear_stops(server);
        return 1; /* baton_loop_wait returns, to somebody who may ask whether the server serves */
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int use_loop(baton_server *server, baton_loop *loop)
{
        server->workers[0].loop = loop;
        server->stopper = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_stop };
        if (server->stopper.fd < 0)
                return error_set(-errno, "cannot make a server: %s; see ulimit -n", strerror(errno));
        return loop_source_add(loop, &server->stopper, EPOLLIN);
}

static int make_workers(baton_server *server)
{
        const baton_server_options *options = &server->config.options;
        server->workers = calloc(options->workers, sizeof *server->workers);
        if (!server->workers)
                return error_set(-ENOMEM, "cannot make a server: out of memory");
        if (options->loop)
                return use_loop(server, options->loop);
        for (uint32_t i = 0; i < options->workers; i++) {
                server->workers[i].loop = loop_new(options->no_spin ? 0 : options->spin_us * UINT64_C(1000));
                if (!server->workers[i].loop)
                        return -ENOMEM;
        }
        if (options->workers > 1)
                server->acceptor.loop = loop_new(0);
        return options->workers == 1 || server->acceptor.loop ? 0 : -ENOMEM;
}

/* Where handlers run. */
static int make_executor(baton_server *server)
{
        const baton_server_options *options = &server->config.options;
        if (!options->execute && !options->handler_threads)
                return 0;
        server->sink.serve = serve_elsewhere;
        server->executor = executor_new(options);
        return server->executor ? 0 : -ENOMEM;
}

baton_server *baton_server_new(const baton_server_options *options)
{
        baton_server_options filled = options ? *options : (baton_server_options){ 0 };
        if (option_fill_server(&filled) < 0)
                return NULL;
        baton_server *server = calloc(1, sizeof *server);
        if (!server) {
                error_set(-ENOMEM, "cannot make a server: out of memory");
                return NULL;
        }
        server->config.options = filled;
        server->fork_generation = fork_generation();
        server->sink = (struct server_sink){ .serve = serve_inline,
                                             .init = call_init,
                                             .unref = call_unref,
                                             .ready = call_ready,
                                             .cancel = call_cancel,
                                             .authorize = server_authorize,
                                             .place = server_place,
                                             .leave = server_leave,
                                             .taken_over = server_taken_over };
        server->stopper.fd = -1;
        pthread_mutex_init(&server->lock, NULL);
        admission_init(&server->admission, &filled);
        drain_init(server);
        int error = observer_new("server", filled.interceptors, filled.n_interceptors, filled.max_metadata_bytes,
                                 filled.counters, &server->observer);
        if (error < 0 || make_workers(server) < 0 || make_executor(server) < 0) {
                baton_server_free(server);
                return NULL;
        }
        return server;
}

static bool serves(const baton_server *server, const struct baton_call *call)
{
        const struct offer *offers = server->config.offers;
        return call && call->offer >= offers && call->offer < offers + server->config.n_offers;
}

/* Whether this thread is one of the server's, or in one of its handlers or their callbacks. */
static bool inside(const baton_server *server)
{
        if (serves(server, baton_call_current()) || serves(server, call_telling()))
                return true;
        if (server->config.options.loop || !server->workers)
                return false;
        for (uint32_t i = 0; i < server->config.options.workers; i++)
                if (server->workers[i].loop && loop_is_current(server->workers[i].loop))
                        return true;
        return server->acceptor.loop && loop_is_current(server->acceptor.loop);
}

static void free_workers(baton_server *server)
{
        if (server->stopper.fd >= 0) {
                loop_source_remove(server->config.options.loop, &server->stopper);
                close(server->stopper.fd);
        }
        for (uint32_t i = 0; server->workers && !server->config.options.loop && i < server->config.options.workers; i++)
                baton_loop_free(server->workers[i].loop);
        baton_loop_free(server->acceptor.loop);
        free(server->workers);
}

static void end_run(baton_server *server)
{
        if (server->workers[0].running) {
                baton_server_stop(server);
                join_thread(&server->workers[0]);
        }
        if (server->config.options.loop && atomic_load(&server->running))
                end(server);
        drain_reset(server);
        unlisten_all(server); /* where it did not run */
}

void baton_server_free(baton_server *server)
{
        /* A forked child shares the sockets and epoll sets: whatever it took down would be the parent's. */
        if (!server || server->fork_generation != fork_generation())
                return;
        if (inside(server)) {
                log_line(BATON_LOG_ERROR, "baton_server_free: called from inside the server, in a handler for example; "
                                          "it is stopped, and not freed: free it from outside");
                baton_server_stop(server);
                return;
        }
        if (server->workers && server->workers[0].loop)
                end_run(server);
        executor_free(server->executor);
        observer_unref(server->observer);
        free_workers(server);
        admission_deinit(&server->admission);
        pthread_mutex_destroy(&server->lock);
        free(server->services);
        free((void *)server->config.offers);
        free(server);
}

/* ---- serving ---------------------------------------------------------------------------------------------- */

static int listen_at(baton_server *server, const char *address)
{
        const struct transport *transport = transport_for(address);
        if (!transport)
                return -EINVAL;
        int error = server_make_offers(server);
        if (error < 0)
                return error;
        struct listening *listening = calloc(1, sizeof *listening);
        if (!listening)
                return error_set(-ENOMEM, "cannot listen at %s: out of memory", address);
        error = transport->listen(address, &server->config, &server->sink, server_listening_loop(server),
                                  &listening->listener);
        if (error < 0) {
                free(listening);
                return error;
        }
        listening->transport = transport;
        listening->next = server->listening;
        server->listening = listening;
        drain_allow(server);
        return 0;
}

/* With the option loop, a server that listens serves. */
static int begin_on_loop(baton_server *server)
{
        if (atomic_exchange(&server->running, true))
                return 0;
        forget_stops(server);
        int error = server->executor ? executor_open(server->executor) : 0;
        if (error < 0)
                end(server);
        return error;
}

int baton_server_listen(baton_server *server, const char *address)
{
        if (!server || !address)
                return error_set(-EINVAL, "baton_server_listen: the %s is NULL", server ? "address" : "server");
        if (server_check_process(server) < 0)
                return -ECHILD;
        bool on_loop = server->config.options.loop;
        if (!on_loop && atomic_load(&server->running))
                return error_set(-EBUSY, "cannot listen at %s: the server runs already; listen first", address);
        int error = listen_at(server, address);
        return error >= 0 && on_loop ? begin_on_loop(server) : error;
}

static void *work(void *argument)
{
        struct worker *worker = argument;
        baton_loop_run(worker->loop);
        return NULL;
}

static int start_thread(struct worker *worker, void *(*run)(void *), void *argument)
{
        int error = pthread_create(&worker->thread, NULL, run, argument);
        if (error)
                return error_set(-error, "cannot start a worker: %s", strerror(error));
        worker->running = true;
        return 0;
}

static int check_run(const baton_server *server)
{
        if (!server)
                return error_set(-EINVAL, "cannot serve: the server is NULL");
        if (server_check_process(server) < 0)
                return -ECHILD;
        if (server->config.options.loop)
                return error_set(-EINVAL, "cannot serve: the server serves on the loop of its option loop; run that");
        return 0;
}

/* Starts the threads for handlers, the acceptor, and the workers but the first. */
static int begin(baton_server *server)
{
        int error = check_run(server);
        if (error < 0)
                return error;
        if (atomic_exchange(&server->running, true))
                return error_set(-EALREADY, "cannot serve: the server runs already");
        join_thread(&server->workers[0]); /* of an earlier start, which has ended */
        if (!server->listening) {
                atomic_store(&server->running, false);
                return error_set(-EINVAL, "cannot serve: the server does not listen; call baton_server_listen first");
        }
        forget_stops(server);
        if (server->executor)
                error = executor_open(server->executor);
        if (!error && server->acceptor.loop)
                error = start_thread(&server->acceptor, work, &server->acceptor);
        for (uint32_t i = 1; !error && i < server->config.options.workers; i++)
                error = start_thread(&server->workers[i], work, &server->workers[i]);
        if (error < 0)
                end(server);
        return error;
}

static int serve_until_stopped(baton_server *server)
{
        int error = baton_loop_run(server->workers[0].loop);
        end(server);
        return error;
}

int baton_server_run(baton_server *server)
{
        int error = begin(server);
        return error < 0 ? error : serve_until_stopped(server);
}

static void *serve_on_thread(void *server)
{
        serve_until_stopped(server);
        return NULL;
}

int baton_server_start(baton_server *server)
{
        int error = begin(server);
        if (error < 0)
                return error;
        error = start_thread(&server->workers[0], serve_on_thread, server);
        if (error < 0)
                end(server);
        return error;
}
