#include "base/ticks.h"
#include "base/thread_number.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* ---- ticks ------------------------------------------------------------------------------------------------ */

/* Against the clock they were measured by: within a hundredth, in one of some tries. */
static void measure_time(void **state)
{
        (void)state;
        ticks_init();
        bool close = false;
        for (int i = 0; i < 20 && !close; i++) {
                uint64_t ticks = ticks_now(), ns = clock_now_ns();
                nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
                uint64_t by_ticks = ticks_to_ns(ticks_now() - ticks), by_clock = clock_now_ns() - ns;
                close = by_ticks > by_clock - by_clock / 100 && by_ticks < by_clock + by_clock / 100;
        }
        assert_true(close);
}

static void convert(void **state)
{
        (void)state;
        uint64_t kept = ticks_scale;
        ticks_scale = UINT64_C(1) << 31; /* 2 GHz */
        assert_true(ticks_to_ns(2000) == 1000);
        assert_true(ticks_to_ns(UINT64_C(1) << 62) == UINT64_C(1) << 61);
        assert_true(ticks_to_ns((uint64_t)-5) == 0);
        ticks_scale = 0; /* no counter to trust */
        assert_true(ticks_to_ns(1000) == 1000);
        uint64_t before = clock_now_ns(), now = ticks_now();
        assert_true(now >= before && now <= clock_now_ns());
        ticks_scale = kept;
}

/* ---- numbers ---------------------------------------------------------------------------------------------- */

enum { MANY = THREAD_NUMBERS + 40, ROUNDS = 3 };

static pthread_barrier_t together;
static unsigned number_of[MANY];
static int written[THREAD_NUMBERS]; /* plain: passed on with the number */

static void *ask(void *context)
{
        unsigned number = *(unsigned *)context = thread_number();
        if (number < THREAD_NUMBERS)
                written[number]++;
        assert_int_equal(thread_number(), number);
        pthread_barrier_wait(&together); /* all live at once */
        return NULL;
}

static void numbers_are_unlike(void)
{
        bool seen[THREAD_NUMBERS] = { false };
        unsigned without = 0;
        seen[thread_number()] = true;
        for (int i = 0; i < MANY; i++) {
                without += number_of[i] == THREAD_NUMBERS;
                if (number_of[i] == THREAD_NUMBERS)
                        continue;
                assert_in_range(number_of[i], 0, THREAD_NUMBERS - 1);
                assert_false(seen[number_of[i]]);
                seen[number_of[i]] = true;
        }
        assert_int_equal(without, MANY - (THREAD_NUMBERS - 1));
}

static void threads_have_numbers(void **state)
{
        (void)state;
        assert_in_range(thread_number(), 0, THREAD_NUMBERS - 1);
        for (int round = 1; round <= ROUNDS; round++) {
                static pthread_t threads[MANY];
                pthread_barrier_init(&together, NULL, MANY);
                for (int i = 0; i < MANY; i++)
                        assert_int_equal(pthread_create(&threads[i], NULL, ask, &number_of[i]), 0);
                for (int i = 0; i < MANY; i++)
                        pthread_join(threads[i], NULL);
                pthread_barrier_destroy(&together);
                numbers_are_unlike();
                for (unsigned i = 0; i < THREAD_NUMBERS; i++)
                        assert_int_equal(written[i], i == thread_number() ? 0 : round);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(measure_time),
                cmocka_unit_test(convert),
                cmocka_unit_test(threads_have_numbers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
