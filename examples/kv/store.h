/* A hash table of keys and values, safe from any thread. Knows nothing of RPC. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* A key with its value. Never changes once it is in the store: a new value is a new record, so that a reader may use
 * the one it holds without a lock. */
struct record {
        atomic_uint holders;
        uint32_t hash;
        size_t size; /* of the value */
        uint8_t *value;
        char key[];
};

struct store_stats {
        uint64_t keys;
        uint64_t bytes; /* keys and values */
};

/* An empty store that keeps at most max_bytes of keys and values. NULL when out of memory. */
struct store *store_new(uint64_t max_bytes);
void store_free(struct store *store);

/* Copies the value in. Returns 1 when it replaced another, 0 when the key is new; -ENOSPC when the store is full,
 * -ENOMEM. */
int store_put(struct store *store, const char *key, const uint8_t *value, size_t size);

/* The record of this key, or NULL. The caller owes a record_release. */
struct record *store_get(struct store *store, const char *key);
void record_release(struct record *record);

/* Returns 0, or -ENOENT. */
int store_delete(struct store *store, const char *key);

/* Adds delta to the decimal number under the key (missing: 0) and sets *sum. Returns 0; -EINVAL when the value is no
 * number, -ERANGE when the sum is too large, -ENOSPC, -ENOMEM; then nothing has changed. */
int store_add(struct store *store, const char *key, int64_t delta, int64_t *sum);

/* Fetches up to limit records whose keys begin with prefix, fewer when their values exceed max_bytes together, but at
 * least one if any is left; the caller owes a record_release for each. *cursor is where to begin, 0 at first, and is
 * set to where to go on, or to 0 at the end. Returns how many. */
size_t store_scan(struct store *store, const char *prefix, uint64_t *cursor, struct record **records, size_t limit,
                  size_t max_bytes);

struct store_stats store_statistics(struct store *store);

#endif
