/* Asynchronous calls on a loop: starting, completing, polling. */
#include "fixture.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MANY = 1000 };

/* What the callbacks saw, in the order they ran. */
struct seen {
        int n;
        int n_failed;
        uint64_t values[MANY];
        pthread_t thread;
};

static void note(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        struct seen *seen = context;
        seen->thread = pthread_self();
        if (status->code != BATON_OK || *status->message)
                seen->n_failed++;
        if (seen->n < MANY)
                seen->values[seen->n] = outcome->value;
        seen->n++;
}

static int start(const Conformance__Order *order, struct seen *seen)
{
        return probe_act_async(channel, loop, order, NULL, note, seen);
}

static void wait_for(const int *n, int wanted)
{
        uint64_t end_ns = now_ns() + 10000000000u;
        while (*n < wanted && now_ns() < end_ns)
                assert_true(baton_loop_wait(loop, 1000) >= 0);
        assert_int_equal(*n, wanted);
}

/* ---- completing ------------------------------------------------------------------------------------------- */

static void test_one(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.value = 42;
        seen = (struct seen){ 0 };
        assert_int_equal(start(&order, &seen), 0);
        order.value = 43; /* the request is the caller's again */
        pause_ms(20);
        assert_int_equal(seen.n, 0); /* only the loop runs callbacks */
        wait_for(&seen.n, 1);
        assert_int_equal(seen.n_failed, 0);
        assert_int_equal(seen.values[0], 42);
        assert_true(pthread_equal(seen.thread, pthread_self()));
        assert_int_equal(baton_loop_wait(loop, 0), 0);
}

static void test_out_of_order(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = (struct seen){ 0 };
        order.batch = 50;
        for (order.value = 0; order.value < 50; order.value++)
                assert_int_equal(start(&order, &seen), 0);
        wait_for(&seen.n, 50);
        assert_int_equal(seen.n_failed, 0);
        for (uint64_t i = 0; i < 50; i++)
                assert_int_equal(seen.values[i], 49 - i);
}

static void test_many_in_flight(void **state)
{
        (void)state;
        static struct seen seen;
        static bool there[MANY];
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = (struct seen){ 0 };
        memset(there, 0, sizeof there);
        order.batch = MANY;
        for (order.value = 0; order.value < MANY; order.value++) {
                int error;
                while ((error = start(&order, &seen)) == -EAGAIN) /* the ring is full */
                        assert_true(baton_loop_wait(loop, 1) >= 0);
                assert_int_equal(error, 0);
        }
        wait_for(&seen.n, MANY);
        assert_int_equal(seen.n_failed, 0);
        for (int i = 0; i < MANY; i++)
                there[seen.values[i]] = true;
        for (int i = 0; i < MANY; i++)
                assert_true(there[i]);
}

static void test_max_in_flight(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = (struct seen){ 0 };
        baton_channel *usual = channel;
        channel = peer_open(&peer, &(baton_channel_options){ .max_in_flight = 8 });
        order.batch = 8;
        for (int round = 1; round < 4; round++) {
                for (int i = 0; i < 7; i++)
                        assert_int_equal(start(&order, &seen), 0);
                order.sleep_ms = 100; /* all eight are out until then */
                assert_int_equal(start(&order, &seen), 0);
                order.sleep_ms = 0;
                assert_int_equal(start(&order, &seen), -EAGAIN);
                expect_error("8 calls are in flight|max_in_flight");
                wait_for(&seen.n, 8 * round);
        }
        assert_int_equal(seen.n_failed, 0);
        baton_channel_close(channel);
        channel = usual;
}

struct kept {
        const Conformance__Blob *reply;
        int n;
};

static void keep(const baton_status *status, const Conformance__Blob *reply, void *context)
{
        struct kept *kept = context;
        kept->n++;
        if (status->code == BATON_OK)
                kept->reply = baton_retain(reply);
}

