/* Many threads, many channels, several workers, calls within calls. */
#include "fixture.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 70 };

static int begin_with_4(void **state)
{
        (void)state;
        fixture_open(&(baton_server_options){ .workers = 4 }, NULL);
        return 0;
}

/* What each thread does, and what went wrong. */
struct work {
        int n_calls;
        bool own_channel;
        bool deferred;
        size_t largest;
        atomic_int n_wrong;
        atomic_uint next_number;
};

static bool echo_once(baton_channel *to, size_t n, uint32_t seed)
{
        Conformance__Blob request = CONFORMANCE__BLOB__INIT;
        const Conformance__Blob *reply = NULL;
        uint8_t *data = pattern(n, seed);
        request.data = (ProtobufCBinaryData){ n, data };
        baton_status status = probe_echo(to, &request, &reply, NULL);
        bool fine = status.code == BATON_OK && reply->data.len == n && is_pattern(reply->data.data, n, seed);
        baton_release(reply);
        free(data);
        return fine;
}

static bool act_once(baton_channel *to, uint64_t value, uint32_t defer_ms)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        Conformance__Outcome outcome;
        order.value = value;
        order.defer_ms = defer_ms;
        return act(to, &order, NULL, &outcome).code == BATON_OK && outcome.value == value;
}

static void *do_work(void *argument)
{
        struct work *work = argument;
        uint32_t number = atomic_fetch_add(&work->next_number, 1);
        baton_channel *to = work->own_channel ? baton_channel_open(peer.address, NULL) : channel;
        for (uint32_t i = 0; i < (uint32_t)work->n_calls; i++) {
                uint32_t seed = number * 1000 + i;
                bool fine = work->deferred ? act_once(to, seed, 1 + (number + i) % 7)
                                           : echo_once(to, seed * 7919u % (work->largest + 1), seed);
                if (!fine)
                        atomic_fetch_add(&work->n_wrong, 1);
        }
        if (work->own_channel)
                baton_channel_close(to);
        return NULL;
}

static void work_on_threads(struct work *work, int n)
{
        pthread_t threads[MOST_THREADS];
        for (int i = 0; i < n; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, do_work, work), 0);
        for (int i = 0; i < n; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(work->n_wrong, 0);
        expect_alive(channel);
}

/* ---- threads ---------------------------------------------------------------------------------------------- */

static void test_threads_on_one_channel(void **state)
{
        (void)state;
        work_on_threads(&(struct work){ .n_calls = 300, .largest = 200 }, 8);
        work_on_threads(&(struct work){ .n_calls = 50, .largest = 20000 }, 8);
}

/* More threads than there are lanes for. */
static void test_more_threads_than_lanes(void **state)
{
        (void)state;
        work_on_threads(&(struct work){ .n_calls = 20, .largest = 10000 }, MOST_THREADS);
        work_on_threads(&(struct work){ .n_calls = 5, .deferred = true }, MOST_THREADS);
}

static void *act_with_deadline(void *argument)
{
        atomic_int *n = argument;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.batch = 1000; /* is held for ever */
        uint64_t start_ns = now_ns();
        baton_status status = act(channel, &order, &(baton_call_options){ .timeout_ms = 300 }, NULL);
        if (status.code == BATON_DEADLINE_EXCEEDED && now_ns() - start_ns < 600000000)
                atomic_fetch_add(n, 1);
        return NULL;
}

/* The deadline counts for those as well that wait for a lane. */
static void test_deadlines_while_lanes_are_taken(void **state)
{
        (void)state;
        pthread_t threads[MOST_THREADS];
        atomic_int n = 0;
        expect_alive(channel);
        for (int i = 0; i < MOST_THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, act_with_deadline, &n), 0);
        for (int i = 0; i < MOST_THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(n, MOST_THREADS);
        expect_alive(channel);
}

static void test_deferred_replies(void **state)
{
        (void)state;
        work_on_threads(&(struct work){ .n_calls = 20, .deferred = true }, 16);
}

static void test_channels(void **state)
{
        (void)state;
        work_on_threads(&(struct work){ .n_calls = 100, .largest = 5000, .own_channel = true }, 16);
}

static void test_many_channels_of_one_thread(void **state)
{
        (void)state;
        baton_channel *channels[60];
        for (int i = 0; i < 60; i++)
                channels[i] = peer_open(&peer, NULL);
        for (uint32_t round = 0; round < 5; round++)
                for (uint32_t i = 0; i < 60; i++)
                        assert_true(echo_once(channels[i], 100 * round, i));
        for (int i = 0; i < 60; i++)
                baton_channel_close(channels[i]);
        expect_alive(channel);
}

static void *connect_and_leave(void *argument)
{
        atomic_int *n_wrong = argument;
        for (int i = 0; i < 30; i++) {
                baton_channel *fresh = baton_channel_open(peer.address, NULL);
                if (!act_once(fresh, (uint64_t)i, 0))
                        atomic_fetch_add(n_wrong, 1);
                baton_channel_close(fresh);
        }
        return NULL;
}

static void test_coming_and_going(void **state)
{
        (void)state;
        pthread_t threads[8];
        atomic_int n_wrong = 0;
        for (int i = 0; i < 8; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, connect_and_leave, &n_wrong), 0);
        for (int i = 0; i < 8; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(n_wrong, 0);
}

