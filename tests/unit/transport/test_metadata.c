#include "transport/metadata.h"
#include "base/arena.h"
#include <baton/status.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 8192 };

#define PAIRS(...)                                                                                         \
        ((baton_metadata){ sizeof((baton_metadata_entry[]){ __VA_ARGS__ }) / sizeof(baton_metadata_entry), \
                           (baton_metadata_entry[]){ __VA_ARGS__ } })

/* ---- what is legal ---------------------------------------------------------------------------------------- */

static int check_one(const char *key, const void *value, size_t size, bool reserved)
{
        baton_metadata_entry entry = { key, value, size };
        return metadata_check(&(baton_metadata){ 1, &entry }, MAX, reserved);
}

static void legal_keys(void **state)
{
        (void)state;
        for (int c = 1; c < 256; c++) {
                char key[] = { 'k', (char)c, 0 };
                bool legal = strchr("abcdefghijklmnopqrstuvwxyz0123456789_-.", c) != NULL;
                assert_int_equal(check_one(key, "", 0, false), legal ? 0 : -EINVAL);
        }
        char key[METADATA_KEY_MAX + 2];
        memset(key, 'k', sizeof key);
        key[METADATA_KEY_MAX + 1] = 0;
        assert_int_equal(check_one(key, "", 0, false), -EINVAL);
        key[METADATA_KEY_MAX] = 0;
        assert_int_equal(check_one(key, "", 0, false), 0);
        assert_int_equal(check_one("", "", 0, false), -EINVAL);
        assert_int_equal(check_one(NULL, "", 0, false), -EINVAL);
}

static void reserved_keys(void **state)
{
        (void)state;
        assert_int_equal(check_one("grpc-status", "", 0, false), -EINVAL);
        assert_int_equal(check_one("grpc-", "", 0, false), -EINVAL);
        assert_int_equal(check_one("grpc-status", "", 0, true), 0);
        assert_int_equal(check_one("grpc", "", 0, false), 0);
}

static void legal_values(void **state)
{
        (void)state;
        for (int c = 0; c < 256; c++) {
                char value[] = { 'v', (char)c };
                assert_int_equal(check_one("k", value, 2, false), c >= 0x20 && c <= 0x7e ? 0 : -EINVAL);
                assert_int_equal(check_one("k-bin", value, 2, false), 0);
                assert_int_equal(check_one("-bin", value, 2, false), 0);
        }
        assert_int_equal(check_one("bin", "\n", 1, false), -EINVAL);
        assert_int_equal(check_one("k", NULL, 0, false), 0);
        assert_int_equal(check_one("k", NULL, 1, false), -EINVAL);
}

/* The texts name the key and the fault, and show nothing unprintable. */
static void texts(void **state)
{
        (void)state;
        check_one("Bad\nKey", "", 0, false);
        assert_string_equal(baton_error(), "the metadata key \"Bad?Key\" is illegal: a key consists of a-z 0-9 _ - . "
                                           "(lower case only)");
        check_one("user", "a\tb", 3, false);
        assert_string_equal(baton_error(), "the value of metadata \"user\" is not printable ASCII at byte 1: "
                                           "a key for such values ends with \"-bin\"");
        baton_metadata pairs = PAIRS(baton_text("a", "1"), baton_text("user", "x"));
        assert_int_equal(metadata_check(&pairs, 40, false), -EMSGSIZE);
        assert_non_null(strstr(baton_error(), "\"user\""));
        assert_non_null(strstr(baton_error(), "max_metadata_bytes"));
}

static void limits(void **state)
{
        (void)state;
        baton_metadata pairs = PAIRS(baton_text("key", "value"), baton_text("k", ""));
        assert_int_equal(metadata_bytes(&pairs), 3 + 5 + 32 + 1 + 32);
        assert_int_equal(metadata_check(&pairs, 73, false), 0);
        assert_int_equal(metadata_check(&pairs, 72, false), -EMSGSIZE);
        assert_int_equal(metadata_check(NULL, 0, false), 0);
        assert_int_equal(metadata_check(&(baton_metadata){ 0 }, 0, false), 0);
        assert_int_equal(metadata_check(&(baton_metadata){ 1, NULL }, MAX, false), -EINVAL);
        assert_int_equal(metadata_bytes(NULL), 0);
        baton_metadata huge = PAIRS({ "k-bin", "", SIZE_MAX });
        assert_int_equal(metadata_check(&huge, SIZE_MAX, false), -EMSGSIZE);
}

