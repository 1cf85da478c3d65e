/* What the handlers of kv-server share. */
#ifndef KV_KV_H
#define KV_KV_H

#include "kv.baton.h"
#include "store.h"
#include "watch.h"
#include <stdbool.h>

/* What every handler gets as its context. Handlers of different connections run in parallel. */
struct kv {
        struct store *store;
        struct watches watches;
        atomic_uint_fast64_t calls;
        atomic_uint_fast64_t moved;
        atomic_uint_fast64_t copied;
};

/* Notes a call that succeeded. */
void count(struct kv *kv, size_t moved, size_t copied);

/* End the call: where the key or the value is against the rules (then true), or with what the store said. */
bool refuse_key(baton_call *call, const char *key);
bool refuse_value(baton_call *call, const char *key, size_t size);
void fail_store(baton_call *call, const char *key, int error);

/* The streaming handlers. */
void load(baton_call *call, void *context);
void watch(baton_call *call, const Kv__WatchRequest *request, void *context);
void transact(baton_call *call, void *context);

#endif
