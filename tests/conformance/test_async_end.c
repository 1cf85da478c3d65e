/* How asynchronous calls end when they do not end well: each exactly once. */
#include "fixture.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IN_FLIGHT = 100, LATE_MS = 50 };

/* How one call ended, and how often. */
struct ending {
        int n;
        baton_code code;
        bool maybe_executed;
        uint64_t at_ns;
        char text[256];
        int *total;
};

static void note_ending(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        struct ending *ending = context;
        ending->n++;
        ending->code = outcome ? status->code : BATON_UNKNOWN; /* a reply is there in any case */
        ending->maybe_executed = status->maybe_executed;
        ending->at_ns = now_ns();
        strncpy(ending->text, status->message, sizeof ending->text - 1);
        if (ending->total)
                ++*ending->total;
}

static void start_held(struct ending *endings, int n, int *total)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 4000; /* is held for ever */
        for (int i = 0; i < n; i++) {
                endings[i] = (struct ending){ .total = total };
                assert_int_equal(probe_act_async(channel, loop, &order, NULL, note_ending, &endings[i]), 0);
        }
}

static void expect_endings(const struct ending *endings, int n, baton_code code, const char *word)
{
        for (int i = 0; i < n; i++) {
                assert_int_equal(endings[i].n, 1);
                expect_status(((baton_status){ .code = endings[i].code, .message = endings[i].text }), code, word);
        }
}

static void wait_for(const int *n, int wanted)
{
        uint64_t end_ns = now_ns() + 10000000000u;
        while (*n < wanted && now_ns() < end_ns)
                assert_true(baton_loop_wait(loop, 1000) >= 0);
        assert_int_equal(*n, wanted);
}

/* Waits until Act ran so often. */
static void wait_for_runs(uint64_t wanted)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        Conformance__Outcome outcome;
        for (uint64_t own = 1;; own++) {
                expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
                if (outcome.runs >= wanted + own)
                        return;
                pause_ms(1);
        }
}

/* ---- closing ---------------------------------------------------------------------------------------------- */

static void test_close_with_calls_in_flight(void **state)
{
        (void)state;
        static struct ending endings[IN_FLIGHT];
        int n = 0;
        start_held(endings, IN_FLIGHT, &n);
        wait_for_runs(IN_FLIGHT);
        assert_int_equal(n, 0);
        baton_channel_close(channel);
        assert_int_equal(n, IN_FLIGHT);
        assert_true(baton_loop_wait(loop, 20) >= 0);
        expect_endings(endings, IN_FLIGHT, BATON_CANCELLED, "/conformance.Probe/Act|closed");
        assert_true(endings[0].maybe_executed);
        channel = peer_open(&peer, NULL);
        expect_alive(channel);
}

/* Calls that failed at once, and whose outcome the loop has not delivered. */
static void test_close_with_failures_undelivered(void **state)
{
        (void)state;
        static struct ending endings[3];
        int n = 0;
        peer_kill(&peer);
        baton_channel *fresh = peer_open(&peer, NULL), *usual = channel;
        channel = fresh;
        start_held(endings, 3, &n);
        assert_int_equal(n, 0);
        baton_channel_close(fresh);
        channel = usual;
        assert_int_equal(n, 3);
        assert_true(baton_loop_wait(loop, 20) >= 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(endings[i].n, 1);
        peer_restart(&peer, NULL);
}

static void close_inside(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        note_ending(status, outcome, context);
        baton_channel_close(channel);
        channel = NULL;
}

static void test_callback_closes_the_channel(void **state)
{
        (void)state;
        static struct ending endings[IN_FLIGHT], first;
        int n = 0;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        start_held(endings, IN_FLIGHT, &n);
        first = (struct ending){ 0 };
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, close_inside, &first), 0);
        wait_for(&first.n, 1);
        assert_int_equal(first.code, BATON_OK);
        assert_int_equal(n, IN_FLIGHT);
        expect_endings(endings, IN_FLIGHT, BATON_CANCELLED, "closed");
        assert_true(baton_loop_wait(loop, 20) >= 0);
        channel = peer_open(&peer, NULL);
}

