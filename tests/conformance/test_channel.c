/* Channels: their options, their state, connecting again, and waiting for a server. */
#include "fixture.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_MS = 10000, BACKOFF_MS = 2000 };

/* The tests open channels with options of their own. */
static int begin_serving(void **state)
{
        (void)state;
        peer_start(&peer, NULL);
        loop = baton_loop_new();
        return loop ? 0 : -1;
}

static baton_status try_act(const baton_call_options *options)
{
        return act(channel, &(Conformance__Order)CONFORMANCE__ORDER__INIT, options, NULL);
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static void test_options(void **state)
{
        (void)state;
        const struct {
                baton_channel_options options;
                const char *words;
        } table[] = {
                { { .max_in_flight = 65537 }, "channel option max_in_flight is 65537|at most 65536" },
                { { .max_metadata_bytes = (1 << 20) + 1 }, "max_metadata_bytes is 1048577|at most 1 MiB" },
                { { .stream_window_bytes = 1023 }, "stream_window_bytes is 1023|1 KiB to 64 MiB" },
                { { .stream_window_bytes = (64 << 20) + 1 }, "stream_window_bytes|1 KiB to 64 MiB" },
                { { .backoff_initial_ms = 20, .backoff_max_ms = 10 }, "backoff_initial_ms is 20|backoff_max_ms" },
                { { .n_interceptors = 1 }, "n_interceptors is 1|interceptors is NULL" },
                { { .retry = { .max_attempts = 101 } }, "retry.max_attempts is 101|at most 100" },
                { { .retry = { .initial_backoff_ms = 20, .max_backoff_ms = 10 } }, "retry.initial_backoff_ms is 20" },
                { { .retry = { .codes = 1 << BATON_OK } }, "retry.codes is 1|failures" },
                { { .retry = { .codes = 1 << 17 } }, "retry.codes is 131072|1 to 16" },
                { { .retry = { .budget = (1 << 20) + 1 } }, "retry.budget is 1048577|at most 1048576" },
        };
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                assert_null(baton_channel_open(peer.address, &table[i].options));
                expect_error(table[i].words);
        }
        /* One that was given bounds the default of the other. */
        channel = peer_open(&peer, &(baton_channel_options){ .backoff_initial_ms = 1000,
                                                             .stream_window_bytes = 1024,
                                                             .retry = { .max_attempts = 100, .max_backoff_ms = 1 } });
        expect_alive(channel);
}

/* ---- state ------------------------------------------------------------------------------------------------ */

struct changes {
        atomic_uint n;
        _Atomic int states[64];
};

static void note_change(baton_channel *changed, baton_channel_state now, void *context)
{
        struct changes *changes = context;
        uint32_t n = atomic_load(&changes->n);
        if (n < 64)
                atomic_store(&changes->states[n], (int)now);
        atomic_store(&changes->n, n + 1);
        (void)changed;
}

static void expect_changes(struct changes *changes, const char *wanted)
{
        static const char names[] = "ICRTS";
        char text[65] = "";
        for (uint32_t i = 0; i < atomic_load(&changes->n) && i < 64; i++)
                text[i] = names[atomic_load(&changes->states[i])];
        assert_string_equal(text, wanted);
}

static void test_states(void **state)
{
        (void)state;
        struct changes changes = { 0 };
        channel = peer_open(&peer, &(baton_channel_options){ .state_changed = note_change, .state_context = &changes });
        assert_int_equal(baton_channel_get_state(channel), BATON_IDLE);
        expect_alive(channel);
        assert_int_equal(baton_channel_get_state(channel), BATON_READY);
        assert_int_equal(baton_channel_wait_state(channel, BATON_IDLE, -1), BATON_READY);
        assert_int_equal(baton_channel_wait_state(channel, BATON_READY, 10), BATON_READY);
        expect_changes(&changes, "CR");
        peer_kill(&peer);
        assert_int_equal(baton_channel_wait_state(channel, BATON_READY, LONG_MS), BATON_IDLE);
        expect_status(try_act(NULL), BATON_UNAVAILABLE, "");
        assert_int_equal(baton_channel_get_state(channel), BATON_TRANSIENT_FAILURE);
        peer_restart(&peer, NULL);
        assert_int_equal(baton_channel_connect(channel).code, BATON_OK);
        assert_int_equal(baton_channel_get_state(channel), BATON_READY);
        baton_channel_close(channel);
        channel = NULL;
        expect_changes(&changes, "CRICTCRS");
}

