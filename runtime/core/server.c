#define _GNU_SOURCE
#include "base/error.h"
#include "base/fork.h"
#include "base/hash.h"
#include "base/loop.h"
#include "codec/layout.h"
#include "core/call.h"
#include "core/channel.h"
#include "core/options.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        DEFAULT_WORKERS = 1,
        MOST_WORKERS = 1024,
        DEFAULT_CONNECTIONS = 4096,
        DEFAULT_CALLS = 4096,
        DEFAULT_SPIN_US = 50,
        DEFAULT_HANDSHAKE_MS = 1000,
        MOST_METHODS = 65536,
};

struct worker {
        baton_loop *loop;
        pthread_t thread;
        bool running; /* the thread is to be joined */
        uint32_t n_connections;
};

/* A listener and the transport it belongs to. */
struct listening {
        const struct transport *transport;
        struct listener *listener;
        struct listening *next;
};

struct registration {
        const baton_service *service;
        const void *handlers;
        void *context;
};

struct baton_server {
        struct server_sink sink;
        struct server_config config;
        struct registration *services;
        size_t n_services;
        struct listening *listening;
        struct worker *workers;
        struct worker
                acceptor; /* where there are several workers: a busy one must not keep clients of the others out */
        uint64_t fork_generation;
        bool ran;
        atomic_bool running;
        pthread_mutex_t lock; /* n_connections */
        uint32_t n_connections;
};

/* ---- what transports ask ---------------------------------------------------------------------------------- */

static bool authorize(struct server_sink *sink, const baton_peer *peer)
{
        baton_server *server = container_of(sink, baton_server, sink);
        const baton_server_options *options = &server->config.options;
        if (options->authorize)
                return options->authorize(peer, options->authorize_context);
        return peer->uid == geteuid() || peer->uid == 0;
}

static baton_loop *place(struct server_sink *sink, const baton_peer *peer, const char **why)
{
        (void)peer;
        *why = "the server is full (max_connections); try again later or raise the limit";
        baton_server *server = container_of(sink, baton_server, sink);
        struct worker *least = NULL;
        pthread_mutex_lock(&server->lock);
        if (server->n_connections < server->config.options.max_connections) {
                least = &server->workers[0];
                for (uint32_t i = 1; i < server->config.options.workers; i++)
                        if (server->workers[i].n_connections < least->n_connections)
                                least = &server->workers[i];
                least->n_connections++;
                server->n_connections++;
        }
        pthread_mutex_unlock(&server->lock);
        return least ? least->loop : NULL;
}

static void leave(struct server_sink *sink, baton_loop *loop, const baton_peer *peer)
{
        (void)peer;
        baton_server *server = container_of(sink, baton_server, sink);
        pthread_mutex_lock(&server->lock);
        for (uint32_t i = 0; i < server->config.options.workers; i++)
                if (server->workers[i].loop == loop)
                        server->workers[i].n_connections--;
        server->n_connections--;
        pthread_mutex_unlock(&server->lock);
}

