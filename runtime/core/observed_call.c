#include "core/observed_call.h"
#include "base/clock.h"
#include "core/call.h"
#include "core/server.h"

/*
 * Where it stands. A handler that answers before it returns, as most do, needs no read-modify-write: until then its server
 * lives, and the observer with it. What is left behind takes a reference. LEFT and ENDED are exchanged in, so that one of the two
 * sees the other: then that reference is given back.
 */
enum { RUNNING, LEFT, ENDED };

/* In the call's arena. */
struct observed_call {
        struct observed observed;
        atomic_uint state; /* acq_rel: who comes second sees what the first has done */
};

bool call_observe(struct baton_call *call)
{
        struct observer *observer = call->offer->observer;
        struct observed_call *observed = baton_arena_alloc(&call->arena, sizeof *observed);
        if (!observed) {
                call->answered = true;
                call_answer(call, &(struct answer){ .code = BATON_RESOURCE_EXHAUSTED,
                                                    .text = "the server is out of memory",
                                                    .not_run = true });
                return false;
        }
        atomic_init(&observed->state, RUNNING);
        observed->observed.frame.view = (baton_intercept){ .method = call->method->path,
                                                           .call = call,
                                                           .request = call->request,
                                                           .metadata = &call->metadata,
                                                           .deadline_ns = call->deadline_ns };
        const char *text;
        call->observed = observed;
        baton_code code = observed_begin(&observed->observed, observer, call->method, &text);
        if (call->request)
                call_observed_message(call, false);
        if (code != BATON_OK)
                baton_call_fail(call, code, "%s", text);
        return code == BATON_OK && !atomic_load_explicit(&call->answered, memory_order_relaxed);
}

void call_observed_left(struct baton_call *call)
{
        struct observed_call *observed = call->observed;
        struct observer *observer = observed->observed.observer;
        if (atomic_load_explicit(&observed->state, memory_order_acquire) == ENDED)
                return;
        observer_ref(observer);
        if (atomic_exchange_explicit(&observed->state, LEFT, memory_order_acq_rel) == ENDED)
                observer_unref(observer);
}

void call_observed_answered(struct baton_call *call, const struct answer *answer)
{
        const struct answer none = { .code = deadline_passed(call->deadline_ns) ? BATON_DEADLINE_EXCEEDED
                                                                                : BATON_CANCELLED };
        struct observed_call *observed = call->observed;
        struct observer *observer = observed->observed.observer;
        if (!answer)
                answer = &none;
        if (atomic_load_explicit(&observed->state, memory_order_relaxed) == ENDED)
                return;
        if (answer->message)
                call_observed_message(call, true);
        baton_status status = { .code = answer->code,
                                .maybe_executed = true,
                                .message = answer->text ? answer->text : "",
                                .headers = answer->headers,
                                .trailers = answer->trailers };
        observed_end(&observed->observed, &status, &call->traffic);
        /* In its handler, which has not returned then; a callback may run while the handler does on another thread. */
        if (baton_call_current() == call && call_telling() != call)
                atomic_store_explicit(&observed->state, ENDED, memory_order_relaxed);
        else if (atomic_exchange_explicit(&observed->state, ENDED, memory_order_acq_rel) == LEFT)
                observer_unref(observer);
}

void call_observed_message(struct baton_call *call, bool sent)
{
        observed_message(&call->observed->observed, sent);
}

size_t baton_server_counters(baton_server *server, baton_counters *out, size_t n)
{
        if (!server || !server->observer || !server->observer->counters)
                return 0;
        return counters_read(server->observer->counters, out, n);
}
