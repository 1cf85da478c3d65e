/*
 * A server inside: what server.c (life), services.c (what it offers), admission.c (who may come in), serve.c (running handlers)
 * and drain.c (ending in good order) share.
 */
#ifndef CORE_SERVER_H
#define CORE_SERVER_H

#include "base/loop.h"
#include "core/observer.h"
#include "transport/transport.h"
#include <pthread.h>

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
        bool drains;
        struct listening *next;
};

struct registration {
        const baton_service *service;
        const void *handlers;
        void *context;
};

/* Who holds how many connections; kept where max_connections_per_process asks for it. */
struct holder {
        pid_t pid;
        uint32_t n;
};

struct admission {
        uint32_t n_connections;
        struct holder *holders;
        size_t n_holders, room;
        char full[160]; /* what those turned away are told */
        char greedy[160];
};

struct drain {
        struct loop_task task; /* begins it, or moves its end; on the listening loop, as the timer */
        struct loop_timer timer;
        bool possible; /* the server listens */
        bool posted;
        bool begun;      /* the last connection ends it */
        uint64_t end_ns; /* 0: not asked for */
};

struct baton_server {
        struct server_sink sink;
        struct server_config config;
        struct registration *services;
        size_t n_services;
        struct listening *listening; /* the listening loop's, where it runs */
        struct worker *workers;      /* with the option loop: one, without a thread */
        struct worker
                acceptor; /* where there are several workers: a busy one must not keep clients of the others out */
        struct loop_source
                stopper; /* with the option loop: an eventfd, on which it hears baton_server_stop; fd -1 without */
        struct executor *executor; /* NULL: handlers run inline */
        struct observer *observer; /* NULL: none */
        uint64_t fork_generation;
        bool ran;
        atomic_bool running;
        pthread_mutex_t lock; /* the rest, and the workers' n_connections */
        struct admission admission;
        struct drain drain;
};

/* ---- server.c --------------------------------------------------------------------------------------------- */

/* A forked child shares the server's sockets and epoll sets with the parent: -ECHILD there. */
int server_check_process(const baton_server *server);

/* The loop of the listeners. */
baton_loop *server_listening_loop(const baton_server *server);

/* ---- services.c ------------------------------------------------------------------------------------------- */

/* From now on the services are fixed. 0 or a negative errno. */
int server_make_offers(baton_server *server);

/* ---- admission.c: the sink's functions of these names ------------------------------------------------------ */

void admission_init(struct admission *admission, const baton_server_options *options);
void admission_deinit(struct admission *admission);
bool server_authorize(struct server_sink *sink, const baton_peer *peer);
baton_loop *server_place(struct server_sink *sink, const baton_peer *peer, const char **why);
void server_leave(struct server_sink *sink, baton_loop *loop, const baton_peer *peer);

/* ---- serve.c: the sink's serve, inline or by the server's executor ----------------------------------------- */

void serve_inline(struct server_sink *sink, struct baton_call *call);
void serve_elsewhere(struct server_sink *sink, struct baton_call *call);

/* For the executor: runs the handler unless nobody waits for it any more; takes over one hold. */
void serve_late(struct baton_call *call);

/* Ends a call whose handler has not run; takes over one hold. */
void serve_not(struct baton_call *call, baton_code code, const char *text);

/* ---- drain.c ---------------------------------------------------------------------------------------------- */

void drain_init(baton_server *server);

/* It listens: from now on it can be drained. */
void drain_allow(baton_server *server);

/* It ends: forgets what was asked for. On the listening loop's thread, or while no loop runs. */
void drain_reset(baton_server *server);

/* Whether the last connection has left a server that drains. The lock is held. */
bool drain_done(const baton_server *server);

/* The sink's taken_over. */
void server_taken_over(struct server_sink *sink);

#endif
