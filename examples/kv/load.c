/* The handler of Load: a client stream. Takes what has come, goes back to other work, and answers after the last. */
#include "kv.h"
#include <baton/baton.h>
#include <errno.h>
#include <string.h>

struct load {
        struct kv *kv;
        size_t bytes;
        Kv__LoadReply reply;
};

/* Returns 0, or negative after it failed the call. */
static int load_one(struct load *self, baton_call *call, const Kv__AddRequest *request)
{
        if (refuse_key(call, request->key))
                return -EINVAL;
        int64_t sum;
        int existed = store_add(self->kv->store, request->key, request->delta, &sum);
        if (existed < 0) {
                fail_store(call, request->key, existed);
                return existed;
        }
        self->bytes += strlen(request->key);
        self->reply.loaded++;
        self->reply.new_keys += !existed;
        return 0;
}

/* Runs when something came, or the client has gone. */
static void load_ready(baton_call *call, void *context)
{
        struct load *self = context;
        const Kv__AddRequest *request;
        int n;
        while ((n = kv_load_recv(call, &request)) > 0)
                if ((n = load_one(self, call, request)) < 0)
                        break;
        if (n == -EAGAIN)
                return; /* to be continued */
        if (n == 0)
                kv_load_reply(call, &self->reply);
        count(self->kv, self->bytes, 2 * self->bytes); /* in the messages and in the store */
        baton_call_release(call);                      /* and with it self */
}

void load(baton_call *call, void *context)
{
        struct load *self = baton_call_scratch(call, sizeof *self);
        if (!self) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no memory to load anything");
                return;
        }
        self->kv = context;
        kv__load_reply__init(&self->reply);
        baton_call_retain(call);
        baton_call_on_ready(call, load_ready, self);
}
