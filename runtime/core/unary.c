#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "core/channel.h"
#include <errno.h>
#include <stdlib.h>

enum { ATTEMPTS = 2 };

void channel_fill_call(const baton_channel *channel, struct client_call *call, const baton_method *method,
                       const ProtobufCMessage *request, uint64_t deadline_ns)
{
        *call = (struct client_call){ .method = method,
                                      .request = request,
                                      .deadline_ns = deadline_ns,
                                      .max_request_bytes = channel->options.max_message_bytes,
                                      .max_reply_bytes = channel->options.max_message_bytes };
}

static void fail(struct client_call *call, baton_code code)
{
        call->message = NULL;
        call->code = code;
        call->maybe_executed = false;
}

/*
 * Makes the call on a leased caller. Where the connection turns out dead before the server took the request, it makes it
 * once more on a new one: the server restarted since the last call, which is no failure of this one.
 */
static void attempt(baton_channel *channel, struct caller *caller, struct client_call *call)
{
        for (int i = 0; i < ATTEMPTS; i++) {
                baton_code code = BATON_UNAVAILABLE;
                call->reply->text = NULL;
                if (channel_ready(channel, caller, call->deadline_ns, false, &code) < 0)
                        fail(call, code);
                else
                        channel->transport->call(caller->lane, call);
                bool lost = caller->connection && channel->transport->state(caller->connection) == CONNECTION_DOWN;
                if (call->message || call->code != BATON_UNAVAILABLE || call->maybe_executed || !lost)
                        return;
        }
}

const char *channel_wrong_call(const baton_channel *channel, const baton_method *method,
                               const ProtobufCMessage *request)
{
        if (!channel)
                return "the channel is NULL; did baton_channel_open fail? See baton_error()";
        if (!request)
                return "the request is NULL";
        if (method->flags & (BATON_CLIENT_STREAMING | BATON_SERVER_STREAMING))
                return "it is a streaming method, which this version does not call";
        return NULL;
}

/* A failure before there is a caller: its reply belongs to no home. */
static baton_status fail_early(const baton_method *method, baton_code code, const ProtobufCMessage **reply)
{
        struct client_call call = { .method = method, .code = code };
        struct reply_box *box = reply_take(NULL, 0);
        if (box)
                return reply_status(box, &call, reply);
        *reply = NULL;
        return (baton_status){ .code = BATON_RESOURCE_EXHAUSTED, .message = "out of memory" };
}

static baton_status call_with(baton_channel *channel, struct caller *caller, struct client_call *call,
                              const ProtobufCMessage **reply)
{
        struct reply_box *box = reply_take(caller->home, call->max_reply_bytes);
        if (!box) {
                error_set(-ENOMEM, "%s: out of memory", call->method->path);
                return fail_early(call->method, BATON_RESOURCE_EXHAUSTED, reply);
        }
        call->reply = &box->reply;
        attempt(channel, caller, call);
        return reply_status(box, call, reply);
}

baton_status baton_unary(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                         const ProtobufCMessage **reply, const baton_call_options *options)
{
        if (reply)
                *reply = NULL;
        if (!method || !reply)
                return (baton_status){ .code = BATON_INVALID_ARGUMENT,
                                       .message = !method ? "the method is NULL" : "the place for the reply is NULL" };
        const char *wrong = channel_wrong_call(channel, method, request);
        if (wrong) {
                error_set(-EINVAL, "%s: %s", method->path, wrong);
                return fail_early(method, BATON_INVALID_ARGUMENT, reply);
        }
        if (!channel_usable(channel))
                return fail_early(method, BATON_FAILED_PRECONDITION, reply);
        struct client_call call;
        channel_fill_call(channel, &call, method, request, channel_deadline(options));
        struct caller *caller = channel_lease(channel, call.deadline_ns);
        if (!caller) {
                bool late = deadline_passed(call.deadline_ns);
                if (late)
                        error_set(-EBUSY,
                                  "%s: %d calls of other threads are in progress, and none ended before the deadline",
                                  method->path, CALLERS);
                else
                        error_set(-ENOMEM, "%s: out of memory", method->path);
                return fail_early(method, late ? BATON_DEADLINE_EXCEEDED : BATON_RESOURCE_EXHAUSTED, reply);
        }
        baton_status status = call_with(channel, caller, &call, reply);
        channel_give_back(channel, caller);
        return status;
}
