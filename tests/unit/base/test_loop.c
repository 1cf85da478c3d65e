#include "base/loop.h"
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <baton/status.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MS = 1000000, LATE_NS = 50 * MS, WATCHDOG_SECONDS = 30 };

static baton_loop *loop;
static int log_of[64], n_log; /* what the callbacks did, in order */

static int set_up(void **state)
{
        (void)state;
        n_log = 0;
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

static void note(int what)
{
        if (n_log < 64)
                log_of[n_log++] = what;
}

static void sleep_ms(int ms)
{
        nanosleep(&(struct timespec){ .tv_nsec = ms * (long)MS }, NULL);
}

/* ---- sources ---------------------------------------------------------------------------------------------- */

struct source {
        struct loop_source source;
        int other; /* the socket's other end */
        struct source *victim;
        int n;
};

static int on_source(struct loop_source *base, uint32_t events)
{
        struct source *source = container_of(base, struct source, source);
        char byte;
        assert_true(events & EPOLLIN);
        assert_true(loop_is_current(loop));
        assert_int_equal(read(base->fd, &byte, 1), 1);
        source->n++;
        if (source->victim) {
                loop_source_remove(loop, &source->victim->source);
                source->victim->n = -1000; /* not touched any more */
                source->victim = NULL;
        }
        return 1;
}

static void open_source(struct source *source)
{
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        *source = (struct source){ .source = { .fd = ends[0], .ready = on_source }, .other = ends[1] };
        assert_int_equal(loop_source_add(loop, &source->source, EPOLLIN), 0);
}

static void close_source(struct source *source)
{
        close(source->source.fd);
        close(source->other);
}

static void sources(void **state)
{
        (void)state;
        struct source one, two;
        open_source(&one);
        open_source(&two);
        assert_int_equal(baton_loop_dispatch(loop), 0);
        assert_int_equal(baton_loop_wait(loop, 1), 0);
        assert_int_equal(write(one.other, "xy", 2), 2);
        assert_int_equal(baton_loop_wait(loop, -1), 1);
        assert_int_equal(write(two.other, "x", 1), 1);
        assert_int_equal(baton_loop_dispatch(loop), 2);
        assert_int_equal(one.n, 2);
        assert_int_equal(two.n, 1);
        loop_source_remove(loop, &two.source);
        assert_int_equal(write(two.other, "x", 1), 1);
        assert_int_equal(baton_loop_wait(loop, 5), 0);
        struct loop_source wrong = { .fd = -1, .ready = on_source };
        assert_int_equal(loop_source_add(loop, &wrong, EPOLLIN), -EBADF);
        assert_non_null(strstr(baton_error(), "cannot watch fd -1"));
        assert_false(loop_is_current(loop));
        close_source(&one);
        close_source(&two);
}

/* Whichever comes first removes the other, whose event stands in the same batch. */
static void source_removes_source(void **state)
{
        (void)state;
        struct source one, two;
        open_source(&one);
        open_source(&two);
        one.victim = &two;
        two.victim = &one;
        assert_int_equal(write(one.other, "x", 1), 1);
        assert_int_equal(write(two.other, "x", 1), 1);
        assert_int_equal(baton_loop_dispatch(loop), 1);
        assert_int_equal(baton_loop_dispatch(loop), 0);
        assert_int_equal(one.n + two.n, 1 - 1000);
        close_source(&one);
        close_source(&two);
}

/* ---- timers ----------------------------------------------------------------------------------------------- */

struct timer {
        struct loop_timer timer;
        int number;
        uint64_t again_ns;
        struct timer *cancels;
        uint64_t fired_ns;
};

static void on_timer(struct loop_timer *base)
{
        struct timer *timer = container_of(base, struct timer, timer);
        assert_int_equal(base->node.due_ns, 0);
        timer->fired_ns = clock_now_ns();
        note(timer->number);
        if (timer->again_ns)
                loop_timer_set(loop, base, clock_now_ns() + timer->again_ns);
        if (timer->cancels)
                loop_timer_set(loop, &timer->cancels->timer, 0);
}

static void timers_in_order(void **state)
{
        (void)state;
        struct timer timers[5];
        static const int after_ms[5] = { 9, 3, 12, 1, 6 }, order[5] = { 3, 1, 4, 0, 2 };
        uint64_t now = clock_now_ns();
        for (int i = 0; i < 5; i++) {
                timers[i] = (struct timer){ .timer.fire = on_timer, .number = i };
                loop_timer_set(loop, &timers[i].timer, now + (uint64_t)after_ms[i] * MS);
        }
        while (n_log < 5)
                baton_loop_wait(loop, -1);
        assert_memory_equal(log_of, order, sizeof order);
        for (int i = 0; i < 5; i++) {
                uint64_t due = now + (uint64_t)after_ms[i] * MS;
                assert_true(timers[i].fired_ns >= due && timers[i].fired_ns < due + LATE_NS);
        }
        /* All due at once: in order as well. */
        for (int i = 0; i < 5; i++)
                loop_timer_set(loop, &timers[i].timer, now + (uint64_t)after_ms[i]);
        n_log = 0;
        assert_int_equal(baton_loop_dispatch(loop), 5);
        assert_memory_equal(log_of, order, sizeof order);
}

static void timers_change(void **state)
{
        (void)state;
        struct timer a = { .timer.fire = on_timer, .number = 1 }, b = { .timer.fire = on_timer, .number = 2 };
        loop_timer_set(loop, &a.timer, 0); /* taking back what is not set */
        uint64_t now = clock_now_ns();
        loop_timer_set(loop, &a.timer, now + 1 * MS);
        loop_timer_set(loop, &b.timer, now + 2 * MS);
        loop_timer_set(loop, &a.timer, now + 15 * MS); /* moved back */
        b.cancels = &a;
        while (!n_log)
                baton_loop_wait(loop, -1);
        assert_int_equal(baton_loop_wait(loop, 30), 0);
        assert_int_equal(n_log, 1);
        assert_int_equal(log_of[0], 2);
        /* Moved forward, while the alarm is set for later. */
        loop_timer_set(loop, &a.timer, clock_now_ns() + 20000 * (uint64_t)MS);
        assert_int_equal(baton_loop_wait(loop, 1), 0);
        loop_timer_set(loop, &a.timer, clock_now_ns() + 2 * MS);
        assert_int_equal(baton_loop_wait(loop, -1), 1);
        /* And one that goes on for ever. */
        n_log = 0;
        a.again_ns = MS;
        loop_timer_set(loop, &a.timer, clock_now_ns());
        while (n_log < 10)
                baton_loop_wait(loop, -1);
        loop_timer_set(loop, &a.timer, 0);
}

/* ---- tasks ------------------------------------------------------------------------------------------------ */

enum { THREADS = 4, TASKS = 2000 };

struct task {
        struct loop_task task;
        bool again;
};

static _Atomic int n_run;

static void on_task(struct loop_task *base)
{
        struct task *task = container_of(base, struct task, task);
        assert_true(loop_is_current(loop));
        atomic_fetch_add(&n_run, 1);
        if (task->again)
                loop_post(loop, base);
}

static void on_owned_task(struct loop_task *base)
{
        on_task(base);
        free(container_of(base, struct task, task));
}

static void *post_many(void *context)
{
        for (int i = 0; i < TASKS; i++) {
                struct task *task = calloc(1, sizeof *task);
                task->task.run = on_owned_task;
                loop_post(loop, &task->task);
        }
        return context;
}

static void posted_by_threads(void **state)
{
        (void)state;
        pthread_t threads[THREADS];
        atomic_store(&n_run, 0);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, post_many, NULL), 0);
        while (atomic_load(&n_run) < THREADS * TASKS)
                assert_true(baton_loop_wait(loop, -1) >= 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&n_run), THREADS * TASKS);
        assert_int_equal(baton_loop_dispatch(loop), 0);
}

