/* Streams, server side. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "codec/type.h"
#include "core/call.h"
#include "core/observed_call.h"
#include <errno.h>

static const char nothing_waits[] =
        "inside a loop, as on a server's worker, nothing waits: see baton_call_on_ready, or serve with "
        "baton_server_options.handler_threads";

static int answered(const struct baton_call *call)
{
        return error_set(-EALREADY, "%s: the call was answered before", call->method->path);
}

static int cancelled(const struct baton_call *call)
{
        return error_set(-ECANCELED, "%s: the client has cancelled the call, or is gone", call->method->path);
}

static bool is_answered(const struct baton_call *call)
{
        return atomic_load_explicit(&call->answered, memory_order_acquire);
}

static bool is_cancelled(const struct baton_call *call)
{
        return atomic_load_explicit(&call->cancelled, memory_order_acquire);
}

/* ---- receiving -------------------------------------------------------------------------------------------- */

void call_keep_current(struct baton_call *call, struct call_extra *extra)
{
        struct reply_box *last = extra->current;
        if (last && atomic_load_explicit(&last->holds, memory_order_acquire) > 1)
                call->ops->keep(call, &last->reply, reply_bytes(last));
}

/* The message before this one goes, unless somebody has retained it. */
static void replace_current(struct baton_call *call, struct call_extra *extra, struct reply_box *next)
{
        struct reply_box *last = extra->current;
        call_keep_current(call, extra);
        extra->current = next;
        extra->spare = last ? reply_renew(last) : NULL;
}

/* As ops->recv; waits where it may. */
static int receive(struct baton_call *call, struct call_extra *extra, struct reply_box *box,
                   const ProtobufCMessage **message)
{
        for (;;) {
                uint32_t seen = call_events(extra);
                if (is_cancelled(call))
                        return -EPIPE;
                int n = call->ops->recv(call, &box->reply, message);
                if (n != -EAGAIN || !call_may_wait(call))
                        return n;
                if (is_answered(call))
                        return -EALREADY;
                call_await(extra, seen, call->deadline_ns);
                if (call->ops->gone(call) || deadline_passed(call->deadline_ns))
                        return -EPIPE;
        }
}

static int received(struct baton_call *call, int n)
{
        switch (n) {
        case 0:
        case 1:
                return n;
        case -EAGAIN:
                return error_set(n, "%s: no message has come yet; %s", call->method->path, nothing_waits);
        case -EPIPE:
                return cancelled(call);
        case -EALREADY:
                return answered(call);
        default:
                call_fail_with_error(call, n == -ENOMEM || n == -EMSGSIZE ? BATON_RESOURCE_EXHAUSTED
                                                                          : BATON_INVALID_ARGUMENT);
                return -EBADMSG;
        }
}

static const char *wrong_recv(const baton_call *call, const ProtobufCMessage *const *message)
{
        if (!call)
                return "the call is NULL";
        if (!message)
                return "the place for the message is NULL";
        if (!(call->method->flags & BATON_CLIENT_STREAMING))
                return "the method has a single request, which its handler is given";
        return NULL;
}

int baton_call_recv(baton_call *call, const ProtobufCMessage **message)
{
        const char *wrong = wrong_recv(call, message);
        if (message)
                *message = NULL;
        if (wrong)
                return error_set(-EINVAL, "baton_call_recv: %s", wrong);
        if (is_answered(call))
                return answered(call);
        struct call_extra *extra = call_extra(call);
        struct reply_box *box = extra ? extra->spare : NULL;
        if (extra && !box)
                box = reply_take(NULL, call->max_message_bytes);
        if (!box)
                return error_set(-ENOMEM, "%s: no memory to receive a message", call->method->path);
        int n = receive(call, extra, box, message);
        if (n > 0 && call->observed)
                call_observed_message(call, false);
        if (n > 0)
                replace_current(call, extra, box);
        else
                extra->spare = reply_renew(box);
        return received(call, n);
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

static const char *wrong_send(const baton_call *call, const ProtobufCMessage *message)
{
        if (!call)
                return "the call is NULL";
        if (!message)
                return "the message is NULL";
        if (!(call->method->flags & BATON_SERVER_STREAMING))
                return "the method has a single reply: use baton_call_reply";
        if (!type_matches(message, call->method->output->descriptor))
                return "the message is not of the method's type; is it initialised with its __INIT?";
        return NULL;
}

static int send_or_wait(struct baton_call *call, const ProtobufCMessage *message)
{
        struct call_extra *extra = call_extra_if(call);
        const baton_metadata *headers = extra ? call_take_headers(extra) : NULL;
        for (;;) {
                uint32_t seen = extra ? call_events(extra) : 0;
                if (is_cancelled(call))
                        return -EPIPE;
                int error = call->ops->send(call, message, headers);
                headers = NULL;
                if (error != -EAGAIN || !call_may_wait(call))
                        return error;
                if (!extra) { /* look again, now that whatever happens is counted */
                        extra = call_extra(call);
                        if (!extra)
                                return -ENOMEM;
                        continue;
                }
                call_await(extra, seen, call->deadline_ns);
                if (call->ops->gone(call) || deadline_passed(call->deadline_ns))
                        return -EPIPE;
        }
}

int baton_call_send(baton_call *call, const ProtobufCMessage *message)
{
        const char *wrong = wrong_send(call, message);
        if (wrong)
                return error_set(-EINVAL, "%s: %s", call ? call->method->path : "baton_call_send", wrong);
        if (is_answered(call))
                return answered(call);
        int error = send_or_wait(call, message);
        if (error >= 0 && call->observed)
                call_observed_message(call, true);
        if (error == -EAGAIN)
                return error_set(error, "%s: the client has not read enough of the earlier messages; %s",
                                 call->method->path, nothing_waits);
        if (error == -EPIPE || error == -ESHUTDOWN)
                return is_answered(call) ? answered(call) : cancelled(call);
        return error == -EILSEQ || error == -ENODATA || error == -ELOOP ? -EBADMSG : error;
}

int baton_call_end(baton_call *call)
{
        if (!call)
                return error_set(-EINVAL, "baton_call_end: the call is NULL");
        if (!(call->method->flags & BATON_SERVER_STREAMING))
                return error_set(-EINVAL, "%s: a reply is due: use baton_call_reply", call->method->path);
        return call_answer_ok(call, NULL);
}
