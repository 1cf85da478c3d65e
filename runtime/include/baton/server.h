/*
 * A server: services registered once, listeners, worker threads.
 *
 * A server belongs to the process that made it: in a forked child everything but baton_server_free, which then does
 * nothing, returns -ECHILD. A daemon forks first and makes its server then.
 *
 * Order of use: new, register services, listen, run (or start … stop), free. Registering after listening is refused.
 */
#ifndef BATON_SERVER_H
#define BATON_SERVER_H

#include <baton/call.h>
#include <baton/loop.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_server baton_server;
struct baton_interceptor;

/* Options of a server; zero-initialised means the defaults, and NULL means the same. */
typedef struct baton_server_options {
        uint32_t workers; /* threads that serve, at most 1024; 0: 1. A connection stays with one worker, so handlers of
                                       * different connections run in parallel when there are several. */
        uint32_t max_connections;             /* 0: 4096; one more is told RESOURCE_EXHAUSTED */
        uint32_t max_connections_per_process; /* 0: no limit but max_connections */
        uint32_t max_calls;       /* unanswered calls per connection; 0: 16384; one more is told RESOURCE_EXHAUSTED */
        size_t max_message_bytes; /* larger requests and replies end RESOURCE_EXHAUSTED; 0: 64 MiB; at most 1 GiB */
        size_t max_heap_bytes;    /* payload memory per connection, the server's own; 0: 4 × max_message_bytes */
        /* What calls and retained messages of one connection may take of the server's memory beyond their handlers, with what
         * its streams have waiting; more calls, and streams that have yet more waiting, end RESOURCE_EXHAUSTED. 10,000 streams may
         * need as many windows (stream_window_bytes). 0: 4 × max_message_bytes */
        size_t max_held_bytes;
        size_t max_metadata_bytes; /* of one call and direction; 0: 8192; at most 1 MiB */
        uint32_t
                stream_window_bytes; /* what a stream's client may send ahead of the handler, inline; 0: 65536; 1 KiB to 64 MiB */
        uint32_t spin_us;            /* how long an idle worker polls at most before it sleeps, microseconds; 0: 50 */
        bool no_spin;                /* sleep at once when idle */
        uint32_t handshake_timeout_ms; /* a client that has not introduced itself by then is dropped; 0: 1000 */
        /* Decides who may connect; NULL: processes of this process' effective uid, and root. Called on a thread of the server. */
        bool (*authorize)(const baton_peer *peer, void *context);
        void *authorize_context;
        /*
         * Where handlers run. By default on the workers: the fastest, for handlers that do not block. With handler_threads, on
         * so many threads of the server's own, where they may block and wait in streams; connections have their turns there,
         * but a handler that waits keeps its thread: give as many as may wait at once, or let streams be served by callbacks.
         * With an executor, wherever that runs run(argument), which it must do exactly once, soon, and not inside execute;
         * after the server has stopped, or was freed, no handler runs in it.
         */
        uint32_t handler_threads; /* at most 1024 */
        void (*execute)(void *context, void (*run)(void *argument), void *argument);
        void *execute_context;
        /* Serves on this loop, which the user runs (baton_loop_run, or its fd in a loop of the user's own), instead of on
         * workers: listen, on the loop's thread, and then just run the loop. The loop must outlive the server. spin_us and no_spin
         * say nothing about it. Nothing that blocks until this server answers may be done on the loop's thread: no blocking call or
         * stream, and no baton_channel_connect. Asynchronous ones on this very loop are fine. */
        baton_loop *loop;
        const struct baton_interceptor *interceptors; /* at most 16; copied; see baton/interceptor.h */
        size_t n_interceptors;
        bool counters; /* counts calls; see baton/counters.h */
        /* baton_server_listen takes the address over from a running server of the same user, which then drains: a hot restart. */
        bool takeover;
        /* Called once when the server begins to drain, on a thread of its own (with `loop`, on that): for handlers whose streams
         * would go on for ever, and which had better end them now. Must not block. */
        void (*draining)(baton_server *server, void *context);
        void *draining_context;
        uint32_t drain_timeout_ms; /* how long a server whose address was taken over drains; 0: 30000 */
} baton_server_options;

/* A new server, or NULL with the reason in baton_error(). */
baton_server *baton_server_new(const baton_server_options *options);

/*
 * Listens at an address (see baton_channel_open). Returns 0, or a negative errno with the reason in baton_error():
 * -EADDRINUSE when a living server has it; a socket file left by a dead one is replaced. Several listeners are fine.
 *
 * A socket that was passed by systemd (sd_listen_fds(3): LISTEN_FDS, LISTEN_PID) and is bound to the address is used as it is; it
 * has to be a ListenSequentialPacket= one. With the option `takeover`, so is that of the running server.
 */
int baton_server_listen(baton_server *server, const char *address);

/* Serves on the calling thread (and workers − 1 more, and where that is any, one that accepts) until baton_server_stop. Returns 0 or a negative errno. */
int baton_server_run(baton_server *server);

/* Serves on threads of its own and returns at once: 0, or a negative errno. */
int baton_server_start(baton_server *server);

/* Whether it serves: from baton_server_run or baton_server_start on until that has ended; with the option `loop`, from baton_server_listen
 * on until baton_server_stop or _drain has had its effect, on which the loop's fd wakes and baton_loop_wait returns. Any thread. */
bool baton_server_serving(const baton_server *server);

/*
 * Ends baton_server_run or baton_server_start: no more calls are taken; the call being handled by each worker ends
 * first, others end UNAVAILABLE at their clients. Handlers on handler_threads or an executor are waited for, but their clients are
 * not: what has not begun, and what is not answered by then, ends UNAVAILABLE. Returns at once. Safe from any thread, from handlers
 * and from signal handlers. One that comes before the first run ends that run. With the option `loop` it ends serving there, when
 * the loop comes round; the loop goes on, and one may listen again.
 */
void baton_server_stop(baton_server *server);

/*
 * Ends baton_server_run or baton_server_start in good order: listens no longer, and tells the clients, who make further calls
 * on new connections, to whichever server listens at the address by then. Calls in flight, and those that come
 * meanwhile, are served. Ends once all clients have left, or after timeout_ms milliseconds (0: at once), as baton_server_stop does.
 * Asked for twice, the earlier end counts. Between baton_server_listen and the run, it has that run end at once. Returns at once: 0;
 * -EINVAL where the server does not listen, not yet or no more; -ECHILD. Safe from any thread and from handlers, not from signal
 * handlers.
 */
int baton_server_drain(baton_server *server, uint32_t timeout_ms);

/* Stops the server, waits for its threads and frees it. Calls still retained stay valid until released; replying to them
 * returns -EPIPE. Not from a handler or its callbacks, nor from authorize: there it logs an error, and only stops the server. With the option `loop`:
 * on the loop's thread, or while the loop does not run. NULL is allowed. */
void baton_server_free(baton_server *server);

#ifdef __cplusplus
}
#endif
#endif
