/*
 * One call: the client's options for it, and the server's hold on it.
 */
#ifndef BATON_CALL_H
#define BATON_CALL_H

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

/* Options of one call; zero-initialised means the defaults, and NULL means the same. */
typedef struct baton_call_options {
        uint32_t timeout_ms;  /* from now, milliseconds; 0: none */
        uint64_t deadline_ns; /* absolute, CLOCK_MONOTONIC nanoseconds; 0: none. The earlier of the two counts. */
} baton_call_options;

/* A received reply, from a blocking call or kept from a callback with baton_retain, is read-only and belongs to
 * its holders: each baton_retain owes one baton_release, a blocking call owes one for the reply it set. The last
 * release returns borrowed payload memory to the peer. NULL is allowed. Only for replies: a request belongs to its
 * call (see baton_call_retain). Safe from any thread; may outlive the channel. */
const void *baton_retain(const void *reply);
void baton_release(const void *reply);

/* ---- server side ------------------------------------------------------------------------------------------ */

/* A call being served. Valid while the handler runs, and longer for whoever retains it. All functions below are
 * safe from any thread; two threads replying to one call are ordered by the library: the second gets -EALREADY. */
typedef struct baton_call baton_call;

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

/* The deadline, CLOCK_MONOTONIC nanoseconds; 0 when the client set none. */
uint64_t baton_call_deadline_ns(const baton_call *call);

/* Whether nobody waits for the answer any more: the client died, closed, or its deadline passed. */
bool baton_call_cancelled(const baton_call *call);

/* The method's full name, "/package.Service/Method". Lives as long as the server. */
const char *baton_call_method(const baton_call *call);

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
