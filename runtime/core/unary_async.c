/* Asynchronous calls. */
#define _GNU_SOURCE
#include "base/error.h"
#include "core/observed_client.h"
#include "core/pending.h"
#include <errno.h>
#include <stdlib.h>

/* ---- outcomes; on the loop's thread ------------------------------------------------------------------------ */

static void done(struct client_call *call)
{
        struct reply_box *box = container_of(call, struct reply_box, call);
        const ProtobufCMessage *message;
        if (box->pending && pending_again(box->pending))
                return;
        if (box->pending)
                pending_free(box->pending);
        box->pending = NULL;
        baton_status status = reply_status(box, call, &message);
        if (box->observed) {
                client_observed(box->observed, &status, call);
                observed_free(box->observed);
                box->observed = NULL;
        }
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

/* What baton_unary_async was given. */
struct request {
        baton_channel *channel;
        baton_loop *loop;
        const baton_method *method;
        const ProtobufCMessage *message;
        struct call_terms *terms;
        struct observed *observed; /* NULL: not */
        baton_callback callback;
        void *context;
};

/* Of a call that was not made. */
static void drop(struct reply_box *box)
{
        if (box->pending)
                pending_free(box->pending);
        box->pending = NULL;
        box->observed = NULL;
        reply_drop(box);
}

static int no_memory(const struct request *request)
{
        return error_set(-ENOMEM, "%s: no memory for an asynchronous call", request->method->path);
}

/* It has ended before this returns to the user: the loop tells. */
static int deliver(struct reply_box *box)
{
        baton_channel *channel = box->channel;
        pthread_mutex_lock(&channel->lanes_lock);
        async_end_early(box);
        pthread_mutex_unlock(&channel->lanes_lock);
        return 0;
}

/* entry NULL: there is no lane. NULL: no memory. */
static struct reply_box *make_box(const struct request *request, struct channel_loop *entry)
{
        struct reply_box *box = reply_take(entry ? entry->home : NULL, request->terms->max_reply_bytes);
        if (!box)
                return NULL;
        call_terms_apply(request->terms, &box->call, request->method, request->message);
        box->call.reply = &box->reply;
        box->call.done = done;
        box->observed = request->observed;
        box->callback = request->callback;
        box->context = request->context;
        box->channel = request->channel;
        box->loop = request->loop;
        box->task = (struct loop_task){ .run = deliver_early };
        if (!pending_needed(box->channel, request->terms))
                return box;
        box->pending = pending_new(box, request->terms);
        if (box->pending)
                return box;
        drop(box);
        return NULL;
}

/* Refused with this code, for the reason in baton_error(). */
static int refuse(const struct request *request, baton_code code)
{
        struct reply_box *box = make_box(request, NULL);
        if (!box)
                return no_memory(request);
        box->call.code = code;
        return deliver(box);
}

/* There is no lane: starts it when there is one. */
static int wait(const struct request *request, struct reply_box *box)
{
        if (!box->pending)
                box->pending = pending_new(box, request->terms);
        return box->pending ? pending_wait(box->pending) : no_memory(request);
}

static int start(const struct request *request)
{
        struct channel_loop *entry;
        int there = async_lane_now(request->channel, request->loop, &entry);
        if (there < 0)
                return there;
        struct reply_box *box = make_box(request, there ? entry : NULL);
        int started = box ? -ESHUTDOWN : no_memory(request);
        if (there && box)
                started = async_start(box, entry);
        if (there)
                async_lane_done(request->channel);
        if (started == -ESHUTDOWN)
                started = wait(request, box);
        if (started > 0)
                return deliver(box);
        if (started < 0 && box)
                drop(box);
        return started;
}

static int start_request(const struct request *request, baton_code refused)
{
        const struct patience *patience = &request->terms->patience;
        baton_code code = refused;
        if (refused || (patience_cancelled(patience) && patience_over(patience, "before it began", &code)))
                return refuse(request, code);
        return start(request);
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

/* The same, watched by the channel's observer. */
static int start_observed(struct request *request)
{
        baton_code refused;
        struct client_call call = { .method = request->method, .request = request->message };
        request->observed = observed_new(request->channel->observer, request->terms, &call, &refused);
        if (!request->observed)
                return -ENOMEM;
        int error = start_request(request, refused);
        return error < 0 ? observed_abandon(request->observed, error) : 0;
}

int baton_unary_async(baton_channel *channel, baton_loop *loop, const baton_method *method,
                      const ProtobufCMessage *request, const baton_call_options *options, baton_callback callback,
                      void *context)
{
        int error = check_arguments(channel, loop, method, request, callback);
        if (error < 0)
                return error;
        struct call_terms terms;
        error = call_terms_init(&terms, channel, method, options);
        if (error < 0)
                return error;
        struct request whole = { channel, loop, method, request, &terms, NULL, callback, context };
        error = channel->observer ? start_observed(&whole) : start_request(&whole, BATON_OK);
        call_terms_deinit(&terms);
        /* What is wrong with the request is told in words. */
        return error == -EILSEQ || error == -ENODATA || error == -ELOOP ? -EINVAL : error;
}