static void test_reply_kept(void **state)
{
        (void)state;
        static const size_t sizes[] = { 0, 10, 5000, 100000, 1 << 20 };
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                struct kept kept = { 0 };
                Conformance__Blob request = CONFORMANCE__BLOB__INIT;
                uint8_t *data = pattern(sizes[i], 1);
                request.data = (ProtobufCBinaryData){ sizes[i], data };
                assert_int_equal(probe_echo_async(channel, loop, &request, NULL, keep, &kept), 0);
                memset(data, 0, sizes[i]); /* the request is the caller's again */
                free(data);
                wait_for(&kept.n, 1);
                assert_non_null(kept.reply);
                for (int j = 0; j < 3; j++)
                        expect_alive(channel);
                assert_int_equal(kept.reply->data.len, sizes[i]);
                assert_true(is_pattern(kept.reply->data.data, sizes[i], 1));
                baton_release(kept.reply);
        }
}

/* ---- the loop --------------------------------------------------------------------------------------------- */

static void test_polled_by_another_epoll(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        struct epoll_event event = { .events = EPOLLIN };
        seen = (struct seen){ 0 };
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, baton_loop_fd(loop), &event), 0);
        assert_true(baton_loop_dispatch(loop) >= 0);
        for (int i = 1; i <= 50; i++) {
                order.defer_ms = i % 3 ? 0 : 5;
                assert_int_equal(start(&order, &seen), 0);
                while (seen.n < i) {
                        assert_int_equal(epoll_wait(epoll_fd, &event, 1, 5000), 1);
                        assert_true(baton_loop_dispatch(loop) >= 0);
                }
        }
        assert_int_equal(seen.n_failed, 0);
        close(epoll_fd);
}

/* An idle loop's fd is silent: whoever polls it sleeps. */
static void test_silent_when_idle(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        struct epoll_event event = { .events = EPOLLIN };
        seen = (struct seen){ 0 };
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC), n_woken = 0;
        assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, baton_loop_fd(loop), &event), 0);
        assert_int_equal(start(&order, &seen), 0);
        wait_for(&seen.n, 1);
        for (int i = 0; i < 5; i++) {
                n_woken += epoll_wait(epoll_fd, &event, 1, 40);
                assert_true(baton_loop_dispatch(loop) >= 0);
        }
        assert_in_range(n_woken, 0, 3);
        close(epoll_fd);
}

static void test_wait_times_out(void **state)
{
        (void)state;
        uint64_t start_ns = now_ns();
        assert_int_equal(baton_loop_wait(loop, 60), 0);
        assert_in_range(now_ns() - start_ns, 59000000, 160000000);
        start_ns = now_ns();
        assert_int_equal(baton_loop_wait(loop, 0), 0);
        assert_int_equal(baton_loop_dispatch(loop), 0);
        assert_true(now_ns() - start_ns < 50000000);
}

static void *stop_soon(void *argument)
{
        (void)argument;
        pause_ms(50);
        baton_loop_stop(loop);
        return NULL;
}

static void test_stopped_by_another_thread(void **state)
{
        (void)state;
        for (int i = 0; i < 3; i++) {
                pthread_t thread;
                assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
                uint64_t start_ns = now_ns();
                assert_int_equal(baton_loop_run(loop), 0);
                assert_true(now_ns() - start_ns >= 40000000);
                pthread_join(thread, NULL);
        }
        baton_loop_stop(loop); /* before it runs: counts for the next run */
        assert_int_equal(baton_loop_run(loop), 0);
}

static void stop_at_once(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        note(status, outcome, context);
        baton_loop_stop(loop);
}

static void test_stopped_by_a_callback(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = (struct seen){ 0 };
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, stop_at_once, &seen), 0);
        assert_int_equal(baton_loop_run(loop), 0);
        assert_int_equal(seen.n, 1);
}

/* ---- starting --------------------------------------------------------------------------------------------- */

struct starter {
        struct seen seen;
        atomic_int n_refused;
};

static void *start_some(void *argument)
{
        struct starter *starter = argument;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (order.value = 0; order.value < 200; order.value++) {
                int error;
                while ((error = start(&order, &starter->seen)) == -EAGAIN)
                        pause_ms(1);
                if (error < 0)
                        atomic_fetch_add(&starter->n_refused, 1);
        }
        return NULL;
}

/* The loop sleeps for ever, and calls that other threads start wake it. */
static void test_started_by_other_threads(void **state)
{
        (void)state;
        static struct starter starter;
        pthread_t threads[4];
        memset(&starter, 0, sizeof starter);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, start_some, &starter), 0);
        while (starter.seen.n < 800)
                assert_true(baton_loop_wait(loop, 5000) > 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(starter.n_refused, 0);
        assert_int_equal(starter.seen.n_failed, 0);
}

