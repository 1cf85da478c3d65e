/* The wire codec: what it refuses before protobuf-c sees it, and that what is left cannot hurt. */
#include "base/arena.h"
#include "codec/wire.h"
#include "codec/wire_scan.h"
#include "compare.h"
#include "kinds2.pb-c.h"
#include "kinds3.pb-c.h"
#include "random_message.h"
#include "types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

enum {
        BUDGET = 1 << 24,
};

static int unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size)
{
        baton_arena arena;
        arena_init(&arena, BUDGET);
        uint8_t *copy = malloc(size ? size : 1);
        memcpy(copy, data, size);
        ProtobufCMessage *message;
        int r = wire_unpack(descriptor, copy, size, &arena, &message);
        free(copy);
        if (r == 0)
                assert_ptr_equal(message->descriptor, descriptor);
        arena_deinit(&arena);
        return r;
}

/* n messages, each the `next` of the one before: Kinds3.Chain field 1. Built from the inside out. */
static uint8_t *deep(size_t n, size_t *size)
{
        size_t room = n * 6 + 16;
        uint8_t *data = malloc(room);
        size_t at = room;
        for (size_t i = 1; i < n; i++) {
                size_t length = room - at;
                uint8_t head[6] = { 0x0a };
                size_t k = 1;
                for (; length >= 0x80; length >>= 7)
                        head[k++] = (uint8_t)(length | 0x80);
                head[k++] = (uint8_t)length;
                at -= k;
                memcpy(data + at, head, k);
        }
        *size = room - at;
        memmove(data, data + at, *size);
        return data;
}