static void unposted(void **state)
{
        (void)state;
        struct task a = { .task.run = on_task }, b = { .task.run = on_task };
        atomic_store(&n_run, 0);
        loop_unpost(loop, &a.task); /* never posted */
        loop_post(loop, &a.task);
        loop_post(loop, &b.task);
        loop_unpost(loop, &a.task);
        loop_unpost(loop, &a.task);
        assert_int_equal(baton_loop_dispatch(loop), 1);
        assert_int_equal(atomic_load(&n_run), 1);
}

static void posts_itself(void **state)
{
        (void)state;
        struct task task = { .task.run = on_task, .again = true };
        struct source source;
        open_source(&source);
        atomic_store(&n_run, 0);
        loop_post(loop, &task.task);
        struct pollfd readable = { .fd = baton_loop_fd(loop), .events = baton_loop_events(loop) };
        for (int i = 0; i < 5; i++) {
                assert_int_equal(poll(&readable, 1, 0), 1);
                assert_true(baton_loop_dispatch(loop) >= 1); /* comes back */
        }
        assert_int_equal(write(source.other, "x", 1), 1);
        for (int i = 0; i < 5; i++)
                baton_loop_dispatch(loop);
        assert_int_equal(source.n, 1); /* others have their turn */
        loop_unpost(loop, &task.task);
        loop_source_remove(loop, &source.source);
        close_source(&source);
}

