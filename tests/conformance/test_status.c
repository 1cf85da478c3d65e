/* How calls end: codes, messages, deadlines, and whether the handler may have run. */
#include "fixture.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LATE_MS = 50 };

/* ---- codes ------------------------------------------------------------------------------------------------ */

static void test_every_code(void **state)
{
        (void)state;
        static const char *const names[] = {
                "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
                "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
                "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
                "DATA_LOSS", "UNAUTHENTICATED"
        };
        for (int code = 0; code <= BATON_UNAUTHENTICATED; code++) {
                Conformance__Order order = CONFORMANCE__ORDER__INIT;
                order.code = code;
                order.message = (char *)"no blue paint: Größe 7 €";
                baton_status status = act(channel, &order, NULL, NULL);
                expect_status(status, (baton_code)code, "");
                assert_string_equal(status.message, code ? order.message : "");
                assert_true(status.maybe_executed);
                assert_string_equal(baton_code_name(code), names[code]);
        }
        assert_string_equal(baton_code_name(17), "UNKNOWN");
        assert_string_equal(baton_code_name(-1), "UNKNOWN");
}

/* The message is shortened to 1 KiB, and never in the middle of a character. */
static void test_long_message(void **state)
{
        (void)state;
        for (size_t start = 0; start < 3; start++) {
                char text[6001];
                memset(text, 'a', sizeof text);
                for (size_t at = start; at + 3 < sizeof text; at += 3)
                        memcpy(text + at, "€", 3);
                text[sizeof text - 1] = '\0';
                Conformance__Order order = CONFORMANCE__ORDER__INIT;
                order.code = BATON_NOT_FOUND;
                order.message = text;
                baton_status status = act(channel, &order, NULL, NULL);
                expect_status(status, BATON_NOT_FOUND, "");
                size_t length = strlen(status.message);
                assert_in_range(length, 1000, 1024);
                assert_memory_equal(status.message, text, length);
        }
        expect_alive(channel);
}

static void test_message_is_no_format(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.code = BATON_DATA_LOSS;
        order.message = (char *)"100%n %s"; /* is no format */
        expect_status(act(channel, &order, NULL, NULL), BATON_DATA_LOSS, "100%n %s");
        order.message = (char *)"";
        expect_status(act(channel, &order, NULL, NULL), BATON_DATA_LOSS, "");
}

/* On failure the reply is an empty message, to read and to release as any. */
static void test_reply_of_a_failure(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        const Conformance__Outcome *reply = NULL;
        order.code = BATON_ABORTED;
        order.message = (char *)"kept";
        baton_status status = probe_act(channel, &order, &reply, NULL);
        assert_non_null(reply);
        assert_ptr_equal(reply->base.descriptor, &conformance__outcome__descriptor);
        assert_int_equal(reply->value, 0);
        assert_string_equal(reply->method, "");
        expect_alive(channel);
        assert_string_equal(status.message, "kept"); /* lives as long as the reply */
        baton_release(reply);
}

static void test_facts_about_the_call(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        const Conformance__Outcome *reply = NULL;
        baton_status status = probe_act(channel, &order, &reply, NULL);
        expect_status(status, BATON_OK, "");
        assert_true(status.maybe_executed);
        assert_string_equal(reply->method, "/conformance.Probe/Act");
        if (transport->same_host) {
                assert_int_equal(reply->pid, getpid());
                assert_int_equal(reply->uid, getuid());
        }
        assert_int_equal(reply->deadline_ns, 0);
        baton_release(reply);
}

/* ---- deadlines -------------------------------------------------------------------------------------------- */

static void expect_late_by(uint64_t deadline_ns)
{
        uint64_t now = now_ns();
        assert_true(now >= deadline_ns);
        if (now > deadline_ns + LATE_MS * UINT64_C(1000000))
                fail_msg("%.1f ms late", (double)(now - deadline_ns) / 1e6);
}