static void *wait_until_ready(void *waited)
{
        return (void *)(intptr_t)baton_channel_wait_state(waited, BATON_IDLE, LONG_MS);
}

static void test_waiting_for_a_state(void **state)
{
        (void)state;
        pthread_t thread;
        void *seen = NULL;
        channel = peer_open(&peer, NULL);
        assert_int_equal(pthread_create(&thread, NULL, wait_until_ready, channel), 0);
        pause_ms(20);
        assert_int_equal(baton_channel_connect(channel).code, BATON_OK);
        pthread_join(thread, &seen);
        assert_int_not_equal((intptr_t)seen, BATON_IDLE);
        assert_int_equal(baton_channel_get_state(NULL), BATON_SHUTDOWN);
        assert_int_equal(baton_channel_wait_state(NULL, BATON_IDLE, -1), BATON_SHUTDOWN);
}

/* ---- connecting again ------------------------------------------------------------------------------------- */

/* Within a long pause calls fail at once, and say why and until when; who insists connects. */
static void test_backoff(void **state)
{
        (void)state;
        channel = peer_open(&peer, &(baton_channel_options){ .backoff_initial_ms = BACKOFF_MS });
        peer_kill(&peer);
        expect_status(try_act(NULL), BATON_UNAVAILABLE, "");
        peer_restart(&peer, NULL);
        baton_status status = try_act(NULL);
        expect_status(status, BATON_UNAVAILABLE, "next attempt to connect is due in|ms");
        assert_false(status.maybe_executed);
        assert_int_equal(baton_channel_get_state(channel), BATON_TRANSIENT_FAILURE);
        assert_null(baton_channel_alloc(channel, 64));
        expect_error("next attempt");
        assert_int_equal(baton_channel_connect(channel).code, BATON_OK);
        expect_alive(channel);
}

/* Short pauses are waited out: a server that is back is found at once. */
static void test_found_again(void **state)
{
        (void)state;
        channel = peer_open(&peer, NULL);
        for (int i = 0; i < 10; i++) {
                peer_kill(&peer);
                expect_status(try_act(NULL), BATON_UNAVAILABLE, "");
                expect_status(try_act(NULL), BATON_UNAVAILABLE, "");
                peer_restart(&peer, NULL);
                expect_alive(channel);
        }
}

/* A call that gives up early says nothing about the server. */
static void test_short_deadline_is_no_failure(void **state)
{
        (void)state;
        channel = peer_open(&peer, &(baton_channel_options){ .backoff_initial_ms = BACKOFF_MS });
        baton_status status = try_act(&(baton_call_options){ .deadline_ns = 1 });
        expect_status(status, BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Act|deadline");
        assert_false(status.maybe_executed);
        assert_int_equal(baton_channel_get_state(channel), BATON_IDLE);
        expect_alive(channel);
        expect_status(try_act(&(baton_call_options){ .deadline_ns = 1 }), BATON_DEADLINE_EXCEEDED, "Act|deadline");
}

/* ---- waiting for a server --------------------------------------------------------------------------------- */

struct waiter {
        baton_call_options options;
        baton_code code;
        bool maybe_executed;
        char text[512];
        atomic_bool done;
};

static void keep(struct waiter *waiter, const baton_status *status)
{
        waiter->code = status->code;
        waiter->maybe_executed = status->maybe_executed;
        snprintf(waiter->text, sizeof waiter->text, "%s", status->message);
        atomic_store(&waiter->done, true);
}

static void *call_and_wait(void *context)
{
        struct waiter *waiter = context;
        baton_status status = try_act(&waiter->options);
        keep(waiter, &status);
        return NULL;
}

static void note_outcome(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        keep(context, status);
}

static void test_wait_for_ready(void **state)
{
        (void)state;
        static struct waiter waiters[3];
        pthread_t threads[3];
        channel = peer_open(&peer, NULL);
        peer_kill(&peer);
        for (int i = 0; i < 3; i++) {
                waiters[i] = (struct waiter){ .options = { .wait_for_ready = true, .timeout_ms = LONG_MS } };
                assert_int_equal(pthread_create(&threads[i], NULL, call_and_wait, &waiters[i]), 0);
        }
        pause_ms(100);
        for (int i = 0; i < 3; i++)
                assert_false(atomic_load(&waiters[i].done));
        peer_restart(&peer, NULL);
        for (int i = 0; i < 3; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(waiters[i].code, BATON_OK);
        }
}

static void test_wait_in_vain(void **state)
{
        (void)state;
        channel = peer_open(&peer, NULL);
        peer_kill(&peer);
        uint64_t start_ns = now_ns();
        baton_status status = try_act(&(baton_call_options){ .wait_for_ready = true, .timeout_ms = 50 });
        expect_status(status, BATON_DEADLINE_EXCEEDED, "/conformance.Probe/Act|deadline");
        assert_false(status.maybe_executed);
        assert_true(now_ns() - start_ns >= 49000000);
        baton_cancel *cancel = baton_cancel_new();
        struct waiter waiter = { .options = { .wait_for_ready = true, .cancel = cancel } };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, call_and_wait, &waiter), 0);
        pause_ms(20);
        assert_false(atomic_load(&waiter.done));
        baton_cancel_now(cancel);
        pthread_join(thread, NULL);
        assert_int_equal(waiter.code, BATON_CANCELLED);
        assert_false(waiter.maybe_executed);
        baton_cancel_free(cancel);
        peer_restart(&peer, NULL);
}

