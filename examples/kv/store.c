/*
 * Records live in numbered slots, and buckets chain the slots of equal hash. A record keeps its slot's number as long as
 * its key exists, also when the buckets are doubled: this is what makes a scan's cursor, a slot number, reliable.
 */
#include "store.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_SLOT = UINT32_MAX, FIRST_CAPACITY = 1024 };

struct slot {
        struct record *record; /* NULL: free */
        uint32_t next;         /* in the bucket, or in the list of free slots */
};

struct store {
        pthread_mutex_t lock;
        struct slot *slots;
        uint32_t *buckets;
        uint32_t capacity; /* of slots and of buckets: a power of two */
        uint32_t n_slots;  /* those that were ever used */
        uint32_t free_slots;
        uint64_t max_bytes;
        struct store_stats stats;
        void (*observer)(void *context, struct record *record, bool deleted);
        void *observer_context;
};

/* FNV-1a */
static uint32_t hash_key(const char *key)
{
        uint32_t hash = 2166136261u;
        for (; *key; key++)
                hash = (hash ^ (uint8_t)*key) * 16777619u;
        return hash;
}

struct record *record_new(const char *key, const uint8_t *value, size_t size)
{
        size_t key_size = strlen(key) + 1;
        struct record *record = malloc(sizeof *record + key_size + size);
        if (!record)
                return NULL;
        atomic_init(&record->holders, 1);
        record->hash = hash_key(key);
        record->size = size;
        record->value = (uint8_t *)record->key + key_size;
        memcpy(record->key, key, key_size);
        if (size)
                memcpy(record->value, value, size);
        return record;
}

struct record *record_hold(struct record *record)
{
        atomic_fetch_add_explicit(&record->holders, 1, memory_order_relaxed);
        return record;
}

void record_release(struct record *record)
{
        /* acq_rel: whoever frees the record must see that all others are done with it */
        if (record && atomic_fetch_sub_explicit(&record->holders, 1, memory_order_acq_rel) == 1)
                free(record);
}

static uint64_t record_bytes(const struct record *record)
{
        return record ? strlen(record->key) + record->size : 0;
}

/* Allocates room for `capacity` slots and sorts those in use into buckets again. */
static int resize(struct store *store, uint32_t capacity)
{
        uint32_t *buckets = malloc(capacity * sizeof *buckets);
        struct slot *slots = realloc(store->slots, capacity * sizeof *slots);
        if (slots)
                store->slots = slots;
        if (!buckets || !slots) {
                free(buckets);
                return -ENOMEM;
        }
        free(store->buckets);
        store->buckets = buckets;
        store->capacity = capacity;
        for (uint32_t i = 0; i < capacity; i++)
                buckets[i] = NO_SLOT;
        for (uint32_t i = 0; i < store->n_slots; i++) {
                if (!slots[i].record)
                        continue; /* in the list of free slots */
                uint32_t *bucket = &buckets[slots[i].record->hash & (capacity - 1)];
                slots[i].next = *bucket;
                *bucket = i;
        }
        return 0;
}

struct store *store_new(uint64_t max_bytes)
{
        struct store *store = calloc(1, sizeof *store);
        if (!store)
                return NULL;
        pthread_mutex_init(&store->lock, NULL);
        store->free_slots = NO_SLOT;
        store->max_bytes = max_bytes;
        if (resize(store, FIRST_CAPACITY) < 0) {
                store_free(store);
                return NULL;
        }
        return store;
}

void store_free(struct store *store)
{
        if (!store)
                return;
        for (uint32_t i = 0; i < store->n_slots; i++)
                record_release(store->slots[i].record);
        pthread_mutex_destroy(&store->lock);
        free(store->slots);
        free(store->buckets);
        free(store);
}

/* Where the number of the key's slot is noted: in its bucket or in its neighbour. Points at NO_SLOT when there is none. */
static uint32_t *find(struct store *store, const char *key, uint32_t hash)
{
        uint32_t *link = &store->buckets[hash & (store->capacity - 1)];
        while (*link != NO_SLOT) {
                struct slot *slot = &store->slots[*link];
                if (slot->record->hash == hash && strcmp(slot->record->key, key) == 0)
                        break;
                link = &slot->next;
        }
        return link;
}

