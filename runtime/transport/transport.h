/*
 * Where transports plug in. Above this header lies the call model (core), blind to how bytes travel; below it lie the
 * transports (shm, net), blind to services, retries and channels. Neither includes the other.
 *
 * Downward, core calls a transport through `struct transport` and `struct call_ops`. Upward, a transport reports
 * through the function pointers it was given: client_sink, client_call.done, client_stream.ready, server_sink.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "base/list.h"
#include <baton/channel.h>
#include <baton/loop.h>
#include <baton/server.h>
#include <baton/service.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

/* A transport's own structs; core only passes pointers around. */
struct connection;
struct lane;
struct async_lane;
struct stream_end;
struct listener;
struct server_config;
struct server_sink;

/* ---- received messages ------------------------------------------------------------------------------------ */

/* What keeps a received message: the pointer right before the message leads to it. The first member of what it stands for. */
struct held {
        void (*retain)(struct held *held);
        void (*release)(struct held *held);
};

/*
 * What a client call or a stream brought: a message, or the text of a failure, with its metadata, in one arena. Core makes and
 * frees it.
 */
struct reply {
        struct held held;
        baton_arena arena;
        const char *text; /* of a failure; NULL: it is the one in baton_error() */
        baton_metadata headers;
        baton_metadata trailers;
        /* Payload memory borrowed from the peer; give_back returns it. NULL: nothing is borrowed. */
        void (*give_back)(void *lender, uint32_t loan);
        void *lender;
        uint32_t loan;
};

/* Keeps the text of a failure, which is in this thread's baton_error(), for others to see. */
static inline void reply_keep_error(struct reply *reply)
{
        const char *error = baton_error();
        size_t size = strlen(error) + 1;
        char *text = (char *)baton_arena_alloc(&reply->arena, size);
        reply->text = text ? (const char *)memcpy(text, error, size) : "out of memory";
}

/* What the arena of a received message may take: decoding can need some multiple of the message, at worst. */
static inline size_t arena_budget(size_t max_message_bytes)
{
        return 4 * max_message_bytes + (1 << 20);
}

/* Room for a message struct of this type, uninitialised, in the arena. Leads back to what holds it. NULL: no memory. */
static inline ProtobufCMessage *held_new_message(struct held *held, baton_arena *arena,
                                                 const ProtobufCMessageDescriptor *descriptor)
{
        struct held **handle = (struct held **)baton_arena_alloc(arena, sizeof *handle + descriptor->sizeof_message);
        if (!handle)
                return NULL;
        *handle = held;
        return (ProtobufCMessage *)(handle + 1);
}

static inline struct held *held_of(const void *message)
{
        return ((struct held *const *)message)[-1];
}

/* ---- client ----------------------------------------------------------------------------------------------- */

/* What messages took to send; a transport adds to it. */
struct traffic {
        uint64_t copied; /* bytes encoded or copied */
        uint64_t lent;   /* bytes handed over by reference */
        uint32_t slept;  /* waits that slept, */
        uint32_t spun;   /* and those in which polling was enough */
};

/*
 * One unary call of a client, owned by core. The transport reads the first part and fills the second, exactly once:
 * before `call` returns, or before it calls `done`.
 */
struct client_call {
        const baton_method *method;
        const ProtobufCMessage *request; /* valid during call(), oneway() and async_start() only; as is the next */
        const baton_metadata *metadata;  /* checked; NULL: none */
        uint64_t deadline_ns;            /* CLOCK_MONOTONIC; 0: none */
        struct reply *reply;             /* fresh; the transport decodes into its arena. NULL for one-way calls */
        size_t max_request_bytes;
        size_t max_reply_bytes;
        _Atomic uint32_t
                *cancelled; /* blocking calls: becomes 1, and is woken as a private futex; NULL: cannot be cancelled */
        void (*done)(struct client_call *call); /* asynchronous calls: on the loop's thread */
        uint64_t number;                        /* likewise: the transport's own, while the call is in flight */

        const ProtobufCMessage *message; /* the reply's message; NULL on failure */
        baton_code code;                 /* on failure the text is reply->text */
        bool maybe_executed;
        struct traffic traffic;
};

