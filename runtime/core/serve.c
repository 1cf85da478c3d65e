/* Running handlers. */
#include "base/clock.h"
#include "core/call.h"
#include "core/executor.h"
#include "core/observed_call.h"
#include "core/server.h"

/* A handler may turn a loop that runs further ones: current goes back to the outer call. */
static void run_handler(struct baton_call *call)
{
        const struct offer *offer = call->offer;
        const baton_method *method = offer->method;
        if (__builtin_expect(offer->observer != NULL, 0) && !call_observe(call)) {
                baton_call_release(call);
                return;
        }
        baton_call *outer = call_current;
        call_current = call;
        if (!method->dispatch(offer->handlers, offer->context, call, call->request))
                baton_call_fail(call, BATON_UNIMPLEMENTED, "%s has no handler on this server", method->path);
        call_current = outer;
        if (__builtin_expect(call->observed != NULL, 0))
                call_observed_left(call);
        baton_call_release(call);
}

void serve_inline(struct server_sink *sink, struct baton_call *call)
{
        (void)sink;
        run_handler(call);
}

/* ---- elsewhere -------------------------------------------------------------------------------------------- */

void serve_elsewhere(struct server_sink *sink, struct baton_call *call)
{
        executor_submit(container_of(sink, baton_server, sink)->executor, call);
}

void serve_not(struct baton_call *call, baton_code code, const char *text)
{
        /* Not as a handler's answer: there was none. A client that is gone, or has given up, does not hear of it. */
        if (!atomic_exchange_explicit(&call->answered, true, memory_order_acq_rel))
                call->ops->answer(call, &(struct answer){ .code = code, .text = text, .not_run = true });
        baton_call_release(call);
}

void serve_late(struct baton_call *call)
{
        if (deadline_passed(call->deadline_ns))
                serve_not(call, BATON_DEADLINE_EXCEEDED, "the deadline passed before the call began");
        else if (call->ops->gone(call))
                serve_not(call, BATON_CANCELLED, "the client gave the call up before it began");
        else
                run_handler(call);
}
