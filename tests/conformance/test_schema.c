/* Programs built from different versions of one .proto: this one from the older, its servers from either. */
#include "harness.h"
#include "schema.baton.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { SIZE = 64 << 10 };

struct store {
        pid_t pid;
        char address[LONGEST_ADDRESS];
        baton_channel *channel;
};

static struct store older, newer;

static void start(struct store *store, const char *program)
{
        char listen[LONGEST_ADDRESS];
        transport->addresses(scratch, listen, store->address);
        store->pid = start_program((char *[]){ (char *)program, listen, NULL });
        store->channel = baton_channel_open(store->address, NULL);
        assert_non_null(store->channel);
}

static int begin(void **state)
{
        (void)state;
        start(&older, SCHEMA_SERVER_1);
        start(&newer, SCHEMA_SERVER_2);
        return 0;
}

static void stop(struct store *store)
{
        baton_channel_close(store->channel);
        store->channel = NULL;
        if (store->pid <= 0) /* it did not start, and kill() would take that for a group */
                return;
        kill(store->pid, SIGKILL);
        waitpid(store->pid, NULL, 0);
        store->pid = 0;
}

static int end(void **state)
{
        (void)state;
        stop(&older);
        stop(&newer);
        return 0;
}

static const Schema__Seen *look(const struct store *store, uint8_t *data, ProtobufCMessageUnknownField *unknown)
{
        Schema__Record request = SCHEMA__RECORD__INIT;
        Schema__Inner inner = SCHEMA__INNER__INIT;
        const Schema__Seen *seen = NULL;
        uint64_t sum = 0;
        inner.label = (char *)"inside";
        request.name = (char *)"record";
        request.inner = &inner;
        request.data = (ProtobufCBinaryData){ SIZE, data };
        request.base.n_unknown_fields = unknown ? 1 : 0;
        request.base.unknown_fields = unknown;
        expect_status(store_look(store->channel, &request, &seen, NULL), BATON_OK, "");
        for (size_t i = 0; i < SIZE; i++)
                sum += data[i];
        assert_int_equal(seen->sum, sum);
        return seen;
}

/* Large payloads are handed over by reference between equal builds, and only between those. */
static void test_equal_layouts(void **state)
{
        (void)state;
        uint8_t *data = pattern(SIZE, 1);
        const Schema__Seen *seen = look(&older, data, NULL);
        if (transport->by_reference)
                assert_string_equal(seen->permissions, "r--s");
        baton_release(seen);
        free(data);
}

static void test_different_layouts(void **state)
{
        (void)state;
        uint8_t *data = pattern(SIZE, 1);
        const Schema__Seen *seen = look(&newer, data, NULL);
        if (transport->by_reference)
                assert_string_equal(seen->permissions, "rw-p");
        assert_string_equal(seen->added, "");
        baton_release(seen);
        free(data);
}

/* It is each method's own messages that decide. */
static void test_equal_messages_of_different_services(void **state)
{
        (void)state;
        Schema__Plain request = SCHEMA__PLAIN__INIT;
        const Schema__Plain *reply = NULL;
        uint8_t *data = pattern(SIZE, 1);
        request.data = (ProtobufCBinaryData){ SIZE, data };
        expect_status(store_count(newer.channel, &request, &reply, NULL), BATON_OK, "");
        assert_int_equal(reply->n, SIZE);
        if (transport->by_reference)
                assert_memory_equal(reply->data.data, "r--s", 4);
        baton_release(reply);
        free(data);
}

/* To the newer server the field is known; to the older one it is not, and survives. */
static void test_field_that_one_side_knows(void **state)
{
        (void)state;
        uint8_t *data = pattern(SIZE, 2);
        uint8_t added[] = { 5, 'h', 'e', 'l', 'l', 'o' };
        ProtobufCMessageUnknownField unknown = {
                .tag = 5, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = sizeof added, .data = added
        };
        const Schema__Seen *seen = look(&newer, data, &unknown);
        assert_string_equal(seen->added, "hello");
        assert_int_equal(seen->unknown, 0);
        baton_release(seen);
        seen = look(&older, data, &unknown);
        assert_string_equal(seen->added, "");
        assert_int_equal(seen->unknown, 1);
        baton_release(seen);
        free(data);
}

