/* Flow control: a slow reader holds back its writer, and nobody else. And what a client may make its server hold. */
#include "streams.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ITEM = 1000, RING = 16384 };

static void go(void)
{
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.go = true;
        control(command);
}

static Conformance__Script stalling_after(uint64_t n)
{
        Conformance__Script script = script_of();
        script.stall = true;
        script.stall_after = n;
        return script;
}

/* ---- the server does not read ----------------------------------------------------------------------------- */

static void idle(baton_stream *stream, void *context)
{
        (void)stream;
        ++*(uint64_t *)context;
}

/* Writes until there is no room, and none comes for a while; how many. */
static uint64_t write_until_full(baton_stream *stream, uint64_t from, size_t size, Conformance__Script *script,
                                 int (*write)(baton_stream *, const Conformance__Item *))
{
        uint64_t n = from;
        for (int quiet = 0; quiet < 20;) {
                uint8_t *data = pattern(size, (uint32_t)n);
                Conformance__Item item = item_of(n, data, size);
                item.script = n ? NULL : script;
                int error = write(stream, &item);
                free(data);
                if (error == 0) {
                        n++;
                        quiet = 0;
                        continue;
                }
                assert_int_equal(error, -EAGAIN);
                expect_error("no room");
                assert_true(baton_loop_wait(loop, 5) >= 0);
                quiet++;
        }
        return n;
}

static void expect_others_go_on(void)
{
        const Conformance__Item *item;
        Conformance__Script script = script_of();
        script.count = 2000;
        script.size = 100;
        for (int i = 0; i < 20 / LESS; i++) {
                expect_alive(channel);
                expect_chat(channel, 20);
        }
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        assert_int_equal(probe_produce_read(stream, &item), 1);
        assert_int_equal(read_items(stream, 1, probe_produce_read), 1999);
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
}

static void count_echo(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)reply;
        assert_int_equal(status->code, BATON_OK);
        ++*(uint64_t *)context;
}

/* The same lane as the stream that is held back. */
static void expect_lane_goes_on(void)
{
        uint64_t echoed = 0;
        for (int i = 0; i < 100; i++) {
                Conformance__Blob request = CONFORMANCE__BLOB__INIT;
                while (probe_echo_async(channel, loop, &request, NULL, count_echo, &echoed) == -EAGAIN)
                        assert_true(baton_loop_wait(loop, 100) >= 0);
        }
        for (int i = 0; i < 1000 && echoed < 100; i++)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(echoed, 100);
}

static void slow_server(uint32_t window)
{
        uint64_t calls = 0, limit = window ? window : 65536;
        Conformance__Script script = stalling_after(1);
        const Conformance__Sum *sum;
        open_with((baton_server_options){ .stream_window_bytes = window }, NULL);
        baton_stream *stream = probe_collect_open_async(channel, loop, NULL, idle, &calls);
        uint64_t n = write_until_full(stream, 0, ITEM, &script, probe_collect_write);
        /* one was read, one may go beyond */
        assert_in_range(n * ITEM, limit / 2, limit + 3 * (ITEM + 100));
        assert_int_equal(counts_now().received, 1);
        expect_lane_goes_on();
        expect_others_go_on();
        assert_int_equal(write_until_full(stream, n, ITEM, NULL, probe_collect_write), n);
        uint64_t before = calls;
        go();
        for (int i = 0; i < 1000 && calls == before; i++)
                assert_true(baton_loop_wait(loop, 10) >= 0);
        assert_true(calls > before); /* it was told that there is room */
        for (uint64_t end_at = n + 5000 / LESS; n < end_at;) {
                uint8_t *data = pattern(ITEM, (uint32_t)n);
                Conformance__Item item = item_of(n, data, ITEM);
                int error = probe_collect_write(stream, &item);
                n += error == 0;
                if (error == -EAGAIN)
                        assert_true(baton_loop_wait(loop, 1000) > 0);
                free(data);
        }
        assert_int_equal(probe_collect_writes_done(stream), 0);
        for (int i = 0; i < 1000 && !baton_stream_ended(stream); i++)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
        assert_int_equal(sum->count, n);
        assert_int_equal(sum->sum, n * (n - 1) / 2);
        baton_stream_close(stream);
        close_both();
}