/*
 * One streaming call of a client, owned by core. Its request, where it has one, and its outcome are those of `call`; the outcome is
 * final once `ended` is set. reply's arena is the transport's until then. call.message is set where a single reply is due.
 */
struct client_stream {
        struct client_call call; /* request NULL where the client streams; done unused */
        /* On the loop's thread: a message or the headers came, a write that was told -EAGAIN may succeed, or the call ended. */
        void (*ready)(struct client_stream *stream);

        struct stream_end *end;    /* the transport's own, between stream_open and stream_close */
        atomic_bool headers_known; /* release: call.reply->headers is final */
        atomic_bool ended; /* release: so is the outcome. No more messages will arrive; some may wait to be read. */
};

enum connection_state {
        CONNECTION_UP,
        CONNECTION_LEAVING, /* calls in flight go on, further ones are to be made elsewhere: the server drains */
        CONNECTION_DOWN,
};

/* What a connection tells its channel. Any thread; must not block for long, and takes no lock that core holds while it calls the
 * transport. Not after hang_up has returned. */
struct client_sink {
        /* The connection is LEAVING: lanes that no call uses should be closed, here or elsewhere. With the last one it hangs up by
         * itself. Comes again every now and then until it has, so that none is overlooked. Also comes when it is DOWN because the server
         * is gone. */
        void (*leaving)(struct client_sink *sink, struct connection *connection);
        /* Streams were cancelled or closed, and found no room to tell the server so: loops that nobody turns just now should be
         * turned. Comes again every now and then until they have. */
        void (*turn)(struct client_sink *sink);
};

/*
 * Locks: core holds none of its own while it calls these, unless said. Blocking: only where said.
 * Failures: negative errno, with the text in baton_error().
 */
struct transport {
        const char *schemes[3]; /* "shm": what stands before the colon in its addresses; NULL-terminated */

        /* Checks an address without using it. 0 or -EINVAL. Any thread. */
        int (*check_address)(const char *address);

        /* Connects and shakes hands; blocks until deadline_ns at most. On success *connection has one reference. On failure
         * also *code: what calls waiting for it end with. One thread at a time for one channel; core holds the channel's
         * connect lock. sink: until hang_up. */
        int (*connect)(const char *address, const baton_channel_options *options, uint64_t deadline_ns,
                       struct client_sink *sink, struct connection **connection, baton_code *code);
        /* Counts references; the last one frees. Any thread; does not block. */
        struct connection *(*ref)(struct connection *connection);
        void (*unref)(struct connection *connection);
        /* As far as is known. Any thread, no system call. */
        enum connection_state (*state)(const struct connection *connection);
        /* No more calls will be made: the server is told, whoever else still holds references. */
        void (*hang_up)(struct connection *connection);

        /* A lane carries the blocking calls of one thread at a time. Opening may block until deadline_ns; -ESHUTDOWN: the
         * connection has just hung up, as its server drains: connect anew. Holds a reference on its connection until closed. */
        int (*lane_open)(struct connection *connection, uint64_t deadline_ns, struct lane **lane);
        void (*lane_close)(struct lane *lane);
        /* Makes one call and waits for its outcome. Blocks until the call's deadline. The lane's holder only. */
        void (*call)(struct lane *lane, struct client_call *call);
        /* Makes one call that gets no answer. Blocks while there is no room, until the call's deadline. 0 or a negative errno:
         * -ETIMEDOUT, -ECANCELED, -EPIPE, -ENOSYS where the server lacks the method, or the message's fault. */
        int (*oneway)(struct lane *lane, struct client_call *call);
        /* Waits until the server has taken all one-way calls of this lane. 0, -ETIMEDOUT, -EPIPE. */
        int (*flush)(struct lane *lane, uint64_t deadline_ns);

