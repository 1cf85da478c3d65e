#include "shm/buddy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

enum { UNITS = 256, BYTES = UNITS * BUDDY_UNIT, STEPS = 200000 };

/* The reference: who has each unit. */
static struct {
        int64_t start; /* of the block around it, or -1 */
        uint32_t units, holds;
} model[UNITS];

static uint32_t random_below(uint32_t n)
{
        static uint64_t state = 1;
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(state >> 33) % n;
}

static uint32_t units_of(uint64_t size)
{
        uint32_t units = 1;
        while ((uint64_t)units * BUDDY_UNIT < size)
                units *= 2;
        return units;
}

/* Whether an aligned run of that many units is free: then a buddy system that coalesces has a block for it. */
static bool model_has_room(uint32_t units)
{
        for (uint32_t at = 0; at < UNITS; at += units) {
                uint32_t n = 0;
                while (n < units && model[at + n].start < 0)
                        n++;
                if (n == units)
                        return true;
        }
        return false;
}

static void alloc_one(struct buddy *buddy)
{
        uint64_t size = random_below(4) ? random_below(8 * BUDDY_UNIT) : random_below(BYTES + BUDDY_UNIT);
        uint32_t units = units_of(size);
        int64_t at = buddy_alloc(buddy, size);
        assert_int_equal(at >= 0, units <= UNITS && model_has_room(units));
        if (at < 0)
                return;
        uint32_t first = (uint32_t)(at / BUDDY_UNIT);
        assert_int_equal(at % ((int64_t)units * BUDDY_UNIT), 0); /* aligned to its size */
        for (uint32_t i = first; i < first + units; i++) {
                assert_true(model[i].start < 0);
                model[i].start = at;
                model[i].units = units;
        }
        model[first].holds = 1;
}

static void find_one(struct buddy *buddy, uint32_t unit)
{
        uint64_t size = 0;
        int64_t at = buddy_find(buddy, (uint64_t)unit * BUDDY_UNIT + random_below(BUDDY_UNIT), &size);
        assert_int_equal(at, model[unit].start);
        if (at >= 0)
                assert_int_equal(size, (uint64_t)model[unit].units * BUDDY_UNIT);
}

static void drop_one(struct buddy *buddy, uint32_t unit)
{
        if (model[unit].start < 0)
                return;
        uint32_t first = (uint32_t)(model[unit].start / BUDDY_UNIT), units = model[unit].units;
        buddy_drop(buddy, (uint64_t)model[unit].start);
        if (--model[first].holds)
                return;
        for (uint32_t i = first; i < first + units; i++)
                model[i].start = -1;
}

static void hold_one(struct buddy *buddy, uint32_t unit)
{
        if (model[unit].start < 0)
                return;
        buddy_hold(buddy, (uint64_t)model[unit].start);
        model[model[unit].start / BUDDY_UNIT].holds++;
}

static void against_the_model(void **state)
{
        (void)state;
        struct buddy buddy;
        assert_int_equal(buddy_init(&buddy, BYTES), 0);
        for (uint32_t i = 0; i < UNITS; i++)
                model[i].start = -1;
        for (int step = 0; step < STEPS; step++) {
                uint32_t unit = random_below(UNITS), what = random_below(16);
                if (what < 5)
                        alloc_one(&buddy);
                else if (what < 7)
                        hold_one(&buddy, unit);
                else
                        drop_one(&buddy, unit);
                find_one(&buddy, random_below(UNITS));
        }
        for (uint32_t unit = 0; unit < UNITS; unit++)
                while (model[unit].start >= 0)
                        drop_one(&buddy, unit);
        /* All has come together into one block again. */
        assert_int_equal(buddy_alloc(&buddy, BYTES), 0);
        assert_int_equal(buddy_alloc(&buddy, 1), -1);
        buddy_deinit(&buddy);
}

static void limits(void **state)
{
        (void)state;
        struct buddy buddy;
        uint64_t size;
        assert_int_equal(buddy_init(&buddy, BYTES), 0);
        assert_int_equal(buddy_alloc(&buddy, BYTES + 1), -1);
        assert_int_equal(buddy_alloc(&buddy, UINT64_MAX), -1);
        assert_int_equal(buddy_find(&buddy, 0, &size), -1);
        assert_int_equal(buddy_find(&buddy, BYTES, &size), -1);
        assert_int_equal(buddy_find(&buddy, (uint64_t)UINT32_MAX * BUDDY_UNIT, &size), -1);
        assert_true(buddy_alloc(&buddy, 0) >= 0);
        int n = 1;
        while (buddy_alloc(&buddy, BUDDY_UNIT) >= 0)
                n++;
        assert_int_equal(n, UNITS);
        buddy_deinit(&buddy);
        /* One unit only: nothing to split or join. */
        assert_int_equal(buddy_init(&buddy, BUDDY_UNIT), 0);
        assert_int_equal(buddy_alloc(&buddy, BUDDY_UNIT), 0);
        assert_int_equal(buddy_alloc(&buddy, 1), -1);
        buddy_drop(&buddy, 0);
        assert_int_equal(buddy_alloc(&buddy, 1), 0);
        buddy_deinit(&buddy);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(against_the_model), cmocka_unit_test(limits) };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
