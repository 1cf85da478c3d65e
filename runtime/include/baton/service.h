/*
 * The tables that idlc generates, and the untyped calls behind the typed stubs. Programs use the typed form in
 * x.baton.h; only generated code, bindings and proxies need this header.
 */
#ifndef BATON_SERVICE_H
#define BATON_SERVICE_H

#include <baton/call.h>
#include <baton/channel.h>
#include <baton/server.h>
#include <baton/graph.h>
#include <baton/stream.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Generated code states the interface it was made for; a mismatch fails at compile time. */
#define BATON_INTERFACE 2

typedef enum baton_method_flags {
        BATON_CLIENT_STREAMING = 1 << 0,
        BATON_SERVER_STREAMING = 1 << 1,
        BATON_IDEMPOTENT = 1 << 2,      /* idempotency_level = IDEMPOTENT, or NO_SIDE_EFFECTS */
        BATON_NO_SIDE_EFFECTS = 1 << 3, /* idempotency_level = NO_SIDE_EFFECTS */
        BATON_DEPRECATED = 1 << 4,
} baton_method_flags;

/* A typed callback, kept without its type; only the method's own `complete` turns it back. */
typedef void (*baton_callback)(void);

typedef struct baton_method {
        const char *path; /* "/package.Service/Method", as on an HTTP/2 :path */
        uint32_t flags;   /* baton_method_flags */
        const baton_type *input;
        const baton_type *output;
        /* Runs the handler's slot for this method. False when the slot is NULL. request is NULL where the client streams. */
        bool (*dispatch)(const void *handlers, void *context, baton_call *call, const ProtobufCMessage *request);
        /* Runs a typed completion callback. NULL for streaming methods. */
        void (*complete)(baton_callback callback, const baton_status *status, const ProtobufCMessage *reply,
                         void *context);
} baton_method;

/* A .proto file, for reflection. */
typedef struct baton_file {
        const char *name;          /* as protoc names it: "demo/greeter.proto" */
        const uint8_t *descriptor; /* the serialized google.protobuf.FileDescriptorProto, without source locations */
        size_t descriptor_size;
        size_t n_imports;
        const struct baton_file *const *imports;
} baton_file;

typedef struct baton_service {
        const char *name; /* "package.Service" */
        size_t n_methods;
        const baton_method *methods; /* in the order of the .proto */
        const baton_file *file;      /* that defines it */
} baton_service;

/* Registers a service. handlers is the generated table of handlers, context is passed to each of them; both must stay
 * valid as long as the server. Returns 0; -EALREADY when the service is registered; -EBUSY after baton_server_listen;
 * -EINVAL for NULL arguments; baton_error() has the reason. Not safe from two threads at once. */
int baton_server_register(baton_server *server, const baton_service *service, const void *handlers, void *context);

/*
 * Makes a unary call and blocks until its outcome. *reply is set in every case, to NULL only where memory is short: to the reply, or, on
 * failure, to an empty message of the reply's type; release it with baton_release. Encodes request before it waits, and reads
 * it not after returning. Safe from any thread; callers do not wait for each other.
 *
 * Local failures become a status too: INVALID_ARGUMENT (a NULL argument, a string that is not UTF-8, a required field
 * missing; nothing was sent), RESOURCE_EXHAUSTED (message over the limit, no memory), FAILED_PRECONDITION (after fork),
 * UNAVAILABLE (no server, or it died: maybe_executed says whether the handler may have run), DEADLINE_EXCEEDED.
 */
baton_status baton_unary(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                         const ProtobufCMessage **reply, const baton_call_options *options);

/*
 * Starts a unary call that completes on the loop: callback runs exactly once, from dispatch, wait or run of that loop (or
 * from baton_channel_close), never from inside this function. The reply and the status' message live until the callback
 * returns; baton_retain keeps a reply. request may be changed or freed as soon as this returns. Never waits: where there is no
 * connection, or the loop has no lane on it, a short-lived thread of the library connects, and the call is sent after that, in the
 * order of the calls started on that loop; until then a copy of the request is kept, payloads too. Where those that waited find the
 * ring full, the rest are sent as the loop is turned.
 * Returns 0, or a negative errno with the reason in baton_error(), and then callback never runs: -EAGAIN when max_in_flight
 * calls are on their way, or wait for a connection, or the ring is full (dispatch the loop, then try again); -EINVAL for a NULL
 * argument, a missing required field or a string that is not UTF-8; -EMSGSIZE; -ENOMEM; -ECHILD after fork. A server that
 * cannot be reached is no local failure: the callback gets UNAVAILABLE. Safe from any thread.
 */
int baton_unary_async(baton_channel *channel, baton_loop *loop, const baton_method *method,
                      const ProtobufCMessage *request, const baton_call_options *options, baton_callback callback,
                      void *context);

/*
 * Makes a unary call without waiting for it, or for an outcome: service_method_oneway. Waits while the ring to the server is full
 * (back-pressure), until the deadline. 0: it is on its way, and what becomes of it is not told; baton_channel_flush waits until
 * the server took it. Negative errno with the reason in baton_error() where it certainly was not sent: -EINVAL, -EMSGSIZE, -ENOBUFS,
 * -ENOMEM, -ECHILD, -ETIMEDOUT, -ECANCELED, -EACCES where an interceptor refused it, -EPIPE where there is no server. Over
 * transports that know no such calls it is a call whose reply is dropped. Safe from any thread.
 */
int baton_oneway(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                 const baton_call_options *options);

/*
 * Opens a streaming call (see baton/stream.h). request: for methods with a single request, sent at once; NULL otherwise. loop
 * NULL: a blocking stream, and then so is ready. A blocking stream connects where not connected, and waits for that, with
 * wait_for_ready for the server too, and for room to open it. One on a loop never waits: until it is connected, as by
 * baton_unary_async, write and read return -EAGAIN, writes_done is remembered, and `ready` tells when the call has begun or
 * ended. `ready` may run, and close the stream, before this returns on another thread. Returns NULL with the reason in
 * baton_error() for a local failure: a wrong argument, no memory, too many calls in flight, or, on a loop, a ring that is full just
 * now. A server that cannot be reached is no local failure: the stream has ended UNAVAILABLE. Free it with baton_stream_close.
 * Safe from any thread.
 */
baton_stream *baton_stream_open(baton_channel *channel, baton_loop *loop, const baton_method *method,
                                const ProtobufCMessage *request, const baton_call_options *options,
                                baton_stream_ready ready, void *context);

/* The services that a server offers, in the order of their registration; what server reflection tells. Returns how many there are;
 * at most n are written. Safe from any thread once the server listens. */
size_t baton_server_services(const baton_server *server, const baton_service **out, size_t n);

/* A zero-initialised message of the method's reply type in the call's scratch memory, ready to fill; what
 * service_method_new_reply returns. NULL when out of memory. */
ProtobufCMessage *baton_call_new_reply(baton_call *call);

#ifdef __cplusplus
}
#endif
#endif