        /*
         * The same for the asynchronous calls and the streams of one loop. async_start: 0; 1 when the call has ended already,
         * and then core delivers its outcome; -ESHUTDOWN: no call was made, as the lane is being left: a new one is to be opened;
         * -EAGAIN and such: no call was made. Any thread, with core's lock for this
         * lane held; does not block. When the server is gone, every call and stream has ended and `lost` is called on the loop's
         * thread, which closes the lane; so it is when a LEAVING connection has no calls left on this lane.
         * async_cancel, on the loop's thread: true where the call was in flight: it is forgotten, the server is told, and core
         * delivers its outcome. async_close: completes calls in flight, and ends streams, with CANCELLED; the loop's thread,
         * also from inside a `done` or `ready`.
         */
        int (*async_open)(struct connection *connection, baton_loop *loop, uint64_t deadline_ns,
                          void (*lost)(void *context), void *context, struct async_lane **lane);
        int (*async_start)(struct async_lane *lane, struct client_call *call);
        bool (*async_cancel)(struct async_lane *lane, struct client_call *call);
        void (*async_close)(struct async_lane *lane);

        /*
         * Streams. stream_open as async_start, but -EBUSY at max_in_flight: 0; 1: it has `ended` already; or negative: there is no stream. From 0 and 1 on
         * stream->end is set, until stream_close. write, writes_done and read: one thread at a time each; they never block.
         *   write        0; -EAGAIN: `ready` will tell; -EPIPE: ended; -ESHUTDOWN after writes_done; else the message's fault
         *   writes_done  0; -EPIPE; -ESHUTDOWN
         *   read         1 and *message, decoded into this fresh reply; 0: no more will come; -EAGAIN: `ready` will tell;
         *                else it could not be decoded
         *   cancel       ends it with this code, unless it has ended; `ready` is not called. The loop's thread
         *   close        cancels it where it has not ended, and frees `end`. The loop's thread
         */
        int (*stream_open)(struct async_lane *lane, struct client_stream *stream);
        int (*stream_write)(struct client_stream *stream, const ProtobufCMessage *message);
        int (*stream_writes_done)(struct client_stream *stream);
        int (*stream_read)(struct client_stream *stream, struct reply *reply, const ProtobufCMessage **message);
        void (*stream_cancel)(struct client_stream *stream, baton_code code, const char *text);
        void (*stream_close)(struct client_stream *stream);

        /* Payload memory, which lives as long as the connection. NULL: baton_error(). Any thread; may block for a system call
         * when the heap grows. */
        void *(*alloc)(struct connection *connection, size_t size);
        /* False where memory is no block of this connection. */
        bool (*free)(struct connection *connection, void *memory);

        /* Binds and listens; accepts on `loop` from now on, and serves each connection on a loop that sink->place names. */
        int (*listen)(const char *address, const struct server_config *config, struct server_sink *sink,
                      baton_loop *loop, struct listener **listener);
        /* Listens no longer, and tells the clients that the server drains. On the listener's loop's thread. */
        void (*drain)(struct listener *listener);
        /* Stops accepting, closes every connection and frees the listener. The loops do not run any more, or this is their
         * thread. */
        void (*unlisten)(struct listener *listener);
};

/* ---- server ----------------------------------------------------------------------------------------------- */

/* One method as a server offers it. */
struct offer {
        const baton_method *method;
        const void *handlers;
        void *context;
        struct observer *observer; /* core's; NULL: none */
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

/* The calls of one connection that wait for a thread; core's. The transport zeroes it before the first of them, and keeps it as long
 * as any. */
struct turn {
        struct list link; /* among the connections */
        struct list jobs;
};

/*
 * One call being served. The transport allocates it, inside its own struct, and sets the first part; core keeps the rest.
 *
 * It is kept alive by `memory`: one reference for all holds together, one for each retained request, and those that the transport takes for
 * itself, with call_ref and sink->unref. The last one frees.
 */
struct baton_call {
        struct held held; /* of the request's message; core's functions, set by the sink's init */
        const struct call_ops *ops;
        const struct offer *offer;
        const baton_method *method;
        const ProtobufCMessage *request; /* NULL where the client streams */
        baton_metadata metadata;         /* of the request */
        uint64_t deadline_ns;
        baton_peer peer;
        baton_arena arena;        /* the request's message and the handler's scratch memory */
        struct turn *turn;        /* of its connection, so that each has its turn; NULL: none */
        size_t max_message_bytes; /* as the server's options have them */
        size_t max_metadata_bytes;
        bool oneway; /* an answer goes nowhere */

