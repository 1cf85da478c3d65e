/* What few calls have: metadata of the answer, callbacks, threads that wait. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/futex.h"
#include "core/call.h"
#include "core/trace.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        SPIN_NS = 50000,
        PATIENCE_NS = 2000,
        POLLS_PER_CLOCK = 32,
        LONGEST_WAIT_NS = 500000000,
};

/* ---- life ------------------------------------------------------------------------------------------------- */

struct call_extra *call_extra(struct baton_call *call)
{
        struct call_extra *extra = call_extra_if(call);
        if (extra)
                return extra;
        extra = calloc(1, sizeof *extra);
        if (!extra) {
                error_set(-ENOMEM, "%s: out of memory", call->method->path);
                return NULL;
        }
        pthread_mutex_init(&extra->lock, NULL);
        spin_init(&extra->spin, SPIN_NS, PATIENCE_NS);
        struct call_extra *other = NULL;
        /* release pairs with the acquire in call_extra_if */
        if (atomic_compare_exchange_strong_explicit(&call->extra, &other, extra, memory_order_acq_rel,
                                                    memory_order_acquire)) {
                atomic_thread_fence(memory_order_seq_cst); /* pairs with the one in call_cancel */
                return extra;
        }
        call_extra_free(extra); /* another thread was faster */
        return other;
}

void call_extra_free(struct call_extra *extra)
{
        metadata_list_deinit(&extra->headers);
        metadata_list_deinit(&extra->trailers);
        if (extra->current)
                reply_drop(extra->current);
        if (extra->spare)
                reply_drop(extra->spare);
        pthread_mutex_destroy(&extra->lock);
        free(extra);
}

/* ---- waiting ---------------------------------------------------------------------------------------------- */

void call_happened(struct call_extra *extra)
{
        /* Dekker, with call_await: either this sees the waiting thread, or that sees the new number. */
        atomic_fetch_add_explicit(&extra->events, 1, memory_order_seq_cst);
        if (atomic_load_explicit(&extra->waiting, memory_order_seq_cst))
                futex_wake_all(&extra->events);
}

static bool spin_for(struct call_extra *extra, uint32_t seen, uint64_t deadline_ns, struct spin_wait *wait)
{
        for (uint32_t i = 1;; i++) {
                if (atomic_load_explicit(&extra->events, memory_order_acquire) != seen) {
                        spin_hit(&extra->spin, wait);
                        return true;
                }
                spin_relax();
                if (i % POLLS_PER_CLOCK)
                        continue;
                uint64_t now = clock_now_ns();
                if ((deadline_ns && now >= deadline_ns) || !spin_again(&extra->spin, wait, now))
                        return false;
        }
}

void call_await(struct call_extra *extra, uint32_t seen, uint64_t deadline_ns)
{
        struct spin_wait wait = { 0 };
        if (extra->spin.max_ns && spin_for(extra, seen, deadline_ns, &wait))
                return;
        uint64_t start = wait.began_ns ? wait.began_ns : clock_now_ns();
        atomic_fetch_add_explicit(&extra->waiting, 1, memory_order_seq_cst);
        while (atomic_load_explicit(&extra->events, memory_order_seq_cst) == seen && !deadline_passed(deadline_ns)) {
                uint64_t until = deadline_earlier(deadline_ns, clock_now_ns() + LONGEST_WAIT_NS);
                struct timespec when = clock_timespec(until);
                futex_wait(&extra->events, seen, &when);
        }
        atomic_fetch_sub_explicit(&extra->waiting, 1, memory_order_relaxed);
        spin_slept(&extra->spin, clock_now_ns() - start);
}

/* ---- metadata --------------------------------------------------------------------------------------------- */

const baton_metadata *baton_call_metadata(const baton_call *call)
{
        static const baton_metadata none;
        return call ? &call->metadata : &none;
}

const char *baton_call_traceparent(const baton_call *call)
{
        const char *trace = call ? baton_metadata_text(&call->metadata, "traceparent") : NULL;
        return trace_valid(trace) ? trace : "";
}

const baton_metadata *call_take_headers(struct call_extra *extra)
{
        pthread_mutex_lock(&extra->lock);
        bool send = !extra->headers_sent && extra->headers.metadata.n;
        extra->headers_sent = true;
        pthread_mutex_unlock(&extra->lock);
        return send ? &extra->headers.metadata : NULL;
}

static int add(baton_call *call, bool header, const char *key, const void *value, size_t size)
{
        const char *name = header ? "baton_call_add_header" : "baton_call_add_trailer";
        if (!call || !key || (!value && size))
                return error_set(-EINVAL, "%s: the %s is NULL", name, !call ? "call" : !key ? "key" : "value");
        struct call_extra *extra = call_extra(call);
        if (!extra)
                return -ENOMEM;
        pthread_mutex_lock(&extra->lock);
        int error;
        if (extra->sealed || atomic_load_explicit(&call->answered, memory_order_relaxed))
                error = error_set(-EALREADY, "%s: the call was answered before", call->method->path);
        else if (header && extra->headers_sent)
                error = error_set(-EALREADY, "%s: the headers were sent before", call->method->path);
        else
                error = metadata_list_add(header ? &extra->headers : &extra->trailers, key, value, size,
                                          call->max_metadata_bytes, false);
        pthread_mutex_unlock(&extra->lock);
        return error;
}