static struct record *find_record(struct store *store, const char *key)
{
        uint32_t slot = *find(store, key, hash_key(key));
        return slot == NO_SLOT ? NULL : store->slots[slot].record;
}

/* Takes a free slot; NO_SLOT when out of memory. */
static uint32_t take_slot(struct store *store)
{
        uint32_t slot = store->free_slots;
        if (slot != NO_SLOT) {
                store->free_slots = store->slots[slot].next;
                return slot;
        }
        if (store->n_slots == store->capacity &&
            (store->capacity > UINT32_MAX / 4 || resize(store, 2 * store->capacity) < 0))
                return NO_SLOT;
        return store->n_slots++;
}

static void observe(struct store *store, struct record *record, bool deleted)
{
        if (store->observer)
                store->observer(store->observer_context, record, deleted);
}

/* Puts the record in, in place of the key's former one, and takes over the caller's hold of it. Returns 1 when there was
 * a former one, else 0; -ENOMEM where not even a slot is left. */
static int place(struct store *store, struct record *record)
{
        uint32_t slot = *find(store, record->key, record->hash);
        bool replaces = slot != NO_SLOT;
        if (!replaces && (slot = take_slot(store)) == NO_SLOT)
                return -ENOMEM;
        struct record *former = replaces ? store->slots[slot].record : NULL;
        if (!replaces) {
                uint32_t *bucket = &store->buckets[record->hash & (store->capacity - 1)];
                store->slots[slot].next = *bucket;
                *bucket = slot;
                store->stats.keys++;
        }
        store->slots[slot].record = record;
        store->stats.bytes += record_bytes(record) - record_bytes(former);
        record_release(former);
        observe(store, record, false);
        return replaces;
}

/* As place, within the limit; takes over the hold also on failure. */
static int insert(struct store *store, struct record *record)
{
        uint64_t bytes = store->stats.bytes - record_bytes(find_record(store, record->key)) + record_bytes(record);
        int result = bytes > store->max_bytes ? -ENOSPC : place(store, record);
        if (result < 0)
                record_release(record);
        return result;
}

static int remove_key(struct store *store, const char *key)
{
        uint32_t *link = find(store, key, hash_key(key));
        if (*link == NO_SLOT)
                return -ENOENT;
        uint32_t number = *link;
        struct slot *slot = &store->slots[number];
        struct record *record = slot->record;
        store->stats.keys--;
        store->stats.bytes -= record_bytes(record);
        *link = slot->next;
        *slot = (struct slot){ .next = store->free_slots };
        store->free_slots = number;
        observe(store, record, true);
        record_release(record);
        return 0;
}

int store_put(struct store *store, const char *key, const uint8_t *value, size_t size)
{
        struct record *record = record_new(key, value, size); /* before locking: copying may take a while */
        if (!record)
                return -ENOMEM;
        pthread_mutex_lock(&store->lock);
        int result = insert(store, record);
        pthread_mutex_unlock(&store->lock);
        return result;
}

struct record *store_get(struct store *store, const char *key)
{
        pthread_mutex_lock(&store->lock);
        struct record *record = find_record(store, key);
        if (record)
                record_hold(record);
        pthread_mutex_unlock(&store->lock);
        return record;
}

int store_delete(struct store *store, const char *key)
{
        pthread_mutex_lock(&store->lock);
        int error = remove_key(store, key);
        pthread_mutex_unlock(&store->lock);
        return error;
}

/* The decimal number that a value is. Returns 0 or -EINVAL. */
static int parse_value(const struct record *record, int64_t *number)
{
        char text[32];
        if (record->size == 0 || record->size >= sizeof text)
                return -EINVAL;
        memcpy(text, record->value, record->size);
        text[record->size] = '\0';
        char *end;
        errno = 0;
        *number = strtoll(text, &end, 10);
        return errno || end != text + record->size ? -EINVAL : 0;
}