static void test_deadline_closes_the_channel(void **state)
{
        (void)state;
        static struct ending endings[3], first;
        int n = 0;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 4000;
        first = (struct ending){ 0 };
        start_held(endings, 3, &n);
        assert_int_equal(
                probe_act_async(channel, loop, &order, &(baton_call_options){ .timeout_ms = 20 }, close_inside, &first),
                0);
        wait_for(&first.n, 1);
        assert_int_equal(first.code, BATON_DEADLINE_EXCEEDED);
        expect_endings(endings, 3, BATON_CANCELLED, "closed");
        channel = peer_open(&peer, NULL);
        expect_alive(channel);
}

/* ---- deadlines -------------------------------------------------------------------------------------------- */

/* Later ones first, earlier ones between them, and calls without a deadline among them. */
static void test_deadlines(void **state)
{
        (void)state;
        static struct ending endings[20], held;
        int n = 0;
        uint64_t start_ns;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 4000;
        start_held(&held, 1, NULL);
        start_ns = now_ns();
        for (uint32_t i = 0; i < 20; i++) {
                uint64_t deadline = start_ns + (200 - i * 9) * UINT64_C(1000000);
                endings[i] = (struct ending){ .total = &n };
                assert_int_equal(probe_act_async(channel, loop, &order,
                                                 &(baton_call_options){ .deadline_ns = deadline }, note_ending,
                                                 &endings[i]),
                                 0);
        }
        wait_for(&n, 20);
        expect_endings(endings, 20, BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Act|deadline");
        for (uint32_t i = 0; i < 20; i++) {
                uint64_t deadline = start_ns + (200 - i * 9) * UINT64_C(1000000);
                assert_in_range(endings[i].at_ns, deadline, deadline + LATE_MS * UINT64_C(1000000));
        }
        assert_int_equal(held.n, 0);
}

static void test_deadline_before_the_start(void **state)
{
        (void)state;
        static struct ending ending;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        ending = (struct ending){ 0 };
        expect_alive(channel);
        assert_int_equal(
                probe_act_async(channel, loop, &order, &(baton_call_options){ .deadline_ns = 1 }, note_ending, &ending),
                0);
        assert_int_equal(ending.n, 0); /* never from inside */
        wait_for(&ending.n, 1);
        expect_endings(&ending, 1, BATON_DEADLINE_EXCEEDED, "");
        assert_false(ending.maybe_executed);
}

/* The answer comes when its call has ended already, and its number is in use again. */
static void test_late_answers_go_nowhere(void **state)
{
        (void)state;
        static struct ending endings[10], next[10];
        int n = 0;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (int i = 0; i < 10; i++) {
                order.defer_ms = 60;
                endings[i] = (struct ending){ .total = &n };
                assert_int_equal(probe_act_async(channel, loop, &order, &(baton_call_options){ .timeout_ms = 20 },
                                                 note_ending, &endings[i]),
                                 0);
        }
        wait_for(&n, 10);
        order.defer_ms = 100;
        for (int i = 0; i < 10; i++) {
                next[i] = (struct ending){ .total = &n };
                assert_int_equal(probe_act_async(channel, loop, &order, NULL, note_ending, &next[i]), 0);
        }
        wait_for(&n, 20);
        expect_endings(endings, 10, BATON_DEADLINE_EXCEEDED, "deadline");
        expect_endings(next, 10, BATON_OK, "");
}

/* ---- the server's end ------------------------------------------------------------------------------------- */

static void test_server_dies(void **state)
{
        (void)state;
        static struct ending endings[IN_FLIGHT];
        int n = 0;
        start_held(endings, IN_FLIGHT, &n);
        wait_for_runs(IN_FLIGHT);
        uint64_t start_ns = now_ns();
        peer_kill(&peer);
        wait_for(&n, IN_FLIGHT);
        expect_endings(endings, IN_FLIGHT, BATON_UNAVAILABLE, "gone|may have executed");
        assert_true(endings[0].maybe_executed);
        if (processes)
                assert_true(now_ns() - start_ns < 150000000);
        /* The channel reconnects. */
        static struct ending again;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        peer_restart(&peer, NULL);
        again = (struct ending){ 0 };
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, note_ending, &again), 0);
        wait_for(&again.n, 1);
        expect_endings(&again, 1, BATON_OK, "");
}

