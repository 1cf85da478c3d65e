/*
 * Where transports plug in. Above this header lies the call model (core), blind to how bytes travel; below it lie the
 * transports (shm, net), blind to services, retries and channels. Neither includes the other.
 *
 * Downward, core calls a transport through `struct transport` and `struct call_ops`. Upward, a transport reports
 * through the function pointers it was given: client_call.done, server_sink.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <baton/channel.h>
#include <baton/loop.h>
#include <baton/server.h>
#include <baton/service.h>
#include <stdatomic.h>
#include <stdint.h>

/* ---- replies ---------------------------------------------------------------------------------------------- */

/*
 * What a client call brought: a message, or the text of a failure, in one arena. Held by the user through the message,
 * which core can lead back to it. Core makes and frees it.
 */
struct reply {
        baton_arena arena;
        const char *text; /* of a failure; NULL: it is the one in baton_error() */
        /* Payload memory borrowed from the peer; give_back returns it. NULL: nothing is borrowed. */
        void (*give_back)(void *lender, uint32_t loan);
        void *lender;
        uint32_t loan;
};

/* What the arena of a received message may take: decoding can need some multiple of the message, at worst. */
static inline size_t arena_budget(size_t max_message_bytes)
{
        return 4 * max_message_bytes + (1 << 20);
}

/* Room for the reply's message struct of this type, uninitialised, at the start of the arena. Leads back to the reply. NULL: no
 * memory. */
static inline ProtobufCMessage *reply_new_message(struct reply *reply, const ProtobufCMessageDescriptor *descriptor)
{
        struct reply **handle =
                (struct reply **)baton_arena_alloc(&reply->arena, sizeof *handle + descriptor->sizeof_message);
        if (!handle)
                return NULL;
        *handle = reply;
        return (ProtobufCMessage *)(handle + 1);
}

static inline struct reply *reply_of(const void *message)
{
        return ((struct reply *const *)message)[-1];
}

/* ---- client ----------------------------------------------------------------------------------------------- */

/*
 * One unary call of a client, owned by core. The transport reads the first part and fills the second, exactly once:
 * before `call` returns, or before it calls `done`.
 */
struct client_call {
        const baton_method *method;
        const ProtobufCMessage *request; /* valid during call() and start() only */
        uint64_t deadline_ns;            /* CLOCK_MONOTONIC; 0: none */
        struct reply *reply;             /* fresh; the transport decodes into its arena */
        size_t max_message_bytes;
        void (*done)(struct client_call *call); /* asynchronous calls: on the loop's thread */

        const ProtobufCMessage *message; /* the reply's message; NULL on failure */
        baton_code code;                 /* on failure the text is reply->text */
        bool maybe_executed;
};

/* A transport's own structs; core only passes pointers around. */
struct connection;
struct lane;
struct async_lane;
struct listener;
struct server_config;
struct server_sink;

/*
 * Locks: core holds none of its own while it calls these, unless said. Blocking: only where said.
 * Failures: negative errno, with the text in baton_error().
 */
struct transport {
        const char *scheme; /* "shm": what stands before the colon in an address */

        /* Checks an address without using it. 0 or -EINVAL. Any thread. */
        int (*check_address)(const char *address);

        /* Connects and shakes hands; blocks until deadline_ns at most. On success *connection has one reference. On failure
         * also *code: what calls waiting for it end with. One thread at a time for one channel; core holds the channel's
         * connect lock. */
        int (*connect)(const char *address, const baton_channel_options *options, uint64_t deadline_ns,
                       struct connection **connection, baton_code *code);
        /* Counts references; the last one frees. Any thread; does not block. */
        struct connection *(*ref)(struct connection *connection);
        void (*unref)(struct connection *connection);
        /* Whether the peer still lives, as far as is known. Any thread, no system call. */
        bool (*alive)(const struct connection *connection);
        /* No more calls will be made: the server is told, whoever else still holds references. */
        void (*hang_up)(struct connection *connection);

