#include "base/loop.h"
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MS = 1000000, WATCHDOG_SECONDS = 30 };

static baton_loop *loop;

static int set_up(void **state)
{
        (void)state;
        alarm(WATCHDOG_SECONDS);
        loop = loop_new(50000);
        return !loop;
}

static int tear_down(void **state)
{
        (void)state;
        baton_loop_free(loop);
        alarm(0);
        return 0;
}

struct poller {
        struct loop_poller poller;
        int pending; /* what poll finds */
        bool late;   /* something comes in just while it is armed */
        int n_polls, n_arms, n_disarms;
        bool armed;
        struct poller *victim;
};

static int on_poll(struct loop_poller *base)
{
        struct poller *poller = container_of(base, struct poller, poller);
        int n = poller->pending;
        assert_false(poller->armed);
        poller->n_polls++;
        poller->pending = 0;
        if (n && poller->victim) {
                loop_poller_remove(loop, &poller->victim->poller);
                poller->victim->n_polls = -1000;
        }
        return n;
}

static bool on_arm(struct loop_poller *base)
{
        struct poller *poller = container_of(base, struct poller, poller);
        poller->n_arms++;
        poller->armed = true;
        if (poller->late)
                poller->pending++;
        poller->late = false;
        return poller->pending;
}

static void on_disarm(struct loop_poller *base)
{
        struct poller *poller = container_of(base, struct poller, poller);
        poller->n_disarms++;
        poller->armed = false;
}

static void add_poller(struct poller *poller)
{
        *poller = (struct poller){ .poller = { .poll = on_poll, .arm = on_arm, .disarm = on_disarm } };
        loop_poller_add(loop, &poller->poller);
}

static void park_and_wake(void **state)
{
        (void)state;
        struct poller poller;
        add_poller(&poller);
        poller.pending = 3;
        assert_int_equal(baton_loop_dispatch(loop), 3);
        assert_true(poller.armed); /* dispatch leaves it armed */
        int polls = poller.n_polls;
        assert_int_equal(baton_loop_dispatch(loop), 0);
        assert_int_equal(poller.n_polls, polls); /* parked: not looked at */
        loop_poller_wake(loop, &poller.poller);
        assert_false(poller.armed);
        loop_poller_wake(loop, &poller.poller); /* active already: harmless */
        poller.pending = 1;
        assert_int_equal(baton_loop_wait(loop, -1), 1);
        assert_int_equal(baton_loop_wait(loop, 10), 0);
        assert_true(poller.armed);                /* asleep until its end, and so it was armed */
        loop_poller_remove(loop, &poller.poller); /* parked: harmless */
        loop_poller_remove(loop, &poller.poller);
}

static void arrives_while_armed(void **state)
{
        (void)state;
        struct poller poller;
        add_poller(&poller);
        poller.late = true;
        assert_int_equal(baton_loop_wait(loop, -1), 1); /* does not sleep on it */
        poller.late = true;
        loop_poller_wake(loop, &poller.poller);
        baton_loop_dispatch(loop);
        struct pollfd ready = { .fd = baton_loop_fd(loop), .events = POLLIN };
        if (poller.pending)
                assert_int_equal(poll(&ready, 1, 0), 1); /* the outer loop is told to come back */
        while (poller.pending)
                baton_loop_dispatch(loop);
        loop_poller_remove(loop, &poller.poller);
}

/* Each position removed by each other, itself included, while it is polled. */
static void poller_removes_poller(void **state)
{
        (void)state;
        enum { N = 4 };
        for (int killer = 0; killer < N; killer++) {
                for (int victim = 0; victim < N; victim++) {
                        struct poller pollers[N];
                        for (int i = 0; i < N; i++)
                                add_poller(&pollers[i]);
                        pollers[killer].pending = 1;
                        pollers[killer].victim = &pollers[victim];
                        baton_loop_dispatch(loop);
                        assert_int_equal(pollers[victim].n_polls, -1000); /* never again */
                        for (int i = 0; i < N; i++) {
                                if (i != victim)
                                        assert_true(pollers[i].n_polls > 0);
                                loop_poller_remove(loop, &pollers[i].poller);
                        }
                }
        }
}

/* One that always has something must not keep sources, timers and tasks waiting. */
static int always_busy(struct loop_poller *base)
{
        (void)base;
        return 1;
}

static int n_sources, n_timers, n_tasks;

static int on_source(struct loop_source *source, uint32_t events)
{
        char byte;
        (void)events;
        assert_int_equal(read(source->fd, &byte, 1), 1);
        n_sources++;
        return 1;
}

static void on_timer(struct loop_timer *timer)
{
        (void)timer;
        n_timers++;
}

static void on_task(struct loop_task *task)
{
        (void)task;
        n_tasks++;
}

