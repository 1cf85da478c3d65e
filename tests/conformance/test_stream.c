/* Blocking streams: the three kinds, of all lengths and sizes, with handlers on the worker and on threads. */
#include "streams.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 100000 / LESS, LARGE = (3 << 20) / LESS };

static const size_t sizes[] = { 0, 1, 63, 1000, 4095, 4096, 5000, 40000, 65536, 70000, 200000, LARGE };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static const Conformance__Sum *collected(baton_stream *stream)
{
        const Conformance__Sum *sum;
        baton_status status = probe_collect_finish(stream, &sum);
        expect_status(status, BATON_OK, "");
        assert_string_equal(status.message, "");
        return sum;
}

static void produced(baton_stream *stream, uint64_t n)
{
        assert_int_equal(read_items(stream, 0, probe_produce_read), n);
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        assert_true(baton_stream_ended(stream));
        baton_stream_close(stream);
}

/* ---- lengths ---------------------------------------------------------------------------------------------- */

static void collect_n(uint64_t n)
{
        baton_stream *stream = probe_collect_open(channel, NULL);
        assert_int_equal(write_items(stream, 1, n, 0, NULL, probe_collect_write), 0);
        if (n % 2) /* finish half-closes as well */
                assert_int_equal(probe_collect_writes_done(stream), 0);
        const Conformance__Sum *sum = collected(stream);
        assert_int_equal(sum->count, n);
        assert_int_equal(sum->sum, n * (n + 1) / 2);
        baton_stream_close(stream);
}

static void produce_n(uint64_t n)
{
        Conformance__Script script = script_of();
        script.count = n;
        produced(probe_produce_open(channel, &script, NULL), n);
}

static void test_empty(void **state)
{
        (void)state;
        for (int i = 0; i < 100; i++) {
                collect_n(0);
                produce_n(0);
                expect_chat(channel, 0);
        }
}

static void test_few(void **state)
{
        (void)state;
        for (uint64_t n = 1; n < 20; n++) {
                collect_n(n);
                produce_n(n);
                expect_chat(channel, n);
        }
}

static void test_many(void **state)
{
        (void)state;
        collect_n(MANY);
        produce_n(MANY);
        expect_chat(channel, 2000);
}

static void *write_many(void *stream)
{
        int error = write_items(stream, 0, MANY, 0, NULL, probe_chat_write);
        if (!error)
                error = probe_chat_writes_done(stream);
        return (void *)(intptr_t)error;
}

/* One thread writes while another reads. */
static void test_both_ways_at_once(void **state)
{
        (void)state;
        pthread_t writer;
        void *error;
        baton_stream *stream = probe_chat_open(channel, NULL);
        assert_int_equal(pthread_create(&writer, NULL, write_many, stream), 0);
        assert_int_equal(read_items(stream, 0, probe_chat_read), MANY);
        pthread_join(writer, &error);
        assert_int_equal((intptr_t)error, 0);
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
}

/* ---- sizes ------------------------------------------------------------------------------------------------ */

static void echo_sizes(baton_stream *stream)
{
        for (size_t i = 0; i < N_SIZES; i++) {
                uint8_t *data = pattern(sizes[i], (uint32_t)i);
                const Conformance__Item *back;
                Conformance__Item item = item_of(i, data, sizes[i]);
                char *text = calloc(1, sizes[i] + 1);
                memset(text, 'a' + (int)i, sizes[i]);
                item.text = text;
                assert_int_equal(probe_chat_write(stream, &item), 0);
                free(data);
                assert_int_equal(probe_chat_read(stream, &back), 1);
                assert_int_equal(back->data.len, sizes[i]);
                assert_true(is_pattern(back->data.data, sizes[i], (uint32_t)i));
                assert_string_equal(back->text, text);
                free(text);
        }
}

static void test_sizes(void **state)
{
        (void)state;
        static const uint32_t windows[] = { 1024, 4096, 0, 1 << 20 };
        for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
                open_with((baton_server_options){ .stream_window_bytes = windows[i] },
                          &(baton_channel_options){ .stream_window_bytes = windows[i], .ring_bytes = 8192 });
                baton_stream *stream = probe_chat_open(channel, NULL);
                echo_sizes(stream);
                echo_sizes(stream);
                expect_status(probe_chat_finish(stream), BATON_OK, "");
                baton_stream_close(stream);
                collect_n(1000);
                produce_n(1000);
                close_both();
        }
}

static void test_sizes_inline(void **state)
{
        blocking = false;
        test_sizes(state);
}

static void test_sizes_blocking(void **state)
{
        blocking = true;
        test_sizes(state);
}

