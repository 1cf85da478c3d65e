/* A call being served: what call.c, call_extra.c, call_stream.c and the server share. */
#ifndef CORE_CALL_H
#define CORE_CALL_H

#include "base/spin.h"
#include "core/reply.h"
#include "transport/metadata.h"
#include "transport/transport.h"
#include <pthread.h>

/* What few calls have: metadata of the answer, callbacks, a stream's reader. Made when first needed, freed with the call. */
struct call_extra {
        pthread_mutex_t lock; /* all but what is said to be somebody's */
        struct metadata_list headers;
        struct metadata_list trailers;
        bool headers_sent;
        bool sealed; /* the answer is on its way: neither list changes any more */
        void (*ready)(baton_call *call, void *context);
        void *ready_context;
        enum { TOLD, TELLING, TELL_AGAIN } telling; /* some thread runs `ready` */
        void (*cancelled)(baton_call *call, void *context);
        void *cancelled_context;
        _Atomic uint32_t events;   /* counts what a waiting thread waits for; a futex */
        atomic_uint waiting;       /* threads that do */
        struct spin spin;          /* the waiting reader's or writer's, as they are mostly one */
        struct reply_box *current; /* the reader's: the message it received last */
        struct reply_box *spare;   /* and a fresh one for the next; NULL: none */
};

/* The sink's init, unref, ready and cancel. */
void call_init(struct baton_call *call, uint32_t memory);
void call_unref(struct baton_call *call);
void call_ready(struct baton_call *call);
void call_cancel(struct baton_call *call);

/* The call whose handler or callback runs on this thread. Reached with each call: from a shared library the default model of
 * thread-local memory costs a function call. */
extern _Thread_local baton_call *call_current __attribute__((tls_model("initial-exec")));

/* ---- call_extra.c ----------------------------------------------------------------------------------------- */

/* Makes it where there is none. NULL: out of memory, reason set. */
struct call_extra *call_extra(struct baton_call *call);

/* That there is; NULL: none. */
static inline struct call_extra *call_extra_if(const struct baton_call *call)
{
        return atomic_load_explicit(&((struct baton_call *)call)->extra, memory_order_acquire);
}

void call_extra_free(struct call_extra *extra);

/* The headers, where there are some that were not sent yet, which from now on count as sent; NULL: none. */
const baton_metadata *call_take_headers(struct call_extra *extra);

/* The call of which this thread runs `ready` or `cancelled`; NULL: none. */
const struct baton_call *call_telling(void);

/* Whether this thread may wait for the client: neither inside a loop nor inside the call's callbacks. */
bool call_may_wait(const struct baton_call *call);

/* Something happened that a thread may wait for. */
void call_happened(struct call_extra *extra);

/* The number of such happenings so far. To be read before looking whether to wait. */
static inline uint32_t call_events(const struct call_extra *extra)
{
        return atomic_load_explicit(&((struct call_extra *)extra)->events, memory_order_seq_cst);
}

/* Waits until there were more than `seen`, or until the deadline. */
void call_await(struct call_extra *extra, uint32_t seen, uint64_t deadline_ns);

/* ---- call_stream.c ---------------------------------------------------------------------------------------- */

/* The message that was received last, where somebody has retained it, counts against the connection. */
void call_keep_current(struct baton_call *call, struct call_extra *extra);

/* ---- call.c ----------------------------------------------------------------------------------------------- */

/* Fails the call for a reason that is in baton_error(). */
void call_fail_with_error(struct baton_call *call, baton_code code);

/* Ends the call, as baton_call_reply does. message NULL: a stream ends with OK. */
int call_answer_ok(struct baton_call *call, const ProtobufCMessage *message);

#endif