        /* A lane carries the blocking calls of one thread at a time. Opening may block until deadline_ns. Holds a
         * reference on its connection until closed. */
        int (*lane_open)(struct connection *connection, uint64_t deadline_ns, struct lane **lane);
        void (*lane_close)(struct lane *lane);
        /* Makes one call and waits for its outcome. Blocks until the call's deadline. The lane's holder only. */
        void (*call)(struct lane *lane, struct client_call *call);

        /* The same for the asynchronous calls of one loop. start: 0; 1 when the call has ended
         * already, and then core delivers its outcome; or -EAGAIN and such: no call was made. Any thread, with core's channel lock held; does not block. When the server is gone, every call has ended and `lost`
         * is called on the loop's thread, which closes the lane. close: completes what is in flight with CANCELLED; the loop's
         * thread, also from inside a `done`. */
        int (*async_open)(struct connection *connection, baton_loop *loop, uint64_t deadline_ns,
                          void (*lost)(void *context), void *context, struct async_lane **lane);
        int (*async_start)(struct async_lane *lane, struct client_call *call);
        void (*async_close)(struct async_lane *lane);

        /* Payload memory, which lives as long as the connection. NULL: baton_error(). Any thread; may block for a system call
         * when the heap grows. */
        void *(*alloc)(struct connection *connection, size_t size);
        /* False where memory is no block of this connection. */
        bool (*free)(struct connection *connection, void *memory);

        /* Binds and listens; accepts on `loop` from now on, and serves each connection on a loop that sink->place names. */
        int (*listen)(const char *address, const struct server_config *config, struct server_sink *sink,
                      baton_loop *loop, struct listener **listener);
        /* Stops accepting, closes every connection and frees the listener. The loops do not run any more. */
        void (*unlisten)(struct listener *listener);
};

/* ---- server ----------------------------------------------------------------------------------------------- */

/* One method as a server offers it. */
struct offer {
        const baton_method *method;
        const void *handlers;
        void *context;
        uint64_t path_hash;
        uint64_t input_layout;
        uint64_t output_layout;
};

/* What core tells a transport's server side; constant while it listens. */
struct server_config {
        baton_server_options options; /* defaults filled in */
        const struct offer *offers;   /* sorted by path_hash */
        uint32_t n_offers;
};

/*
 * One call being served. The transport allocates it, inside its own struct, and sets the first part; core keeps the rest.
 */
struct baton_call {
        const struct call_ops *ops;
        const baton_method *method;
        const ProtobufCMessage *request;
        uint64_t deadline_ns;
        baton_peer peer;
        baton_arena arena; /* the request's message and the handler's scratch memory */

        atomic_uint holds;
        atomic_bool answered;
};

/* How core answers through the transport that brought the call. All: any thread, must not block. */
struct call_ops {
        /* Sends the reply. 0; -EPIPE: client gone; else the message was not sent and baton_error() says why: -EILSEQ, -ENODATA,
         * -ELOOP the message itself, -EMSGSIZE over the limit, -ENOBUFS no room, -ENOMEM. Called at most once, but finish
         * with a failure may follow an unsuccessful one. */
        int (*reply)(struct baton_call *call, const ProtobufCMessage *message);
        /* Ends the call with a failure. 0 or -EPIPE. */
        int (*fail)(struct baton_call *call, baton_code code, const char *text);
        void *(*alloc)(struct baton_call *call, size_t size);
        bool (*gone)(const struct baton_call *call);
        /* The last hold is gone: the transport takes its memory back. */
        void (*free)(struct baton_call *call);
};

/* What a transport's server side asks of core. The pointers stay valid until unlisten returns. */
struct server_sink {
        /* Serves a call whose first part is set, for this offer; takes over its one hold. On the connection's loop. */
        void (*serve)(struct server_sink *sink, struct baton_call *call, const struct offer *offer);
        /* Whether this peer may connect. */
        bool (*authorize)(struct server_sink *sink, const baton_peer *peer);
        /* Counts one more connection and names the loop that serves it; NULL: the server is full. Any loop. */
        baton_loop *(*place)(struct server_sink *sink);
        /* That connection is gone. */
        void (*leave)(struct server_sink *sink, baton_loop *loop);
};

#endif
