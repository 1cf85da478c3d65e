#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "core/channel.h"
#include <errno.h>
#include <stdlib.h>

/* The server is gone and every call has ended. On the loop's thread. */
static void lost(void *context)
{
        struct channel_loop *loop = context;
        pthread_mutex_lock(&loop->channel->lock);
        list_remove(&loop->link);
        pthread_mutex_unlock(&loop->channel->lock);
        channel_loop_free(loop);
}

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
        pthread_mutex_lock(&box->channel->callers_lock); /* not the one that is held while connecting */
        list_remove(&box->link);
        pthread_mutex_unlock(&box->channel->callers_lock);
        done(&box->call);
}

/* The call ended inside start: the loop delivers that, as it does all outcomes. From here on the callback may close the channel:
 * the caller neither holds its lock nor touches it any more. */
static void end_early(struct reply_box *box)
{
        reply_keep_text(box);
        box->task = (struct loop_task){ .run = deliver_early };
        pthread_mutex_lock(&box->channel->callers_lock);
        list_append(&box->channel->early, &box->link);
        loop_post(box->loop, &box->task);
        pthread_mutex_unlock(&box->channel->callers_lock);
}

/* ---- lanes; the lock is held -------------------------------------------------------------------------------- */

/* The lane for this loop on the current connection; NULL with the reason set. The lock is held. */
static struct channel_loop *add_loop(baton_channel *channel, baton_loop *loop, uint64_t deadline_ns)
{
        struct channel_loop *entry = calloc(1, sizeof *entry);
        if (entry)
                entry->home = reply_home_new();
        if (!entry || !entry->home) {
                error_set(-ENOMEM, "cannot open a lane to %s: out of memory", channel->address);
                free(entry);
                return NULL;
        }
        entry->channel = channel;
        entry->loop = loop;
        entry->connection = channel->transport->ref(channel->source->connection);
        if (channel->transport->async_open(entry->connection, loop, deadline_ns, lost, entry, &entry->lane) < 0) {
                channel->transport->unref(entry->connection);
                reply_home_leave(entry->home);
                free(entry);
                return NULL;
        }
        list_append(&channel->loops, &entry->link);
        return entry;
}

static struct channel_loop *find_loop(baton_channel *channel, baton_loop *loop)
{
        for (struct list *at = channel->loops.next; at != &channel->loops; at = at->next) {
                struct channel_loop *entry = container_of(at, struct channel_loop, link);
                if (entry->loop == loop && entry->connection == channel->source->connection)
                        return entry;
        }
        return NULL;
}

/* The lane for this loop to a living server; NULL with the reason set and *code. */
static struct channel_loop *ready_loop(baton_channel *channel, baton_loop *loop, uint64_t deadline_ns, baton_code *code)
{
        *code = BATON_UNAVAILABLE;
        if (channel_connect(channel, deadline_ns, code) < 0)
                return NULL;
        struct channel_loop *entry = find_loop(channel, loop);
        if (entry)
                return entry;
        uint64_t until = clock_now_ns() + channel->options.connect_timeout_ms * UINT64_C(1000000);
        entry = add_loop(channel, loop, deadline_earlier(until, deadline_ns));
        if (!deadline_passed(deadline_ns))
                return entry;
        *code = BATON_DEADLINE_EXCEEDED;
        if (entry) /* for the next call: this one is not even sent */
                error_set(-ETIMEDOUT, "the deadline passed while connecting to %s", channel->address);
        return NULL;
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

/* As start, on the loop's lane to a living server; the lock is held. */
static int start_locked(const struct async_call *call, struct reply_box **early)
{
        if (call->channel->closing)
                return error_set(-ECANCELED, "%s: the channel is being closed", call->method->path);
        baton_code code;
        struct channel_loop *entry = ready_loop(call->channel, call->loop, call->deadline_ns, &code);
        return start_call(call, entry, code, early);
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
        if (channel_lock(channel, call.deadline_ns) < 0) {
                error = start_call(&call, NULL, BATON_DEADLINE_EXCEEDED, &early);
        } else {
                error = start_locked(&call, &early);
                pthread_mutex_unlock(&channel->lock);
        }
        if (early)
                end_early(early);
        return error;
}
