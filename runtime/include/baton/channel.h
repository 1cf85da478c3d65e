/*
 * A channel: the client's way to one server. Open it once, call through it from any thread.
 */
#ifndef BATON_CHANNEL_H
#define BATON_CHANNEL_H

#include <baton/call.h>
#include <baton/loop.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct baton_channel baton_channel;
struct baton_interceptor;

/* What a channel knows of its server, as in gRPC (https://github.com/grpc/grpc/blob/master/doc/connectivity-semantics-and-api.md). */
typedef enum baton_channel_state {
        BATON_IDLE = 0, /* no connection; the next call makes one */
        BATON_CONNECTING = 1,
        BATON_READY = 2,
        BATON_TRANSIENT_FAILURE = 3, /* the last attempt failed; until the next is due, calls fail at once, or wait */
        BATON_SHUTDOWN = 4,          /* closed */
} baton_channel_state;

/*
 * When calls are made again. Without this, only calls that certainly were not executed are, once, when the server restarted.
 * With it, a call that failed with one of the codes is made again if its method is idempotent (idempotency_level in the .proto) or it
 * certainly was not executed; after a pause that grows by the half from one attempt to the next, ±20 %, and within
 * the call's deadline. The budget keeps a failing server from being flooded: each failure that could be retried takes one token, each
 * success gives back a tenth; with less than half of the tokens left nothing is retried.
 * (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)
 */
typedef struct baton_retry {
        uint32_t max_attempts;       /* the first included; 0 or 1: no retries */
        uint32_t initial_backoff_ms; /* 0: 10 */
        uint32_t max_backoff_ms;     /* 0: 1000 */
        uint32_t codes;              /* 1 << code, or-ed; 0: UNAVAILABLE */
        uint32_t budget;             /* tokens; 0: 100 */
} baton_retry;

/* Options of a channel; zero-initialised means the defaults, and NULL means the same. */
typedef struct baton_channel_options {
        uint32_t connect_timeout_ms; /* for one attempt to connect; 0: 1000. A call's own deadline counts as well. */
        size_t max_message_bytes;    /* larger requests and replies end RESOURCE_EXHAUSTED; 0: 64 MiB; at most 1 GiB */
        size_t max_heap_bytes;       /* shared memory for payloads on their way; 0: 4 × max_message_bytes */
        uint32_t ring_bytes;         /* per calling thread and direction, a power of two, 8 KiB to 1 MiB; 0: 32 KiB */
        uint32_t spin_us;            /* how long a caller polls at most before it sleeps, microseconds; 0: 50 */
        bool no_spin;                /* sleep at once: lowest CPU use, a wake-up's latency on every call */
        /* Asynchronous calls and streams at once on one loop, and blocking streams at once; at most 65536; 0: 16384. One more is
         * -EAGAIN. */
        uint32_t max_in_flight;
        size_t max_metadata_bytes; /* of one call and direction; more is refused; 0: 8192; at most 1 MiB */
        uint32_t
                stream_window_bytes; /* what a stream's server may send ahead of the reader, inline; 0: 65536; 1 KiB to 64 MiB */
        baton_retry retry;
        /* After a failed attempt to connect the next is made no sooner. Calls wait out a pause of up to 10 ms; within a longer
         * one they fail at once (see baton_call_options.wait_for_ready). 0: 1 */
        uint32_t backoff_initial_ms;
        uint32_t backoff_max_ms; /* each failure makes it longer, by 1.6 and ±20 %, up to this; 0: 250 */
        /* A server that sends nothing but replies for so long is asked for a sign of life, and given up if it gives none within
         * keepalive_timeout_ms: calls end UNAVAILABLE. For servers that hang; dead ones are noticed without it. A handler that blocks
         * its worker for longer is a hang, too. 0: never */
        uint32_t keepalive_ms;
        uint32_t keepalive_timeout_ms;                /* 0: 20000 */
        const struct baton_interceptor *interceptors; /* at most 16; copied; see baton/interceptor.h */
        size_t n_interceptors;
        bool counters; /* counts calls; see baton/counters.h */
        /* Called after each change of the channel's state, in their order and by one thread at a time: one that caused a change, the
         * library's own included. Must not block, and so neither connect nor call; and not close the channel. */
        void (*state_changed)(baton_channel *channel, baton_channel_state state, void *context);
        void *state_context;
} baton_channel_options;

/*
 * Opens a channel to an address:
 *   shm:NAME    the socket NAME under $XDG_RUNTIME_DIR/baton, or /run/baton where that variable is no absolute path
 *   shm:/PATH   the socket at that path
 *   inproc:NAME the server of this very process that listens at that name; no socket file
 * NAME is 1–64 characters of A–Z a–z 0–9 . _ -. Does not connect: the first call does, and after a loss of the server
 * the next call does again; blocking calls wait for that, asynchronous ones are sent after it. Returns NULL with the reason in baton_error() when the address or an option is malformed
 * or memory is short.
 *
 * After fork() the child must open its own channels: calls on an inherited one end FAILED_PRECONDITION.
 */
baton_channel *baton_channel_open(const char *address, const baton_channel_options *options);

/* Connects now, rather than at the first call; returns at once where connected. The status' message stays valid
 * until this thread's next call of this function. Safe from any thread. */
baton_status baton_channel_connect(baton_channel *channel);

/* The state now. Safe from any thread, as is the next. */
baton_channel_state baton_channel_get_state(const baton_channel *channel);

/* Waits until the state is another than `last`, at most timeout_ms milliseconds (-1: for ever). Returns the state. */
baton_channel_state baton_channel_wait_state(baton_channel *channel, baton_channel_state last, int timeout_ms);

/* Waits until the server has taken all one-way calls that were made on this channel before (their handlers have begun, or wait for a
 * thread of the server's, or they were refused), at most timeout_ms milliseconds (-1: for ever). 0; -ETIMEDOUT; -EPIPE where the server is gone, and with it what
 * it had not taken. Safe from any thread. */
int baton_channel_flush(baton_channel *channel, int timeout_ms);

/* Closes the channel. Asynchronous calls in flight complete CANCELLED inside this call, on the calling thread, which must
 * be their loop's; asynchronous streams end CANCELLED likewise, and stay to be closed. Where a thread is connecting for them this
 * waits until it is done: with a server that does not answer, for about connect_timeout_ms. No blocking call may be in progress;
 * blocking streams end CANCELLED, and stay to be finished and closed. Replies that are still held stay valid until released; memory
 * from baton_channel_alloc goes with the channel. Called inside a stream's `ready` it runs the `ready` of its streams, that one
 * included, before it returns. NULL is allowed. Does nothing in a forked child. */
void baton_channel_close(baton_channel *channel);

/* Memory for a payload (a `bytes` field or a repeated scalar field of a request) that is handed over without a copy:
 * 64-byte aligned, contents undefined, shared with the channel's server, which can read it from now on. Connects where not
 * connected. Free it with baton_channel_free, any time: a block still on its way is freed
 * once the server gave it back.
 * Between a call's start and its end its contents must not change. It may be sent many times, also in calls at once.
 * After a reconnect it stays valid, but is copied like any other memory. NULL with the reason in baton_error(). Safe from any
 * thread. */
void *baton_channel_alloc(baton_channel *channel, size_t size);
void baton_channel_free(baton_channel *channel, void *memory);

#ifdef __cplusplus
}
#endif
#endif