static int add(struct store *store, const char *key, int64_t delta, int64_t *sum)
{
        const struct record *former = find_record(store, key);
        int64_t number = 0;
        if (former && parse_value(former, &number) < 0)
                return -EINVAL;
        if (__builtin_add_overflow(number, delta, sum))
                return -ERANGE;
        char text[32];
        int size = snprintf(text, sizeof text, "%" PRId64, *sum);
        struct record *record = record_new(key, (const uint8_t *)text, (size_t)size);
        return record ? insert(store, record) : -ENOMEM;
}

int store_add(struct store *store, const char *key, int64_t delta, int64_t *sum)
{
        pthread_mutex_lock(&store->lock);
        int result = add(store, key, delta, sum);
        pthread_mutex_unlock(&store->lock);
        return result;
}

size_t store_scan(struct store *store, const char *prefix, uint64_t *cursor, struct record **records, size_t limit,
                  size_t max_bytes)
{
        size_t prefix_size = strlen(prefix), n = 0, bytes = 0;
        pthread_mutex_lock(&store->lock);
        uint64_t i = *cursor;
        for (; i < store->n_slots && n < limit && bytes < max_bytes; i++) {
                struct record *record = store->slots[i].record;
                if (!record || strncmp(record->key, prefix, prefix_size) != 0)
                        continue;
                bytes += record->size;
                records[n++] = record_hold(record);
        }
        *cursor = i < store->n_slots ? i : 0;
        pthread_mutex_unlock(&store->lock);
        return n;
}

static bool begins_with(const struct record *record, const char *prefix)
{
        return record && strncmp(record->key, prefix, strlen(prefix)) == 0;
}

int store_snapshot(struct store *store, const char *prefix, struct record ***records, size_t *n,
                   void (*then)(void *context), void *context)
{
        pthread_mutex_lock(&store->lock);
        *n = 0;
        *records = malloc((store->stats.keys + 1) * sizeof **records);
        if (*records) {
                for (uint32_t i = 0; i < store->n_slots; i++)
                        if (begins_with(store->slots[i].record, prefix))
                                (*records)[(*n)++] = record_hold(store->slots[i].record);
                then(context);
        }
        pthread_mutex_unlock(&store->lock);
        return *records ? 0 : -ENOMEM;
}

void store_observe(struct store *store, void (*observer)(void *context, struct record *record, bool deleted),
                   void *context)
{
        store->observer = observer;
        store->observer_context = context;
}

/* Whether all the changes can be made; afterwards none of them can fail. */
static int prepare(struct store *store, const struct change *changes, size_t n, const char **conflict)
{
        uint64_t bytes = store->stats.bytes;
        for (size_t i = 0; i < n; i++) {
                const struct record *now = find_record(store, changes[i].key);
                *conflict = changes[i].key;
                if (changes[i].read && now != changes[i].seen)
                        return -ESTALE;
                if (changes[i].write)
                        bytes += record_bytes(changes[i].put) - record_bytes(now);
        }
        if (bytes > store->max_bytes)
                return -ENOSPC;
        while (store->capacity - store->n_slots < n)
                if (store->capacity > UINT32_MAX / 4 || resize(store, 2 * store->capacity) < 0)
                        return -ENOMEM;
        return 0;
}

int store_commit(struct store *store, const struct change *changes, size_t n, const char **conflict)
{
        pthread_mutex_lock(&store->lock);
        int error = prepare(store, changes, n, conflict);
        for (size_t i = 0; i < n && !error; i++) {
                if (changes[i].write && changes[i].put)
                        place(store, record_hold(changes[i].put));
                else if (changes[i].write)
                        remove_key(store, changes[i].key);
        }
        pthread_mutex_unlock(&store->lock);
        return error;
}

struct store_stats store_statistics(struct store *store)
{
        pthread_mutex_lock(&store->lock);
        struct store_stats stats = store->stats;
        pthread_mutex_unlock(&store->lock);
        return stats;
}
