/* Messages of all kinds and sizes go there and come back. */
#include "fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sizes ------------------------------------------------------------------------------------------------ */

static void echo_size(size_t n)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        uint8_t *data = pattern(n, (uint32_t)n);
        char *text = malloc(n + 1);
        memset(text, 'x', n);
        text[n] = '\0';
        for (int what = 1; what < 4; what++) {
                request.data = what & 1 ? (ProtobufCBinaryData){ n, data } : (ProtobufCBinaryData){ 0, NULL };
                request.text = what & 2 ? text : (char *)"";
                expect_status(probe_echo(channel, &request, &reply, NULL), BATON_OK, "");
                assert_int_equal(reply->data.len, request.data.len);
                assert_true(is_pattern(reply->data.data, reply->data.len, (uint32_t)n));
                assert_string_equal(reply->text, request.text);
                baton_release(reply);
        }
        free(text);
        free(data);
}

static void echo_numbers(size_t n)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        uint8_t *data = pattern(n * 4, 3);
        request.numbers = (uint32_t *)(void *)data;
        request.n_numbers = n;
        expect_status(probe_echo(channel, &request, &reply, NULL), BATON_OK, "");
        assert_int_equal(reply->n_numbers, n);
        assert_true(is_pattern((const uint8_t *)reply->numbers, n * 4, 3));
        baton_release(reply);
        free(data);
}

static void test_empty(void **state)
{
        (void)state;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const Conformance__Empty *reply = NULL;
        for (int i = 0; i < 1000; i++) {
                baton_status status = probe_nothing(channel, &request, &reply, NULL);
                expect_status(status, BATON_OK, "");
                assert_string_equal(status.message, "");
                assert_non_null(reply);
                assert_int_equal(reply->base.n_unknown_fields, 0);
                baton_release(reply);
        }
}

static void test_small_sizes(void **state)
{
        (void)state;
        for (size_t n = 0; n < 300; n++)
                echo_size(n);
        for (size_t n = 4090; n < 4104; n++)
                echo_size(n);
        for (size_t n = 1020; n < 1028; n++)
                echo_numbers(n);
        echo_numbers(0);
        echo_numbers(1);
}

/* What fits a ring goes there, what does not goes through the heap: all around that edge, and around a wrapped ring's. */
static void test_ring_edges(void **state)
{
        (void)state;
        static const size_t edges[] = { 8 << 10, 16 << 10, 32 << 10 };
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
                for (size_t n = edges[i] - 200; n <= edges[i] + 136; n += 8)
                        echo_size(n + n % 3);
}

static void test_smallest_ring(void **state)
{
        (void)state;
        baton_channel *usual = channel;
        channel = peer_open(&peer, &(baton_channel_options){ .ring_bytes = 8192 });
        for (size_t n = 0; n < 5000; n += 61)
                echo_size(n);
        baton_channel_close(channel);
        channel = usual;
}

static void test_large_sizes(void **state)
{
        (void)state;
        static const size_t sizes[] = { 64 << 10, (64 << 10) + 1, (1 << 20) - 1, 1 << 20, 16 << 20 };
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                echo_size(sizes[i]);
        echo_numbers(1 << 20);
}

/* ---- kinds ------------------------------------------------------------------------------------------------ */

static void *zeroed(size_t size)
{
        void *memory = calloc(1, size ? size : 1);
        if (!memory)
                abort();
        return memory;
}

static ProtobufCMessage *fill_message(const ProtobufCMessageDescriptor *type, unsigned seed, int depth);

static size_t size_of_kind(ProtobufCType type)
{
        switch (type) {
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return 8;
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        default:
                return 4; /* protobuf_c_boolean too */
        }
}

static void fill_value(const ProtobufCFieldDescriptor *field, void *value, unsigned seed, int depth)
{
        static const uint64_t edges[] = { 1, UINT64_MAX, 0x7fffffff, 0x80000001u, 0x7fffffffffffffff, 300 };
        uint64_t bits = edges[seed % 6];
        double number = (double)seed * 1.25 - 7;
        float small = (float)number;
        switch (field->type) {
        case PROTOBUF_C_TYPE_BOOL:
                *(protobuf_c_boolean *)value = (int)(seed & 1);
                return;
        case PROTOBUF_C_TYPE_FLOAT:
                memcpy(value, &small, sizeof small);
                return;
        case PROTOBUF_C_TYPE_DOUBLE:
                memcpy(value, &number, sizeof number);
                return;
        case PROTOBUF_C_TYPE_STRING:
                *(char **)value = zeroed(32);
                snprintf(*(char **)value, 32, "%s wörld %u", field->name, seed % 1000);
                return;
        case PROTOBUF_C_TYPE_BYTES:
                *(ProtobufCBinaryData *)value = (ProtobufCBinaryData){ seed % 70 + 1, pattern(seed % 70 + 1, seed) };
                return;
        case PROTOBUF_C_TYPE_MESSAGE:
                *(ProtobufCMessage **)value = fill_message(field->descriptor, seed, depth - 1);
                return;
        default:
                memcpy(value, &bits, size_of_kind(field->type));
        }
}

static void fill_repeated(const ProtobufCFieldDescriptor *field, uint8_t *message, unsigned seed, int depth)
{
        size_t n = seed % 5 + 1, size = size_of_kind(field->type);
        uint8_t *array = zeroed(n * size);
        for (size_t i = 0; i < n; i++)
                fill_value(field, array + i * size, seed + (unsigned)i, depth);
        memcpy(message + field->quantifier_offset, &n, sizeof n);
        memcpy(message + field->offset, &array, sizeof array);
}