/* ---- in another loop, stopping ---------------------------------------------------------------------------- */

static void nested(void **state)
{
        (void)state;
        int outer = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN };
        assert_int_equal(epoll_ctl(outer, EPOLL_CTL_ADD, baton_loop_fd(loop), &event), 0);
        struct source source;
        struct timer timer = { .timer.fire = on_timer, .number = 1 };
        struct task task = { .task.run = on_task };
        open_source(&source);
        baton_loop_dispatch(loop);
        assert_int_equal(epoll_wait(outer, &event, 1, 0), 0);
        assert_int_equal(write(source.other, "x", 1), 1);
        assert_int_equal(epoll_wait(outer, &event, 1, 1000), 1);
        assert_int_equal(baton_loop_dispatch(loop), 1);
        assert_int_equal(epoll_wait(outer, &event, 1, 0), 0);
        loop_timer_set(loop, &timer.timer, clock_now_ns() + 5 * MS);
        baton_loop_dispatch(loop); /* arms it */
        while (!n_log) {
                assert_int_equal(epoll_wait(outer, &event, 1, 1000), 1);
                baton_loop_dispatch(loop);
        }
        loop_post(loop, &task.task);
        assert_int_equal(epoll_wait(outer, &event, 1, 1000), 1);
        assert_int_equal(baton_loop_dispatch(loop), 1);
        assert_int_equal(epoll_wait(outer, &event, 1, 0), 0);
        close_source(&source);
        close(outer);
}

static void *stop_later(void *context)
{
        sleep_ms(10);
        baton_loop_stop(context);
        return NULL;
}

static void stops(void **state)
{
        (void)state;
        baton_loop_stop(loop); /* the next run */
        assert_int_equal(baton_loop_run(loop), 0);
        for (int i = 0; i < 3; i++) {
                pthread_t thread;
                assert_int_equal(pthread_create(&thread, NULL, stop_later, loop), 0);
                assert_int_equal(baton_loop_run(loop), 0);
                pthread_join(thread, NULL);
        }
        assert_int_equal(baton_loop_wait(loop, 1), 0);
        baton_loop_free(NULL);
}

static void waits_as_long_as_told(void **state)
{
        (void)state;
        static const int ms[] = { 1, 10, 40 };
        for (int i = 0; i < 3; i++) {
                uint64_t before = clock_now_ns();
                assert_int_equal(baton_loop_wait(loop, ms[i]), 0);
                uint64_t took = clock_now_ns() - before;
                assert_true(took >= (uint64_t)ms[i] * MS && took < (uint64_t)ms[i] * MS + LATE_NS);
        }
        assert_int_equal(baton_loop_wait(loop, 0), 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(sources),
                TEST(source_removes_source),
                TEST(timers_in_order),
                TEST(timers_change),
                TEST(posted_by_threads),
                TEST(unposted),
                TEST(posts_itself),
                TEST(nested),
                TEST(stops),
                TEST(waits_as_long_as_told),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
