/* A hash table of keys and values, safe from any thread. Knows nothing of RPC. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
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
struct record *record_hold(struct record *record);
void record_release(struct record *record);

/* Returns 0, or -ENOENT. */
int store_delete(struct store *store, const char *key);

/* Adds delta to the decimal number under the key (missing: 0) and sets *sum. Returns as store_put; -EINVAL when the value
 * is no number, -ERANGE when the sum is too large; on failure nothing has changed. */
int store_add(struct store *store, const char *key, int64_t delta, int64_t *sum);

/* Fetches up to limit records whose keys begin with prefix, fewer when their values exceed max_bytes together, but at
 * least one if any is left; the caller owes a record_release for each. *cursor is where to begin, 0 at first, and is
 * set to where to go on, or to 0 at the end. Returns how many. */
size_t store_scan(struct store *store, const char *prefix, uint64_t *cursor, struct record **records, size_t limit,
                  size_t max_bytes);

/* All records whose keys begin with prefix, as they are at one moment; at that moment `then` runs, under the store's
 * lock. Free the array after a record_release for each. Returns 0 or -ENOMEM. */
int store_snapshot(struct store *store, const char *prefix, struct record ***records, size_t *n,
                   void (*then)(void *context), void *context);

/* Has `observer` told of each change, in order and under the store's lock: the record that was put, or deleted. To be set
 * before others use the store. */
void store_observe(struct store *store, void (*observer)(void *context, struct record *record, bool deleted),
                   void *context);

/* One key of a transaction. */
struct change {
        const char *key;
        bool read;           /* commit only if the key still has the record `seen` (NULL: is missing) */
        bool write;          /* `put` takes its place; NULL: the key goes */
        struct record *seen; /* both are held by the caller */
        struct record *put;
};

/* A record to be put later; the caller owes a record_release. NULL when out of memory. */
struct record *record_new(const char *key, const uint8_t *value, size_t size);

/* Makes all the changes, of different keys, or none. Returns 0; -ESTALE: *conflict is no longer as it was read; -ENOSPC,
 * -ENOMEM. */
int store_commit(struct store *store, const struct change *changes, size_t n, const char **conflict);

struct store_stats store_statistics(struct store *store);

#endif
