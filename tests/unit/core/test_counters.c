#include "core/counters.h"
#include "base/thread_number.h"
#include "base/ticks.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { METHODS = 100, WRITERS = 3, CALLS = 200000, CROWD = THREAD_NUMBERS + 30, EACH = 2000 };

static struct counters *counters;
static baton_method methods[METHODS];
static char paths[METHODS][32];
static baton_counters read_out[METHODS];

static int set_up(void **state)
{
        (void)state;
        for (int i = 0; i < METHODS; i++) {
                snprintf(paths[i], sizeof paths[i], "/p.S/M%d", i);
                methods[i] = (baton_method){ .path = paths[i] };
        }
        counters = counters_new();
        return !counters;
}

static int tear_down(void **state)
{
        (void)state;
        counters_free(counters);
        return 0;
}

static void count(const baton_method *method, baton_code code)
{
        static const struct traffic traffic = { .copied = 10, .lent = 100, .slept = 1, .spun = 2 };
        struct count_begun begun;
        counters_begin(counters, method, &begun);
        counters_end(counters, method, &begun,
                     &(struct count){ .code = code, .sent = 1, .received = code == BATON_OK, .traffic = &traffic });
}

static uint64_t sampled(const baton_counters *of)
{
        uint64_t sum = 0;
        for (int i = 0; i < BATON_LATENCY_BUCKETS; i++)
                sum += of->latency[i];
        return sum;
}

/* ---- counting --------------------------------------------------------------------------------------------- */

static void counts_per_method(void **state)
{
        (void)state;
        assert_int_equal(counters_read(counters, NULL, 0), 0);
        assert_int_equal(counters_list(counters, &methods[7]), 0);
        assert_int_equal(counters_list(counters, &methods[7]), 0);
        for (int i = 0; i < METHODS; i++) /* more than the first slots */
                for (int n = 0; n <= i; n++)
                        count(&methods[i], (baton_code)(n % 3));
        assert_int_equal(counters_read(counters, read_out, 2), METHODS);
        assert_int_equal(counters_read(counters, read_out, METHODS), METHODS);
        assert_string_equal(read_out[0].method, "/p.S/M7"); /* the first that came up */
        for (int i = 0; i < METHODS; i++) {
                const baton_counters *of = &read_out[i];
                uint64_t calls = (uint64_t)atoi(of->method + 6) + 1, ok = (calls + 2) / 3;
                assert_int_equal(of->calls, calls);
                assert_int_equal(of->by_code[0], ok);
                assert_int_equal(of->by_code[0] + of->by_code[1] + of->by_code[2], calls);
                assert_int_equal(of->messages_sent, calls);
                assert_int_equal(of->messages_received, ok);
                assert_int_equal(of->bytes_copied, 10 * calls);
                assert_int_equal(of->bytes_by_reference, 100 * calls);
                assert_int_equal(of->wakes, calls);
                assert_int_equal(of->spins, 2 * calls);
        }
}

static void times_a_sample(void **state)
{
        (void)state;
        for (int i = 0; i < 64; i++)
                count(&methods[0], BATON_OK);
        counters_read(counters, read_out, 1);
        assert_int_equal(sampled(read_out), 64);
        for (int i = 0; i < 1600; i++)
                count(&methods[0], BATON_OK);
        counters_read(counters, read_out, 1);
        assert_int_equal(sampled(read_out), 64 + 100);
        counters_end(counters, &methods[1], &(struct count_begun){ 0 },
                     &(struct count){ .code = (baton_code)99 }); /* no array is left */
        counters_read(counters, read_out, 2);
        assert_int_equal(read_out[1].by_code[BATON_UNKNOWN], 1);
        assert_int_equal(sampled(&read_out[1]), 0);
}

static void knows_how_long_it_took(void **state)
{
        (void)state;
        struct count_begun begun;
        counters_begin(counters, &methods[0], &begun);
        uint64_t before = clock_now_ns();
        nanosleep(&(struct timespec){ .tv_nsec = 3000000 }, NULL);
        uint64_t least = clock_now_ns() - before;
        counters_end(counters, &methods[0], &begun, &(struct count){ 0 });
        counters_read(counters, read_out, 1);
        uint64_t bound = baton_latency_quantile(read_out, 0.5);
        assert_true(bound > least - least / 50 && bound < 2 * least + 1000000);
}

/* ---- buckets ---------------------------------------------------------------------------------------------- */

