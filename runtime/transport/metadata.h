/* Metadata as core and the transports handle it: checked, collected, and laid out flat where a transport has no format of its own. */
#ifndef TRANSPORT_METADATA_H
#define TRANSPORT_METADATA_H

#include <baton/graph.h>
#include <baton/metadata.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        METADATA_KEY_MAX = 256,
        METADATA_ENTRY_COST = 32, /* what a pair counts besides its key and value, as in HPACK (RFC 7541, 4.1) */
};

/* What metadata counts against max_metadata_bytes. NULL: 0. The keys are known to be strings. */
size_t metadata_bytes(const baton_metadata *metadata);

/* Whether it may be sent: 0; -EINVAL an illegal key or value (keys of "grpc-" only where reserved_allowed), -EMSGSIZE over
 * max_bytes; error_set. NULL is fine. */
int metadata_check(const baton_metadata *metadata, size_t max_bytes, bool reserved_allowed);

/*
 * ---- the flat form ----
 *
 *   flat  := u32 size of it all, u32 n; n times {u32 key size, u32 value size}; n times {key, NUL, value, NUL}; padding to 8
 *
 * Both words in the byte order of the machine, for it never leaves it. Where there are no pairs it has no bytes at all.
 */

/* The bytes of the flat form, a multiple of 8; 0: nothing to write. Of metadata that metadata_check passed. NULL: 0. */
size_t metadata_flat_size(const baton_metadata *metadata);

/* Writes them. Every byte is written, padding too. out may be memory that a peer reads. */
void metadata_flatten(const baton_metadata *metadata, uint8_t *out);

/*
 * Reads the flat form at the start of `bytes`, which may go on behind it, and which a peer may change meanwhile: they are copied
 * to the arena first. The result lies in the arena and is legal, but for keys that may be reserved. Returns how many bytes
 * it took, or -EPROTO malformed or illegal, -EMSGSIZE over max_bytes, -ENOMEM; error_set. size 0: 0, and no pairs. max_bytes is
 * below 2 GiB.
 */
int metadata_unflatten(const void *bytes, size_t size, size_t max_bytes, baton_arena *arena, baton_metadata *out);

/* ---- a list that grows ---- */

/* Zero-initialised it is empty. Not synchronised. */
struct metadata_list {
        baton_metadata metadata; /* what it holds; entries move with the next add */
        size_t room;             /* entries there is memory for */
        size_t bytes;            /* what it counts */
};

/* Adds a copy of this pair, if legal. 0; -EINVAL and -EMSGSIZE as metadata_check; -ENOMEM; error_set. On failure the list stays. */
int metadata_list_add(struct metadata_list *list, const char *key, const void *value, size_t size, size_t max_bytes,
                      bool reserved_allowed);

/* Adds copies of all pairs. Likewise; on failure some may have been added. NULL is fine. */
int metadata_list_add_all(struct metadata_list *list, const baton_metadata *metadata, size_t max_bytes,
                          bool reserved_allowed);

/* Frees what it holds; it is empty again. */
void metadata_list_deinit(struct metadata_list *list);

#endif
