/* Blocking calls. */
#include "base/error.h"
#include "core/observed_client.h"
#include "core/retry.h"
#include <errno.h>

enum { ATTEMPTS = 2 };

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
static void attempt(baton_channel *channel, struct caller *caller, const struct patience *patience,
                    struct client_call *call)
{
        for (int i = 0; i < ATTEMPTS; i++) {
                baton_code code = BATON_UNAVAILABLE;
                call->reply->text = NULL;
                if (channel_ready(channel, caller, patience, &code) < 0 ||
                    patience_over(patience, "before the request was sent", &code))
                        fail(call, code);
                else
                        channel->transport->call(caller->lane, call);
                if (call->message || call->code != BATON_UNAVAILABLE || call->maybe_executed)
                        return;
                if (!caller->connection || channel->transport->state(caller->connection) == CONNECTION_UP)
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
                return "it is a streaming method; open a stream";
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

/* A failure before there is a reply: its text is in baton_error(). */
static struct reply_box *unsent(struct client_call *call, baton_code code)
{
        fail(call, code);
        return reply_take(NULL, 0);
}

/* One attempt, on a lane of this thread's own. The reply, even where it is a failure; NULL: no memory. */
static struct reply_box *call_once(baton_channel *channel, const struct patience *patience, struct client_call *call)
{
        baton_code code = BATON_RESOURCE_EXHAUSTED;
        struct caller *caller = channel_lease(channel, patience, &code);
        if (!caller)
                return unsent(call, code);
        struct reply_box *box = reply_take(caller->home, call->max_reply_bytes);
        if (box) {
                call->reply = &box->reply;
                attempt(channel, caller, patience, call);
        }
        channel_give_back(channel, caller);
        return box;
}

/* As call_once, as often as the channel's options have it. */
static struct reply_box *call_again(baton_channel *channel, const struct patience *patience, struct client_call *call)
{
        uint64_t at_ns;
        for (uint32_t n = 1;; n++) {
                struct reply_box *box = call_once(channel, patience, call);
                if (!box || !retry_due(channel, call, n, &at_ns))
                        return box;
                bool goes_on = retry_pause(patience, at_ns);
                reply_drop(box);
                if (goes_on)
                        continue;
                call->code = BATON_CANCELLED;
                error_set(-ECANCELED, "%s: the call was cancelled while it waited for its next attempt", patience->who);
                return reply_take(NULL, 0);
        }
}

static struct reply_box *make(baton_channel *channel, const struct call_terms *terms, struct client_call *call)
{
        return retry_on(channel) ? call_again(channel, &terms->patience, call)
                                 : call_once(channel, &terms->patience, call);
}

static baton_status outcome(struct reply_box *box, const struct client_call *call, const ProtobufCMessage **reply)
{
        if (box)
                return reply_status(box, call, reply);
        error_set(-ENOMEM, "%s: out of memory", call->method->path);
        return fail_early(call->method, BATON_RESOURCE_EXHAUSTED, reply);
}

/* The status is written where the caller wants it, and not copied on the way: that would wait for the stores. */
static baton_status complete(baton_channel *channel, struct call_terms *terms, struct client_call *call,
                             const ProtobufCMessage **reply)
{
        struct reply_box *box = make(channel, terms, call);
        call_terms_deinit(terms);
        return outcome(box, call, reply);
}

/* The same, watched by the channel's observer. */
static baton_status complete_observed(baton_channel *channel, struct call_terms *terms, struct client_call *call,
                                      const ProtobufCMessage **reply)
{
        struct observed observed;
        baton_code code = client_observe(&observed, channel->observer, terms, call->method, call->request);
        call->metadata = terms->metadata;
        baton_status status =
                code ? fail_early(call->method, code, reply) : outcome(make(channel, terms, call), call, reply);
        client_observed(&observed, &status, call);
        call_terms_deinit(terms);
        return status;
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
        struct call_terms terms;
        int error = call_terms_init(&terms, channel, method, options);
        if (error < 0)
                return fail_early(method, error == -EINVAL ? BATON_INVALID_ARGUMENT : BATON_RESOURCE_EXHAUSTED, reply);
        struct client_call call;
        call_terms_apply(&terms, &call, method, request);
        return __builtin_expect(channel->observer != NULL, 0) ? complete_observed(channel, &terms, &call, reply)
                                                              : complete(channel, &terms, &call, reply);
}
