/*
 * One call: the client's options for it, and the server's hold on it.
 */
#ifndef BATON_CALL_H
#define BATON_CALL_H

#include <baton/metadata.h>
#include <baton/status.h>
#include <protobuf-c/protobuf-c.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- client side ------------------------------------------------------------------------------------------ */

/* A call being served; see below. */
typedef struct baton_call baton_call;

/*
 * Ends calls before their time: give it to any number of calls (baton_call_options.cancel), of any kind and on any threads;
 * baton_cancel_now ends all of them that are still in flight, and each later one at once, with CANCELLED. Their servers are told.
 */
typedef struct baton_cancel baton_cancel;

/* A new one, or NULL when out of memory. Safe from any thread, as are the rest. */
baton_cancel *baton_cancel_new(void);

/* Ends its calls: blocking ones return soon, asynchronous ones complete on their loops. Once is enough; NULL is allowed. Does not
 * wait. May be called from callbacks. */
void baton_cancel_now(baton_cancel *cancel);

/* Whether baton_cancel_now was called. */
bool baton_cancel_called(const baton_cancel *cancel);

/* Frees it. Its calls must have ended. NULL is allowed. */
void baton_cancel_free(baton_cancel *cancel);

/* Options of one call; zero-initialised means the defaults, and NULL means the same. */
typedef struct baton_call_options {
        uint32_t timeout_ms;  /* from now, milliseconds; 0: none */
        uint64_t deadline_ns; /* absolute, CLOCK_MONOTONIC nanoseconds; 0: none. The earlier of the two counts. */
        /* Sent with the request; read during the starting function only. NULL: none. */
        const baton_metadata *metadata;
        baton_cancel *cancel; /* stays the user's, who frees it after the call has ended; NULL: none */
        /* The call that this one is made for: it ends no later than that one's deadline, and carries on its trace (W3
         * traceparent). NULL: the call whose handler runs on this thread, if any. */
        const baton_call *parent;
        bool detached; /* made for no other call: neither deadline nor trace is inherited */
        /* While there is no connection: waits for one until the deadline, instead of failing with UNAVAILABLE at once. */
        bool wait_for_ready;
        size_t max_request_bytes; /* limits of this call, below the channel's max_message_bytes; 0: that */
        size_t max_reply_bytes;
} baton_call_options;

/*
 * A received message is read-only, and belongs to its holders: each baton_retain owes one baton_release. A blocking call owes
 * one for the reply it set; messages given to callbacks and handlers, and those read from streams, live as their functions
 * say, and longer for whoever retains them. The last release returns borrowed payload memory to the peer. What is retained counts
 * against the limits of its connection (max_held_bytes of a server; a client's peer has max_heap_bytes). NULL is
 * allowed. Safe from any thread; a message may outlive its call, channel and server.
 */
const void *baton_retain(const void *message);
void baton_release(const void *message);

/* ---- server side ------------------------------------------------------------------------------------------ */

/*
 * A call being served is valid while the handler runs, and longer for whoever retains it. All functions below are safe from
 * any thread, unless they say otherwise; two threads replying to one call are ordered by the library: the second gets -EALREADY.
 */

/* Keeps the call, its request and its memory beyond the handler: needed to reply later. Each retain owes one
 * release. Returns call. */
baton_call *baton_call_retain(baton_call *call);

/* Gives one hold back. The last hold of a call without a reply answers INTERNAL to the client and is logged. */
void baton_call_release(baton_call *call);

/* Ends the call with status OK and this message (generated code has a typed form, service_method_reply). The
 * message is encoded before this returns, so its memory stays the caller's own. Does not give up any hold.
 * Returns 0; -EALREADY when the call was answered before (nothing is sent); -EINVAL when call or message is NULL
 * or of another type than the method's; -EPIPE when the client is gone. Where the message itself cannot be sent
 * (invalid UTF-8, required field missing, too large, no room in the client's share of the heap) the call ends with
 * INTERNAL or RESOURCE_EXHAUSTED, the reason reaches the client and the log, and -EBADMSG, -EMSGSIZE or -ENOBUFS is
 * returned. baton_error() has the text in all cases. */
int baton_call_reply(baton_call *call, const ProtobufCMessage *message);

/* Ends the call with this code and message (printf-style; shortened to 1 KiB). BATON_OK is refused with -EINVAL:
 * success carries a reply. A text that is not UTF-8 is replaced by a note that says so. Otherwise returns as
 * baton_call_reply does. */
