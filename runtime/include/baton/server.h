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
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_server baton_server;

/* Options of a server; zero-initialised means the defaults, and NULL means the same. */
typedef struct baton_server_options {
        uint32_t workers; /* threads that serve, at most 1024; 0: 1. A connection stays with one worker, so handlers of
                                       * different connections run in parallel when there are several. */
        uint32_t max_connections; /* 0: 4096; one more is told RESOURCE_EXHAUSTED */
        uint32_t max_calls;       /* unanswered calls per connection; 0: 4096; one more is told RESOURCE_EXHAUSTED */
        size_t max_message_bytes; /* larger requests and replies end RESOURCE_EXHAUSTED; 0: 64 MiB; at most 1 GiB */
        size_t max_heap_bytes;    /* payload memory per connection, the server's own; 0: 4 × max_message_bytes */
        uint32_t spin_us;         /* how long an idle worker polls at most before it sleeps, microseconds; 0: 50 */
        bool no_spin;             /* sleep at once when idle */
        uint32_t handshake_timeout_ms; /* a client that has not introduced itself by then is dropped; 0: 1000 */
        /* Decides who may connect; NULL: processes of this process' effective uid, and root. Called on a thread of the server. */
        bool (*authorize)(const baton_peer *peer, void *context);
        void *authorize_context;
} baton_server_options;

/* A new server, or NULL with the reason in baton_error(). */
baton_server *baton_server_new(const baton_server_options *options);

/* Listens at an address (see baton_channel_open). Returns 0, or a negative errno with the reason in baton_error():
 * -EADDRINUSE when a living server has it; a socket file left by a dead one is replaced. Several listeners are fine. */
int baton_server_listen(baton_server *server, const char *address);

/* Serves on the calling thread (and workers − 1 more, and where that is any, one that accepts) until baton_server_stop. Returns 0 or a negative errno. */
int baton_server_run(baton_server *server);

/* Serves on threads of its own and returns at once: 0, or a negative errno. */
int baton_server_start(baton_server *server);

/* Ends baton_server_run or baton_server_start: no more calls are taken; the call being handled by each worker ends
 * first, others end UNAVAILABLE at their clients. Returns at once. Safe from any thread, from handlers and from signal
 * handlers. One that comes before the first run ends that run. */
void baton_server_stop(baton_server *server);

/* Stops the server, waits for its threads and frees it. Calls still retained stay valid until released; replying to them
 * returns -EPIPE. Must not be called from a handler. NULL is allowed. */
void baton_server_free(baton_server *server);

#ifdef __cplusplus
}
#endif
#endif
