#define _GNU_SOURCE
#include "base/error.h"
#include "core/async_lanes.h"
#include <errno.h>

/* ---- outcomes; on the loop's thread ------------------------------------------------------------------------ */

static void done(struct client_call *call)
{
        struct reply_box *box = container_of(call, struct reply_box, call);
        const ProtobufCMessage *message;
        baton_status status = reply_status(box, call, &message);
        call->method->complete(box->callback, &status, message, box->context);
        reply_drop(box);
}

static void deliver_early(struct loop_task *task)
{
        struct reply_box *box = container_of(task, struct reply_box, task);
        async_delivered(box);
        done(&box->call);
}

/* ---- starting ---------------------------------------------------------------------------------------------- */

/* 0 or a negative errno; the lock is held where there is an entry. *early: the call, where it has ended at once. */
static int start(baton_channel *channel, struct channel_loop *entry, struct reply_box *box, struct reply_box **early)
{
        box->call.reply = &box->reply;
        box->call.done = done;
        int started = entry ? channel->transport->async_start(entry->lane, &box->call) : 1;
        if (started > 0)
                *early = box;
        else if (started < 0)
                reply_drop(box);
        /* What is wrong with the request is told in words. */
        if (started == -EILSEQ || started == -ENODATA || started == -ELOOP)
                return -EINVAL;
        return started < 0 ? started : 0;
}

/* What baton_unary_async was given. */
struct async_call {
        baton_channel *channel;
        baton_loop *loop;
        const baton_method *method;
        const ProtobufCMessage *request;
        uint64_t deadline_ns;
        baton_callback callback;
        void *context;
};

/* Starts the call on this lane. NULL: it has failed with the code, for the reason in baton_error(). As start. */
static int start_call(const struct async_call *call, struct channel_loop *entry, baton_code code,
                      struct reply_box **early)
{
        baton_channel *channel = call->channel;
        struct reply_box *box = reply_take(entry ? entry->home : NULL, channel->options.max_message_bytes);
        if (!box)
                return error_set(-ENOMEM, "%s: no memory for an asynchronous call", call->method->path);
        channel_fill_call(channel, &box->call, call->method, call->request, call->deadline_ns);
        box->call.code = code;
        box->callback = call->callback;
        box->context = call->context;
        box->channel = channel;
        box->loop = call->loop;
        return start(channel, entry, box, early);
}

static int check_arguments(const baton_channel *channel, const baton_loop *loop, const baton_method *method,
                           const ProtobufCMessage *request, baton_callback callback)
{
        const char *wrong = method ? channel_wrong_call(channel, method, request) : "the method is NULL";
        if (!wrong && !loop)
                wrong = "the loop is NULL";
        if (!wrong && !callback)
                wrong = "the callback is NULL";
        if (wrong) {
                error_set(-EINVAL, "%s: %s", method ? method->path : "baton_unary_async", wrong);
                return -EINVAL;
        }
        return channel_usable(channel) ? 0 : -ECHILD;
}

int baton_unary_async(baton_channel *channel, baton_loop *loop, const baton_method *method,
                      const ProtobufCMessage *request, const baton_call_options *options, baton_callback callback,
                      void *context)
{
        int error = check_arguments(channel, loop, method, request, callback);
        if (error < 0)
                return error;
        struct async_call call = { channel, loop, method, request, channel_deadline(options), callback, context };
        struct reply_box *early = NULL;
        struct channel_loop *entry = NULL;
        baton_code code;
        error = async_lane(channel, loop, call.deadline_ns, false, &code, &entry);
        if (error < 0 && code == BATON_OK)
                return error;
        error = start_call(&call, entry, code, &early);
        if (entry)
                async_lane_done(channel);
        if (early)
                async_end_early(early, deliver_early);
        return error;
}
