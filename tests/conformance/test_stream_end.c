/* How streams end: by half of them, early, by deadlines, by closing the channel or the server, and by misuse. */
#include "streams.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SOON_MS = 5000 };

static Conformance__Script failing(int code, uint64_t after)
{
        Conformance__Script script = script_of();
        script.early = true;
        script.count = after;
        script.code = code;
        script.message = (char *)"enough";
        return script;
}

/* ---- half-close ------------------------------------------------------------------------------------------- */

static void test_half_close(void **state)
{
        (void)state;
        const Conformance__Item *item;
        Conformance__Item one = item_of(0, NULL, 0);
        baton_stream *stream = probe_chat_open(channel, NULL);
        assert_int_equal(probe_chat_write(stream, &one), 0);
        assert_int_equal(probe_chat_writes_done(stream), 0);
        assert_int_equal(probe_chat_write(stream, &one), -ESHUTDOWN);
        expect_error("/conformance.Probe/Chat|writes_done");
        assert_int_equal(probe_chat_writes_done(stream), -ESHUTDOWN);
        assert_int_equal(probe_chat_read(stream, &item), 1); /* the other half goes on */
        assert_int_equal(probe_chat_read(stream, &item), 0);
        assert_int_equal(probe_chat_read(stream, &item), 0);
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        assert_int_equal(probe_chat_write(stream, &one), -ESHUTDOWN);
        assert_int_equal(probe_chat_writes_done(stream), -ESHUTDOWN);
        assert_int_equal(probe_chat_read(stream, &item), 0);
        assert_null(item);
        expect_status(probe_chat_finish(stream), BATON_OK, ""); /* says the same */
        baton_stream_cancel(stream);
        expect_status(probe_chat_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
}

/* Messages that nobody read when the stream is finished. */
static void test_finish_drops_what_was_not_read(void **state)
{
        (void)state;
        Conformance__Script script = script_of();
        const Conformance__Item *item;
        script.count = 5000;
        script.size = 500;
        for (int i = 0; i < 3; i++) {
                baton_stream *stream = probe_produce_open(channel, &script, NULL);
                assert_int_equal(probe_produce_read(stream, &item), 1);
                expect_status(probe_produce_finish(stream), BATON_OK, "");
                assert_int_equal(probe_produce_read(stream, &item), 0);
                baton_stream_close(stream);
        }
        assert_int_equal(counts_now().sent, 15000);
}

/* ---- early ends ------------------------------------------------------------------------------------------- */

static void test_server_ends_early(void **state)
{
        (void)state;
        Conformance__Script script = failing(BATON_ABORTED, 3), fine = failing(BATON_OK, 3);
        const Conformance__Sum *sum;
        const Conformance__Item *item;
        for (int i = 0; i < 30; i++) {
                baton_stream *stream = probe_collect_open(channel, NULL);
                assert_int_equal(write_items(stream, 0, 1000000, 100, &script, probe_collect_write), -EPIPE);
                expect_error("/conformance.Probe/Collect|ended|finish");
                assert_true(baton_stream_ended(stream));
                assert_int_equal(probe_collect_writes_done(stream), -EPIPE);
                expect_status(probe_collect_finish(stream, &sum), BATON_ABORTED, "enough");
                assert_int_equal(sum->count, 0);
                baton_stream_close(stream);

                stream = probe_collect_open(channel, NULL);
                assert_int_equal(write_items(stream, 0, 1000000, 100, &fine, probe_collect_write), -EPIPE);
                expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
                assert_int_equal(sum->count, 3);
                baton_stream_close(stream);

                stream = probe_chat_open(channel, NULL);
                assert_int_equal(write_items(stream, 0, 1000000, 100, &script, probe_chat_write), -EPIPE);
                assert_int_equal(read_items(stream, 0, probe_chat_read), 3);
                assert_int_equal(probe_chat_read(stream, &item), 0);
                expect_status(probe_chat_finish(stream), BATON_ABORTED, "enough");
                baton_stream_close(stream);
        }
        expect_alive(channel);
}

/* Before the first message, and after all. */
static void test_codes(void **state)
{
        (void)state;
        for (int code = BATON_CANCELLED; code <= BATON_UNAUTHENTICATED; code++) {
                Conformance__Script script = script_of();
                script.code = code;
                script.message = (char *)"no more";
                script.count = (uint64_t)code % 3;
                baton_stream *stream = probe_produce_open(channel, &script, NULL);
                assert_int_equal(read_items(stream, 0, probe_produce_read), script.count);
                baton_status status = probe_produce_finish(stream);
                expect_status(status, (baton_code)code, "no more");
                assert_true(status.maybe_executed);
                baton_stream_close(stream);
        }
        Conformance__Script script = script_of();
        script.vanish = true;
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        expect_status(probe_produce_finish(stream), BATON_INTERNAL, "/conformance.Probe/Produce|without a reply");
        baton_stream_close(stream);
}

/* ---- deadlines -------------------------------------------------------------------------------------------- */

static void test_deadline_reaches_the_handler(void **state)
{
        (void)state;
        const Conformance__Sum *sum;
        baton_call_options options = { .deadline_ns = now_ns() + 60 * UINT64_C(1000000000) };
        baton_stream *stream = probe_collect_open(channel, &options);
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
        assert_int_equal(sum->deadline_ns, options.deadline_ns);
        baton_stream_close(stream);
}

static void test_deadline_ends_it(void **state)
{
        (void)state;
        enum { MS = 100 };
        const Conformance__Item *item;
        Conformance__Script script = script_of();
        script.hang = true;
        script.count = 2;
        uint64_t start = now_ns();
        baton_stream *stream = probe_produce_open(channel, &script, &(baton_call_options){ .timeout_ms = MS });
        assert_int_equal(read_items(stream, 0, probe_produce_read), 2);
        expect_status(probe_produce_finish(stream), BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Produce|deadline");
        assert_int_equal(probe_produce_read(stream, &item), 0);
        baton_stream_close(stream);
        assert_in_range(now_ns() - start, MS * UINT64_C(1000000), SOON_MS * UINT64_C(1000000));
        /* blocked in write */
        Conformance__Script stalling = script_of();
        stalling.stall = true;
        stream = probe_collect_open(channel, &(baton_call_options){ .timeout_ms = MS });
        assert_int_equal(write_items(stream, 0, 1000000, 1000, &stalling, probe_collect_write), -EPIPE);
        expect_status(probe_collect_finish(stream, NULL), BATON_DEADLINE_EXCEEDED, "");
        baton_stream_close(stream);
        Conformance__Command command = CONFORMANCE__COMMAND__INIT;
        command.go = true;
        control(command);
        assert_true(settles());
        assert_int_equal(counts_now().cancelled, 2);
        if (!blocking) /* others may have seen it first, and let go */
                assert_int_equal(counts_now().told, 2);
}

static void test_deadline_in_the_past(void **state)
{
        (void)state;
        baton_call_options options = { .deadline_ns = 1 };
        for (int i = 0; i < 3; i++) {
                baton_stream *stream = probe_chat_open(channel, &options);
                if (!stream)
                        fail_msg("%s", baton_error());
                baton_status status = probe_chat_finish(stream);
                expect_status(status, BATON_DEADLINE_EXCEEDED, "");
                baton_stream_close(stream);
        }
        expect_chat(channel, 1);
}

static void test_handlers_pass_it_on(void **state)
{
        (void)state;
        struct peer further;
        peer_start_here(&further, NULL);
        Conformance__Script script = script_of();
        script.call_further = true;
        script.address = further.address;
        baton_stream *stream = probe_produce_open(channel, &script, &(baton_call_options){ .timeout_ms = SOON_MS });
        expect_status(probe_produce_finish(stream), BATON_OK, "");
        baton_stream_close(stream);
        peer_end(&further);
}

/* ---- the channel and the server end ----------------------------------------------------------------------- */

static void test_channel_closes(void **state)
{
        (void)state;
        enum { N = 6 }; /* fewer than the handlers' threads */
        baton_stream *streams[N];
        const Conformance__Item *item;
        Conformance__Script script = script_of();
        script.hang = true;
        script.count = 1;
        Conformance__Item one = item_of(0, NULL, 0);
        baton_channel *own = peer_open(&peer, NULL);
        for (int i = 0; i < N; i++)
                streams[i] = i % 2 ? probe_chat_open(own, NULL) : probe_produce_open(own, &script, NULL);
        assert_int_equal(probe_produce_read(streams[0], &item), 1);
        baton_retain(item);
        assert_true(reaches(LIVE, N));
        baton_channel_close(own);
        for (int i = 0; i < N; i++) {
                assert_true(baton_stream_ended(streams[i]));
                assert_int_equal(i % 2 ? probe_chat_write(streams[i], &one) : -EPIPE, -EPIPE);
                expect_status(i % 2 ? probe_chat_finish(streams[i]) : probe_produce_finish(streams[i]), BATON_CANCELLED,
                              "channel was closed");
                baton_stream_cancel(streams[i]);
                baton_stream_close(streams[i]);
        }
        assert_int_equal(item->value, 0);
        baton_release(item);
        assert_true(settles());
        assert_int_equal(counts_now().cancelled, N);
}

static void *read_till_end(void *stream)
{
        const Conformance__Item *item;
        while (probe_produce_read(stream, &item) > 0) {
        }
        return (void *)(uintptr_t)probe_produce_finish(stream).code;
}

/* Streams are open, and threads wait in them, when the server goes. */
static void server_goes(bool suddenly)
{
        enum { N = 6 };
        baton_stream *streams[N];
        pthread_t threads[N];
        Conformance__Script script = script_of();
        script.hang = true;
        script.count = 1;
        open_with((baton_server_options){ 0 }, NULL);
        for (int i = 0; i < N; i++) {
                streams[i] = probe_produce_open(channel, &script, NULL);
                assert_int_equal(pthread_create(&threads[i], NULL, read_till_end, streams[i]), 0);
        }
        assert_true(reaches(SENT, N));
        if (suddenly)
                peer_kill(&peer);
        else
                peer_end(&peer);
        for (int i = 0; i < N; i++) {
                void *code;
                pthread_join(threads[i], &code);
                assert_int_equal((uintptr_t)code, BATON_UNAVAILABLE);
                assert_true(probe_produce_finish(streams[i]).maybe_executed);
                baton_stream_close(streams[i]);
        }
        peer_restart(&peer, NULL);
        expect_chat(channel, 10);
        fixture_close();
}

static void test_server_goes(void **state)
{
        (void)state;
        for (int i = 0; i < 4; i++) {
                blocking = i & 1;
                server_goes(i & 2);
        }
}

/* Messages that came before the death are still read. */
static void test_server_dies_at_the_end(void **state)
{
        (void)state;
        if (!processes)
                skip();
        Conformance__Script script = script_of();
        script.count = 10;
        script.die = true;
        blocking = false;
        open_with((baton_server_options){ 0 }, NULL);
        baton_stream *stream = probe_produce_open(channel, &script, NULL);
        assert_int_equal(read_items(stream, 0, probe_produce_read), 10);
        expect_status(probe_produce_finish(stream), BATON_UNAVAILABLE, "");
        baton_stream_close(stream);
        stream = probe_chat_open(channel, NULL);
        expect_status(probe_chat_finish(stream), BATON_UNAVAILABLE, "");
        baton_stream_close(stream);
        peer_kill(&peer);
        peer_restart(&peer, NULL);
        stream = probe_chat_open(channel, NULL);
        assert_int_equal(write_items(stream, 0, 1000000, 100, &script, probe_chat_write), -EPIPE);
        baton_status status = probe_chat_finish(stream);
        expect_status(status, BATON_UNAVAILABLE, "");
        assert_true(status.maybe_executed);
        baton_stream_close(stream);
        peer_kill(&peer);
        fixture_close();
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_half_close, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_half_close, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_finish_drops_what_was_not_read, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_finish_drops_what_was_not_read, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_server_ends_early, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_server_ends_early, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_codes, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_codes, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_deadline_reaches_the_handler, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_deadline_ends_it, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_deadline_ends_it, begin_blocking, end_settled),
                cmocka_unit_test_setup_teardown(test_deadline_in_the_past, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_handlers_pass_it_on, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_channel_closes, begin_inline, end_settled),
                cmocka_unit_test_setup_teardown(test_channel_closes, begin_blocking, end_settled),
                cmocka_unit_test(test_server_goes),
                cmocka_unit_test(test_server_dies_at_the_end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