/* A message with every field set, of a oneof one member; free it with protobuf_c_message_free_unpacked. */
static ProtobufCMessage *fill_message(const ProtobufCMessageDescriptor *type, unsigned seed, int depth)
{
        ProtobufCMessage *message = zeroed(type->sizeof_message);
        type->message_init(message);
        for (unsigned i = 0; i < type->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &type->fields[i];
                uint8_t *at = (uint8_t *)message;
                if (depth <= 0 && field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REQUIRED)
                        continue;
                bool oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
                /* Each seed selects other members; the synthetic oneofs of `optional` have one each. */
                uint32_t *selected = (uint32_t *)(void *)(at + field->quantifier_offset);
                bool synthetic = oneof && field->name[0] == 'o';
                if (oneof && (*selected || (!synthetic && (seed + i) % 3)))
                        continue;
                if (oneof)
                        *selected = field->id;
                else if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                        fill_repeated(field, at, seed + i, depth);
                        continue;
                } else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset)
                        *(protobuf_c_boolean *)(void *)(at + field->quantifier_offset) = 1;
                fill_value(field, at + field->offset, seed + i, depth);
        }
        return message;
}

/* protobuf-c's own encoder judges whether the two are equal. */
static void expect_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
        size_t n = protobuf_c_message_get_packed_size(a);
        assert_int_equal(protobuf_c_message_get_packed_size(b), n);
        uint8_t *left = zeroed(n), *right = zeroed(n);
        protobuf_c_message_pack(a, left);
        protobuf_c_message_pack(b, right);
        assert_memory_equal(left, right, n);
        free(left);
        free(right);
}

static void test_kinds(void **state)
{
        (void)state;
        for (unsigned seed = 0; seed < 60; seed++) {
                ProtobufCMessage *request = fill_message(&conformance__kinds__descriptor, seed, (int)(seed % 4));
                const Conformance__Kinds *reply = NULL;
                expect_status(probe_echo_kinds(channel, (Conformance__Kinds *)(void *)request, &reply, NULL), BATON_OK,
                              "");
                expect_equal(request, &reply->base);
                assert_true(protobuf_c_message_check(&reply->base));
                baton_release(reply);
                protobuf_c_message_free_unpacked(request, NULL);
        }
}

static void test_legacy(void **state)
{
        (void)state;
        for (unsigned seed = 0; seed < 60; seed++) {
                ProtobufCMessage *request = fill_message(&conformance__legacy__descriptor, seed, (int)(seed % 4));
                const Conformance__Legacy *reply = NULL;
                expect_status(probe_echo_legacy(channel, (Conformance__Legacy *)(void *)request, &reply, NULL),
                              BATON_OK, "");
                expect_equal(request, &reply->base);
                baton_release(reply);
                protobuf_c_message_free_unpacked(request, NULL);
        }
}

static void test_defaults(void **state)
{
        (void)state;
        Conformance__Legacy request = CONFORMANCE__LEGACY__INIT;
        const Conformance__Legacy *reply = NULL;
        expect_status(probe_echo_legacy(channel, &request, &reply, NULL), BATON_OK, "");
        assert_false(reply->has_o_int32);
        assert_null(reply->o_string);
        assert_false(reply->has_d_int32);
        assert_int_equal(reply->d_int32, -42);
        assert_string_equal(reply->d_string, "default");
        assert_int_equal(reply->d_bytes.len, 5);
        assert_memory_equal(reply->d_bytes.data, "by\0te", 5);
        assert_int_equal(reply->choice_case, CONFORMANCE__LEGACY__CHOICE__NOT_SET);
        baton_release(reply);

        Conformance__Kinds kinds;
        const Conformance__Kinds *echoed = NULL;
        conformance__kinds__init(&kinds);
        expect_status(probe_echo_kinds(channel, &kinds, &echoed, NULL), BATON_OK, "");
        assert_string_equal(echoed->f_string, "");
        assert_null(echoed->f_message);
        assert_int_equal(echoed->n_r_string, 0);
        baton_release(echoed);
}

/* Fields that a program does not know come back all the same. */
static void test_unknown_fields(void **state)
{
        (void)state;
        uint8_t first[] = { 0x96, 0x01 }, second[] = { 3, 'a', 'b', 'c' };
        ProtobufCMessageUnknownField unknown[] = {
                { .tag = 1000, .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT, .len = sizeof first, .data = first },
                { .tag = 2000,
                  .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                  .len = sizeof second,
                  .data = second },
        };
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        request.text = (char *)"known";
        request.base.n_unknown_fields = 2;
        request.base.unknown_fields = unknown;
        expect_status(probe_echo(channel, &request, &reply, NULL), BATON_OK, "");
        assert_int_equal(reply->base.n_unknown_fields, 2);
        expect_equal(&request.base, &reply->base);
        baton_release(reply);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_empty, begin, end),
                cmocka_unit_test_setup_teardown(test_small_sizes, begin, end),
                cmocka_unit_test_setup_teardown(test_ring_edges, begin, end),
                cmocka_unit_test_setup_teardown(test_smallest_ring, begin, end),
                cmocka_unit_test_setup_teardown(test_large_sizes, begin, end),
                cmocka_unit_test_setup_teardown(test_kinds, begin, end),
                cmocka_unit_test_setup_teardown(test_legacy, begin, end),
                cmocka_unit_test_setup_teardown(test_defaults, begin, end),
                cmocka_unit_test_setup_teardown(test_unknown_fields, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
