/* Servers whose handlers make mistakes, answer late, or answer nobody. */
#include "fixture.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static Conformance__Order new_order(void)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        return order;
}

/* ---- mistakes --------------------------------------------------------------------------------------------- */

static void test_no_reply(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        order.vanish = true;
        baton_status status = act(channel, &order, NULL, NULL);
        expect_status(status, BATON_INTERNAL, "/conformance.Probe/Act|without a reply");
        assert_true(status.maybe_executed);
        assert_true(log_has("/conformance.Probe/Act|without a reply"));
        expect_alive(channel);
}

static void test_reply_twice(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        Conformance__Outcome outcome;
        order.twice = true;
        order.value = 3;
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
        assert_int_equal(outcome.value, 3);
        assert_true(log_has("/conformance.Probe/Act|answered twice"));
        order = new_order();
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
        assert_int_equal(outcome.error, -EALREADY);
        order.twice = true;
        order.code = BATON_NOT_FOUND;
        order.message = (char *)"first";
        expect_status(act(channel, &order, NULL, NULL), BATON_NOT_FOUND, "first");
        expect_alive(channel);
}

static void test_null_slot(void **state)
{
        (void)state;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const Conformance__Empty *reply = NULL;
        expect_status(probe_unserved(channel, &request, &reply, NULL), BATON_UNIMPLEMENTED,
                      "/conformance.Probe/Unserved|no handler");
        baton_release(reply);
        expect_alive(channel);
}

static void test_reply_of_another_type(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        Conformance__Outcome outcome;
        order.wrong_type = true;
        order.value = 8;
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, ""); /* the second answer is right */
        assert_int_equal(outcome.value, 8);
        assert_int_equal(outcome.error, -EINVAL);
}

static void test_fail_with_ok(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        Conformance__Outcome outcome;
        order.fail_ok = true;
        expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
        assert_int_equal(outcome.error, -EINVAL);
}

static void test_invalid_utf8_in_the_reply(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        order.invalid_text = true;
        expect_status(act(channel, &order, NULL, NULL), BATON_INTERNAL,
                      "/conformance.Probe/Act|reply cannot be sent|conformance.Outcome|text|UTF-8");
        assert_true(log_has("/conformance.Probe/Act|text|UTF-8"));
        expect_alive(channel); /* the handler is through: there is one worker */
        assert_int_equal(probe_error(peer.probe), -EBADMSG);
}

/* ---- handlers of this test -------------------------------------------------------------------------------- */

/* What the handlers below found. */
static struct {
        int errors[8];
        baton_call *kept;
} found;

static void reply_lacks_required(baton_call *call, const Conformance__Legacy *request, void *context)
{
        (void)request;
        (void)context;
        Conformance__Legacy reply = CONFORMANCE__LEGACY__INIT;
        Conformance__Needed needed = CONFORMANCE__NEEDED__INIT;
        reply.o_message = &needed;
        found.errors[0] = probe_echo_legacy_reply(call, &reply);
        found.errors[1] = probe_echo_legacy_reply(call, &reply);
}

static void wrong_arguments(baton_call *call, const Conformance__Empty *request, void *context)
{
        (void)context;
        found.errors[0] = baton_call_reply(call, NULL);
        found.errors[1] = baton_call_reply(NULL, &request->base);
        found.errors[2] = baton_call_fail(NULL, BATON_ABORTED, "x");
        found.errors[3] = baton_call_fail(call, BATON_ABORTED, NULL);
        found.errors[4] = baton_call_fail(call, (baton_code)17, "x");
        found.errors[5] = baton_call_fail(call, (baton_code)-1, "x");
        baton_call_release(NULL);
        found.errors[6] = baton_call_retain(NULL) ? -1 : 0;
        found.errors[7] =
                baton_call_alloc(NULL, 1) || baton_call_scratch(NULL, 1) || baton_call_new_reply(NULL) ? -1 : 0;
        probe_nothing_reply(call, request);
}

static void use_memory(baton_call *call, const Conformance__Blob *request, void *context)
{
        (void)request;
        (void)context;
        bool fine = true;
        for (size_t n = 0; n < 3000; n += 37) {
                uint8_t *scratch_memory = baton_call_scratch(call, n), *lent = baton_call_alloc(call, n);
                fine = fine && scratch_memory && lent && (uintptr_t)scratch_memory % 8 == 0 &&
                       (uintptr_t)lent % 64 == 0;
                for (size_t i = 0; fine && i < n; i++)
                        fine = scratch_memory[i] == 0;
                if (!fine)
                        break;
                memset(scratch_memory, 0xff, n);
                memset(lent, 0xff, n);
        }
        const char *empty = baton_call_printf(call, "%s", "");
        Conformance__Blob *reply = probe_echo_new_reply(call);
        reply->text = baton_call_printf(call, "%s %d", fine && empty && !*empty ? "fine" : "bad", 7);
        probe_echo_reply(call, reply);
}

