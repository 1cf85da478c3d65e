/* Threads post and stop just when the loop falls asleep, or wakes. A lost wake-up hangs, and the watchdog ends the test. */
#include "base/loop.h"
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS = 3, MS = 1000000, RUN_MS = 300, STOPS = 20000, WATCHDOG_SECONDS = 60 };

static baton_loop *loop;

struct poster {
        struct loop_task task;
        atomic_uint n_run;
        unsigned n_posted;
        uint32_t seed;
        pthread_t thread;
};

static atomic_uint n_left; /* posters at work */

static void on_task(struct loop_task *task)
{
        struct poster *poster = container_of(task, struct poster, task);
        atomic_fetch_add_explicit(&poster->n_run, 1, memory_order_release);
}

/* About as long as the loop takes to fall asleep, or to wake. */
static void pause_a_little(struct poster *poster)
{
        poster->seed = poster->seed * 1664525u + 1013904223u;
        uint64_t until = clock_now_ns() + (poster->seed >> 8) % 4000;
        while (clock_now_ns() < until)
                ;
}

static void *post_and_wait(void *context)
{
        struct poster *poster = context;
        for (uint64_t end = clock_now_ns() + RUN_MS * (uint64_t)MS; clock_now_ns() < end; poster->n_posted++) {
                loop_post(loop, &poster->task);
                while (atomic_load_explicit(&poster->n_run, memory_order_acquire) == poster->n_posted)
                        sched_yield();
                pause_a_little(poster);
        }
        if (atomic_fetch_sub(&n_left, 1) == 1)
                baton_loop_stop(loop);
        return NULL;
}

static void run(void)
{
        assert_int_equal(baton_loop_run(loop), 0);
}

static void wait_often(void)
{
        while (atomic_load(&n_left))
                assert_true(baton_loop_wait(loop, -1) >= 0);
}

static void dispatch_often(void)
{
        struct pollfd readable = { .fd = baton_loop_fd(loop), .events = baton_loop_events(loop) };
        while (atomic_load(&n_left)) {
                assert_true(poll(&readable, 1, -1) == 1);
                assert_true(baton_loop_dispatch(loop) >= 0);
        }
}

static void post_to(uint64_t spin_ns, void (*turn)(void), uint32_t threads)
{
        static struct poster posters[THREADS];
        loop = loop_new(spin_ns);
        assert_non_null(loop);
        atomic_store(&n_left, threads);
        for (uint32_t i = 0; i < threads; i++) {
                posters[i] = (struct poster){ .task.run = on_task, .seed = i };
                assert_int_equal(pthread_create(&posters[i].thread, NULL, post_and_wait, &posters[i]), 0);
        }
        turn();
        for (uint32_t i = 0; i < threads; i++) {
                pthread_join(posters[i].thread, NULL);
                assert_int_equal(atomic_load(&posters[i].n_run), posters[i].n_posted);
                assert_true(posters[i].n_posted > 0);
        }
        baton_loop_free(loop);
}

/* One alone is not saved by the next one's ring. */
static void posts_to_a_sleeper(void **state)
{
        (void)state;
        post_to(0, run, 1);
        post_to(0, run, THREADS);
}

static void posts_to_a_spinner(void **state)
{
        (void)state;
        post_to(15000, run, 1);
        post_to(15000, run, THREADS);
}

static void posts_to_a_waiter(void **state)
{
        (void)state;
        post_to(0, wait_often, 1);
        post_to(0, wait_often, THREADS);
        post_to(15000, wait_often, 1);
        post_to(15000, wait_often, THREADS);
}

static void posts_to_an_fd(void **state)
{
        (void)state;
        post_to(0, dispatch_often, 1);
        post_to(0, dispatch_often, THREADS);
}

static atomic_uint n_runs;

static void *stop_often(void *context)
{
        struct poster poster = { .seed = 1 };
        for (unsigned i = 0; i < STOPS; i++) {
                pause_a_little(&poster);
                baton_loop_stop(loop);
                while (atomic_load(&n_runs) == i)
                        sched_yield();
        }
        return context;
}

static void stops_at_any_moment(void **state)
{
        (void)state;
        pthread_t thread;
        loop = loop_new(0);
        assert_int_equal(pthread_create(&thread, NULL, stop_often, NULL), 0);
        while (atomic_load(&n_runs) < STOPS) {
                assert_int_equal(baton_loop_run(loop), 0);
                atomic_fetch_add(&n_runs, 1);
        }
        pthread_join(thread, NULL);
        baton_loop_free(loop);
}

static int watch(void **state)
{
        (void)state;
        alarm(WATCHDOG_SECONDS);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(posts_to_a_sleeper, watch),  cmocka_unit_test_setup(posts_to_a_spinner, watch),
                cmocka_unit_test_setup(posts_to_a_waiter, watch),   cmocka_unit_test_setup(posts_to_an_fd, watch),
                cmocka_unit_test_setup(stops_at_any_moment, watch),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
