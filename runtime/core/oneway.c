/* One-way calls, and waiting until the server has taken them. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "core/channel.h"
#include "core/observed_client.h"
#include <errno.h>
#include <stdio.h>

enum { ATTEMPTS = 2 };

/* What baton_oneway returns for a call that ended with this code before it was sent. */
static int errno_of(baton_code code)
{
        switch (code) {
        case BATON_CANCELLED:
                return -ECANCELED;
        case BATON_DEADLINE_EXCEEDED:
                return -ETIMEDOUT;
        case BATON_RESOURCE_EXHAUSTED:
                return -ENOMEM;
        case BATON_PERMISSION_DENIED:
                return -EACCES;
        default:
                return -EPIPE;
        }
}

/* The other way round. */
static baton_code code_of(int error)
{
        switch (error) {
        case -ECANCELED:
                return BATON_CANCELLED;
        case -ETIMEDOUT:
                return BATON_DEADLINE_EXCEEDED;
        case -EPIPE:
                return BATON_UNAVAILABLE;
        case -ENOSYS:
                return BATON_UNIMPLEMENTED;
        case -EACCES:
                return BATON_PERMISSION_DENIED;
        case -ENOMEM:
        case -ENOBUFS:
        case -EMSGSIZE:
                return BATON_RESOURCE_EXHAUSTED;
        default:
                return error < 0 ? BATON_INVALID_ARGUMENT : BATON_OK;
        }
}

/* Over a transport that knows no one-way calls: a call whose outcome nobody hears of. */
static int call_and_forget(baton_channel *channel, struct caller *caller, struct client_call *call)
{
        struct reply_box *box = reply_take(caller->home, call->max_reply_bytes);
        if (!box)
                return error_set(-ENOMEM, "%s: out of memory", call->method->path);
        call->reply = &box->reply;
        channel->transport->call(caller->lane, call);
        int error = call->message || call->maybe_executed ? 0 : errno_of(call->code);
        if (error < 0 && box->reply.text)
                error_set(error, "%s", box->reply.text);
        reply_drop(box);
        return error;
}

/* As unary.c's attempt. */
static int send(baton_channel *channel, struct caller *caller, const struct patience *patience,
                struct client_call *call)
{
        int error = -EPIPE;
        for (int i = 0; i < ATTEMPTS && error == -EPIPE; i++) {
                baton_code code;
                if (channel_ready(channel, caller, patience, &code) < 0 ||
                    patience_over(patience, "before the request was sent", &code))
                        return errno_of(code);
                if (channel->transport->oneway)
                        error = channel->transport->oneway(caller->lane, call);
                else
                        error = call_and_forget(channel, caller, call);
        }
        if (error >= 0)
                atomic_store_explicit(&caller->unflushed, true, memory_order_relaxed);
        return error;
}

static int make(baton_channel *channel, const struct call_terms *terms, struct client_call *call)
{
        baton_code code;
        struct caller *caller = channel_lease(channel, &terms->patience, &code);
        int error = caller ? send(channel, caller, &terms->patience, call) : errno_of(code);
        if (caller)
                channel_give_back(channel, caller);
        return error;
}

/* The same, watched by the channel's observer; what that refused is -EACCES. */
static int make_observed(baton_channel *channel, struct call_terms *terms, struct client_call *call)
{
        struct observed observed;
        baton_code refused = client_observe(&observed, channel->observer, terms, call->method, call->request);
        call->metadata = terms->metadata;
        int error = refused ? -EACCES : make(channel, terms, call);
        char text[512] = "";
        if (error < 0)
                snprintf(text, sizeof text, "%s", baton_error());
        client_observed(&observed,
                        &(baton_status){ .code = refused ? refused : code_of(error),
                                         .message = text,
                                         .maybe_executed = error >= 0 },
                        call);
        return error < 0 ? error_set(error, "%s", text) : 0;
}

int baton_oneway(baton_channel *channel, const baton_method *method, const ProtobufCMessage *request,
                 const baton_call_options *options)
{
        const char *wrong = method ? channel_wrong_call(channel, method, request) : "the method is NULL";
        if (wrong)
                return error_set(-EINVAL, "%s: %s", method ? method->path : "baton_oneway", wrong);
        if (!channel_usable(channel))
                return -ECHILD;
        struct call_terms terms;
        int error = call_terms_init(&terms, channel, method, options);
        if (error < 0)
                return error;
        struct client_call call;
        call_terms_apply(&terms, &call, method, request);
        error = channel->observer ? make_observed(channel, &terms, &call) : make(channel, &terms, &call);
        call_terms_deinit(&terms);
        /* What is wrong with the request is told in words. */
        return error == -EILSEQ || error == -ENODATA || error == -ELOOP || error == -EBADMSG ? -EINVAL : error;
}

/* Whether a flush has to do with this caller. Relaxed: the calls that it waits for were made before. */
static bool has_unflushed(const struct caller *caller)
{
        return atomic_load_explicit(&caller->unflushed, memory_order_relaxed) ||
               atomic_load_explicit(&caller->lost, memory_order_relaxed);
}

/* The caller is leased. */
static int flush(baton_channel *channel, struct caller *caller, uint64_t deadline_ns)
{
        int error = 0;
        if (channel->transport->flush && atomic_load_explicit(&caller->unflushed, memory_order_relaxed))
                error = channel->transport->flush(caller->lane, deadline_ns);
        if (error == -ETIMEDOUT)
                return error;
        atomic_store_explicit(&caller->unflushed, false, memory_order_relaxed);
        if (atomic_exchange_explicit(&caller->lost, false, memory_order_relaxed))
                error = error_set(-EPIPE, "the server at %s is gone, and with it the one-way calls it had not taken",
                                  channel->address);
        return error;
}

int baton_channel_flush(baton_channel *channel, int timeout_ms)
{
        if (!channel)
                return error_set(-EINVAL, "baton_channel_flush: the channel is NULL");
        if (!channel_usable(channel))
                return -ECHILD;
        uint64_t deadline_ns = timeout_ms < 0 ? 0 : clock_now_ns() + (uint64_t)timeout_ms * 1000000u;
        int result = 0;
        uint32_t n = atomic_load_explicit(&channel->n_callers, memory_order_acquire); /* pairs with add_caller */
        for (uint32_t i = 0; i < n && result != -ETIMEDOUT; i++) {
                struct caller *caller = channel->callers[i];
                if (!has_unflushed(caller))
                        continue;
                if (!channel_lease_this(channel, caller, deadline_ns))
                        return error_set(-ETIMEDOUT, "baton_channel_flush: a call of another thread is in progress");
                int error = flush(channel, caller, deadline_ns);
                result = error < 0 ? error : result;
                channel_give_back(channel, caller);
        }
        return result;
}
