/* Interceptors around calls that end elsewhere: on a loop, on another thread, after their server. */
#include "spies.h"
#include <errno.h>

/* ---- asynchronous calls ----------------------------------------------------------------------------------- */

struct outcome {
        int n, n_ended_before;
        baton_code code;
        char text[64];
};

static void on_outcome(const baton_status *status, const Conformance__Outcome *reply, void *context)
{
        (void)reply;
        struct outcome *outcome = context;
        outcome->n++;
        outcome->code = status->code;
        outcome->n_ended_before = client_spies[0].n_ended;
        snprintf(outcome->text, sizeof outcome->text, "%s", status->message);
}

static void wait_for(const struct outcome *outcome)
{
        for (uint64_t end_ns = now_ns() + 10000000000u; !outcome->n && now_ns() < end_ns;)
                assert_true(baton_loop_wait(loop, 100) >= 0);
        assert_int_equal(outcome->n, 1);
}

static void test_async(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        struct outcome outcome = { 0 };
        client_spies[0].adds = "k";
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_outcome, &outcome), 0);
        wait_for(&outcome);
        assert_int_equal(outcome.code, BATON_OK);
        assert_int_equal(outcome.n_ended_before, 1);
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_string_equal(server_spies[0].metadata, "a");
        /* Refused: told on the loop. */
        outcome = (struct outcome){ 0 };
        client_spies[1].refuses = BATON_DATA_LOSS;
        client_spies[1].text = "lost";
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_outcome, &outcome), 0);
        assert_int_equal(outcome.n, 0);
        wait_for(&outcome);
        assert_int_equal(outcome.code, BATON_DATA_LOSS);
        assert_string_equal(outcome.text, "lost");
        assert_int_equal(client_spies[0].n_ended, 2);
        client_spies[1].refuses = BATON_OK;
        /* Not made at all. */
        order.message = (char *)"\xff";
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_outcome, &outcome), -EINVAL);
        expect_error("UTF-8");
        assert_int_equal(client_spies[0].n_ended, 3);
        assert_int_not_equal(client_spies[0].code, BATON_OK);
}

static void test_async_cancelled_by_close(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        struct outcome outcome = { 0 };
        order.batch = 2; /* waits for another one */
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_outcome, &outcome), 0);
        baton_channel_close(channel);
        channel = NULL;
        assert_int_equal(outcome.n, 1);
        assert_int_equal(outcome.code, BATON_CANCELLED);
        assert_string_equal(client_log, ALL_CLIENT);
        assert_int_equal(client_spies[0].code, BATON_CANCELLED);
}

/* ---- answers from elsewhere ------------------------------------------------------------------------------- */

static void test_deferred(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.defer_ms = 5;
        for (int i = 0; i < 5; i++) {
                spies_reset();
                expect_status(act(channel, &order, NULL, NULL), BATON_OK, "");
                spies_expect(ALL_CLIENT, ALL_SERVER);
        }
}

static bool one_is_held(void *probe)
{
        return probe_held(probe) == 1;
}

/* The call outlives its server, and with it what watches the call. */
static void test_outlives_the_server(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        struct outcome outcome = { 0 };
        order.batch = 2;
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, on_outcome, &outcome), 0);
        assert_true(eventually(one_is_held, peer.probe));
        assert_string_equal(server_log, "(x(y(z");
        baton_server_free(peer.server);
        wait_for(&outcome);
        assert_int_equal(outcome.code, BATON_UNAVAILABLE);
        probe_answer_held(peer.probe);
        assert_string_equal(server_log, ALL_SERVER);
        peer.server = baton_server_new(NULL); /* for the tear-down */
}

static void test_executor(void **state)
{
        (void)state;
        spies_close();
        spies_open(&(baton_server_options){ .handler_threads = 2 });
        for (int i = 0; i < 20; i++)
                expect_alive(channel);
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        server_spies[2].refuses = BATON_ABORTED;
        expect_status(act(channel, &order, NULL, NULL), BATON_ABORTED, "refused");
        assert_int_equal(probe_runs(peer.probe), 0);
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

static void write_some(baton_stream *stream, int n)
{
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        for (int i = 0; i < n; i++)
                assert_int_equal(probe_collect_write(stream, &item), 0);
}

static void test_streams(void **state)
{
        (void)state;
        client_spies[0].adds = "k";
        baton_stream *stream = probe_collect_open(channel, NULL);
        write_some(stream, 3);
        assert_string_equal(client_log, "(a(b(c"); /* until it is finished */
        const Conformance__Sum *sum;
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, "");
        assert_int_equal(sum->count, 3);
        expect_status(probe_collect_finish(stream, &sum), BATON_OK, ""); /* told once */
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_false(client_spies[0].with_request || server_spies[0].with_request);
        assert_string_equal(server_spies[0].metadata, "a");
        baton_stream_close(stream);
        spies_reset();
        Conformance__Script script = CONFORMANCE__SCRIPT__INIT;
        const Conformance__Item *item;
        script.count = 2;
        script.code = BATON_DATA_LOSS;
        script.message = (char *)"gone";
        stream = probe_produce_open(channel, &script, NULL);
        while (probe_produce_read(stream, &item) > 0) {
        }
        expect_status(probe_produce_finish(stream), BATON_DATA_LOSS, "gone");
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_true(client_spies[0].with_request && server_spies[0].with_request);
        assert_int_equal(client_spies[0].code, BATON_DATA_LOSS);
        assert_int_equal(server_spies[0].code, BATON_DATA_LOSS);
        baton_stream_close(stream);
}

