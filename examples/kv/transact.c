/*
 * The handler of Transact: a bidirectional stream. All that a transaction has read and will write stays in its own list until the
 * commit, so there is nothing to undo when its client cancels or dies. Readers lock nothing: the commit looks whether what
 * they read is still there.
 */
#include "kv.h"
#include "limits.h"
#include <baton/baton.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEYS = 1000, MAX_BYTES = 64 << 20 };

struct transaction {
        struct kv *kv;
        struct change changes[MAX_KEYS];
        size_t n;
        size_t bytes;        /* of values to be put */
        Kv__StepReply reply; /* to the last step */
        bool unsent;         /* the reply was not sent yet */
};

static void transaction_free(struct transaction *self)
{
        for (size_t i = 0; i < self->n; i++) {
                record_release(self->changes[i].seen);
                record_release(self->changes[i].put);
        }
        free(self);
}

/* The change of this key, a new one if need be; NULL after it failed the call. */
static struct change *change_of(struct transaction *self, baton_call *call, const char *key)
{
        if (refuse_key(call, key))
                return NULL;
        for (size_t i = 0; i < self->n; i++)
                if (strcmp(self->changes[i].key, key) == 0)
                        return &self->changes[i];
        char *own = self->n < MAX_KEYS ? baton_call_printf(call, "%s", key) : NULL;
        if (!own) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "the transaction has %zu keys: at most %d are allowed",
                                self->n + 1, MAX_KEYS);
                return NULL;
        }
        self->changes[self->n] = (struct change){ .key = own };
        return &self->changes[self->n++];
}

/* The key's record as the transaction has it: NULL where it is missing. */
static struct record *look_up(struct transaction *self, struct change *change)
{
        if (change->write)
                return change->put;
        if (!change->read)
                change->seen = store_get(self->kv->store, change->key);
        change->read = true;
        return change->seen;
}

static bool get_step(struct transaction *self, baton_call *call, const char *key)
{
        struct change *change = change_of(self, call, key);
        struct record *record = change ? look_up(self, change) : NULL;
        self->reply.found = record != NULL;
        if (record)
                self->reply.value = (ProtobufCBinaryData){ record->size, record->value };
        return change != NULL;
}

static bool put_step(struct transaction *self, baton_call *call, const Kv__PutRequest *request)
{
        size_t size = request->value.len;
        struct change *change = change_of(self, call, request->key);
        if (!change || refuse_value(call, request->key, size))
                return false;
        struct record *record =
                size <= MAX_BYTES - self->bytes ? record_new(change->key, request->value.data, size) : NULL;
        if (!record) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED,
                                "no room for key '%s' in the transaction: commit sooner", change->key);
                return false;
        }
        record_release(change->put);
        change->put = record;
        change->write = true;
        self->bytes += size;
        return true;
}

static bool delete_step(struct transaction *self, baton_call *call, const char *key)
{
        struct change *change = change_of(self, call, key);
        if (!change)
                return false;
        self->reply.found = look_up(self, change) != NULL;
        record_release(change->put);
        change->put = NULL;
        change->write = true;
        return true;
}

static void commit(struct transaction *self, baton_call *call)
{
        const char *conflict = NULL;
        int error = store_commit(self->kv->store, self->changes, self->n, &conflict);
        if (error == -ESTALE)
                baton_call_fail(call, BATON_ABORTED,
                                "key '%s' was changed after this transaction had read it: begin again", conflict);
        else if (error)
                fail_store(call, conflict, error);
        else
                kv_transact_end(call);
}

/* Fills the reply. False when the call was ended instead. */
static bool take_step(struct transaction *self, baton_call *call, const Kv__Step *step)
{
        kv__step_reply__init(&self->reply);
        switch (step->step_case) {
        case KV__STEP__STEP_GET:
                return get_step(self, call, step->get);
        case KV__STEP__STEP_PUT:
                return put_step(self, call, step->put);
        case KV__STEP__STEP_DELETE:
                return delete_step(self, call, step->delete_);
        case KV__STEP__STEP_COMMIT:
                commit(self, call);
                return false;
        default:
                baton_call_fail(call, BATON_INVALID_ARGUMENT, "a step that is none: get, put, delete or commit");
                return false;
        }
}

/* Runs when a step came, when there is room for a reply, and when the client has gone. */
static void transact_ready(baton_call *call, void *context)
{
        struct transaction *self = context;
        const Kv__Step *step;
        int n;
        do {
                if (self->unsent && (n = kv_transact_send(call, &self->reply)) < 0)
                        break;
                self->unsent = false;
                if ((n = kv_transact_recv(call, &step)) > 0)
                        self->unsent = take_step(self, call, step);
        } while (self->unsent);
        if (n == -EAGAIN)
                return; /* to be continued */
        if (n == 0)
                baton_call_fail(call, BATON_CANCELLED,
                                "the transaction was closed without commit: nothing was changed");
        else if (n < 0) /* mostly the client has gone, and nobody hears of this */
                baton_call_fail(call, BATON_INTERNAL, "the transaction cannot go on: %s", baton_error());
        transaction_free(self);
        baton_call_release(call);
}

void transact(baton_call *call, void *context)
{
        struct transaction *self = calloc(1, sizeof *self);
        if (!self) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no memory for a transaction");
                return;
        }
        self->kv = context;
        baton_call_retain(call);
        baton_call_on_ready(call, transact_ready, self);
}