static void test_deadline_while_the_handler_sleeps(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.sleep_ms = 400;
        uint64_t start = now_ns();
        baton_status status = act(channel, &order, &(baton_call_options){ .timeout_ms = 100 }, NULL);
        expect_late_by(start + 100000000);
        expect_status(status, BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Act|deadline");
        assert_true(status.maybe_executed);
        /* The late answer goes nowhere; the next call gets its own. */
        Conformance__Outcome outcome;
        order = (Conformance__Order)CONFORMANCE__ORDER__INIT;
        order.value = 77;
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
        assert_int_equal(outcome.value, 77);
}

static void test_deadline_while_nobody_answers(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 1000; /* is held for ever */
        expect_alive(channel);
        for (uint32_t ms = 1; ms <= 64; ms *= 4) {
                uint64_t deadline = now_ns() + ms * UINT64_C(1000000);
                baton_status status = act(channel, &order, &(baton_call_options){ .deadline_ns = deadline }, NULL);
                expect_late_by(deadline);
                expect_status(status, BATON_DEADLINE_EXCEEDED, "deadline");
        }
        expect_alive(channel);
}

static void test_earlier_deadline_counts(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        Conformance__Outcome outcome;
        uint64_t soon = now_ns() + 5000000000u;
        baton_call_options options = { .timeout_ms = 60000, .deadline_ns = soon };
        expect_status(act(channel, &order, &options, &outcome), BATON_OK, "");
        assert_int_equal(outcome.deadline_ns, soon);
        options = (baton_call_options){ .timeout_ms = 5000, .deadline_ns = soon + 60000000000u };
        uint64_t before = now_ns();
        expect_status(act(channel, &order, &options, &outcome), BATON_OK, "");
        assert_in_range(outcome.deadline_ns, before + 5000000000u, now_ns() + 5000000000u);
}

static void test_deadline_before_the_start(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        Conformance__Outcome outcome;
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
        uint64_t runs = outcome.runs;
        baton_status status = act(channel, &order, &(baton_call_options){ .deadline_ns = 1 }, NULL);
        expect_status(status, BATON_DEADLINE_EXCEEDED, "deadline");
        assert_false(status.maybe_executed);
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
        assert_int_equal(outcome.runs, runs + 1);
}

/* The deadline counts on an unopened channel as well. */
static void test_deadline_while_connecting(void **state)
{
        (void)state;
        baton_channel *fresh = peer_open(&peer, NULL);
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        baton_status status = act(fresh, &order, &(baton_call_options){ .deadline_ns = 1 }, NULL);
        expect_status(status, BATON_DEADLINE_EXCEEDED, "");
        assert_false(status.maybe_executed);
        expect_alive(fresh);
        baton_channel_close(fresh);
}

static void count(const baton_status *status, const Conformance__Outcome *reply, void *context)
{
        (void)reply;
        int *n = context;
        if (status->code == BATON_DEADLINE_EXCEEDED)
                n[1]++;
        else if (status->code == BATON_OK)
                n[0]++;
}

/* Calls whose deadline passed while they waited behind a slow one never reach the handler. */
static void test_server_skips_what_is_too_late(void **state)
{
        (void)state;
        int n[2] = { 0 };
        Conformance__Order slow = CONFORMANCE__ORDER__INIT, quick = CONFORMANCE__ORDER__INIT;
        slow.sleep_ms = 200;
        Conformance__Outcome outcome;
        expect_status(act(channel, &quick, NULL, &outcome), BATON_OK, "");
        uint64_t runs = outcome.runs;
        assert_int_equal(probe_act_async(channel, loop, &slow, NULL, count, n), 0);
        for (int i = 0; i < 10; i++)
                assert_int_equal(
                        probe_act_async(channel, loop, &quick, &(baton_call_options){ .timeout_ms = 20 }, count, n), 0);
        while (n[0] + n[1] < 11)
                assert_true(baton_loop_wait(loop, 2000) > 0);
        assert_int_equal(n[0], 1);
        assert_int_equal(n[1], 10);
        expect_status(act(channel, &quick, NULL, &outcome), BATON_OK, "");
        assert_int_equal(outcome.runs, runs + 2);
}

/* ---- the server's end ------------------------------------------------------------------------------------- */

static void test_nobody_there(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        peer_kill(&peer);
        baton_channel *fresh = peer_open(&peer, NULL);
        for (int i = 0; i < 3; i++) {
                baton_status status = act(i % 2 ? fresh : channel, &order, NULL, NULL);
                expect_status(status, BATON_UNAVAILABLE, strchr(peer.address, ':') + 1);
                assert_false(status.maybe_executed);
        }
        expect_status(baton_channel_connect(fresh), BATON_UNAVAILABLE, "cannot connect|is the server running");
        peer_restart(&peer, NULL);
        expect_status(baton_channel_connect(fresh), BATON_OK, "");
        expect_alive(fresh);
        expect_alive(channel);
        baton_channel_close(fresh);
}

static void test_server_dies_in_the_handler(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        if (!processes)
                skip();
        order.die = true;
        uint64_t start = now_ns();
        baton_status status = act(channel, &order, NULL, NULL);
        assert_true(now_ns() - start < 1000000000u);
        expect_status(status, BATON_UNAVAILABLE, "gone|may have executed");
        assert_true(status.maybe_executed);
        peer_kill(&peer);
        peer_restart(&peer, NULL);
        expect_alive(channel);
}

static void test_connect(void **state)
{
        (void)state;
        baton_status status = baton_channel_connect(channel);
        expect_status(status, BATON_OK, "");
        assert_string_equal(status.message, "");
        expect_status(baton_channel_connect(channel), BATON_OK, "");
        expect_status(baton_channel_connect(NULL), BATON_INVALID_ARGUMENT, "channel is NULL");
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_every_code, begin, end),
                cmocka_unit_test_setup_teardown(test_long_message, begin, end),
                cmocka_unit_test_setup_teardown(test_message_is_no_format, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_of_a_failure, begin, end),
                cmocka_unit_test_setup_teardown(test_facts_about_the_call, begin, end),
                cmocka_unit_test_setup_teardown(test_deadline_while_the_handler_sleeps, begin, end),
                cmocka_unit_test_setup_teardown(test_deadline_while_nobody_answers, begin, end),
                cmocka_unit_test_setup_teardown(test_earlier_deadline_counts, begin, end),
                cmocka_unit_test_setup_teardown(test_deadline_before_the_start, begin, end),
                cmocka_unit_test_setup_teardown(test_deadline_while_connecting, begin, end),
                cmocka_unit_test_setup_teardown(test_server_skips_what_is_too_late, begin, end),
                cmocka_unit_test_setup_teardown(test_nobody_there, begin, end),
                cmocka_unit_test_setup_teardown(test_server_dies_in_the_handler, begin, end),
                cmocka_unit_test_setup_teardown(test_connect, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