static void test_unfinished_streams(void **state)
{
        (void)state;
        baton_stream *stream = probe_collect_open(channel, NULL);
        write_some(stream, 1);
        spies_expect("(a(b(c", "(x(y(z");
        baton_stream_close(stream);
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_int_equal(client_spies[0].code, BATON_CANCELLED);
        assert_int_equal(server_spies[0].code, BATON_CANCELLED);
        spies_reset();
        stream = probe_collect_open(channel, NULL); /* outlives its channel */
        write_some(stream, 1);
        spies_expect("(a(b(c", "(x(y(z");
        baton_channel_close(channel);
        channel = NULL;
        const Conformance__Sum *sum;
        expect_status(probe_collect_finish(stream, &sum), BATON_CANCELLED, "");
        baton_stream_close(stream);
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_int_equal(client_spies[0].code, BATON_CANCELLED);
}

static void count_ready(baton_stream *stream, void *context)
{
        *(int *)context += baton_stream_ended(stream);
}

static void test_refused_streams(void **state)
{
        (void)state;
        const Conformance__Sum *sum;
        client_spies[1].refuses = BATON_ABORTED;
        client_spies[1].text = "no streams";
        baton_stream *stream = probe_collect_open(channel, NULL);
        Conformance__Item item = CONFORMANCE__ITEM__INIT;
        assert_int_equal(probe_collect_write(stream, &item), -EPIPE);
        expect_status(probe_collect_finish(stream, &sum), BATON_ABORTED, "no streams");
        baton_stream_close(stream);
        spies_expect("(a(bb)a)", "");
        int n_ended = 0;
        stream = probe_collect_open_async(channel, loop, NULL, count_ready, &n_ended);
        assert_non_null(stream);
        assert_int_equal(n_ended, 0);
        baton_loop_wait(loop, 5000);
        assert_int_equal(n_ended, 1);
        expect_status(probe_collect_finish(stream, &sum), BATON_ABORTED, "no streams");
        baton_stream_close(stream);
        baton_loop_free(loop);
        loop = NULL;
        client_spies[1].refuses = BATON_OK;
        server_spies[0].refuses = BATON_UNAUTHENTICATED;
        stream = probe_collect_open(channel, NULL);
        expect_status(probe_collect_finish(stream, &sum), BATON_UNAUTHENTICATED, "refused");
        baton_stream_close(stream);
}

/* ---- one-way calls ---------------------------------------------------------------------------------------- */

static void test_oneway(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, 5000), 0);
        spies_expect(ALL_CLIENT, ALL_SERVER);
        assert_int_equal(client_spies[0].code, BATON_OK);
        assert_int_equal(server_spies[0].code, BATON_OK);
        client_spies[2].refuses = BATON_RESOURCE_EXHAUSTED;
        client_spies[2].text = "enough";
        assert_int_equal(probe_act_oneway(channel, &order, NULL), -EACCES);
        expect_error("enough");
        assert_int_equal(client_spies[0].code, BATON_RESOURCE_EXHAUSTED);
        spies_reset();
        server_spies[0].refuses = BATON_ABORTED; /* nobody is told */
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, 5000), 0);
        spies_expect(ALL_CLIENT, "(xx)");
        server_spies[0].refuses = BATON_OK;
        expect_alive(channel);
        assert_int_equal(probe_runs(peer.probe), 1);
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, spies_begin, spies_end)
        const struct CMUnitTest tests[] = {
                TEST(test_async),
                TEST(test_async_cancelled_by_close),
                TEST(test_deferred),
                TEST(test_outlives_the_server),
                TEST(test_executor),
                TEST(test_streams),
                TEST(test_unfinished_streams),
                TEST(test_refused_streams),
                TEST(test_oneway),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
