/* kv-server [OPTION…]: the store of kv.proto. */
#include "common/report.h"
#include "common/serve.h"
#include "common/shared_memory.h"
#include "kv.h"
#include "limits.h"
#include <baton/baton.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum { PAGE_BYTES = 4 << 20, DEFAULT_PAGE = 100 };
static const uint64_t max_bytes = UINT64_C(1) << 30;

void count(struct kv *kv, size_t moved, size_t copied)
{
        atomic_fetch_add_explicit(&kv->calls, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&kv->moved, moved, memory_order_relaxed);
        atomic_fetch_add_explicit(&kv->copied, copied, memory_order_relaxed);
}

/* How many bytes were copied to bring this value here. */
static size_t copied_on_the_way(const void *value, size_t size)
{
        return size >= KV_LARGE_VALUE && in_shared_memory(value) ? 0 : size;
}

bool refuse_key(baton_call *call, const char *key)
{
        size_t size = strlen(key);
        if (size > 0 && size <= KV_MAX_KEY)
                return false;
        baton_call_fail(call, BATON_INVALID_ARGUMENT, "the key has %zu bytes: give it 1 to %d", size, KV_MAX_KEY);
        return true;
}

bool refuse_value(baton_call *call, const char *key, size_t size)
{
        if (size <= KV_MAX_VALUE)
                return false;
        baton_call_fail(call, BATON_INVALID_ARGUMENT,
                        "the value of key '%s' has %zu bytes: at most %d are allowed; split it", key, size,
                        KV_MAX_VALUE);
        return true;
}

static void fail_missing(baton_call *call, const char *key)
{
        baton_call_fail(call, BATON_NOT_FOUND, "there is no key '%s': put it first, or scan for those there are", key);
}

void fail_store(baton_call *call, const char *key, int error)
{
        if (error == -ENOSPC)
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED,
                                "no room for key '%s': the store is full with %" PRIu64 " MiB; delete some keys", key,
                                max_bytes >> 20);
        else if (error == -EINVAL)
                baton_call_fail(call, BATON_FAILED_PRECONDITION,
                                "the value of key '%s' is no decimal number, so nothing can be added to it; "
                                "put a number or delete the key",
                                key);
        else if (error == -ERANGE)
                baton_call_fail(call, BATON_OUT_OF_RANGE, "the sum under key '%s' would not fit into 64 bits", key);
        else
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no room for key '%s': the server is out of memory",
                                key);
}

static void put(baton_call *call, const Kv__PutRequest *request, void *context)
{
        struct kv *kv = context;
        size_t size = request->value.len;
        if (refuse_key(call, request->key) || refuse_value(call, request->key, size))
                return;
        int replaced = store_put(kv->store, request->key, request->value.data, size);
        if (replaced < 0) {
                fail_store(call, request->key, replaced);
                return;
        }
        size_t key_size = strlen(request->key);
        count(kv, key_size + size, key_size + copied_on_the_way(request->value.data, size) + key_size + size);
        Kv__PutReply reply = KV__PUT_REPLY__INIT;
        reply.replaced = replaced;
        kv_put_reply(call, &reply);
}

static void get(baton_call *call, const Kv__GetRequest *request, void *context)
{
        struct kv *kv = context;
        if (refuse_key(call, request->key))
                return;
        struct record *record = store_get(kv->store, request->key);
        if (!record) {
                fail_missing(call, request->key);
                return;
        }
        Kv__GetReply reply = KV__GET_REPLY__INIT;
        reply.value = (ProtobufCBinaryData){ .len = record->size, .data = record->value };
        if (record->size >= KV_LARGE_VALUE) {
                /* The store keeps its copy, the client gets one in shared memory: the only one on the way. */
                reply.value.data = baton_call_alloc(call, record->size);
                if (!reply.value.data) {
                        baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "no room for the value of key '%s': %s",
                                        request->key, baton_error());
                        record_release(record);
                        return;
                }
                memcpy(reply.value.data, record->value, record->size);
        }
        size_t bytes = strlen(request->key) + record->size;
        count(kv, bytes, bytes);
        kv_get_reply(call, &reply); /* has read the value when it returns */
        record_release(record);
}

