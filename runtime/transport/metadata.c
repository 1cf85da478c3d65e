#include "transport/metadata.h"
#include "base/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flat_head {
        uint32_t size;
        uint32_t n;
};

struct flat_sizes {
        uint32_t key;
        uint32_t value;
};

/* ---- what is legal ---------------------------------------------------------------------------------------- */

static bool key_character(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

static bool is_binary(const char *key, size_t size)
{
        return size >= 4 && memcmp(key + size - 4, "-bin", 4) == 0;
}

static int refuse_key(const char *key, size_t size, const char *fault)
{
        char shown[64]; /* it may hold anything, and is then shown in a log */
        size_t n = size < sizeof shown - 1 ? size : sizeof shown - 1;
        for (size_t i = 0; i < n; i++)
                shown[i] = key[i] >= ' ' && key[i] <= '~' ? key[i] : '?';
        shown[n] = 0;
        return error_set(-EINVAL, "the metadata key \"%s\"%s %s", shown, n < size ? "…" : "", fault);
}

static int check_key(const char *key, size_t size, bool reserved_allowed)
{
        if (!size)
                return error_set(-EINVAL, "a metadata key is empty: a key has 1 to %d characters", METADATA_KEY_MAX);
        if (size > METADATA_KEY_MAX)
                return refuse_key(key, size, "is too long: a key has at most 256 characters");
        for (size_t i = 0; i < size; i++)
                if (!key_character(key[i]))
                        return refuse_key(key, size, "is illegal: a key consists of a-z 0-9 _ - . (lower case only)");
        if (!reserved_allowed && size >= 5 && memcmp(key, "grpc-", 5) == 0)
                return refuse_key(key, size, "is reserved: use one that does not begin with \"grpc-\"");
        return 0;
}

/* key: legal. */
static int check_value(const char *key, size_t key_size, const char *value, size_t size)
{
        if (!value && size)
                return error_set(-EINVAL, "the value of metadata \"%.*s\" is NULL, but has %zu bytes", (int)key_size,
                                 key, size);
        if (is_binary(key, key_size))
                return 0;
        for (size_t i = 0; i < size; i++)
                if (value[i] < ' ' || value[i] > '~')
                        return error_set(-EINVAL,
                                         "the value of metadata \"%.*s\" is not printable ASCII at byte %zu: "
                                         "a key for such values ends with \"-bin\"",
                                         (int)key_size, key, i);
        return 0;
}

/* key need not end with a NUL within more than METADATA_KEY_MAX bytes. *key_size: its length. */
static int check_entry(const char *key, const void *value, size_t size, bool reserved_allowed, size_t *key_size)
{
        if (!key)
                return error_set(-EINVAL, "a metadata key is NULL");
        *key_size = strnlen(key, METADATA_KEY_MAX + 1);
        int r = check_key(key, *key_size, reserved_allowed);
        return r < 0 ? r : check_value(key, *key_size, value, size);
}

static int too_large(const char *key, size_t max_bytes)
{
        return error_set(
                -EMSGSIZE,
                "metadata with \"%s\" takes more than the %zu bytes allowed (each pair counts its key, its value "
                "and %d): send less of it, or raise max_metadata_bytes on both sides",
                key, max_bytes, METADATA_ENTRY_COST);
}

/* Counts one pair more. False where that is over the limit. */
static bool count(size_t *bytes, size_t key_size, size_t value_size, size_t max_bytes)
{
        size_t left = max_bytes > *bytes ? max_bytes - *bytes : 0;
        size_t head = key_size + METADATA_ENTRY_COST;
        if (head > left || value_size > left - head)
                return false;
        *bytes += head + value_size;
        return true;
}

size_t metadata_bytes(const baton_metadata *metadata)
{
        size_t bytes = 0;
        for (size_t i = 0; metadata && i < metadata->n; i++)
                bytes += strlen(metadata->entries[i].key) + metadata->entries[i].size + METADATA_ENTRY_COST;
        return bytes;
}

int metadata_check(const baton_metadata *metadata, size_t max_bytes, bool reserved_allowed)
{
        size_t bytes = 0;
        if (metadata && metadata->n && !metadata->entries)
                return error_set(-EINVAL, "metadata of %zu pairs has entries NULL", metadata->n);
        for (size_t i = 0; metadata && i < metadata->n; i++) {
                const baton_metadata_entry *entry = &metadata->entries[i];
                size_t key_size = 0;
                int r = check_entry(entry->key, entry->value, entry->size, reserved_allowed, &key_size);
                if (r < 0)
                        return r;
                if (!count(&bytes, key_size, entry->size, max_bytes))
                        return too_large(entry->key, max_bytes);
        }
        return 0;
}

/* ---- the flat form ---------------------------------------------------------------------------------------- */

static size_t padded(size_t size)
{
        return (size + 7) & ~(size_t)7;
}

size_t metadata_flat_size(const baton_metadata *metadata)
{
        if (!metadata || !metadata->n)
                return 0;
        size_t size = sizeof(struct flat_head);
        for (size_t i = 0; i < metadata->n; i++)
                size += sizeof(struct flat_sizes) + strlen(metadata->entries[i].key) + metadata->entries[i].size + 2;
        return padded(size);
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
        if (size)
                memcpy(at, bytes, size);
        at[size] = 0;
        return at + size + 1;
}

void metadata_flatten(const baton_metadata *metadata, uint8_t *out)
{
        struct flat_head head = { .size = (uint32_t)metadata_flat_size(metadata) };
        if (!head.size)
                return;
        head.n = (uint32_t)metadata->n;
        memcpy(out, &head, sizeof head);
        uint8_t *sizes = out + sizeof head;
        uint8_t *at = sizes + metadata->n * sizeof(struct flat_sizes);
        for (size_t i = 0; i < metadata->n; i++) {
                const baton_metadata_entry *entry = &metadata->entries[i];
                struct flat_sizes each = { (uint32_t)strlen(entry->key), (uint32_t)entry->size };
                memcpy(sizes + i * sizeof each, &each, sizeof each);
                at = put(at, entry->key, each.key);
                at = put(at, entry->value, each.value);
        }
        memset(at, 0, (size_t)(out + head.size - at));
}

static int malformed(const char *what)
{
        return error_set(-EPROTO, "the peer sent malformed metadata: %s", what);
}

/* Private bytes of n pairs, as many as their sizes say or not. Writes the NULs itself. */
static int read_entries(uint8_t *bytes, size_t size, size_t n, size_t max_bytes, baton_metadata_entry *entries)
{
        size_t counted = 0;
        uint8_t *end = bytes + size;
        uint8_t *at = bytes + n * sizeof(struct flat_sizes);
        for (size_t i = 0; i < n; i++) {
                struct flat_sizes each;
                memcpy(&each, bytes + i * sizeof each, sizeof each);
                if ((uint64_t)each.key + each.value + 2 > (uint64_t)(end - at))
                        return malformed("it is shorter than its pairs");
                uint8_t *value = at + each.key + 1;
                at[each.key] = 0;
                value[each.value] = 0;
                entries[i] = (baton_metadata_entry){ (char *)at, value, each.value };
                if (check_key(entries[i].key, each.key, true) < 0 ||
                    check_value(entries[i].key, each.key, (char *)value, each.value) < 0)
                        return malformed(baton_error());
                if (!count(&counted, each.key, each.value, max_bytes))
                        return too_large(entries[i].key, max_bytes);
                at = value + each.value + 1;
        }
        return end - at < 8 ? 0 : malformed("it is longer than its pairs");
}

/* Whether the head can be that of metadata within the limit, so that no more is copied than that. */
static int check_head(const struct flat_head *head, size_t size, size_t max_bytes)
{
        if (head->size > size || head->size % 8 || head->size < sizeof *head)
                return malformed("its size is impossible");
        size_t body = head->size - sizeof *head;
        if (!head->n || head->n > body / (sizeof(struct flat_sizes) + 2))
                return malformed("its count is impossible");
        /* A pair counts more than it takes here. */
        if (body >= 8 && body - 8 > max_bytes)
                return error_set(-EMSGSIZE, "the peer sent %u bytes of metadata, more than the %zu allowed", head->size,
                                 max_bytes);
        return 0;
}

int metadata_unflatten(const void *bytes, size_t size, size_t max_bytes, baton_arena *arena, baton_metadata *out)
{
        *out = (baton_metadata){ 0 };
        if (!size)
                return 0;
        struct flat_head head;
        if (size < sizeof head)
                return malformed("its size is impossible");
        memcpy(&head, bytes, sizeof head);
        /* The peer may change the source at any time: from here on only the copy may be read, also by the compiler. */
        __asm__ __volatile__("" ::: "memory");
        int r = check_head(&head, size, max_bytes);
        if (r < 0)
                return r;
        size_t body = head.size - sizeof head;
        baton_metadata_entry *entries = baton_arena_alloc(arena, head.n * sizeof *entries);
        uint8_t *copy = baton_arena_alloc(arena, body);
        if (!entries || !copy)
                return error_set(-ENOMEM, "no memory for received metadata of %u bytes", head.size);
        memcpy(copy, (const uint8_t *)bytes + sizeof head, body);
        __asm__ __volatile__("" ::: "memory");
        r = read_entries(copy, body, head.n, max_bytes, entries);
        if (r < 0)
                return r;
        *out = (baton_metadata){ head.n, entries };
        return (int)head.size;
}

/* ---- a list that grows ------------------------------------------------------------------------------------ */

/* The list's own entries, which users see as constant. */
static baton_metadata_entry *entries_of(struct metadata_list *list)
{
        return (baton_metadata_entry *)list->metadata.entries;
}

static bool make_room(struct metadata_list *list)
{
        if (list->metadata.n < list->room)
                return true;
        size_t room = list->room ? list->room * 2 : 4;
        baton_metadata_entry *entries = realloc(entries_of(list), room * sizeof *entries);
        if (!entries)
                return false;
        list->metadata.entries = entries;
        list->room = room;
        return true;
}

int metadata_list_add(struct metadata_list *list, const char *key, const void *value, size_t size, size_t max_bytes,
                      bool reserved_allowed)
{
        size_t key_size = 0, bytes = list->bytes;
        int r = check_entry(key, value, size, reserved_allowed, &key_size);
        if (r < 0)
                return r;
        if (!count(&bytes, key_size, size, max_bytes))
                return too_large(key, max_bytes);
        uint8_t *copy = make_room(list) ? malloc(key_size + size + 2) : NULL;
        if (!copy)
                return error_set(-ENOMEM, "no memory for metadata \"%s\" of %zu bytes", key, size);
        uint8_t *copied_value = put(copy, key, key_size);
        put(copied_value, value, size);
        entries_of(list)[list->metadata.n++] = (baton_metadata_entry){ (char *)copy, copied_value, size };
        list->bytes = bytes;
        return 0;
}

int metadata_list_add_all(struct metadata_list *list, const baton_metadata *metadata, size_t max_bytes,
                          bool reserved_allowed)
{
        for (size_t i = 0; metadata && i < metadata->n; i++) {
                const baton_metadata_entry *entry = &metadata->entries[i];
                int r = metadata_list_add(list, entry->key, entry->value, entry->size, max_bytes, reserved_allowed);
                if (r < 0)
                        return r;
        }
        return 0;
}

void metadata_list_deinit(struct metadata_list *list)
{
        for (size_t i = 0; i < list->metadata.n; i++)
                free((void *)list->metadata.entries[i].key);
        free(entries_of(list));
        *list = (struct metadata_list){ 0 };
}