/* ---- the flat form ---------------------------------------------------------------------------------------- */

static void same(const baton_metadata *a, const baton_metadata *b)
{
        assert_int_equal(a->n, b->n);
        for (size_t i = 0; i < a->n; i++) {
                const baton_metadata_entry *x = &a->entries[i], *y = &b->entries[i];
                assert_string_equal(x->key, y->key);
                assert_int_equal(x->size, y->size);
                if (x->size)
                        assert_memory_equal(x->value, y->value, x->size);
                assert_int_equal(((const char *)y->value)[y->size], 0);
        }
}

/* Exactly as many bytes as given, so that a sanitizer sees each step beyond. */
static int unflatten(const void *bytes, size_t size, size_t max_bytes, baton_arena *arena, baton_metadata *out)
{
        void *copy = malloc(size ? size : 1);
        memcpy(copy, bytes, size);
        int r = metadata_unflatten(copy, size, max_bytes, arena, out);
        memset(copy, 0xff, size); /* as a hostile peer would */
        free(copy);
        return r;
}

static uint8_t *flat_of(const baton_metadata *metadata, size_t *size)
{
        *size = metadata_flat_size(metadata);
        uint8_t *flat = malloc(*size);
        memset(flat, 0xee, *size);
        metadata_flatten(metadata, flat);
        return flat;
}

static void there_and_back(void **state)
{
        (void)state;
        char value[20] = "0123456789abcdefghi";
        for (size_t size = 0; size < sizeof value - 1; size++) {
                baton_metadata pairs = PAIRS({ "any-bin", "\0\xff", 2 }, { "v", value, size }, { "v", NULL, 0 },
                                             { "grpc-tags-bin", value, 1 });
                size_t flat_size, limit = metadata_bytes(&pairs);
                uint8_t *flat = flat_of(&pairs, &flat_size);
                assert_int_equal(flat_size % 8, 0);
                assert_null(memchr(flat, 0xee, flat_size)); /* nothing of the memory's past reaches the peer */
                baton_arena arena;
                arena_init(&arena, 1 << 20);
                baton_metadata out;
                assert_int_equal(unflatten(flat, flat_size, limit, &arena, &out), flat_size);
                same(&pairs, &out);
                assert_int_equal(unflatten(flat, flat_size, limit - 1, &arena, &out), -EMSGSIZE);
                assert_int_equal(out.n, 0);
                arena_deinit(&arena);
                free(flat);
        }
}

static void nothing(void **state)
{
        (void)state;
        assert_int_equal(metadata_flat_size(NULL), 0);
        assert_int_equal(metadata_flat_size(&(baton_metadata){ 0 }), 0);
        metadata_flatten(NULL, NULL);
        metadata_flatten(&(baton_metadata){ 0 }, NULL);
        baton_metadata out = { .n = 7 };
        assert_int_equal(metadata_unflatten(NULL, 0, MAX, NULL, &out), 0);
        assert_int_equal(out.n, 0);
}

/* It stands in front of something else, and does not touch it. */
static void in_front(void **state)
{
        (void)state;
        baton_metadata pairs = PAIRS(baton_text("key", "value")), out;
        size_t size = metadata_flat_size(&pairs);
        uint8_t bytes[256];
        memset(bytes, 0xee, sizeof bytes);
        metadata_flatten(&pairs, bytes);
        for (size_t i = size; i < sizeof bytes; i++)
                assert_int_equal(bytes[i], 0xee);
        baton_arena arena;
        arena_init(&arena, 1 << 20);
        assert_int_equal(unflatten(bytes, sizeof bytes, MAX, &arena, &out), size);
        same(&pairs, &out);
        arena_deinit(&arena);
}

/* ---- hostile bytes ---------------------------------------------------------------------------------------- */

struct bytes {
        uint32_t word[64];
};

static int hostile(const struct bytes *bytes, size_t size)
{
        baton_arena arena;
        arena_init(&arena, 1 << 20);
        baton_metadata out = { .n = 7 };
        int r = unflatten(bytes, size, MAX, &arena, &out);
        if (r < 0) {
                assert_int_equal(out.n, 0);
                assert_true(baton_error()[0] != 0);
        }
        arena_deinit(&arena);
        return r;
}