struct chain {
        int n;
        int left;
        int error;
};

static void start_next(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)outcome;
        struct chain *chain = context;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        chain->n++;
        if (status->code != BATON_OK)
                chain->error = -1;
        for (int i = 0; i < 2 && chain->left; i++, chain->left--)
                if (probe_act_async(channel, loop, &order, NULL, start_next, chain) < 0)
                        chain->error = -2;
}

static void test_callbacks_start_further_calls(void **state)
{
        (void)state;
        struct chain chain = { .left = 300 };
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        assert_int_equal(probe_act_async(channel, loop, &order, NULL, start_next, &chain), 0);
        wait_for(&chain.n, 301);
        assert_int_equal(chain.error, 0);
}

static void block_inside(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.value = 5;
        Conformance__Outcome further;
        note(status, outcome, context);
        if (act(channel, &order, NULL, &further).code != BATON_OK || further.value != 5)
                ((struct seen *)context)->n_failed++;
}

static void test_callbacks_make_blocking_calls(void **state)
{
        (void)state;
        static struct seen seen;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = (struct seen){ 0 };
        for (int i = 0; i < 20; i++)
                assert_int_equal(probe_act_async(channel, loop, &order, NULL, block_inside, &seen), 0);
        wait_for(&seen.n, 20);
        assert_int_equal(seen.n_failed, 0);
}

static void test_two_channels_one_loop(void **state)
{
        (void)state;
        static struct seen seen;
        struct peer other;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = (struct seen){ 0 };
        peer_start(&other, NULL);
        baton_channel *second = peer_open(&other, NULL);
        for (int i = 0; i < 100; i++) {
                assert_int_equal(start(&order, &seen), 0);
                assert_int_equal(probe_act_async(second, loop, &order, NULL, note, &seen), 0);
        }
        wait_for(&seen.n, 200);
        assert_int_equal(seen.n_failed, 0);
        baton_channel_close(second);
        peer_end(&other);
        assert_int_equal(start(&order, &seen), 0);
        wait_for(&seen.n, 201);
}

static void test_one_channel_two_loops(void **state)
{
        (void)state;
        static struct seen seen, other;
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        seen = other = (struct seen){ 0 };
        baton_loop *second = baton_loop_new();
        for (int i = 0; i < 100; i++) {
                assert_int_equal(start(&order, &seen), 0);
                assert_int_equal(probe_act_async(channel, second, &order, NULL, note, &other), 0);
        }
        wait_for(&seen.n, 100);
        assert_int_equal(other.n, 0); /* each loop has its own */
        while (other.n < 100)
                assert_true(baton_loop_wait(second, 5000) > 0);
        assert_int_equal(seen.n_failed + other.n_failed, 0);
        baton_channel_close(channel);
        baton_loop_free(second);
        channel = peer_open(&peer, NULL);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one, begin, end),
                cmocka_unit_test_setup_teardown(test_out_of_order, begin, end),
                cmocka_unit_test_setup_teardown(test_many_in_flight, begin, end),
                cmocka_unit_test_setup_teardown(test_max_in_flight, begin, end),
                cmocka_unit_test_setup_teardown(test_reply_kept, begin, end),
                cmocka_unit_test_setup_teardown(test_polled_by_another_epoll, begin, end),
                cmocka_unit_test_setup_teardown(test_silent_when_idle, begin, end),
                cmocka_unit_test_setup_teardown(test_wait_times_out, begin, end),
                cmocka_unit_test_setup_teardown(test_stopped_by_another_thread, begin, end),
                cmocka_unit_test_setup_teardown(test_stopped_by_a_callback, begin, end),
                cmocka_unit_test_setup_teardown(test_started_by_other_threads, begin, end),
                cmocka_unit_test_setup_teardown(test_callbacks_start_further_calls, begin, end),
                cmocka_unit_test_setup_teardown(test_callbacks_make_blocking_calls, begin, end),
                cmocka_unit_test_setup_teardown(test_two_channels_one_loop, begin, end),
                cmocka_unit_test_setup_teardown(test_one_channel_two_loops, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