static void expect_added(const Schema__Record *record, const char *text)
{
        assert_string_equal(record->name, "travels");
        assert_string_equal(record->inner->label, "far");
        assert_int_equal(record->base.n_unknown_fields, 1);
        const ProtobufCMessageUnknownField *field = &record->base.unknown_fields[0];
        assert_int_equal(field->tag, 5);
        assert_int_equal(field->len, strlen(text) + 1);
        assert_memory_equal(field->data + 1, text, strlen(text));
}

/* A record of the newer server's goes through this program to the older server, and back to the newer. */
static void test_unknown_field_travels(void **state)
{
        (void)state;
        Schema__Record request = SCHEMA__RECORD__INIT;
        Schema__Inner inner = SCHEMA__INNER__INIT;
        const Schema__Record *first = NULL, *second = NULL;
        request.name = (char *)"travels";
        inner.label = (char *)"far";
        request.inner = &inner;
        expect_status(store_echo(newer.channel, &request, &first, NULL), BATON_OK, "");
        expect_added(first, "by the newer server");
        expect_status(store_echo(older.channel, first, &second, NULL), BATON_OK, "");
        expect_added(second, "by the newer server");
        baton_release(first);
        expect_status(store_echo(newer.channel, second, &first, NULL), BATON_OK, "");
        expect_added(first, "by the newer server");
        baton_release(first);
        baton_release(second);
}

/* The fallback has the same limits and the same large messages. */
static void test_large_record_between_different_layouts(void **state)
{
        (void)state;
        static const size_t sizes[] = { 0, 1, 4096, 8100, 8192, 1 << 20, 16 << 20 };
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                Schema__Record request = SCHEMA__RECORD__INIT;
                const Schema__Record *reply = NULL;
                uint8_t *data = pattern(sizes[i], 3);
                request.data = (ProtobufCBinaryData){ sizes[i], data };
                expect_status(store_echo(newer.channel, &request, &reply, NULL), BATON_OK, "");
                assert_int_equal(reply->data.len, sizes[i]);
                assert_true(is_pattern(reply->data.data, sizes[i], 3));
                baton_release(reply);
                free(data);
        }
}

static void test_bad_requests_between_different_layouts(void **state)
{
        (void)state;
        Schema__Record request = SCHEMA__RECORD__INIT;
        const Schema__Record *reply = NULL;
        request.name = (char *)"\xfe";
        baton_status status = store_echo(newer.channel, &request, &reply, NULL);
        expect_status(status, BATON_INVALID_ARGUMENT, "schema.Record|name|UTF-8");
        assert_false(status.maybe_executed);
        baton_release(reply);
        uint8_t *data = pattern(100000, 0);
        request.name = (char *)"";
        request.data = (ProtobufCBinaryData){ 100000, data };
        baton_channel *limited =
                baton_channel_open(newer.address, &(baton_channel_options){ .max_message_bytes = 65536 });
        expect_status(store_echo(limited, &request, &reply, NULL), BATON_RESOURCE_EXHAUSTED,
                      "schema.Record|max_message_bytes");
        baton_release(reply);
        free(data);
        baton_channel_close(limited);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_equal_layouts, begin, end),
                cmocka_unit_test_setup_teardown(test_different_layouts, begin, end),
                cmocka_unit_test_setup_teardown(test_equal_messages_of_different_services, begin, end),
                cmocka_unit_test_setup_teardown(test_field_that_one_side_knows, begin, end),
                cmocka_unit_test_setup_teardown(test_unknown_field_travels, begin, end),
                cmocka_unit_test_setup_teardown(test_large_record_between_different_layouts, begin, end),
                cmocka_unit_test_setup_teardown(test_bad_requests_between_different_layouts, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
