/*
 * Interceptors: code that runs around every call of a channel or of a server, for logging, authentication, metrics, tracing.
 *
 * `begin` runs before the call is sent, or before the handler; several run in the order of their array, and `end` in the
 * reverse. Each interceptor whose begin ran for a call has its end run once, with the outcome, also when it refused the call itself,
 * or a later one did. Where there are none, they cost nothing.
 */
#ifndef BATON_INTERCEPTOR_H
#define BATON_INTERCEPTOR_H

#include <baton/call.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call as an interceptor sees it. All of it is valid during begin and end only. Whoever times calls, keeps the time when it began in
 * state. */
typedef struct baton_intercept {
        const char *method;              /* "/package.Service/Method" */
        bool client;                     /* on the client's side */
        baton_call *call;                /* server: the call. Client: NULL */
        const ProtobufCMessage *request; /* NULL where requests are streamed, and at a client's end */
        const baton_metadata
                *metadata;    /* of the request, with what was added so far; never NULL; none at a client's end */
        uint64_t deadline_ns; /* 0: none */
        void *state;          /* this interceptor's own for this call: set it in begin, find it in end */
        struct baton_intercept_private *inner;
} baton_intercept;

typedef struct baton_interceptor {
        /* Returns BATON_OK to go on. Any other code refuses the call: its outcome has that code, and the text of
         * baton_intercept_refuse if that was called. NULL: goes on. Client: the calling thread. Server: the worker or the
         * executor's thread. Must be thread-safe. */
        baton_code (*begin)(baton_intercept *intercept, void *context);
        /* The call has ended: the server's, after its answer was sent; a client's stream, when it is finished, or else closed.
         * NULL: not told. Any thread. */
        void (*end)(baton_intercept *intercept, const baton_status *status, void *context);
        void *context;
} baton_interceptor;

/* From begin, on the client: adds metadata to the request; copies it. 0, or -EINVAL for an illegal key or value, -EMSGSIZE,
 * -ENOMEM. On the server use baton_call_add_header and baton_call_add_trailer. */
int baton_intercept_add(baton_intercept *intercept, const char *key, const void *value, size_t size);

/* From begin: sets the text of a refusal (printf-style; shortened to 1 KiB). Returns code, so that begin can return it. */
baton_code baton_intercept_refuse(baton_intercept *intercept, baton_code code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif
