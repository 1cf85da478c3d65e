/* The graph codec on random messages of every kind: what must hold between the walkers, the wire format and the original. */
#include "base/arena.h"
#include "codec/graph.h"
#include "codec/wire.h"
#include "compare.h"
#include "kinds2.pb-c.h"
#include "kinds3.pb-c.h"
#include "random_message.h"
#include "graph_stream.h"
#include "types.h"
#include "walkers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

enum {
        ROUNDS = 150,
};

/* Encodes with both walkers, compares the streams, decodes with both and compares the messages. */
static void check_graph(const baton_type *type, const ProtobufCMessage *message, uint32_t lend_min)
{
        baton_type plain = generic(type);
        struct graph_stream a, b;
        assert_int_equal(graph_stream_encode(&a, type, message, lend_min), 0);
        assert_int_equal(graph_stream_encode(&b, &plain, message, lend_min), 0);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        assert_int_equal(a.lent, b.lent);
        if (a.heap_size)
                assert_memory_equal(a.heap, b.heap, a.heap_size);

        baton_arena arena;
        arena_init(&arena, SIZE_MAX);
        ProtobufCMessage *decoded;
        assert_int_equal(graph_stream_decode(&a, type, &arena, &decoded), 0);
        assert_same_message(message, decoded);
        assert_int_equal(graph_stream_decode(&a, &plain, &arena, &decoded), 0);
        assert_same_message(message, decoded);
        arena_deinit(&arena);
        graph_stream_free(&a);
        graph_stream_free(&b);
}

/* What wire bytes the message has, and what they say. */
static void check_wire(const baton_type *type, const ProtobufCMessage *message)
{
        int64_t size = wire_size(type->descriptor, message);
        assert_true(size >= 0);
        uint8_t *data = malloc((size_t)size + 1);
        assert_int_equal(wire_pack(type->descriptor, message, data, (size_t)size), size);
        baton_arena arena;
        arena_init(&arena, SIZE_MAX);
        ProtobufCMessage *unpacked;
        assert_int_equal(wire_unpack(type->descriptor, data, (size_t)size, &arena, &unpacked), 0);
        assert_same_message(message, unpacked);

        /* What went through the graph packs to the same bytes. */
        struct graph_stream stream;
        assert_int_equal(graph_stream_encode(&stream, type, message, 64), 0);
        ProtobufCMessage *decoded;
        assert_int_equal(graph_stream_decode(&stream, type, &arena, &decoded), 0);
        uint8_t *again = malloc((size_t)size + 1);
        assert_int_equal(wire_pack(type->descriptor, decoded, again, (size_t)size), size);
        assert_memory_equal(data, again, (size_t)size);

        graph_stream_free(&stream);
        arena_deinit(&arena);
        free(data);
        free(again);
}

static void random_messages_survive(void **state)
{
        (void)state;
        struct random random;
        for (unsigned round = 0; round < ROUNDS; round++) {
                random_seed(&random, round);
                for (size_t i = 0; i < n_test_types; i++) {
                        baton_arena arena;
                        arena_init(&arena, SIZE_MAX);
                        const ProtobufCMessage *message = random_message(&random, test_types[i]->descriptor, &arena, 4);
                        check_graph(test_types[i], message, UINT32_MAX);
                        check_graph(test_types[i], message, 100);
                        check_graph(test_types[i], message, 0);
                        check_wire(test_types[i], message);
                        arena_deinit(&arena);
                }
        }
}

static void room_is_respected(void **state)
{
        (void)state;
        struct random random;
        random_seed(&random, 4711);
        baton_arena arena;
        arena_init(&arena, SIZE_MAX);
        for (size_t i = 0; i < n_test_types; i++) {
                const ProtobufCMessage *message = random_message(&random, test_types[i]->descriptor, &arena, 2);
                size_t size = (size_t)graph_size(test_types[i], message, UINT32_MAX);
                size_t step = size > 2000 ? 64 : 8;
                for (size_t room = 0; room < size; room += step) {
                        uint8_t *buffer = malloc(room ? room : 1);
                        baton_graph_writer writer = { .at = buffer, .end = buffer + room };
                        assert_int_equal(graph_encode(test_types[i], &writer, message), -EMSGSIZE);
                        free(buffer);
                }
        }
        arena_deinit(&arena);
}

static void only_what_is_large_is_lent(void **state)
{
        (void)state;
        uint64_t numbers[3] = { 1, 2, 3 };
        Kinds3__All message = KINDS3__ALL__INIT;
        message.n_r_uint64 = 3;
        message.r_uint64 = numbers;
        int64_t size = graph_size(&(baton_type){ .descriptor = &kinds3__all__descriptor }, &message.base, UINT32_MAX);
        int64_t lent = graph_size(&(baton_type){ .descriptor = &kinds3__all__descriptor }, &message.base, 24);
        int64_t kept = graph_size(&(baton_type){ .descriptor = &kinds3__all__descriptor }, &message.base, 25);
        assert_int_equal(size, kept);
        assert_int_equal(size, lent + 24);
}

static int refuse(baton_graph_writer *writer, const void *data, size_t size, uint64_t *offset)
{
        (void)data;
        (void)size;
        (void)offset;
        return writer->lend_min == 1 ? -ENOBUFS : -ENOSPC;
}

static void lenders_errors_are_told_apart(void **state)
{
        (void)state;
        baton_type type = { .descriptor = &kinds3__leaf__descriptor };
        Kinds3__Leaf message = KINDS3__LEAF__INIT;
        uint64_t buffer[64];
        message.blob = (ProtobufCBinaryData){ 3, (uint8_t *)"abc" };
        baton_graph_writer writer = {
                .at = (uint8_t *)buffer, .end = (uint8_t *)(buffer + 64), .lend_min = 1, .lend = refuse
        };
        assert_int_equal(graph_encode(&type, &writer, &message.base), 0);
        baton_arena arena;
        arena_init(&arena, 10000);
        baton_graph_reader reader = { .at = (uint8_t *)buffer, .end = writer.at, .arena = &arena };
        ProtobufCMessage *decoded;
        assert_int_equal(graph_decode(&type, &reader, &decoded), 0);
        assert_same_message(&message.base, decoded);
        assert_int_equal(reader.references, 0);
        writer.at = (uint8_t *)buffer;
        writer.lend_min = 2;
        assert_int_equal(graph_encode(&type, &writer, &message.base), -ENOSPC);
        arena_deinit(&arena);
}

static void payloads_are_used_where_they_lie(void **state)
{
        (void)state;
        double numbers[100] = { 1.5 };
        Kinds3__All message = KINDS3__ALL__INIT;
        baton_type type = { .descriptor = &kinds3__all__descriptor };
        message.n_r_double = 100;
        message.r_double = numbers;
        struct graph_stream stream;
        assert_int_equal(graph_stream_encode(&stream, &type, &message.base, 800), 0);
        assert_int_equal(stream.lent, 1);
        baton_arena arena;
        arena_init(&arena, 100000);
        ProtobufCMessage *decoded;
        assert_int_equal(graph_stream_decode(&stream, &type, &arena, &decoded), 0);
        assert_ptr_equal(((Kinds3__All *)decoded)->r_double, stream.heap);
        arena_deinit(&arena);
        graph_stream_free(&stream);
}

static void unset_fields_become_the_receivers_defaults(void **state)
{
        (void)state;
        baton_arena arena;
        arena_init(&arena, 100000);
        baton_type type2 = { .descriptor = &kinds2__all__descriptor };
        Kinds2__All all2 = KINDS2__ALL__INIT;
        struct graph_stream stream;
        ProtobufCMessage *decoded;
        /* Not set, and so not to be looked at. */
        all2.d_bytes = (ProtobufCBinaryData){ 1000, (uint8_t *)(uintptr_t)16 };
        all2.o_bytes = all2.d_bytes;
        all2.o_string = NULL;
        all2.d_string = NULL;
        assert_int_equal(graph_stream_encode(&stream, &type2, &all2.base, UINT32_MAX), 0);
        assert_int_equal(graph_stream_decode(&stream, &type2, &arena, &decoded), 0);
        const Kinds2__All *got2 = (const Kinds2__All *)decoded;
        assert_ptr_equal(got2->d_string, kinds2__all__d_string__default_value);
        assert_ptr_equal(got2->d_bytes.data, kinds2__all__d_bytes__default_value_data);
        assert_int_equal(got2->d_bytes.len, 5);
        assert_null(got2->o_string);
        assert_null(got2->o_bytes.data);
        assert_int_equal(got2->o_bytes.len, 0);
        assert_int_equal(got2->d_int32, -42);
        graph_stream_free(&stream);

        /* Set to nothing, though there is a default. */
        all2.has_d_bytes = 1;
        all2.d_bytes.len = 0;
        all2.d_string = (char *)"";
        assert_int_equal(graph_stream_encode(&stream, &type2, &all2.base, UINT32_MAX), 0);
        assert_int_equal(graph_stream_decode(&stream, &type2, &arena, &decoded), 0);
        got2 = (const Kinds2__All *)decoded;
        assert_true(got2->has_d_bytes);
        assert_int_equal(got2->d_bytes.len, 0);
        assert_string_equal(got2->d_string, "");
        graph_stream_free(&stream);

        Kinds3__All all3 = KINDS3__ALL__INIT;
        baton_type type3 = { .descriptor = &kinds3__all__descriptor };
        assert_int_equal(graph_stream_encode(&stream, &type3, &all3.base, UINT32_MAX), 0);
        assert_int_equal(graph_stream_decode(&stream, &type3, &arena, &decoded), 0);
        assert_ptr_equal(((Kinds3__All *)decoded)->f_string, protobuf_c_empty_string);
        graph_stream_free(&stream);
        arena_deinit(&arena);
}

static void an_unset_union_is_zeroed(void **state)
{
        (void)state;
        const baton_type *types[] = { &walkers_leaf, &(baton_type){ .descriptor = &kinds3__leaf__descriptor } };
        for (size_t i = 0; i < 2; i++) {
                Kinds3__Leaf message = KINDS3__LEAF__INIT;
                uint64_t buffer[64];
                memset(buffer, 0x41, sizeof buffer);
                baton_graph_writer writer = { .at = (uint8_t *)buffer, .end = (uint8_t *)(buffer + 64) };
                assert_int_equal(graph_encode(types[i], &writer, &message.base), 0);
                baton_arena arena;
                arena_init(&arena, 10000);
                baton_graph_reader reader = { .at = (uint8_t *)buffer, .end = writer.at, .arena = &arena };
                ProtobufCMessage *decoded;
                assert_int_equal(graph_decode(types[i], &reader, &decoded), 0);
                assert_null(((Kinds3__Leaf *)decoded)->note);
                assert_null(((Kinds3__Leaf *)decoded)->raw.data);
                arena_deinit(&arena);
        }
}

static int encode_error(const baton_type *type, const ProtobufCMessage *message)
{
        static uint8_t buffer[1 << 16] __attribute__((aligned(8)));
        baton_graph_writer writer = { .at = buffer, .end = buffer + sizeof buffer };
        return graph_encode(type, &writer, message);
}

static void invalid_messages_are_refused(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++) {
                baton_type plain_leaf = generic(&walkers_leaf), plain_needed = generic(&walkers_needed);
                const baton_type *leaf_type = i ? &walkers_leaf : &plain_leaf;
                const baton_type *needed_type = i ? &walkers_needed : &plain_needed;
                Kinds3__Leaf leaf = KINDS3__LEAF__INIT;
                leaf.name = (char *)"\xff";
                assert_int_equal(encode_error(leaf_type, &leaf.base), -EILSEQ);
                leaf.name = (char *)"\xed\xa0\x80";
                assert_int_equal(encode_error(leaf_type, &leaf.base), -EILSEQ);
                leaf.name = (char *)"ok";
                leaf.choice_case = (Kinds3__Leaf__ChoiceCase)77;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -ENODATA);
                leaf.choice_case = KINDS3__LEAF__CHOICE_POINT;
                leaf.point = NULL;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -ENODATA);
                leaf.choice_case = KINDS3__LEAF__CHOICE_TEXT;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -ENODATA);
                leaf.choice_case = KINDS3__LEAF__CHOICE__NOT_SET;
                leaf.n_points = 1;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -ENODATA);
                Kinds3__Point *points[1] = { NULL };
                leaf.points = points;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -ENODATA);
                Kinds3__Point zero = { .x = 1 };
                points[0] = &zero;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -EINVAL);
                leaf.n_points = 0;
                leaf.blob.len = 5;
                assert_int_equal(encode_error(leaf_type, &leaf.base), -ENODATA);
                assert_int_equal(encode_error(needed_type, &leaf.base), -EINVAL);

                Kinds2__Needed needed = KINDS2__NEEDED__INIT;
                assert_int_equal(encode_error(needed_type, &needed.base), -ENODATA);
                needed.text = (char *)"";
                assert_int_equal(encode_error(needed_type, &needed.base), 0);
                needed.text_default = NULL;
                assert_int_equal(encode_error(needed_type, &needed.base), -ENODATA);
        }
}