static void busy_poller(void **state)
{
        (void)state;
        struct poller busy;
        int ends[2];
        struct loop_task task = { .run = on_task };
        struct loop_timer timer = { .fire = on_timer };
        add_poller(&busy);
        busy.poller.poll = always_busy;
        assert_int_equal(pipe(ends), 0);
        struct loop_source source = { .fd = ends[0], .ready = on_source };
        assert_int_equal(loop_source_add(loop, &source, EPOLLIN), 0);
        assert_int_equal(write(ends[1], "x", 1), 1);
        n_sources = n_timers = n_tasks = 0;
        loop_post(loop, &task);
        loop_timer_set(loop, &timer, clock_now_ns() + 2 * MS);
        uint64_t end = clock_now_ns() + 500 * (uint64_t)MS;
        while ((!n_sources || !n_timers || !n_tasks) && !deadline_passed(end))
                baton_loop_wait(loop, -1);
        assert_int_equal(n_sources, 1);
        assert_int_equal(n_timers, 1);
        assert_int_equal(n_tasks, 1);
        assert_true(baton_loop_dispatch(loop) > 0); /* ends, too */
        loop_poller_remove(loop, &busy.poller);
        loop_source_remove(loop, &source);
        close(ends[0]);
        close(ends[1]);
}

static uint64_t cpu_ns(void)
{
        struct rusage usage;
        getrusage(RUSAGE_THREAD, &usage);
        return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
               ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static void idle_costs_nothing(void **state)
{
        (void)state;
        struct poller quiet[20];
        struct loop_timer far = { .fire = on_timer };
        for (int i = 0; i < 20; i++)
                add_poller(&quiet[i]);
        loop_timer_set(loop, &far, clock_now_ns() + 100000 * (uint64_t)MS);
        uint64_t before = cpu_ns();
        assert_int_equal(baton_loop_wait(loop, 400), 0);
        assert_true(cpu_ns() - before < 20 * MS);
        for (int i = 0; i < 20; i++) {
                assert_true(quiet[i].armed);
                loop_poller_remove(loop, &quiet[i].poller);
        }
}

/* ---- tasks, as a loop that polls sees them ---------------------------------------------------------------- */

static struct loop_task noticed;
static int n_posted, n_noticed;

static void on_noticed(struct loop_task *task)
{
        (void)task;
        n_noticed++;
}

static int poll_and_post(struct loop_poller *base)
{
        (void)base;
        struct pollfd readable = { .fd = baton_loop_fd(loop), .events = baton_loop_events(loop) };
        assert_int_equal(n_noticed, n_posted); /* what was posted in the last round was run in it */
        if (n_posted == 1000) {
                baton_loop_stop(loop);
                return 1;
        }
        n_posted++;
        loop_post(loop, &noticed);
        assert_int_equal(poll(&readable, 1, 0), 0); /* and without a system call */
        return n_posted % 2;
}

static void sees_tasks_in_each_round(void **state)
{
        (void)state;
        struct poller poller;
        noticed = (struct loop_task){ .run = on_noticed };
        n_posted = n_noticed = 0;
        assert_int_equal(baton_loop_wait(loop, 1), 0); /* it has slept, and is awake now */
        add_poller(&poller);
        poller.poller.poll = poll_and_post;
        assert_int_equal(baton_loop_run(loop), 0);
        assert_int_equal(n_noticed, 1000);
}

static bool stops_too;

/* The last moment before the loop sleeps. */
static bool arm_and_post(struct loop_poller *base)
{
        if (n_posted++ == 0)
                loop_post(loop, &noticed);
        if (stops_too)
                baton_loop_stop(loop);
        return on_arm(base);
}

static void sees_what_comes_before_it_sleeps(void **state)
{
        (void)state;
        struct poller poller;
        noticed = (struct loop_task){ .run = on_noticed };
        for (int i = 0; i < 3; i++) {
                n_posted = n_noticed = 0;
                stops_too = i == 2;
                add_poller(&poller);
                poller.poller.arm = arm_and_post;
                assert_int_equal(i < 2 ? baton_loop_wait(loop, -1) : baton_loop_run(loop), i < 2);
                loop_poller_remove(loop, &poller.poller);
        }
        stops_too = true;
        n_posted = 1; /* no task, so that nothing is to be handled */
        add_poller(&poller);
        poller.poller.arm = arm_and_post;
        assert_int_equal(baton_loop_run(loop), 0);
        loop_poller_remove(loop, &poller.poller);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(park_and_wake),
                TEST(arrives_while_armed),
                TEST(poller_removes_poller),
                TEST(busy_poller),
                TEST(idle_costs_nothing),
                TEST(sees_tasks_in_each_round),
                TEST(sees_what_comes_before_it_sleeps),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