static double seconds(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void depth_is_limited(void **state)
{
        (void)state;
        for (size_t n = 98; n <= 103; n++) {
                size_t size;
                uint8_t *data = deep(n, &size);
                assert_int_equal(unpack(&kinds3__chain__descriptor, data, size), n <= 100 ? 0 : -ELOOP);
                free(data);
        }
        size_t size;
        uint8_t *data = deep(100000, &size);
        double best = 1;
        for (int i = 0; i < 5; i++) {
                double start = seconds();
                ProtobufCMessage *message;
                baton_arena arena;
                arena_init(&arena, BUDGET);
                assert_int_equal(wire_unpack(&kinds3__chain__descriptor, data, size, &arena, &message), -ELOOP);
                arena_deinit(&arena);
                double took = seconds() - start;
                best = took < best ? took : best;
        }
        free(data);
        assert_true(best < 0.001);
}

static void memory_is_bounded(void **state)
{
        (void)state;
        enum {
                SIZE = 3 * 20000,
        };
        uint8_t *data = malloc(SIZE); /* 20,000 empty All in r_message's sister: field 602, two-byte tag, length 0 */
        for (size_t i = 0; i < SIZE; i += 3) {
                data[i] = 0xd2;
                data[i + 1] = 0x25;
                data[i + 2] = 0;
        }
        ProtobufCMessage *message;
        baton_arena arena;
        arena_init(&arena, 1 << 20);
        assert_int_equal(wire_unpack(&kinds3__all__descriptor, data, SIZE, &arena, &message), -ENOMEM);
        arena_deinit(&arena);
        arena_init(&arena, 64 << 20);
        assert_int_equal(wire_unpack(&kinds3__all__descriptor, data, SIZE, &arena, &message), 0);
        assert_int_equal(((Kinds3__All *)message)->n_children, 20000);
        arena_deinit(&arena);
        free(data);
}

static void strings_are_checked(void **state)
{
        (void)state;
        assert_int_equal(unpack(&kinds3__chain__descriptor, "\x12\x02\xc3\xa9", 4), 0);
        assert_int_equal(unpack(&kinds3__chain__descriptor, "\x12\x02\xc3\x28", 4), -EILSEQ);
        assert_int_equal(unpack(&kinds3__chain__descriptor, "\x12\x02\x61\x00", 4), -EILSEQ);
        assert_int_equal(unpack(&kinds3__chain__descriptor, "\x0a\x03\x12\x01\xff", 5), -EILSEQ);
        /* In an unknown field they are only bytes. */
        assert_int_equal(unpack(&kinds3__chain__descriptor, "\x3a\x01\xff", 3), 0);
}

static void malformed_data_is_refused(void **state)
{
        (void)state;
        const ProtobufCMessageDescriptor *chain = &kinds3__chain__descriptor;
        assert_int_equal(unpack(chain, "", 0), 0);
        assert_int_equal(unpack(chain, "\x00", 1), -EBADMSG);              /* field number 0 */
        assert_int_equal(unpack(chain, "\x80\x00", 2), -EBADMSG);          /* the same, in two bytes */
        assert_int_equal(unpack(chain, "\x12", 1), -EBADMSG);              /* no length */
        assert_int_equal(unpack(chain, "\x12\x05hell", 6), -EBADMSG);      /* too short */
        assert_int_equal(unpack(chain, "\x10\x05", 2), -EBADMSG);          /* a string as a varint */
        assert_int_equal(unpack(chain, "\x0d....", 5), -EBADMSG);          /* a message as 32 bits */
        assert_int_equal(unpack(chain, "\x0b\x0c", 2), -EBADMSG);          /* a group */
        assert_int_equal(unpack(chain, "\x0a\x03\x12\x02x", 5), -EBADMSG); /* inside longer than outside */
        assert_int_equal(unpack(chain, "\x12\xff\xff\xff\xff\x0f", 6), -EBADMSG);
        assert_int_equal(unpack(chain, "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11), -EBADMSG);
        assert_int_equal(unpack(chain, "\x38\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12), -EBADMSG);
        /* All.r_int32 (201) and r_fixed32 (208), packed: a varint that does not end, and five bytes. */
        assert_int_equal(unpack(&kinds3__all__descriptor, "\xca\x0c\x02\x01\x80", 5), -EBADMSG);
        assert_int_equal(unpack(&kinds3__all__descriptor, "\x82\x0d\x05.....", 8), -EBADMSG);
        assert_int_equal(unpack(&kinds3__all__descriptor, "\x82\x0d\x04....", 7), 0);
}

static void required_fields_are_required(void **state)
{
        (void)state;
        /* Needed: number 1, text "", blob "", size 1, flag 1; the two with defaults may be missing. */
        static const uint8_t whole[10] = { 0x08, 1, 0x12, 0, 0x1a, 0, 0x20, 1, 0x40, 1 };
        const ProtobufCMessageDescriptor *needed = &kinds2__needed__descriptor;
        assert_int_equal(unpack(needed, whole, 10), 0);
        assert_int_equal(unpack(needed, whole, 8), -ENODATA);
        assert_int_equal(unpack(needed, whole + 2, 8), -ENODATA);
        assert_int_equal(unpack(needed, "", 0), -ENODATA);
        uint8_t nested[12] = { 0x3a, 10 };
        memcpy(nested + 2, whole, 10);
        assert_int_equal(unpack(needed, nested, 12), -ENODATA);
        uint8_t both[22];
        memcpy(both, whole, 10);
        memcpy(both + 10, nested, 12);
        assert_int_equal(unpack(needed, both, 22), 0);
        both[11] = 0;
        assert_int_equal(unpack(needed, both, 12), -ENODATA);
}

static void room_is_respected(void **state)
{
        (void)state;
        Kinds3__Chain chain = KINDS3__CHAIN__INIT;
        uint8_t out[10] = { 0 };
        assert_int_equal(wire_pack(&kinds3__chain__descriptor, &chain.base, out, 0), 0);
        chain.name = (char *)"hello";
        assert_int_equal(wire_pack(&kinds3__chain__descriptor, &chain.base, out, 6), -EMSGSIZE);
        assert_int_equal(out[0], 0);
        assert_int_equal(wire_pack(&kinds3__chain__descriptor, &chain.base, out, 7), 7);
        chain.name = (char *)"\xff";
        assert_int_equal(wire_pack(&kinds3__chain__descriptor, &chain.base, out, 7), -EILSEQ);
        assert_int_equal(wire_pack(&kinds3__leaf__descriptor, &chain.base, out, 7), -EINVAL);
}

static void into_the_callers_struct(void **state)
{
        (void)state;
        baton_arena arena;
        arena_init(&arena, BUDGET);
        Kinds3__Chain chain;
        assert_int_equal(wire_unpack_into(&kinds3__chain__descriptor, "\x12\x02hi", 4, &arena, &chain.base), 0);
        assert_string_equal(chain.name, "hi");
        arena_deinit(&arena);
}

/* What the scan lets through, protobuf-c takes without harm; what unpacks, packs again. */
static void broken_data_does_no_harm(void **state)
{
        (void)state;
        struct random random;
        for (unsigned round = 0; round < 300; round++) {
                random_seed(&random, round);
                const baton_type *type = test_types[round % n_test_types];
                baton_arena arena;
                arena_init(&arena, SIZE_MAX);
                const ProtobufCMessage *message = random_message(&random, type->descriptor, &arena, 3);
                size_t size = (size_t)wire_size(type->descriptor, message);
                uint8_t *data = malloc(size + 1);
                assert_int_equal(wire_pack(type->descriptor, message, data, size), size);
                for (int i = 0; i < 60 && size; i++) {
                        size_t at = random_below(&random, size);
                        uint8_t was = data[at];
                        data[at] = (uint8_t)random_next(&random);
                        unpack(type->descriptor, data, size);
                        unpack(type->descriptor, data, random_below(&random, size));
                        if (random_below(&random, 2))
                                data[at] = was;
                }
                free(data);
                arena_deinit(&arena);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(depth_is_limited),
                cmocka_unit_test(memory_is_bounded),
                cmocka_unit_test(strings_are_checked),
                cmocka_unit_test(malformed_data_is_refused),
                cmocka_unit_test(required_fields_are_required),
                cmocka_unit_test(room_is_respected),
                cmocka_unit_test(into_the_callers_struct),
                cmocka_unit_test(broken_data_does_no_harm),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
