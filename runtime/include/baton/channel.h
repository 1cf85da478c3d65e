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

/* Options of a channel; zero-initialised means the defaults, and NULL means the same. */
typedef struct baton_channel_options {
        uint32_t connect_timeout_ms; /* for one attempt to connect; 0: 1000. A call's own deadline counts as well. */
        size_t max_message_bytes;    /* larger requests and replies end RESOURCE_EXHAUSTED; 0: 64 MiB; at most 1 GiB */
        size_t max_heap_bytes;       /* shared memory for payloads on their way; 0: 4 × max_message_bytes */
        uint32_t ring_bytes;         /* per calling thread and direction, a power of two, 8 KiB to 1 MiB; 0: 32 KiB */
        uint32_t spin_us;            /* how long a caller polls at most before it sleeps, microseconds; 0: 50 */
        bool no_spin;                /* sleep at once: lowest CPU use, a wake-up's latency on every call */
        uint32_t
                max_in_flight; /* asynchronous calls at once on one loop, at most 65536; 0: 1024. One more is -EAGAIN. */
} baton_channel_options;

/*
 * Opens a channel to an address:
 *   shm:NAME    the socket NAME under $XDG_RUNTIME_DIR/baton, or /run/baton where that variable is no absolute path
 *   shm:/PATH   the socket at that path
 * NAME is 1–64 characters of A–Z a–z 0–9 . _ -. Does not connect: the first call does, and after a loss of the server
 * the next call does again. Returns NULL with the reason in baton_error() when the address or an option is malformed
 * or memory is short.
 *
 * After fork() the child must open its own channels: calls on an inherited one end FAILED_PRECONDITION.
 */
baton_channel *baton_channel_open(const char *address, const baton_channel_options *options);

/* Connects now, rather than at the first call; returns at once where connected. The status' message stays valid
 * until this thread's next call of this function. Safe from any thread. */
baton_status baton_channel_connect(baton_channel *channel);

/* Closes the channel. Asynchronous calls in flight complete CANCELLED inside this call, on the calling thread, which must
 * be their loop's. No blocking call may be in progress. Replies that are still held stay valid until released; memory
 * from baton_channel_alloc goes with the channel. NULL is allowed. Does nothing in a forked child. */
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