/* Texts of any length, many of them, through a small ring and window. */
static void test_produce_sizes(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_SIZES; i++) {
                Conformance__Script script = script_of();
                const Conformance__Item *item;
                uint64_t n = 0;
                script.count = (sizes[i] < 100000 ? 200 : 20) / LESS;
                script.size = sizes[i];
                script.text_size = sizes[N_SIZES - 1 - i] < 100000 ? sizes[N_SIZES - 1 - i] : 100000;
                baton_stream *stream = probe_produce_open(channel, &script, NULL);
                for (; probe_produce_read(stream, &item) > 0; n++) {
                        assert_true(is_pattern(item->data.data, sizes[i], 0));
                        assert_int_equal(item->data.len, sizes[i]);
                        assert_int_equal(strlen(item->text), script.text_size);
                }
                expect_status(probe_produce_finish(stream), BATON_OK, "");
                assert_int_equal(n, script.count);
                baton_stream_close(stream);
        }
}

/* ---- payloads by reference -------------------------------------------------------------------------------- */

static void test_lent_to_the_server(void **state)
{
        (void)state;
        enum { SIZE = 1 << 20, TIMES = 200 / LESS };
        Conformance__Script script = script_of();
        uint8_t *data = baton_channel_alloc(channel, SIZE);
        assert_non_null(data);
        memset(data, 3, SIZE);
        script.look = true;
        baton_stream *stream = probe_collect_open(channel, NULL);
        for (uint64_t i = 0; i < TIMES; i++) {
                Conformance__Item item = item_of(i, data, SIZE);
                item.script = i ? NULL : &script;
                assert_int_equal(probe_collect_write(stream, &item), 0);
        }
        const Conformance__Sum *sum = collected(stream);
        assert_int_equal(sum->count, TIMES);
        assert_int_equal(sum->bytes, (uint64_t)TIMES * SIZE);
        assert_int_equal(sum->by_reference, transport->by_reference ? TIMES : 0);
        baton_stream_close(stream);
        baton_channel_free(channel, data);
}

static void test_lent_to_the_client(void **state)
{
        (void)state;
        enum { SIZE = 1 << 20, TIMES = 200 / LESS };
        Conformance__Script script = script_of();
        const Conformance__Item *item;
        const uint8_t *place = NULL;
        uint64_t n = 0;
        script.count = TIMES;
        script.size = SIZE;
        script.lend = true;
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        for (; probe_produce_read(stream, &item) > 0; n++) {
                char permissions[8];
                permissions_at(item->data.data, permissions);
                if (transport->by_reference) {
                        assert_string_equal(permissions, "r--s");
                        assert_true(!place || place == item->data.data); /* not copied on the way either */
                }
                place = item->data.data;
                assert_true(n % 20 || is_pattern(item->data.data, SIZE, 0));
        }
        assert_int_equal(n, TIMES);
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
}

/* ---- what is kept ----------------------------------------------------------------------------------------- */

/* Beyond the next read, the stream, and the channel. */
static void test_client_keeps(void **state)
{
        (void)state;
        enum { KEPT = 60 };
        const Conformance__Item *kept[KEPT];
        baton_channel *own = peer_open(&peer, NULL);
        baton_stream *stream = probe_chat_open(own, NULL);
        for (uint64_t i = 0; i < KEPT; i++) {
                uint8_t *data = pattern(i * 500, (uint32_t)i);
                Conformance__Item item = item_of(i, data, i * 500);
                assert_int_equal(probe_chat_write(stream, &item), 0);
                assert_int_equal(probe_chat_read(stream, &kept[i]), 1);
                baton_retain(kept[i]);
                free(data);
        }
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        for (int stage = 0; stage < 3; stage++) {
                for (uint64_t i = 0; i < KEPT; i++) {
                        assert_int_equal(kept[i]->data.len, i * 500);
                        assert_true(is_pattern(kept[i]->data.data, i * 500, (uint32_t)i));
                }
                if (stage == 0)
                        baton_stream_close(stream);
                if (stage == 1)
                        baton_channel_close(own);
        }
        for (uint64_t i = 0; i < KEPT; i++)
                baton_release(kept[i]);
}

/* The same in a handler: beyond the next recv, the call, and the connection. */
static void test_server_keeps(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        script.keep = true;
        baton_channel *own = peer_open(&peer, NULL);
        for (size_t i = 0; i < N_SIZES - 1; i++) {
                baton_stream *stream = probe_collect_open(own, NULL);
                assert_int_equal(write_items(stream, 0, 10, sizes[i], &script, probe_collect_write), 0);
                assert_int_equal(collected(stream)->count, 10);
                baton_stream_close(stream);
        }
        assert_int_equal(counts_now().kept, 10 * (N_SIZES - 1));
        assert_int_equal(counts_now().spoilt, 0);
        baton_channel_close(own);
        assert_int_equal(counts_now().spoilt, 0);
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.release = true;
        control(command);
        assert_int_equal(counts_now().kept, 0);
        expect_alive(channel);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_empty, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_empty, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_few, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_few, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_many, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_many, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_both_ways_at_once, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_both_ways_at_once, begin_blocking, end_settled),
                cmocka_unit_test(test_sizes_inline),
                cmocka_unit_test(test_sizes_blocking),
                cmocka_unit_test_setup_teardown(test_produce_sizes, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_produce_sizes, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_lent_to_the_server, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_lent_to_the_server, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_lent_to_the_client, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_lent_to_the_client, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_client_keeps, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_server_keeps, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_server_keeps, begin_blocking, end_settled),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