/* {size, n, key size, value size, "key", "value"} */
static struct bytes good(void)
{
        struct bytes bytes = { { 32, 1, 3, 5 } };
        memcpy(&bytes.word[4], "key\0value", 10);
        return bytes;
}

static void bad_sizes(void **state)
{
        (void)state;
        struct bytes bytes = good();
        assert_int_equal(hostile(&bytes, 32), 32);
        assert_int_equal(hostile(&bytes, 256), 32);
        for (size_t size = 1; size < 32; size++)
                assert_int_equal(hostile(&bytes, size), -EPROTO);
        static const uint32_t sizes[] = { 0,  1,  4,   8,          16,         24,         31,        33,
                                          40, 48, 264, 0x7ffffff8, 0x80000000, 0xfffffff8, 0xffffffff };
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                bytes.word[0] = sizes[i];
                assert_int_equal(hostile(&bytes, sizeof bytes), -EPROTO);
        }
}

static void bad_counts(void **state)
{
        (void)state;
        static const uint32_t counts[] = { 0, 2, 3, 4, 0x10000000, 0x20000000, 0x7fffffff, 0x80000000, 0xffffffff };
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
                struct bytes bytes = good();
                bytes.word[1] = counts[i];
                assert_int_equal(hostile(&bytes, 32), -EPROTO);
        }
}

static void bad_lengths(void **state)
{
        (void)state;
        static const uint32_t pairs[][2] = {
                { 0xffffffff, 5 },
                { 3, 0xffffffff },
                { 0xffffffff, 0xffffffff },
                { 0x80000000, 0x80000000 },
                { 0xfffffffb, 5 },
                { 0, 8 },
                { 3, 12 },
                { 14, 1 },
                { 0xffffffff, 0xfffffffe },
                { 4, 4 },
                { 2, 6 },
                { 3, 3 },
                { 0xfffffffe, 0 },
                { 0, 0 },
        };
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
                struct bytes bytes = good();
                memcpy(&bytes.word[4], "key\0value\n\n\n\n\n\n", 16);
                bytes.word[2] = pairs[i][0];
                bytes.word[3] = pairs[i][1];
                assert_int_equal(hostile(&bytes, 32), -EPROTO);
        }
}

static void bad_contents(void **state)
{
        (void)state;
        static const char *const contents[] = { "Key\0value", "k y\0value", "ke\xff\0value", "key\0va\nue",
                                                "key\0va\x7fue" };
        for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
                struct bytes bytes = good();
                memcpy(&bytes.word[4], contents[i], 10);
                assert_int_equal(hostile(&bytes, 32), -EPROTO);
        }
        struct bytes bytes = good();
        memcpy(&bytes.word[4], "k\0y\0va\0ue", 10); /* NULs where none belong */
        assert_int_equal(hostile(&bytes, 32), -EPROTO);
        /* and other bytes where they do: they are replaced */
        memcpy(&bytes.word[4], "key\1value\1\1\1\1\1\1", 16);
        baton_metadata pairs = PAIRS(baton_text("key", "value")), out;
        baton_arena arena;
        arena_init(&arena, 1 << 20);
        assert_int_equal(unflatten(&bytes, 32, MAX, &arena, &out), 32);
        same(&pairs, &out);
        arena_deinit(&arena);
}

/* Over the limit it is not even copied: the arena has no room for it. */
static void too_large(void **state)
{
        (void)state;
        size_t size = 1 << 20;
        uint8_t *bytes = calloc(1, size);
        uint32_t head[] = { (uint32_t)size, 1, 5, (uint32_t)size - 5 - 2 - 16 };
        memcpy(bytes, head, sizeof head);
        memcpy(bytes + 16, "k-bin", 5);
        baton_arena arena;
        arena_init(&arena, 4096);
        baton_metadata out;
        assert_int_equal(metadata_unflatten(bytes, size, MAX, &arena, &out), -EMSGSIZE);
        assert_int_equal(metadata_unflatten(bytes, size, size + 32, &arena, &out), -ENOMEM);
        arena_deinit(&arena);
        free(bytes);
}