int baton_call_fail(baton_call *call, baton_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As baton_call_fail, with details for programs to read: messages of google.rpc (BadRequest, RetryInfo, …) or any other, which
 * travel as a google.rpc.Status in the trailer "grpc-status-details-bin", as everywhere in gRPC. -EINVAL for a NULL detail;
 * -EMSGSIZE where they are over the limit for metadata: then the call fails without them. */
int baton_call_fail_with(baton_call *call, baton_code code, const char *message, const ProtobufCMessage *const *details,
                         size_t n_details);

/* Private memory that lives as long as the call: zeroed, 8-byte aligned. NULL when out of memory. Unlike the rest,
 * not safe from two threads at once for one call. */
void *baton_call_scratch(baton_call *call, size_t size);

/* A string in the call's scratch memory; "" stays "". NULL when out of memory. */
char *baton_call_printf(baton_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Memory for a payload (a `bytes` field or a repeated scalar field of the reply) that is handed over without a
 * copy: 64-byte aligned, contents undefined, shared with this call's client, which can read it from now on. It
 * belongs to the call; after the reply it must not be written any more. NULL with the reason in baton_error() when
 * the client already holds all the memory it may (see baton_server_options.max_heap_bytes). */
void *baton_call_alloc(baton_call *call, size_t size);

/* The deadline, CLOCK_MONOTONIC nanoseconds; 0 when the client set none. Calls made inside the handler inherit it. */
uint64_t baton_call_deadline_ns(const baton_call *call);

/* Whether nobody waits for the answer any more: the client cancelled, died or closed, or the deadline passed. To be polled by
 * handlers that take long; it sees a cancellation also while the handler keeps the connection's worker busy. */
bool baton_call_cancelled(const baton_call *call);

/* Has `cancelled` called once when that happens: on the thread of the connection's worker, so not while a handler runs there; or
 * inside this function where it has happened. Not called once the call was answered. NULL takes it back, though it may be
 * running on the worker just then. One per call. It may answer or release the call, and must not block. Returns 0; -EINVAL for a
 * NULL call. */
int baton_call_on_cancel(baton_call *call, void (*cancelled)(baton_call *call, void *context), void *context);

/* What the client sent; never NULL. Lives as long as the call. */
const baton_metadata *baton_call_metadata(const baton_call *call);

/* Adds a header, which goes with the first message or the reply, or earlier by baton_call_send_headers; or a trailer, which
 * goes with the status. Copies key and value. Returns 0; -EINVAL for an illegal key or value; -EALREADY where the headers, or the
 * status, were sent; -EMSGSIZE over max_metadata_bytes; -ENOMEM. */
int baton_call_add_header(baton_call *call, const char *key, const void *value, size_t size);
int baton_call_add_trailer(baton_call *call, const char *key, const void *value, size_t size);

/* Sends the headers now, for a client that waits for them. 0; -EALREADY; -EPIPE when the client is gone. */
int baton_call_send_headers(baton_call *call);

/* The W3 trace context of the call (https://www.w3.org/TR/trace-context/): what the client sent as "traceparent", which calls made
 * for this one carry on. "" where there is none. Lives as long as the call. */
const char *baton_call_traceparent(const baton_call *call);

/* The call whose handler, or ready or cancelled callback, runs on this thread; NULL outside of them. */
baton_call *baton_call_current(void);

/* The method's full name, "/package.Service/Method". Lives as long as the server. */
const char *baton_call_method(const baton_call *call);

/*
 * ---- streams, server side ----
 *
 * Typed forms are generated: service_method_recv and _send. They wait, unless the thread runs a loop, its own or the server's: on a
 * worker, where handlers run unless the server has an executor, nothing waits. There they return -EAGAIN, and the callback of
 * baton_call_on_ready tells when to try again. Retain the call first: it ends with the handler otherwise.
 */

/*
 * Receives the client's next message. 1, and *message is set: it lives until the next recv on this call, or until the call is
 * freed; baton_retain keeps it. 0: the client has sent all (half-close). -EAGAIN: none has come yet. -ECANCELED: the
 * call is cancelled. -EALREADY: it was answered. -EBADMSG, and the call fails: the message is malformed or too large. -EINVAL: a
 * NULL argument, or the method has a single request. One thread at a time for one call.
 */
int baton_call_recv(baton_call *call, const ProtobufCMessage **message);

/*
 * Sends a message to the client. 0; -EAGAIN: the client has not read enough of the earlier ones (back-pressure), or the
 * ring is full: nothing was sent; -ECANCELED; -EALREADY after the answer; -EINVAL: a NULL or mistyped message, or the method has a
 * single reply; -EBADMSG, -EMSGSIZE, -ENOBUFS: this message cannot be sent, the stream goes on. The message is encoded before this
 * returns. One thread at a time for one call.
 */
int baton_call_send(baton_call *call, const ProtobufCMessage *message);

/* Ends a server-streaming or bidirectional call with status OK. As baton_call_reply; -EINVAL where a reply is due. */
int baton_call_end(baton_call *call);

/* Has `ready` called on the connection's worker whenever a recv or send that returned -EAGAIN may succeed now, and when the client
 * half-closes or the call is cancelled; also once inside this function, so that any thread can have it look again (where it runs
 * already, it runs again there). On one thread at a time; inside it recv and send do not wait, whatever the thread.
 * Edge-triggered: recv until -EAGAIN. NULL takes it back, though it may be running on the worker just then. One per call. It may
 * release the call, and must not block. Not called once the call was answered. 0; -EINVAL; -ENOMEM. */
int baton_call_on_ready(baton_call *call, void (*ready)(baton_call *call, void *context), void *context);

/* Who calls, as the kernel tells it (SO_PEERCRED at connect). */
typedef struct baton_peer {
        pid_t pid;
        uid_t uid;
        gid_t gid;
} baton_peer;
baton_peer baton_call_peer(const baton_call *call);

#ifdef __cplusplus
}
#endif
#endif