/* Threads that end leave their lanes to others. */
static void test_threads_that_end(void **state)
{
        (void)state;
        for (int i = 0; i < 200; i++) {
                pthread_t thread;
                struct work work = { .n_calls = 1, .largest = 10 };
                assert_int_equal(pthread_create(&thread, NULL, do_work, &work), 0);
                pthread_join(thread, NULL);
                assert_int_equal(work.n_wrong, 0);
        }
}

static void *first_call(void *argument)
{
        if (!act_once(channel, 1, 0))
                atomic_fetch_add((atomic_int *)argument, 1);
        return NULL;
}

/* All at once find the channel unconnected, at first and after the server came back. */
static void test_first_calls_at_once(void **state)
{
        (void)state;
        for (int round = 0; round < 3; round++) {
                pthread_t threads[16];
                atomic_int n_wrong = 0;
                for (int i = 0; i < 16; i++)
                        assert_int_equal(pthread_create(&threads[i], NULL, first_call, &n_wrong), 0);
                for (int i = 0; i < 16; i++)
                        pthread_join(threads[i], NULL);
                assert_int_equal(n_wrong, 0);
                peer_kill(&peer);
                peer_restart(&peer, NULL);
        }
}

/* ---- workers ---------------------------------------------------------------------------------------------- */

static void *act_slowly(void *argument)
{
        baton_channel *own = baton_channel_open(peer.address, NULL);
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.sleep_ms = 300;
        if (act(own, &order, NULL, NULL).code != BATON_OK)
                atomic_fetch_add((atomic_int *)argument, 1);
        baton_channel_close(own);
        return NULL;
}

/* Handlers of different connections run side by side. */
static void test_workers_in_parallel(void **state)
{
        (void)state;
        pthread_t threads[4];
        atomic_int n_wrong = 0;
        uint64_t start_ns = now_ns();
        for (int i = 0; i < 4; i++) {
                assert_int_equal(pthread_create(&threads[i], NULL, act_slowly, &n_wrong), 0);
                pause_ms(10);
        }
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(n_wrong, 0);
        assert_true(now_ns() - start_ns < 900000000); /* one after the other: 1200 ms */
}

/* ---- calls within calls ----------------------------------------------------------------------------------- */

static void test_handler_calls_another_server(void **state)
{
        (void)state;
        struct peer other;
        Conformance__Outcome outcome;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        peer_start(&other, NULL);
        order.call = other.address;
        for (order.value = 0; order.value < 20; order.value++) {
                expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
                assert_int_equal(outcome.value, order.value);
        }
        peer_end(&other);
        expect_status(act(channel, &order, NULL, &outcome), BATON_UNAVAILABLE, "the further call|cannot connect");
        expect_alive(channel);
}

static void test_handler_calls_its_own_server(void **state)
{
        (void)state;
        Conformance__Outcome outcome;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.call = peer.address;
        for (order.value = 0; order.value < 10; order.value++) {
                expect_status(act(channel, &order, NULL, &outcome), BATON_OK, "");
                assert_int_equal(outcome.value, order.value);
        }
}

/* The only worker waits for itself: the deadline ends that, on both levels, and the server lives on. Within a process that is
 * seen before. */
static void test_handler_waits_for_its_own_worker(void **state)
{
        (void)state;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.call = peer.address;
        uint64_t start_ns = now_ns();
        expect_status(act(channel, &order, &(baton_call_options){ .timeout_ms = 100 }, NULL),
                      transport->in_process ? BATON_FAILED_PRECONDITION : BATON_DEADLINE_EXCEEDED, "");
        assert_true(now_ns() - start_ns < 300000000);
        expect_alive(channel);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_threads_on_one_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_threads_on_one_channel, begin_with_4, end),
                cmocka_unit_test_setup_teardown(test_more_threads_than_lanes, begin, end),
                cmocka_unit_test_setup_teardown(test_deadlines_while_lanes_are_taken, begin, end),
                cmocka_unit_test_setup_teardown(test_deferred_replies, begin, end),
                cmocka_unit_test_setup_teardown(test_channels, begin, end),
                cmocka_unit_test_setup_teardown(test_channels, begin_with_4, end),
                cmocka_unit_test_setup_teardown(test_many_channels_of_one_thread, begin, end),
                cmocka_unit_test_setup_teardown(test_many_channels_of_one_thread, begin_with_4, end),
                cmocka_unit_test_setup_teardown(test_coming_and_going, begin, end),
                cmocka_unit_test_setup_teardown(test_coming_and_going, begin_with_4, end),
                cmocka_unit_test_setup_teardown(test_threads_that_end, begin, end),
                cmocka_unit_test_setup_teardown(test_first_calls_at_once, begin, end),
                cmocka_unit_test_setup_teardown(test_workers_in_parallel, begin_with_4, end),
                cmocka_unit_test_setup_teardown(test_handler_calls_another_server, begin, end),
                cmocka_unit_test_setup_teardown(test_handler_calls_its_own_server, begin_with_4, end),
                cmocka_unit_test_setup_teardown(test_handler_waits_for_its_own_worker, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