static void bounds_grow_by_quarters(void **state)
{
        (void)state;
        assert_int_equal(baton_latency_bound(0), 80);
        assert_int_equal(baton_latency_bound(1), 96);
        assert_int_equal(baton_latency_bound(2), 112);
        assert_int_equal(baton_latency_bound(3), 128);
        assert_int_equal(baton_latency_bound(4), 160);
        for (unsigned i = 0; i + 5 < BATON_LATENCY_BUCKETS; i++)
                assert_true(baton_latency_bound(i + 4) == 2 * baton_latency_bound(i));
        assert_true(baton_latency_bound(BATON_LATENCY_BUCKETS - 1) == UINT64_MAX);
        assert_true(baton_latency_bound(12345) == UINT64_MAX);
}

/* Each latency is counted in the bucket whose bounds enclose it. */
static void latencies_fall_between_bounds(void **state)
{
        (void)state;
        uint64_t scale = ticks_scale;
        ticks_scale = 0; /* the clock itself: began can be made up */
        for (uint64_t ns = 1; ns < UINT64_C(1) << 36; ns += ns / 3 + 1) {
                struct counters *fresh = counters_new();
                uint64_t before = clock_now_ns();
                counters_end(fresh, methods, &(struct count_begun){ .ticks = before - ns }, &(struct count){ 0 });
                uint64_t late = clock_now_ns() - before;
                counters_read(fresh, read_out, 1);
                unsigned at = 0;
                while (!read_out->latency[at])
                        at++;
                assert_true(baton_latency_bound(at) > ns);
                assert_true(!at || baton_latency_bound(at - 1) <= ns + late);
                counters_free(fresh);
        }
        ticks_scale = scale;
}

static void quantiles(void **state)
{
        (void)state;
        baton_counters some = { 0 };
        assert_int_equal(baton_latency_quantile(&some, 0.5), 0);
        assert_int_equal(baton_latency_quantile(NULL, 0.5), 0);
        some.latency[3] = 90;
        some.latency[10] = 9;
        some.latency[BATON_LATENCY_BUCKETS - 1] = 1;
        assert_true(baton_latency_quantile(&some, 0) == baton_latency_bound(3));
        assert_true(baton_latency_quantile(&some, -1) == baton_latency_bound(3));
        assert_true(baton_latency_quantile(&some, 0.9) == baton_latency_bound(3));
        assert_true(baton_latency_quantile(&some, 0.91) == baton_latency_bound(10));
        assert_true(baton_latency_quantile(&some, 0.99) == baton_latency_bound(10));
        assert_true(baton_latency_quantile(&some, 1) == UINT64_MAX);
        assert_true(baton_latency_quantile(&some, 7) == UINT64_MAX);
}

/* ---- threads ---------------------------------------------------------------------------------------------- */

static void *write_many(void *context)
{
        for (int i = 0; i < CALLS; i++)
                count(&methods[i % 20], BATON_OK);
        return context;
}

static void reads_while_threads_count(void **state)
{
        (void)state;
        pthread_t threads[WRITERS];
        uint64_t last = 0, calls = 0;
        for (int i = 0; i < WRITERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, write_many, NULL), 0);
        while (calls < (uint64_t)WRITERS * CALLS) {
                size_t n = counters_read(counters, read_out, METHODS);
                calls = 0;
                for (size_t i = 0; i < n; i++)
                        calls += read_out[i].calls;
                assert_true(calls >= last && calls <= (uint64_t)WRITERS * CALLS);
                last = calls;
        }
        for (int i = 0; i < WRITERS; i++)
                pthread_join(threads[i], NULL);
}

static pthread_barrier_t together;

static void *count_in_a_crowd(void *context)
{
        thread_number();
        pthread_barrier_wait(&together);
        for (int i = 0; i < EACH; i++)
                count(&methods[i % 2], BATON_OK);
        return context;
}

/* More threads than there are numbers, twice: counts of ended threads stay. */
static void counts_of_a_crowd(void **state)
{
        (void)state;
        for (int round = 1; round <= 2; round++) {
                static pthread_t threads[CROWD];
                pthread_barrier_init(&together, NULL, CROWD);
                for (int i = 0; i < CROWD; i++)
                        assert_int_equal(pthread_create(&threads[i], NULL, count_in_a_crowd, NULL), 0);
                for (int i = 0; i < CROWD; i++)
                        pthread_join(threads[i], NULL);
                pthread_barrier_destroy(&together);
                assert_int_equal(counters_read(counters, read_out, METHODS), 2);
                assert_int_equal(read_out[0].calls, round * CROWD * EACH / 2);
                assert_int_equal(read_out[1].calls, round * CROWD * EACH / 2);
                assert_int_equal(read_out[1].spins, round * CROWD * EACH);
        }
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(counts_per_method),
                TEST(times_a_sample),
                TEST(knows_how_long_it_took),
                TEST(bounds_grow_by_quarters),
                TEST(latencies_fall_between_bounds),
                TEST(quantiles),
                TEST(reads_while_threads_count),
                TEST(counts_of_a_crowd),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