static void turn_until(struct waiter *waiter)
{
        uint64_t end_ns = now_ns() + LONG_MS * UINT64_C(1000000);
        while (!atomic_load(&waiter->done) && now_ns() < end_ns)
                baton_loop_wait(loop, 100);
        assert_true(atomic_load(&waiter->done));
}

static void start(struct waiter *waiter)
{
        /* Changed at once: what is sent later is a copy. */
        Conformance__Order *order = malloc(sizeof *order);
        conformance__order__init(order);
        order->message = strdup("unused");
        assert_int_equal(probe_act_async(channel, loop, order, &waiter->options, note_outcome, waiter), 0);
        memset(order->message, 0xff, 6);
        free(order->message);
        memset(order, 0xff, sizeof *order);
        free(order);
}

/* On a loop nobody is held up meanwhile. */
static void test_wait_on_a_loop(void **state)
{
        (void)state;
        baton_cancel *cancel = baton_cancel_new();
        struct waiter late = { .options = { .wait_for_ready = true, .timeout_ms = 30 } };
        struct waiter cancelled = { .options = { .wait_for_ready = true, .cancel = cancel } };
        struct waiter waiter = { .options = { .wait_for_ready = true, .timeout_ms = LONG_MS } };
        struct waiter closed = waiter;
        channel = peer_open(&peer, NULL);
        peer_kill(&peer);
        start(&late);
        start(&cancelled);
        start(&waiter);
        turn_until(&late);
        assert_int_equal(late.code, BATON_DEADLINE_EXCEEDED);
        assert_false(late.maybe_executed);
        baton_cancel_now(cancel);
        turn_until(&cancelled);
        assert_int_equal(cancelled.code, BATON_CANCELLED);
        assert_false(atomic_load(&waiter.done));
        peer_restart(&peer, NULL);
        turn_until(&waiter);
        assert_int_equal(waiter.code, BATON_OK);
        /* Closing ends those that wait. */
        peer_kill(&peer);
        assert_int_not_equal(baton_channel_wait_state(channel, BATON_READY, LONG_MS), BATON_READY);
        start(&closed);
        baton_loop_wait(loop, 20);
        baton_channel_close(channel);
        channel = NULL;
        assert_true(atomic_load(&closed.done));
        assert_int_equal(closed.code, BATON_CANCELLED);
        assert_false(closed.maybe_executed);
        baton_cancel_free(cancel);
        peer_restart(&peer, NULL);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_options, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_states, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_waiting_for_a_state, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_backoff, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_found_again, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_short_deadline_is_no_failure, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_wait_for_ready, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_wait_in_vain, begin_serving, end),
                cmocka_unit_test_setup_teardown(test_wait_on_a_loop, begin_serving, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