static void test_slow_server(void **state)
{
        (void)state;
        static const uint32_t windows[] = { 1024, 4096, 0, 1 << 20 };
        for (int i = 0; i < 8; i++) {
                blocking = i >= 4;
                slow_server(windows[i % 4]);
        }
}

struct blocked {
        baton_stream *stream;
        Conformance__Script *script;
        atomic_ullong written;
        int error;
};

static void *write_blocking(void *context)
{
        struct blocked *blocked = context;
        for (uint64_t i = 0; i < 1000 && !blocked->error; i++) {
                uint8_t *data = pattern(ITEM, (uint32_t)i);
                Conformance__Item item = item_of(i, data, ITEM);
                item.script = i ? NULL : blocked->script;
                blocked->error = probe_collect_write(blocked->stream, &item);
                free(data);
                atomic_fetch_add(&blocked->written, blocked->error == 0);
        }
        return NULL;
}

/* A blocking writer waits; others of its channel, some on its own pump, do not. */
static void test_blocked_writer(void **state)
{
        (void)state;
        enum { WRITERS = 6 };
        struct blocked writers[WRITERS] = { 0 };
        pthread_t threads[WRITERS];
        Conformance__Script script = stalling_after(1);
        const Conformance__Sum *sum;
        for (int i = 0; i < WRITERS; i++) {
                writers[i].script = &script;
                writers[i].stream = probe_collect_open(channel, NULL);
                pthread_create(&threads[i], NULL, write_blocking, &writers[i]);
        }
        assert_true(reaches(STALLED_NOW, WRITERS));
        pause_ms(50);
        expect_others_go_on();
        for (int i = 0; i < WRITERS; i++)
                assert_in_range(atomic_load(&writers[i].written), 20, 80); /* the window is 64 KiB */
        go();
        for (int i = 0; i < WRITERS; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(writers[i].error, 0);
                expect_status(probe_collect_finish(writers[i].stream, &sum), BATON_OK, "");
                assert_int_equal(sum->count, 1000);
                baton_stream_close(writers[i].stream);
        }
}

/* ---- the client does not read ----------------------------------------------------------------------------- */

static void slow_client(uint32_t window, bool async, size_t size)
{
        enum { COUNT = 2000 };
        uint64_t calls = 0, limit = window ? window : 65536, n = 0;
        Conformance__Script script = script_of();
        const Conformance__Item *item;
        script.count = COUNT;
        script.size = size;
        open_with((baton_server_options){ 0 },
                  &(baton_channel_options){ .stream_window_bytes = window, .ring_bytes = RING });
        baton_loop *on = async ? loop : NULL;
        baton_stream *stream = on ? probe_produce_open_async(channel, on, &script, NULL, idle, &calls)
                                  : probe_produce_open(channel, &script, NULL);
        for (uint64_t until = now_ns() + 200000000; on && now_ns() < until;)
                assert_true(baton_loop_wait(on, 10) >= 0);
        uint64_t sent = stands_at(SENT);
        assert_in_range(sent * (size + 40), on ? limit / 3 : 1, limit + 4 * (size + 100));
        expect_others_go_on();
        for (int got; (got = probe_produce_read(stream, &item));) {
                if (got == -EAGAIN)
                        assert_true(baton_loop_wait(on, 100) >= 0);
                else
                        assert_true(got == 1 && item->value == n++ && is_pattern(item->data.data, size, 0));
        }
        assert_int_equal(n, COUNT);
        for (int i = 0; on && i < 100 && !baton_stream_ended(stream); i++)
                assert_true(baton_loop_wait(on, 100) >= 0);
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        close_both();
}

static void test_slow_client(void **state)
{
        (void)state;
        for (int i = 0; i < 4; i++) {
                blocking = i & 1;
                slow_client(1024, i & 2, ITEM);
                slow_client(1024, i & 2, 3000); /* each is larger than the window */
                slow_client(0, i & 2, 10);
        }
}

