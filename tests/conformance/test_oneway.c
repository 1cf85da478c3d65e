/* Calls without an answer, and waiting until the server has taken them. */
#include "fixture.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS = 2000, LONG_MS = 10000 };

/* How often Act ran, this call included. */
static uint64_t runs(void)
{
        Conformance__Outcome outcome;
        expect_status(act(channel, &(Conformance__Order)CONFORMANCE__ORDER__INIT, NULL, &outcome), BATON_OK, "");
        return outcome.runs;
}

static void test_all_are_taken(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (int i = 0; i < CALLS; i++)
                assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        assert_int_equal(runs(), CALLS + 1);
        assert_int_equal(baton_channel_flush(channel, 0), 0); /* nothing is left to wait for */
}

static void *send_many(void *unused)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (int i = 0; i < CALLS; i++)
                assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        return unused;
}

/* A flush covers the calls of other threads, too. */
static void test_threads(void **state)
{
        (void)state;
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, send_many, NULL), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(baton_channel_flush(channel, -1), 0);
        assert_int_equal(runs(), 4 * CALLS + 1);
}

/* Large ones wait for room, in the ring and in the heap, and arrive. */
static void test_large(void **state)
{
        (void)state;
        baton_channel *small =
                peer_open(&peer, &(baton_channel_options){ .max_message_bytes = 1 << 20, .max_heap_bytes = 2 << 20 });
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        uint8_t *data = pattern(1000000, 1);
        request.data = (ProtobufCBinaryData){ 1000000, data };
        for (int i = 0; i < 50; i++)
                assert_int_equal(probe_echo_oneway(small, &request, NULL), 0);
        assert_int_equal(baton_channel_flush(small, LONG_MS), 0);
        expect_alive(small);
        free(data);
        baton_channel_close(small);
}

/* Those whose handlers answer later do not end each other, and answers go nowhere. */
static void test_answered_late(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 10; /* all are answered when the tenth is there */
        for (int i = 0; i < 10; i++)
                assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        assert_int_equal(runs(), 11);
        expect_alive(channel);
        if (peer.probe)
                assert_int_equal(probe_error(peer.probe), 0);
}

static void test_failures_are_logged(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.code = BATON_OUT_OF_RANGE;
        order.message = (char *)"too far";
        log_clear();
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        if (!processes)
                assert_true(log_has("/conformance.Probe/Act|one-way|OUT_OF_RANGE|too far"));
        expect_alive(channel);
}

/* ---- back-pressure ---------------------------------------------------------------------------------------- */

static void test_no_room(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.sleep_ms = 300;
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0); /* keeps the worker busy */
        order.sleep_ms = 0;
        order.message = (char *)"a line or two of text for the ring";
        uint64_t start_ns = now_ns();
        int error = 0, n = 0;
        while (!error && now_ns() - start_ns < 250000000 && ++n)
                error = probe_act_oneway(channel, &order, &(baton_call_options){ .timeout_ms = 20 });
        assert_int_equal(error, -ETIMEDOUT);
        expect_error("/conformance.Probe/Act|no room|deadline");
        assert_int_equal(baton_channel_flush(channel, 1), -ETIMEDOUT);
        baton_cancel *cancel = baton_cancel_new();
        baton_cancel_now(cancel);
        assert_int_equal(probe_act_oneway(channel, &order, &(baton_call_options){ .cancel = cancel }), -ECANCELED);
        expect_error("/conformance.Probe/Act|cancelled");
        baton_cancel_free(cancel);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        expect_alive(channel);
}

/* ---- bad input, and no server ----------------------------------------------------------------------------- */

static void test_bad_input(void **state)
{
        (void)state;
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        baton_metadata_entry entry = { "Upper", "x", 1 };
        baton_metadata metadata = { 1, &entry };
        assert_int_equal(probe_echo_oneway(NULL, &request, NULL), -EINVAL);
        expect_error("/conformance.Probe/Echo|channel is NULL");
        assert_int_equal(probe_echo_oneway(channel, NULL, NULL), -EINVAL);
        expect_error("/conformance.Probe/Echo|request is NULL");
        assert_int_equal(baton_oneway(channel, NULL, &request.base, NULL), -EINVAL);
        expect_error("method is NULL");
        assert_int_equal(probe_echo_oneway(channel, &request, &(baton_call_options){ .metadata = &metadata }), -EINVAL);
        expect_error("/conformance.Probe/Echo|Upper");
        assert_int_equal(probe_echo_oneway(channel, &request, &(baton_call_options){ .deadline_ns = 1 }), -ETIMEDOUT);
        expect_error("/conformance.Probe/Echo|deadline");
        request.text = (char *)"\xc3";
        assert_int_equal(probe_echo_oneway(channel, &request, NULL), -EINVAL);
        expect_error("conformance.Blob|text|UTF-8");
        request.text = (char *)"longer than the limit";
        assert_int_equal(probe_echo_oneway(channel, &request, &(baton_call_options){ .max_request_bytes = 8 }),
                         -EMSGSIZE);
        assert_int_equal(probe_echo_oneway(
                                 channel, (const Conformance__Blob *)&(Conformance__Wish)CONFORMANCE__WISH__INIT, NULL),
                         -EINVAL);
        assert_int_equal(baton_channel_flush(NULL, 0), -EINVAL);
        expect_error("channel is NULL");
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        assert_int_equal(runs(), 1);
        Conformance__Empty empty = CONFORMANCE__EMPTY__INIT;
        assert_int_equal(stranger_hello_oneway(channel, &empty, NULL), -ENOSYS);
        expect_error("Stranger/Hello");
}

static void test_no_server(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        peer_kill(&peer);
        assert_int_not_equal(baton_channel_wait_state(channel, BATON_READY, LONG_MS), BATON_READY);
        assert_int_equal(probe_act_oneway(channel, &order, NULL), -EPIPE);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0); /* none was sent */
        peer_restart(&peer, NULL);
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        assert_int_equal(runs(), 2);
}

/* A server that goes takes calls with it, and the flush says so, once. */
static void test_server_goes(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        if (!processes) /* a thread cannot be stopped */
                return;
        expect_alive(channel);
        kill(peer.pid, SIGSTOP);
        assert_int_equal(probe_act_oneway(channel, &order, NULL), 0);
        assert_int_equal(baton_channel_flush(channel, 20), -ETIMEDOUT);
        peer_kill(&peer);
        assert_int_equal(baton_channel_flush(channel, LONG_MS), -EPIPE);
        expect_error("server|gone|one-way");
        assert_int_equal(baton_channel_flush(channel, LONG_MS), 0);
        peer_restart(&peer, NULL);
        assert_int_equal(runs(), 1);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_all_are_taken, begin, end),
                cmocka_unit_test_setup_teardown(test_threads, begin, end),
                cmocka_unit_test_setup_teardown(test_large, begin, end),
                cmocka_unit_test_setup_teardown(test_answered_late, begin, end),
                cmocka_unit_test_setup_teardown(test_failures_are_logged, begin, end),
                cmocka_unit_test_setup_teardown(test_no_room, begin, end),
                cmocka_unit_test_setup_teardown(test_bad_input, begin, end),
                cmocka_unit_test_setup_teardown(test_no_server, begin, end),
                cmocka_unit_test_setup_teardown(test_server_goes, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