static void serve(struct server_sink *sink, struct baton_call *call)
{
        (void)sink;
        const struct offer *offer = call->offer;
        const baton_method *method = offer->method;
        if (!method->dispatch)
                baton_call_fail(call, BATON_UNIMPLEMENTED,
                                "%s is a streaming method, which this server does not serve yet", method->path);
        else if (!method->dispatch(offer->handlers, offer->context, call, call->request))
                baton_call_fail(call, BATON_UNIMPLEMENTED, "%s has no handler on this server", method->path);
        baton_call_release(call);
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int fill_options(baton_server_options *o)
{
        o->workers = o->workers ? o->workers : DEFAULT_WORKERS;
        o->max_connections = o->max_connections ? o->max_connections : DEFAULT_CONNECTIONS;
        o->max_calls = o->max_calls ? o->max_calls : DEFAULT_CALLS;
        o->spin_us = o->spin_us ? o->spin_us : DEFAULT_SPIN_US;
        o->handshake_timeout_ms = o->handshake_timeout_ms ? o->handshake_timeout_ms : DEFAULT_HANDSHAKE_MS;
        if (o->workers > MOST_WORKERS)
                return option_refuse("server", "workers", o->workers, "at most 1024");
        return option_sizes("server", &o->max_message_bytes, &o->max_heap_bytes);
}

static int make_workers(baton_server *server)
{
        const baton_server_options *options = &server->config.options;
        server->workers = calloc(options->workers, sizeof *server->workers);
        if (!server->workers)
                return error_set(-ENOMEM, "cannot make a server: out of memory");
        for (uint32_t i = 0; i < options->workers; i++) {
                server->workers[i].loop = loop_new(options->no_spin ? 0 : options->spin_us * UINT64_C(1000));
                if (!server->workers[i].loop)
                        return -ENOMEM;
        }
        if (options->workers > 1)
                server->acceptor.loop = loop_new(0);
        return options->workers == 1 || server->acceptor.loop ? 0 : -ENOMEM;
}

baton_server *baton_server_new(const baton_server_options *options)
{
        baton_server_options filled = options ? *options : (baton_server_options){ 0 };
        if (fill_options(&filled) < 0)
                return NULL;
        baton_server *server = calloc(1, sizeof *server);
        if (!server) {
                error_set(-ENOMEM, "cannot make a server: out of memory");
                return NULL;
        }
        server->config.options = filled;
        server->fork_generation = fork_generation();
        server->sink = (struct server_sink){ .serve = serve,
                                             .init = call_init,
                                             .unref = call_unref,
                                             .authorize = authorize,
                                             .place = place,
                                             .leave = leave };
        pthread_mutex_init(&server->lock, NULL);
        if (make_workers(server) < 0) {
                baton_server_free(server);
                return NULL;
        }
        return server;
}

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

void baton_server_free(baton_server *server)
{
        /* A forked child shares the sockets and epoll sets: whatever it took down would be the parent's. */
        if (!server || server->fork_generation != fork_generation())
                return;
        if (server->workers && server->workers[0].running) {
                baton_server_stop(server);
                join_thread(&server->workers[0]);
        }
        unlisten_all(server);
        for (uint32_t i = 0; server->workers && i < server->config.options.workers; i++)
                baton_loop_free(server->workers[i].loop);
        baton_loop_free(server->acceptor.loop);
        pthread_mutex_destroy(&server->lock);
        free(server->workers);
        free(server->services);
        free((void *)server->config.offers);
        free(server);
}

/* A forked child shares the server's sockets and epoll sets with the parent. */
static int check_process(const baton_server *server)
{
        if (server->fork_generation == fork_generation())
                return 0;
        return error_set(-ECHILD, "the server was made before fork(); make it in the child");
}

/* ---- services --------------------------------------------------------------------------------------------- */

int baton_server_register(baton_server *server, const baton_service *service, const void *handlers, void *context)
{
        if (!server || !service || !handlers)
                return error_set(-EINVAL, "baton_server_register: the %s is NULL",
                                 !server    ? "server"
                                 : !service ? "service"
                                            : "table of handlers");
        if (check_process(server) < 0)
                return -ECHILD;
        if (server->config.offers)
                return error_set(-EBUSY,
                                 "cannot register %s: the server listens already; register before baton_server_listen",
                                 service->name);
        for (size_t i = 0; i < server->n_services; i++)
                if (strcmp(server->services[i].service->name, service->name) == 0)
                        return error_set(-EALREADY, "cannot register %s: it is registered already", service->name);
        struct registration *services = realloc(server->services, (server->n_services + 1) * sizeof *services);
        if (!services)
                return error_set(-ENOMEM, "cannot register %s: out of memory", service->name);
        server->services = services;
        services[server->n_services++] = (struct registration){ service, handlers, context };
        return 0;
}

static int by_hash(const void *a, const void *b)
{
        uint64_t left = ((const struct offer *)a)->path_hash, right = ((const struct offer *)b)->path_hash;
        return left < right ? -1 : left > right;
}

static uint32_t add_offers(struct offer *offers, uint32_t n, const struct registration *registration)
{
        for (size_t i = 0; i < registration->service->n_methods; i++) {
                const baton_method *method = &registration->service->methods[i];
                offers[n++] = (struct offer){ .method = method,
                                              .handlers = registration->handlers,
                                              .context = registration->context,
                                              .path_hash = hash_string(method->path),
                                              .input_layout = layout_hash(method->input->descriptor),
                                              .output_layout = layout_hash(method->output->descriptor) };
        }
        return n;
}

/* From now on the services are fixed. */
static int make_offers(baton_server *server)
{
        size_t n = 0;
        if (server->config.offers)
                return 0;
        for (size_t i = 0; i < server->n_services; i++)
                n += server->services[i].service->n_methods;
        if (n > MOST_METHODS)
                return error_set(-E2BIG, "cannot listen: %zu methods are registered, at most %d can be", n,
                                 MOST_METHODS);
        struct offer *offers = calloc(n + 1, sizeof *offers);
        if (!offers)
                return error_set(-ENOMEM, "cannot listen: out of memory");
        uint32_t count = 0;
        for (size_t i = 0; i < server->n_services; i++)
                count = add_offers(offers, count, &server->services[i]);
        qsort(offers, count, sizeof *offers, by_hash);
        for (uint32_t i = 1; i < count; i++) {
                if (offers[i].path_hash != offers[i - 1].path_hash)
                        continue;
                int error = error_set(-EEXIST, "cannot listen: %s and %s have the same hash; rename one",
                                      offers[i].method->path, offers[i - 1].method->path);
                free(offers);
                return error;
        }
        server->config.offers = offers;
        server->config.n_offers = count;
        return 0;
}

/* ---- serving ---------------------------------------------------------------------------------------------- */

int baton_server_listen(baton_server *server, const char *address)
{
        if (!server || !address)
                return error_set(-EINVAL, "baton_server_listen: the %s is NULL", server ? "address" : "server");
        if (check_process(server) < 0)
                return -ECHILD;
        if (atomic_load(&server->running))
                return error_set(-EBUSY, "cannot listen at %s: the server runs already; listen first", address);
        const struct transport *transport = transport_for(address);
        if (!transport)
                return -EINVAL;
        int error = make_offers(server);
        if (error < 0)
                return error;
        struct listening *listening = calloc(1, sizeof *listening);
        if (!listening)
                return error_set(-ENOMEM, "cannot listen at %s: out of memory", address);
        baton_loop *loop = server->acceptor.loop ? server->acceptor.loop : server->workers[0].loop;
        error = transport->listen(address, &server->config, &server->sink, loop, &listening->listener);
        if (error < 0) {
                free(listening);
                return error;
        }
        listening->transport = transport;
        listening->next = server->listening;
        server->listening = listening;
        return 0;
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

/* Ends all threads, and what they serve; every client is told. */
static void end(baton_server *server)
{
        baton_server_stop(server);
        join(server);
        unlisten_all(server);
        atomic_store(&server->running, false);
}

/* Forgets stops that came while, or after, an earlier run ended. One that comes before the first run ends that. */
static void forget_stops(baton_server *server)
{
        for (uint32_t i = 0; server->ran && i < server->config.options.workers; i++)
                loop_clear_stop(server->workers[i].loop);
        if (server->ran && server->acceptor.loop)
                loop_clear_stop(server->acceptor.loop);
        server->ran = true;
}

/* Starts the acceptor, and the workers but the first. */
static int begin(baton_server *server)
{
        if (!server)
                return error_set(-EINVAL, "cannot serve: the server is NULL");
        if (check_process(server) < 0)
                return -ECHILD;
        if (atomic_exchange(&server->running, true))
                return error_set(-EALREADY, "cannot serve: the server runs already");
        join_thread(&server->workers[0]); /* of an earlier start, which has ended */
        if (!server->listening) {
                atomic_store(&server->running, false);
                return error_set(-EINVAL, "cannot serve: the server does not listen; call baton_server_listen first");
        }
        forget_stops(server);
        int error = server->acceptor.loop ? start_thread(&server->acceptor, work, &server->acceptor) : 0;
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

void baton_server_stop(baton_server *server)
{
        if (!server || server->fork_generation != fork_generation())
                return;
        for (uint32_t i = 0; i < server->config.options.workers; i++)
                baton_loop_stop(server->workers[i].loop);
        if (server->acceptor.loop)
                baton_loop_stop(server->acceptor.loop);
}