/* Streams of which nobody reads any, and which fill the ring between them. */
static void test_many_slow_readers(void **state)
{
        (void)state;
        enum { STREAMS = 200, COUNT = 300 };
        baton_stream *streams[STREAMS];
        uint64_t calls = 0;
        Conformance__Script script = script_of();
        script.count = COUNT;
        script.size = ITEM;
        for (int i = 0; i < STREAMS; i++)
                while (!(streams[i] = probe_produce_open_async(channel, loop, &script, NULL, idle, &calls)))
                        assert_true(baton_loop_wait(loop, 100) >= 0);
        for (int i = 0; i < 50; i++)
                assert_true(baton_loop_wait(loop, 10) >= 0);
        expect_lane_goes_on();
        expect_others_go_on();
        for (int i = STREAMS; i-- > 0;) {
                const Conformance__Item *item;
                uint64_t n = 0;
                for (int got; (got = probe_produce_read(streams[i], &item));) {
                        if (got == -EAGAIN)
                                assert_true(baton_loop_wait(loop, 100) >= 0);
                        else
                                assert_int_equal(item->value, n++);
                }
                assert_int_equal(n, COUNT);
                baton_stream_close(streams[i]);
        }
}

/* ---- what the server holds -------------------------------------------------------------------------------- */

/* A stream whose every message the server retains, until it must not. */
static void hoard(void)
{
        Conformance__Script script = script_of();
        const Conformance__Sum *sum;
        script.keep = true;
        baton_stream *stream = probe_collect_open(channel, NULL);
        assert_int_equal(write_items(stream, 0, 5000, ITEM, &script, probe_collect_write), -EPIPE);
        expect_status(probe_collect_finish(stream, &sum), BATON_RESOURCE_EXHAUSTED, "");
        baton_stream_close(stream);
}

static void holds_too_much(void)
{
        enum { LIMIT = 512 << 10 };
        open_with((baton_server_options){ .max_held_bytes = LIMIT }, NULL);
        baton_channel *quiet = peer_open(&peer, NULL);
        expect_alive(quiet);
        hoard();
        uint64_t kept = counts_now().kept;
        assert_in_range(kept * ITEM, LIMIT / 8, LIMIT);
        hoard();
        assert_true(counts_now().kept * ITEM < LIMIT);
        expect_alive(quiet); /* it is a matter of the connection */
        expect_chat(quiet, 100);
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.release = true;
        assert_int_equal(control(command).spoilt, 0);
        expect_alive(channel);
        expect_chat(channel, 100);
        hoard();
        assert_in_range(counts_now().kept, kept / 2, 2 * kept);
        control(command);
        baton_channel_close(quiet);
        close_both();
}

static void test_holds_too_much(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++) {
                blocking = i;
                holds_too_much();
        }
}

/* More than the limit altogether: what a stream held is given back, if a moment after its end. */
static void test_what_is_held_comes_back(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++) {
                blocking = i;
                open_with((baton_server_options){ .max_held_bytes = 512 << 10, .stream_window_bytes = 16384 }, NULL);
                for (int k = 0; k < 200; k++) {
                        const Conformance__Sum *sum;
                        baton_stream *stream = probe_collect_open(channel, NULL);
                        assert_int_equal(write_items(stream, 0, 20, ITEM, NULL, probe_collect_write), 0);
                        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
                        baton_stream_close(stream);
                        stream = probe_collect_open(channel, NULL);
                        assert_int_equal(write_items(stream, 0, 10, ITEM, NULL, probe_collect_write), 0);
                        baton_stream_close(stream); /* cancelled, with messages unread */
                        if (blocking && k % 3 == 0) /* threads take a moment to notice */
                                assert_true(settles());
                }
                expect_chat(channel, 100);
                close_both();
        }
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_slow_server),
                cmocka_unit_test_setup_teardown(test_blocked_writer, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_blocked_writer, begin_blocking, end_settled),
                cmocka_unit_test(test_slow_client),
                cmocka_unit_test_setup_teardown(test_many_slow_readers, begin_inline, end_settled),
                cmocka_unit_test(test_holds_too_much),
                cmocka_unit_test(test_what_is_held_comes_back),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