static void strings_in_arrays_are_checked(void **state)
{
        (void)state;
        Kinds3__All all = KINDS3__ALL__INIT;
        baton_type type = { .descriptor = &kinds3__all__descriptor };
        char *texts[2] = { (char *)"fine", NULL };
        all.n_r_string = 2;
        all.r_string = texts;
        assert_int_equal(encode_error(&type, &all.base), -ENODATA);
        assert_int_equal(graph_size(&type, &all.base, UINT32_MAX), -ENODATA);
        texts[1] = (char *)"\xc3";
        assert_int_equal(encode_error(&type, &all.base), -EILSEQ);
        all.r_string = NULL;
        assert_int_equal(encode_error(&type, &all.base), -ENODATA);
        assert_int_equal(graph_size(&type, &all.base, UINT32_MAX), -ENODATA);
}

/* A chain of n messages, through `next` or through `many`. */
static void make_chain(Kinds3__Chain *chain, Kinds3__Chain **pointers, int n, bool many)
{
        for (int i = 0; i < n; i++) {
                kinds3__chain__init(&chain[i]);
                pointers[i] = &chain[i];
        }
        for (int i = 0; i + 1 < n; i++) {
                if (many) {
                        chain[i].n_many = 1;
                        chain[i].many = &pointers[i + 1];
                } else {
                        chain[i].next = &chain[i + 1];
                }
        }
}

static void depth_is_limited(void **state)
{
        (void)state;
        Kinds3__Chain chain[101];
        Kinds3__Chain *pointers[101];
        baton_type plain = generic(&walkers_chain);
        for (int i = 0; i < 4; i++) {
                const baton_type *type = i & 1 ? &plain : &walkers_chain;
                make_chain(chain, pointers, 100, i & 2);
                check_graph(type, &chain[0].base, UINT32_MAX);
                check_wire(type, &chain[0].base);
                make_chain(chain, pointers, 101, i & 2);
                assert_int_equal(encode_error(type, &chain[0].base), -ELOOP);
                assert_int_equal(graph_size(type, &chain[0].base, UINT32_MAX), -ELOOP);
                assert_int_equal(wire_size(type->descriptor, &chain[0].base), -ELOOP);
                make_chain(chain, pointers, 1, i & 2);
                chain[0].next = &chain[0];
                assert_int_equal(encode_error(type, &chain[0].base), -ELOOP);
                assert_int_equal(graph_size(type, &chain[0].base, UINT32_MAX), -ELOOP);
                assert_int_equal(wire_size(type->descriptor, &chain[0].base), -ELOOP);
        }
}

static void copies_of_a_type_are_the_same_type(void **state)
{
        (void)state;
        ProtobufCMessageDescriptor copy = kinds3__point__descriptor;
        baton_type type = { .descriptor = &copy };
        Kinds3__Point point = KINDS3__POINT__INIT;
        assert_int_equal(encode_error(&type, &point.base), 0);
        copy.name = "kinds3.Other";
        assert_int_equal(encode_error(&type, &point.base), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(random_messages_survive),
                cmocka_unit_test(room_is_respected),
                cmocka_unit_test(only_what_is_large_is_lent),
                cmocka_unit_test(lenders_errors_are_told_apart),
                cmocka_unit_test(payloads_are_used_where_they_lie),
                cmocka_unit_test(unset_fields_become_the_receivers_defaults),
                cmocka_unit_test(an_unset_union_is_zeroed),
                cmocka_unit_test(invalid_messages_are_refused),
                cmocka_unit_test(strings_in_arrays_are_checked),
                cmocka_unit_test(depth_is_limited),
                cmocka_unit_test(copies_of_a_type_are_the_same_type),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