/* Whatever single bytes a peer changes, it is refused or legal. */
static void scribbled(void **state)
{
        (void)state;
        baton_metadata pairs = PAIRS(baton_text("key", "value"), { "any-bin", "\1\2\3", 3 }, baton_text("k", ""));
        size_t size;
        uint8_t *flat = flat_of(&pairs, &size);
        for (size_t at = 0; at < size; at++) {
                uint8_t old = flat[at];
                for (int c = 0; c < 256; c++) {
                        flat[at] = (uint8_t)c;
                        baton_arena arena;
                        arena_init(&arena, 1 << 20);
                        baton_metadata out;
                        int r = unflatten(flat, size, MAX, &arena, &out);
                        assert_true(r == -EPROTO || r == -EMSGSIZE || (r > 0 && r <= (int)size));
                        if (r > 0)
                                assert_int_equal(metadata_check(&out, MAX, true), 0);
                        arena_deinit(&arena);
                }
                flat[at] = old;
        }
        free(flat);
}

/* ---- a list that grows ------------------------------------------------------------------------------------ */

static void list_grows(void **state)
{
        (void)state;
        struct metadata_list list = { 0 };
        char key[] = "key-a", value[] = "value-a";
        for (int i = 0; i < 20; i++) {
                key[4] = value[6] = (char)('a' + i);
                assert_int_equal(metadata_list_add(&list, key, value, 7, MAX, false), 0);
        }
        assert_int_equal(list.metadata.n, 20);
        assert_int_equal(list.bytes, metadata_bytes(&list.metadata));
        for (int i = 0; i < 20; i++) {
                key[4] = value[6] = (char)('a' + i);
                assert_string_equal(list.metadata.entries[i].key, key);
                assert_string_equal(list.metadata.entries[i].value, value);
        }
        metadata_list_deinit(&list);
        assert_int_equal(list.metadata.n, 0);
        assert_int_equal(metadata_list_add(&list, "again", NULL, 0, MAX, false), 0);
        metadata_list_deinit(&list);
}

static void list_refuses(void **state)
{
        (void)state;
        struct metadata_list list = { 0 };
        assert_int_equal(metadata_list_add(&list, "K", "v", 1, MAX, false), -EINVAL);
        assert_int_equal(metadata_list_add(&list, NULL, "v", 1, MAX, false), -EINVAL);
        assert_int_equal(metadata_list_add(&list, "grpc-x", "v", 1, MAX, false), -EINVAL);
        assert_int_equal(metadata_list_add(&list, "grpc-x", "v", 1, MAX, true), 0);
        assert_int_equal(metadata_list_add(&list, "k", "\n", 1, MAX, false), -EINVAL);
        assert_int_equal(metadata_list_add(&list, "k", "v", 1, list.bytes + 33, false), -EMSGSIZE);
        assert_int_equal(metadata_list_add(&list, "k", "v", 1, list.bytes + 34, false), 0);
        assert_int_equal(metadata_list_add(&list, "k", "v", 1, 1, false), -EMSGSIZE); /* a limit below what it holds */
        assert_int_equal(list.metadata.n, 2);
        metadata_list_deinit(&list);
}

static void list_joins(void **state)
{
        (void)state;
        struct metadata_list list = { 0 };
        baton_metadata pairs = PAIRS(baton_text("a", "1"), { "b-bin", "\0", 1 });
        assert_int_equal(metadata_list_add_all(&list, &pairs, MAX, false), 0);
        same(&pairs, &list.metadata);
        assert_int_equal(metadata_list_add_all(&list, NULL, MAX, false), 0);
        assert_int_equal(metadata_list_add_all(&list, &pairs, list.bytes + 34, false), -EMSGSIZE);
        assert_int_equal(list.metadata.n, 3);
        metadata_list_deinit(&list);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(legal_keys),   cmocka_unit_test(reserved_keys), cmocka_unit_test(legal_values),
                cmocka_unit_test(texts),        cmocka_unit_test(limits),        cmocka_unit_test(there_and_back),
                cmocka_unit_test(nothing),      cmocka_unit_test(in_front),      cmocka_unit_test(bad_sizes),
                cmocka_unit_test(bad_counts),   cmocka_unit_test(bad_lengths),   cmocka_unit_test(bad_contents),
                cmocka_unit_test(too_large),    cmocka_unit_test(scribbled),     cmocka_unit_test(list_grows),
                cmocka_unit_test(list_refuses), cmocka_unit_test(list_joins),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