static void keep_call(baton_call *call, const Conformance__Wish *wish, void *context)
{
        (void)wish;
        (void)context;
        __atomic_store_n(&found.kept, baton_call_retain(call), __ATOMIC_RELEASE);
}

static const probe_handlers odd_handlers = {
        .nothing = wrong_arguments, .echo = use_memory, .echo_legacy = reply_lacks_required, .make = keep_call
};

static void serve_oddly(baton_server **server, baton_channel **to)
{
        struct peer at;
        transport->addresses(scratch, at.listen, at.address);
        memset(&found, 0, sizeof found);
        *server = baton_server_new(NULL);
        assert_int_equal(probe_register(*server, &odd_handlers, NULL), 0);
        assert_int_equal(baton_server_listen(*server, at.listen), 0);
        assert_int_equal(baton_server_start(*server), 0);
        *to = peer_open(&at, NULL);
}

static void test_required_field_missing_in_the_reply(void **state)
{
        (void)state;
        baton_server *server;
        baton_channel *to;
        Conformance__Legacy request = CONFORMANCE__LEGACY__INIT;
        const Conformance__Legacy *reply = NULL;
        serve_oddly(&server, &to);
        expect_status(probe_echo_legacy(to, &request, &reply, NULL), BATON_INTERNAL,
                      "/conformance.Probe/EchoLegacy|reply cannot be sent|o_message|required");
        baton_release(reply);
        baton_channel_close(to);
        baton_server_free(server);
        assert_int_equal(found.errors[0], -EBADMSG);
        assert_int_equal(found.errors[1], -EALREADY);
}

static void test_wrong_arguments(void **state)
{
        (void)state;
        baton_server *server;
        baton_channel *to;
        Conformance__Empty request = CONFORMANCE__EMPTY__INIT;
        const Conformance__Empty *reply = NULL;
        serve_oddly(&server, &to);
        expect_status(probe_nothing(to, &request, &reply, NULL), BATON_OK, "");
        baton_release(reply);
        baton_channel_close(to);
        baton_server_free(server);
        for (int i = 0; i < 6; i++)
                assert_int_equal(found.errors[i], -EINVAL);
        assert_int_equal(found.errors[6], 0);
        assert_int_equal(found.errors[7], 0);
}

static void test_memory_of_a_call(void **state)
{
        (void)state;
        baton_server *server;
        baton_channel *to;
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        serve_oddly(&server, &to);
        for (int i = 0; i < 20; i++) {
                expect_status(probe_echo(to, &request, &reply, NULL), BATON_OK, "");
                assert_string_equal(reply->text, "fine 7");
                baton_release(reply);
        }
        baton_channel_close(to);
        baton_server_free(server);
}

/* ---- answers to nobody ------------------------------------------------------------------------------------ */

static bool all_held(void *wanted)
{
        return probe_held(peer.probe) == *(uint32_t *)wanted;
}

static void test_reply_after_the_client_closed(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        uint32_t wanted = 1;
        order.batch = 1000;
        baton_channel *leaving = peer_open(&peer, NULL);
        expect_status(act(leaving, &order, &(baton_call_options){ .timeout_ms = 30 }, NULL), BATON_DEADLINE_EXCEEDED,
                      "");
        assert_true(eventually(all_held, &wanted));
        baton_channel_close(leaving);
        expect_alive(channel); /* the server saw the other go, for it has one worker */
        pause_ms(20);
        probe_answer_held(peer.probe);
        assert_int_equal(probe_error(peer.probe), -EPIPE);
        expect_alive(channel);
}

/* Nobody waits any more, but the connection is there: the answer is dropped at the client, or here where the server knows. */
static void test_reply_after_the_deadline(void **state)
{
        (void)state;
        Conformance__Order order = new_order();
        uint32_t wanted = 1;
        order.batch = 1000;
        expect_status(act(channel, &order, &(baton_call_options){ .timeout_ms = 30 }, NULL), BATON_DEADLINE_EXCEEDED,
                      "");
        assert_true(eventually(all_held, &wanted));
        probe_answer_held(peer.probe);
        assert_true(probe_error(peer.probe) == 0 || probe_error(peer.probe) == -EPIPE);
        expect_alive(channel);
}

static bool call_is_kept(void *argument)
{
        (void)argument;
        return __atomic_load_n(&found.kept, __ATOMIC_ACQUIRE) != NULL;
}

static bool kept_is_cancelled(void *argument)
{
        (void)argument;
        return baton_call_cancelled(found.kept);
}

static void count_ending(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        (void)status;
        (void)reply;
        ++*(int *)context;
}