static void test_nobody_there(void **state)
{
        (void)state;
        static struct ending ending;
        int n = 0;
        peer_kill(&peer);
        for (int i = 0; i < 3; i++) {
                start_held(&ending, 1, &n);
                assert_int_equal(ending.n, 0);
                wait_for(&n, i + 1);
                expect_endings(&ending, 1, BATON_UNAVAILABLE, "");
                assert_false(ending.maybe_executed);
        }
        peer_restart(&peer, NULL);
        expect_alive(channel);
}

static void test_failures_of_the_server(void **state)
{
        (void)state;
        static struct ending ending;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.code = BATON_OUT_OF_RANGE;
        order.message = (char *)"too far";
        ending = (struct ending){ 0 };
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, note_ending, &ending), 0);
        wait_for(&ending.n, 1);
        expect_endings(&ending, 1, BATON_OUT_OF_RANGE, "too far");
        assert_true(ending.maybe_executed);
}

/* ---- local failures: no callback -------------------------------------------------------------------------- */

static void never(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)status;
        (void)reply;
        (void)context;
        abort();
}

static void test_local_failures(void **state)
{
        (void)state;
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        assert_int_equal(probe_echo_async(NULL, loop, &request, NULL, never, NULL), -EINVAL);
        expect_error("/conformance.Probe/Echo|channel is NULL");
        assert_int_equal(probe_echo_async(channel, NULL, &request, NULL, never, NULL), -EINVAL);
        expect_error("/conformance.Probe/Echo|loop is NULL");
        assert_int_equal(probe_echo_async(channel, loop, NULL, NULL, never, NULL), -EINVAL);
        expect_error("/conformance.Probe/Echo|request is NULL");
        assert_int_equal(probe_echo_async(channel, loop, &request, NULL, NULL, NULL), -EINVAL);
        expect_error("/conformance.Probe/Echo|callback is NULL");
        request.text = (char *)"\xc3";
        assert_int_equal(probe_echo_async(channel, loop, &request, NULL, never, NULL), -EINVAL);
        expect_error("conformance.Blob|text|UTF-8");
        baton_channel *limited = peer_open(&peer, &(baton_channel_options){ .max_message_bytes = 65536 });
        uint8_t *data = pattern(70000, 0);
        request.text = (char *)"";
        request.data = (ProtobufCBinaryData){ 70000, data };
        assert_int_equal(probe_echo_async(limited, loop, &request, NULL, never, NULL), -EMSGSIZE);
        expect_error("conformance.Blob|limit|max_message_bytes");
        free(data);
        baton_channel_close(limited);
        assert_true(baton_loop_wait(loop, 20) >= 0);
        expect_alive(channel);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_close_with_calls_in_flight, begin, end),
                cmocka_unit_test_setup_teardown(test_close_with_failures_undelivered, begin, end),
                cmocka_unit_test_setup_teardown(test_callback_closes_the_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_deadline_closes_the_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_deadlines, begin, end),
                cmocka_unit_test_setup_teardown(test_deadline_before_the_start, begin, end),
                cmocka_unit_test_setup_teardown(test_late_answers_go_nowhere, begin, end),
                cmocka_unit_test_setup_teardown(test_server_dies, begin, end),
                cmocka_unit_test_setup_teardown(test_nobody_there, begin, end),
                cmocka_unit_test_setup_teardown(test_failures_of_the_server, begin, end),
                cmocka_unit_test_setup_teardown(test_local_failures, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