static void delete_key(baton_call *call, const Kv__DeleteRequest *request, void *context)
{
        struct kv *kv = context;
        if (refuse_key(call, request->key))
                return;
        if (store_delete(kv->store, request->key) < 0) {
                fail_missing(call, request->key);
                return;
        }
        count(kv, strlen(request->key), strlen(request->key));
        Kv__DeleteReply reply = KV__DELETE_REPLY__INIT;
        kv_delete_reply(call, &reply);
}

static void add(baton_call *call, const Kv__AddRequest *request, void *context)
{
        struct kv *kv = context;
        if (refuse_key(call, request->key))
                return;
        Kv__AddReply reply = KV__ADD_REPLY__INIT;
        int error = store_add(kv->store, request->key, request->delta, &reply.sum);
        if (error < 0) {
                fail_store(call, request->key, error);
                return;
        }
        count(kv, strlen(request->key), 2 * strlen(request->key)); /* in the message and in the store */
        kv_add_reply(call, &reply);
}

/* Points the entries at the records. */
static void list_records(Kv__Entry *entries, struct record *const *records, size_t n, bool keys_only)
{
        for (size_t i = 0; i < n; i++) {
                kv__entry__init(&entries[i]);
                entries[i].key = records[i]->key;
                entries[i].size = records[i]->size;
                if (!keys_only)
                        entries[i].value = (ProtobufCBinaryData){ records[i]->size, records[i]->value };
        }
}

static void scan(baton_call *call, const Kv__ScanRequest *request, void *context)
{
        struct kv *kv = context;
        if (request->limit > KV_MAX_PAGE) {
                baton_call_fail(call, BATON_INVALID_ARGUMENT, "limit is %" PRIu32 ": ask for at most %d keys at a time",
                                request->limit, KV_MAX_PAGE);
                return;
        }
        struct record *records[KV_MAX_PAGE];
        Kv__Entry entries[KV_MAX_PAGE], *list[KV_MAX_PAGE];
        Kv__ScanReply reply = KV__SCAN_REPLY__INIT;
        reply.next_cursor = request->cursor;
        reply.entries = list;
        reply.n_entries =
                store_scan(kv->store, request->prefix, &reply.next_cursor, records,
                           request->limit ? request->limit : DEFAULT_PAGE, request->keys_only ? SIZE_MAX : PAGE_BYTES);
        list_records(entries, records, reply.n_entries, request->keys_only);

        size_t bytes = strlen(request->prefix);
        for (size_t i = 0; i < reply.n_entries; i++) {
                list[i] = &entries[i];
                bytes += strlen(entries[i].key) + entries[i].value.len;
        }
        count(kv, bytes, bytes);
        kv_scan_reply(call, &reply); /* has read the records when it returns */
        for (size_t i = 0; i < reply.n_entries; i++)
                record_release(records[i]);
}

static void stats(baton_call *call, const Kv__StatsRequest *request, void *context)
{
        (void)request;
        struct kv *kv = context;
        struct store_stats held = store_statistics(kv->store);
        Kv__StatsReply reply = KV__STATS_REPLY__INIT;
        reply.calls = atomic_load_explicit(&kv->calls, memory_order_relaxed);
        reply.keys = held.keys;
        reply.bytes_held = held.bytes;
        reply.bytes_moved = atomic_load_explicit(&kv->moved, memory_order_relaxed);
        reply.bytes_copied = atomic_load_explicit(&kv->copied, memory_order_relaxed);
        kv_stats_reply(call, &reply);
}

static const kv_handlers handlers = {
        .put = put,
        .get = get,
        .delete_ = delete_key, /* delete is a word of C++ */
        .add = add,
        .scan = scan,
        .stats = stats,
        .load = load,
        .watch = watch,
        .transact = transact,
};

int main(int argc, char **argv)
{
        struct serve_arguments arguments;
        serve_parse(&arguments, argc, argv, "shm:kv");
        struct kv kv = { .store = store_new(max_bytes) };
        if (!kv.store)
                die("out of memory for the store");
        watches_init(&kv.watches);
        store_observe(kv.store, watches_tell, &kv.watches);

        baton_server *server = baton_server_new(&arguments.options);
        if (!server || kv_register(server, &handlers, &kv) < 0)
                die("%s", baton_error());
        serve_until_signal(server, &arguments);
        baton_server_free(server); /* ends all streams */
        watches_deinit(&kv.watches);
        store_free(kv.store);
        return 0;
}
