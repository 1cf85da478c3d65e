#include "core/cancel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A watch that counts, and removes another, or itself, from inside fire. */
struct counter {
        struct cancel_watch watch;
        baton_cancel *cancel;
        struct counter *also; /* removed from inside fire */
        int fired;            /* plain: tsan proves that add and remove order the access */
};

static void count(struct cancel_watch *watch)
{
        struct counter *counter = container_of(watch, struct counter, watch);
        counter->fired++;
        if (counter->also)
                cancel_watch_remove(counter->cancel, &counter->also->watch);
}

static struct counter counter_of(baton_cancel *cancel)
{
        return (struct counter){ .watch.fire = count, .cancel = cancel };
}

static void fires_once(void **state)
{
        (void)state;
        baton_cancel *cancel = baton_cancel_new();
        assert_non_null(cancel);
        assert_false(baton_cancel_called(cancel));
        struct counter kept = counter_of(cancel), removed = counter_of(cancel), late = counter_of(cancel);
        assert_int_equal(cancel_watch_add(cancel, &removed.watch), 0);
        assert_int_equal(cancel_watch_add(cancel, &kept.watch), 0);
        cancel_watch_remove(cancel, &removed.watch);
        baton_cancel_now(cancel);
        baton_cancel_now(cancel);
        assert_true(baton_cancel_called(cancel));
        assert_int_equal(cancel_watch_add(cancel, &late.watch), -ECANCELED);
        assert_true(strstr(baton_error(), "cancel") != NULL);
        cancel_watch_remove(cancel, &kept.watch);
        assert_int_equal(kept.fired, 1);
        assert_int_equal(removed.fired, 0);
        assert_int_equal(late.fired, 0);
        baton_cancel_free(cancel);
}

/* From inside fire: removing itself, another one, adding, and cancelling again. */
static void cancels_from_inside(struct cancel_watch *watch)
{
        struct counter *counter = container_of(watch, struct counter, watch);
        struct counter late = counter_of(counter->cancel);
        assert_int_equal(cancel_watch_add(counter->cancel, &late.watch), -ECANCELED);
        baton_cancel_now(counter->cancel);
        count(watch);
        cancel_watch_remove(counter->cancel, watch);
}

static void inside_fire(void **state)
{
        (void)state;
        baton_cancel *cancel = baton_cancel_new();
        struct counter first = counter_of(cancel), second = counter_of(cancel), third = counter_of(cancel);
        first.also = &second;
        third.watch.fire = cancels_from_inside;
        cancel_watch_add(cancel, &first.watch);
        cancel_watch_add(cancel, &second.watch);
        cancel_watch_add(cancel, &third.watch);
        baton_cancel_now(cancel);
        assert_int_equal(first.fired, 1);
        assert_int_equal(second.fired, 0);
        assert_int_equal(third.fired, 1);
        baton_cancel_free(cancel);
}

static void null(void **state)
{
        (void)state;
        baton_cancel_now(NULL);
        baton_cancel_free(NULL);
        assert_false(baton_cancel_called(NULL));
}

/* As a blocking call sleeps. The one that was woken frees: the canceller may still be inside. */
static void *sleeper(void *context)
{
        baton_cancel *cancel = context;
        while (!baton_cancel_called(cancel))
                syscall(SYS_futex, &cancel->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
        baton_cancel_free(cancel);
        return NULL;
}

static void wakes_a_sleeper(void **state)
{
        (void)state;
        for (int i = 0; i < 300; i++) {
                pthread_t thread;
                baton_cancel *cancel = baton_cancel_new();
                assert_int_equal(pthread_create(&thread, NULL, sleeper, cancel), 0);
                if (i % 3 == 0)
                        usleep(500);
                baton_cancel_now(cancel);
                pthread_join(thread, NULL);
        }
}

enum { THREADS = 3, CALLS = 300 };

/* Calls of one thread that come and go, each in memory that is freed at once, until they are refused. */
static void *come_and_go(void *context)
{
        baton_cancel *cancel = context;
        uintptr_t fired = 0;
        for (int i = 0; i < CALLS; i++) {
                struct counter *counter = malloc(sizeof *counter);
                *counter = counter_of(cancel);
                if (cancel_watch_add(cancel, &counter->watch) == 0) {
                        cancel_watch_remove(cancel, &counter->watch);
                        fired += (uintptr_t)counter->fired;
                }
                free(counter);
        }
        return (void *)fired; /* at most one call was in flight when it was cancelled */
}

static void *cancel_it(void *context)
{
        baton_cancel_now(context);
        return NULL;
}

static void many_threads(void **state)
{
        (void)state;
        for (int round = 0; round < 50; round++) {
                baton_cancel *cancel = baton_cancel_new();
                struct counter standing = counter_of(cancel);
                assert_int_equal(cancel_watch_add(cancel, &standing.watch), 0);
                pthread_t callers[THREADS], cancellers[2];
                for (int i = 0; i < THREADS; i++)
                        assert_int_equal(pthread_create(&callers[i], NULL, come_and_go, cancel), 0);
                for (int i = 0; i < 2; i++)
                        assert_int_equal(pthread_create(&cancellers[i], NULL, cancel_it, cancel), 0);
                for (int i = 0; i < 2; i++)
                        pthread_join(cancellers[i], NULL);
                for (int i = 0; i < THREADS; i++) {
                        void *fired;
                        pthread_join(callers[i], &fired);
                        assert_in_range((uintptr_t)fired, 0, 1);
                }
                cancel_watch_remove(cancel, &standing.watch);
                assert_int_equal(standing.fired, 1);
                baton_cancel_free(cancel);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fires_once),      cmocka_unit_test(inside_fire),  cmocka_unit_test(null),
                cmocka_unit_test(wakes_a_sleeper), cmocka_unit_test(many_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
