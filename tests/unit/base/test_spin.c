#include "base/spin.h"
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

enum { MAX_NS = 50000, PATIENCE_NS = 20000, SHORT_NS = 1000, LONG_NS = 100000000 };

static struct spin spin;

static int set_up(void **state)
{
        (void)state;
        spin_init(&spin, MAX_NS, PATIENCE_NS);
        return 0;
}

/* With one CPU nobody polls at all. */
static void needs_two_cpus(void)
{
        if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
                skip();
}

static void nap(uint64_t ns)
{
        for (uint64_t end_ns = clock_now_ns() + ns; clock_now_ns() < end_ns;)
                spin_relax();
}

/* One look past the patience, told as of 10 us ago, so that its yield seems to have taken as long: another thread ran. */
static bool contended_look(struct spin_wait *wait)
{
        wait->began_ns = wait->start_ns = clock_now_ns();
        nap(spin.patience_ns + 10000);
        spin.budget_ns = 2 * spin.patience_ns + 1;
        return spin_again(&spin, wait, wait->start_ns + spin.patience_ns);
}

/* ---- the budget ------------------------------------------------------------------------------------------- */

static void budget_grows_with_short_waits(void **state)
{
        (void)state;
        needs_two_cpus();
        assert_in_range(spin.budget_ns, 1, MAX_NS);
        for (int i = 0; i < 10; i++) {
                uint64_t before = spin.budget_ns;
                spin_slept(&spin, SHORT_NS);
                assert_true(before == MAX_NS ? spin.budget_ns == MAX_NS : spin.budget_ns > before);
                assert_true(spin.budget_ns <= MAX_NS);
        }
        assert_int_equal(spin.budget_ns, MAX_NS);
}

static void budget_shrinks_with_long_waits(void **state)
{
        (void)state;
        needs_two_cpus();
        for (int i = 0; i < 10; i++)
                spin_slept(&spin, SHORT_NS);
        spin_slept(&spin, LONG_NS);
        assert_true(spin.budget_ns < MAX_NS);
        for (int i = 0; i < 100; i++)
                spin_slept(&spin, LONG_NS);
        /* It never gives up for good: a peer that runs answers within a few microseconds. */
        assert_in_range(spin.budget_ns, 4000, 8000);
        spin_slept(&spin, SHORT_NS);
        assert_true(spin.budget_ns > 4000);
}

static void budget_ends_the_wait(void **state)
{
        (void)state;
        needs_two_cpus();
        struct spin_wait wait = { 0 };
        uint64_t start_ns = 5000000000u;
        assert_true(spin_again(&spin, &wait, start_ns)); /* the first look starts the wait */
        assert_int_equal(wait.start_ns, start_ns);
        assert_true(spin_again(&spin, &wait, start_ns + spin.budget_ns - 1));
        assert_false(spin_again(&spin, &wait, start_ns + spin.budget_ns));
        assert_int_equal(wait.yields, 0);
}

static void small_maximum_is_the_budget(void **state)
{
        (void)state;
        needs_two_cpus();
        spin_init(&spin, 3000, PATIENCE_NS);
        assert_int_equal(spin.budget_ns, 3000);
        for (int i = 0; i < 10; i++)
                spin_slept(&spin, i % 2 ? LONG_NS : SHORT_NS);
        assert_int_equal(spin.budget_ns, 3000);
}

static void nothing_is_polled_with_no_maximum(void **state)
{
        (void)state;
        spin_init(&spin, 0, PATIENCE_NS);
        for (int i = 0; i < 10; i++) {
                struct spin_wait wait = { 0 };
                assert_false(spin_again(&spin, &wait, clock_now_ns()));
                spin_slept(&spin, i % 2 ? LONG_NS : 0);
                assert_int_equal(spin.budget_ns, 0);
        }
}

/* ---- the patience ----------------------------------------------------------------------------------------- */

static void patience_shrinks_where_yielding_helps(void **state)
{
        (void)state;
        needs_two_cpus();
        uint64_t before = spin.patience_ns;
        assert_int_equal(before, PATIENCE_NS);
        for (int i = 0; i < 20; i++) {
                struct spin_wait wait = { 0 };
                assert_true(contended_look(&wait));
                assert_int_equal(wait.yields, 1);
                assert_true(spin.patience_ns <= before && (i > 0 || spin.patience_ns < before));
                before = spin.patience_ns;
        }
        assert_in_range(spin.patience_ns, 100, 250);
}

static void patience_grows_with_hits(void **state)
{
        (void)state;
        needs_two_cpus();
        const struct spin_wait hit = { .start_ns = 1 };
        for (int i = 0; i < 20; i++)
                contended_look(&(struct spin_wait){ 0 });
        uint64_t least = spin.patience_ns;
        spin_hit(&spin, &hit);
        assert_true(spin.patience_ns > least);
        for (int i = 0; i < 200; i++) {
                spin_hit(&spin, &hit);
                assert_true(spin.patience_ns <= PATIENCE_NS);
        }
        assert_int_equal(spin.patience_ns, PATIENCE_NS);
}

/* It took a yield: polling for longer would not have found it. */
static void hit_after_a_yield_is_none(void **state)
{
        (void)state;
        needs_two_cpus();
        struct spin_wait wait = { 0 };
        contended_look(&wait);
        uint64_t before = spin.patience_ns;
        spin_hit(&spin, &wait);
        assert_int_equal(spin.patience_ns, before);
}

/* What others run does not count as waiting, but it does not go on for ever. */
static void yields_are_bounded(void **state)
{
        (void)state;
        needs_two_cpus();
        struct spin_wait wait = { 0 };
        int looks = 0;
        for (uint64_t start_ns = 0; contended_look(&wait); looks++) {
                assert_true(wait.start_ns > start_ns); /* the wait starts anew */
                start_ns = wait.start_ns;
                assert_true(looks < 100);
        }
        assert_in_range(looks, 1, 20);
}

/* The yield returned at once: nobody else wanted the CPU, and patience is right. */
static void lonely_yield_costs_no_patience(void **state)
{
        (void)state;
        needs_two_cpus();
        bool lonely = false;
        for (int i = 0; i < 10000 && !lonely; i++) {
                struct spin_wait wait = { 0 };
                spin_init(&spin, MAX_NS, 1000);
                uint64_t now = clock_now_ns();
                wait.began_ns = wait.start_ns = now - 1500;
                assert_true(spin_again(&spin, &wait, now));
                lonely = !wait.yields && spin.patience_ns == 1000 && wait.start_ns == now - 1500;
        }
        assert_true(lonely);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(budget_grows_with_short_waits, set_up),
                cmocka_unit_test_setup(budget_shrinks_with_long_waits, set_up),
                cmocka_unit_test_setup(budget_ends_the_wait, set_up),
                cmocka_unit_test_setup(small_maximum_is_the_budget, set_up),
                cmocka_unit_test_setup(nothing_is_polled_with_no_maximum, set_up),
                cmocka_unit_test_setup(patience_shrinks_where_yielding_helps, set_up),
                cmocka_unit_test_setup(patience_grows_with_hits, set_up),
                cmocka_unit_test_setup(hit_after_a_yield_is_none, set_up),
                cmocka_unit_test_setup(yields_are_bounded, set_up),
                cmocka_unit_test_setup(lonely_yield_costs_no_patience, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