int baton_call_add_header(baton_call *call, const char *key, const void *value, size_t size)
{
        return add(call, true, key, value, size);
}

int baton_call_add_trailer(baton_call *call, const char *key, const void *value, size_t size)
{
        return add(call, false, key, value, size);
}

int baton_call_send_headers(baton_call *call)
{
        if (!call)
                return error_set(-EINVAL, "baton_call_send_headers: the call is NULL");
        struct call_extra *extra = call_extra(call);
        if (!extra)
                return -ENOMEM;
        pthread_mutex_lock(&extra->lock);
        bool late = extra->sealed || extra->headers_sent || atomic_load_explicit(&call->answered, memory_order_relaxed);
        extra->headers_sent = true;
        pthread_mutex_unlock(&extra->lock);
        if (late)
                return error_set(-EALREADY, "%s: the headers were sent before", call->method->path);
        return call->oneway ? 0 : call->ops->send(call, NULL, &extra->headers.metadata);
}

/* ---- callbacks -------------------------------------------------------------------------------------------- */

/* The call of which this thread runs a callback: mostly a worker, but also one that set the callback. */
static _Thread_local const struct baton_call *telling;

const struct baton_call *call_telling(void)
{
        return telling;
}

bool call_may_wait(const struct baton_call *call)
{
        return telling != call && !loop_inside();
}

static void tell(struct baton_call *call, void (*callback)(baton_call *call, void *context), void *context)
{
        const struct baton_call *outer_telling = telling;
        baton_call *outer = call_current;
        telling = call_current = call;
        callback(call, context);
        call_current = outer;
        telling = outer_telling;
}

/* ---- cancellation ----------------------------------------------------------------------------------------- */

/* The callback, where it is due: once, after the call was cancelled. */
static void tell_cancelled(struct baton_call *call, struct call_extra *extra)
{
        pthread_mutex_lock(&extra->lock);
        void (*cancelled)(baton_call *, void *) = extra->cancelled;
        void *context = extra->cancelled_context;
        bool due = cancelled && atomic_load_explicit(&call->cancelled, memory_order_relaxed) &&
                   !atomic_load_explicit(&call->answered, memory_order_relaxed);
        if (due)
                extra->cancelled = NULL;
        pthread_mutex_unlock(&extra->lock);
        if (due)
                tell(call, cancelled, context);
}

void call_cancel(struct baton_call *call)
{
        atomic_store_explicit(&call->cancelled, true, memory_order_seq_cst);
        /* Dekker: this sees the extra of a thread that is about to wait, or that thread sees `cancelled`. */
        atomic_thread_fence(memory_order_seq_cst);
        struct call_extra *extra = call_extra_if(call);
        if (!extra)
                return;
        tell_cancelled(call, extra);
        call_ready(call);
}

int baton_call_on_cancel(baton_call *call, void (*cancelled)(baton_call *call, void *context), void *context)
{
        struct call_extra *extra = call ? call_extra(call) : NULL;
        if (!extra)
                return call ? -ENOMEM : error_set(-EINVAL, "baton_call_on_cancel: the call is NULL");
        pthread_mutex_lock(&extra->lock);
        extra->cancelled = cancelled;
        extra->cancelled_context = context;
        pthread_mutex_unlock(&extra->lock);
        call_ref(call); /* the callback may release it */
        tell_cancelled(call, extra);
        call_unref(call);
        return 0;
}

bool baton_call_cancelled(const baton_call *call)
{
        return !call || atomic_load_explicit(&call->cancelled, memory_order_relaxed) ||
               call->ops->gone((baton_call *)call) || deadline_passed(call->deadline_ns);
}

/* ---- readiness -------------------------------------------------------------------------------------------- */

/* Runs the callback on one thread at a time: another one that comes meanwhile has it run again. */
static void tell_ready(struct baton_call *call, struct call_extra *extra)
{
        pthread_mutex_lock(&extra->lock);
        if (extra->telling != TOLD) {
                extra->telling = TELL_AGAIN;
        } else {
                do {
                        void (*ready)(baton_call *, void *) = extra->ready;
                        void *context = extra->ready_context;
                        if (!ready || atomic_load_explicit(&call->answered, memory_order_relaxed))
                                break;
                        extra->telling = TELLING;
                        pthread_mutex_unlock(&extra->lock);
                        tell(call, ready, context);
                        pthread_mutex_lock(&extra->lock);
                } while (extra->telling == TELL_AGAIN);
                extra->telling = TOLD;
        }
        pthread_mutex_unlock(&extra->lock);
}

void call_ready(struct baton_call *call)
{
        struct call_extra *extra = call_extra_if(call);
        if (!extra)
                return;
        call_happened(extra);
        tell_ready(call, extra);
}

int baton_call_on_ready(baton_call *call, void (*ready)(baton_call *call, void *context), void *context)
{
        struct call_extra *extra = call ? call_extra(call) : NULL;
        if (!extra)
                return call ? -ENOMEM : error_set(-EINVAL, "baton_call_on_ready: the call is NULL");
        pthread_mutex_lock(&extra->lock);
        extra->ready = ready;
        extra->ready_context = context;
        pthread_mutex_unlock(&extra->lock);
        call_ref(call); /* the callback may release it */
        tell_ready(call, extra);
        call_unref(call);
        return 0;
}