static void test_cancelled(void **state)
{
        (void)state;
        baton_server *server;
        baton_channel *to;
        Conformance__Wish wish = CONFORMANCE__WISH__INIT;
        const Conformance__Blob *reply = NULL;
        serve_oddly(&server, &to);
        expect_status(probe_make(to, &wish, &reply, &(baton_call_options){ .timeout_ms = 60 }), BATON_DEADLINE_EXCEEDED,
                      "");
        baton_release(reply);
        assert_true(eventually(call_is_kept, NULL));
        assert_true(baton_call_cancelled(found.kept)); /* the deadline passed */
        baton_call_release(found.kept);

        found.kept = NULL;

        int n = 0;
        assert_int_equal(probe_make_async(to, loop, &wish, NULL, count_ending, &n), 0);
        assert_true(eventually(call_is_kept, NULL));
        assert_false(baton_call_cancelled(found.kept));
        baton_channel_close(to);
        assert_int_equal(n, 1);
        assert_true(eventually(kept_is_cancelled, NULL)); /* the client is gone */
        assert_int_equal(baton_call_fail(found.kept, BATON_ABORTED, "late"), -EPIPE);
        baton_call_release(found.kept);
        baton_server_free(server);
}

static void finish(const baton_status *status, const Conformance__Outcome *reply, void *context)
{
        (void)reply;
        int *n = context;
        n[status->code == BATON_UNAVAILABLE]++;
}

/* Calls that are still held when their server goes: their memory stays, and their answers go nowhere. */
static void test_server_freed_with_calls_held(void **state)
{
        (void)state;
        enum { HELD = 40 };
        int n[2] = { 0 };
        uint32_t wanted = HELD;
        Conformance__Order order = new_order();
        order.batch = 1000;
        order.message = (char *)"kept";
        for (int i = 0; i < HELD; i++)
                assert_int_equal(probe_act_async(channel, loop, &order, NULL, finish, n), 0);
        while (!all_held(&wanted))
                assert_true(baton_loop_wait(loop, 1) >= 0);
        baton_server_free(peer.server);
        peer.server = NULL;
        while (n[0] + n[1] < HELD)
                assert_true(baton_loop_wait(loop, 1000) > 0);
        assert_int_equal(n[1], HELD);
        probe_answer_held(peer.probe);
        assert_int_equal(probe_error(peer.probe), -EPIPE);
}

static void test_more_calls_than_allowed(void **state)
{
        (void)state;
        struct peer strict;
        int n[2] = { 0 };
        peer_start_here(&strict, &(baton_server_options){ .max_calls = 3 });
        baton_channel *to = peer_open(&strict, NULL);
        Conformance__Order order = new_order();
        order.batch = 1000;
        for (int i = 0; i < 3; i++)
                assert_int_equal(probe_act_async(to, loop, &order, NULL, finish, n), 0);
        while (probe_held(strict.probe) < 3)
                assert_true(baton_loop_wait(loop, 1) >= 0);
        baton_status status = act(to, &order, NULL, NULL);
        expect_status(status, BATON_RESOURCE_EXHAUSTED, "max_calls");
        assert_false(status.maybe_executed);
        probe_answer_held(strict.probe);
        while (n[0] < 3)
                assert_true(baton_loop_wait(loop, 1000) > 0);
        expect_alive(to);
        baton_channel_close(to);
        peer_end(&strict);
}

/* What calls hold that outlive their handlers is given back with them. */
static void test_memory_of_held_calls_comes_back(void **state)
{
        (void)state;
        enum { AT_ONCE = 3, BYTES = 50000 };
        struct peer strict;
        int n[2] = { 0 };
        peer_start_here(&strict, &(baton_server_options){ .max_held_bytes = 128 << 10 });
        baton_channel *to = peer_open(&strict, NULL);
        char *text = calloc(1, BYTES + 1);
        memset(text, 'a', BYTES);
        Conformance__Order order = new_order();
        order.batch = 1000;
        order.message = text;
        for (int i = 0; i < AT_ONCE; i++)
                assert_int_equal(probe_act_async(to, loop, &order, NULL, finish, n), 0);
        while (probe_held(strict.probe) < AT_ONCE)
                assert_true(baton_loop_wait(loop, 1) >= 0);
        expect_status(act(to, &order, NULL, NULL), BATON_RESOURCE_EXHAUSTED, "max_held_bytes");
        probe_answer_held(strict.probe);
        while (n[0] < AT_ONCE)
                assert_true(baton_loop_wait(loop, 1000) > 0);
        expect_alive(to);
        free(text);
        baton_channel_close(to);
        peer_end(&strict);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_no_reply, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_twice, begin, end),
                cmocka_unit_test_setup_teardown(test_null_slot, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_of_another_type, begin, end),
                cmocka_unit_test_setup_teardown(test_fail_with_ok, begin, end),
                cmocka_unit_test_setup_teardown(test_invalid_utf8_in_the_reply, begin, end),
                cmocka_unit_test(test_required_field_missing_in_the_reply),
                cmocka_unit_test(test_wrong_arguments),
                cmocka_unit_test(test_memory_of_a_call),
                cmocka_unit_test_setup_teardown(test_reply_after_the_client_closed, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_after_the_deadline, begin, end),
                cmocka_unit_test_setup_teardown(test_cancelled, begin, end),
                cmocka_unit_test_setup_teardown(test_server_freed_with_calls_held, begin, end),
                cmocka_unit_test_setup_teardown(test_more_calls_than_allowed, begin, end),
                cmocka_unit_test_setup_teardown(test_memory_of_held_calls_comes_back, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