        atomic_uint memory;
        atomic_uint holds;
        atomic_bool answered;
        atomic_bool cancelled;
        _Atomic(struct call_extra *) extra; /* what few calls have: core/call.h */
        struct observed_call *observed;     /* by interceptors and counters; NULL: not */
        struct traffic traffic;
};

static inline void call_ref(struct baton_call *call)
{
        atomic_fetch_add_explicit(&call->memory, 1, memory_order_relaxed);
}

/* What goes with an answer. */
struct answer {
        baton_code code;
        const char *text;                /* of a failure */
        const ProtobufCMessage *message; /* NULL: of a failure, or where a stream ends */
        const baton_metadata *headers;   /* that were not sent yet; NULL: none */
        const baton_metadata *trailers;  /* NULL: none */
        bool not_run;                    /* a failure, and no handler ran: the client may safely try again */
};

/* How core answers through the transport that brought the call. All: any thread, must not block. */
struct call_ops {
        /* Ends the call. 0; -EPIPE: client gone. For a reply also: it was not sent and baton_error() says why: -EILSEQ,
         * -ENODATA, -ELOOP the message itself, -EMSGSIZE over the limit, -ENOBUFS no room, -ENOMEM; then a failure follows.
         * A failure is always told, or the connection ends. */
        int (*answer)(struct baton_call *call, const struct answer *answer);
        /* Streams. headers: not sent yet; NULL: none. send: 0; -EAGAIN: sink->ready will tell; -EPIPE; or the message's fault.
         * message NULL: the headers alone, never -EAGAIN.
         * recv: 1 and *message, decoded into this fresh reply; 0: the client has half-closed; -EAGAIN: sink->ready will tell;
         * -EPIPE; else it could not be decoded. */
        int (*send)(struct baton_call *call, const ProtobufCMessage *message, const baton_metadata *headers);
        int (*recv)(struct baton_call *call, struct reply *reply, const ProtobufCMessage **message);
        /* This received message, of so many bytes, is kept beyond the next: it counts against the connection from now on. */
        void (*keep)(struct baton_call *call, struct reply *reply, size_t bytes);
        void *(*alloc)(struct baton_call *call, size_t size);
        /* Whether the client cancelled, died or closed. Looks for it where this is the thread of the connection's loop, so
         * that a handler that runs there is told too. */
        bool (*gone)(struct baton_call *call);
        /* The last reference is gone: the transport takes its memory back. */
        void (*free)(struct baton_call *call);
};

/* What a transport's server side asks of core. The pointers stay valid until unlisten returns. */
struct server_sink {
        /* Serves a call whose first part is set, and whose `memory` and `holds` are as the transport wants them; takes over
         * one hold, and with the last hold one reference. On the connection's loop. */
        void (*serve)(struct server_sink *sink, struct baton_call *call);
        /* Sets what core keeps in a new call; `memory` references, one hold. */
        void (*init)(struct baton_call *call, uint32_t memory);
        void (*unref)(struct baton_call *call);
        /* A recv or send that was told -EAGAIN may succeed. On the connection's loop; the transport holds a reference. */
        void (*ready)(struct baton_call *call);
        /* Nobody waits for the answer any more: cancelled, past its deadline, or the client is gone. Likewise. */
        void (*cancel)(struct baton_call *call);

        /* Whether this peer may connect. */
        bool (*authorize)(struct server_sink *sink, const baton_peer *peer);
        /* Counts one more connection of this peer and names the loop that serves it; NULL: the server is full, or it has
         * too many (*why says which). Any loop. */
        baton_loop *(*place)(struct server_sink *sink, const baton_peer *peer, const char **why);
        /* That connection is gone. */
        void (*leave)(struct server_sink *sink, baton_loop *loop, const baton_peer *peer);
        /* Another server has taken the listener's address over: this one is to drain. */
        void (*taken_over)(struct server_sink *sink);
};

#endif
