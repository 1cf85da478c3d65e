#include "base/arena.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void memory_is_aligned_and_apart(void **state)
{
        (void)state;
        baton_arena arena;
        arena_init(&arena, SIZE_MAX);
        uint8_t *last = NULL;
        for (size_t size = 1; size < 3000; size += 7) {
                uint8_t *memory = baton_arena_alloc(&arena, size);
                assert_non_null(memory);
                assert_int_equal((uintptr_t)memory % 8, 0);
                memset(memory, (int)size, size);
                if (last)
                        assert_int_equal(last[size - 8], (uint8_t)(size - 7)); /* the end of the block before */
                last = memory;
        }
        arena_deinit(&arena);
}

static void budget_is_the_limit(void **state)
{
        (void)state;
        baton_arena arena;
        arena_init(&arena, 10000);
        assert_null(baton_arena_alloc(&arena, 10001));
        assert_null(baton_arena_alloc(&arena, SIZE_MAX));
        assert_null(baton_arena_alloc(&arena, SIZE_MAX - 7));
        size_t got = 0;
        while (baton_arena_alloc(&arena, 100))
                got += 100;
        assert_in_range(got, 8000, 10000);
        arena_reset(&arena);
        assert_non_null(baton_arena_alloc(&arena, 5000));
        arena_deinit(&arena);
        assert_int_equal(arena.budget, 10000);
        arena_init(&arena, 0);
        assert_null(baton_arena_alloc(&arena, 1));
        arena_deinit(&arena);
}

static void callers_chunk_comes_first(void **state)
{
        (void)state;
        _Alignas(16) uint8_t buffer[1024];
        baton_arena arena;
        arena_init_inline(&arena, 0, buffer, sizeof buffer);
        for (int round = 0; round < 3; round++) {
                uint8_t *memory = baton_arena_alloc(&arena, 900);
                assert_true(memory > buffer && memory + 900 <= buffer + sizeof buffer);
                assert_null(baton_arena_alloc(&arena, 900));
                arena_reset(&arena);
        }
        arena_deinit(&arena);
        arena_init_inline(&arena, 5000, buffer, 8);
        uint8_t *memory = baton_arena_alloc(&arena, 8);
        assert_true(memory < buffer || memory >= buffer + sizeof buffer);
        arena_deinit(&arena);
}

/* After a few rounds of the same load no chunk is taken or given back any more: the budget stands still. */
static void steady_load_settles(void **state)
{
        (void)state;
#ifdef __SANITIZE_ADDRESS__
        skip(); /* then nothing is kept */
#endif
        static const size_t loads[] = { 100, 5000, 60000, 200000 };
        _Alignas(16) uint8_t buffer[512];
        for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
                baton_arena arena;
                arena_init_inline(&arena, SIZE_MAX, buffer, sizeof buffer);
                size_t settled = 0;
                for (int round = 0; round < 20; round++) {
                        for (size_t taken = 0; taken < loads[i]; taken += 50)
                                assert_non_null(baton_arena_alloc(&arena, 50));
                        if (round == 10)
                                settled = arena.budget;
                        if (round > 10)
                                assert_int_equal(arena.budget, settled);
                        arena_reset(&arena);
                        if (round >= 10)
                                assert_int_equal(arena.budget, settled);
                }
                arena_deinit(&arena);
        }
}

static void large_memory_is_given_back(void **state)
{
        (void)state;
        baton_arena arena;
        arena_init(&arena, 100 << 20);
        for (int round = 0; round < 3; round++) {
                void *small = baton_arena_alloc(&arena, 8);
                assert_non_null(small);
                uint8_t *large = baton_arena_alloc(&arena, 50 << 20);
                assert_non_null(large);
                large[(50 << 20) - 1] = 1;
#ifndef __SANITIZE_ADDRESS__
                /* The small chunk stays in use. */
                assert_ptr_equal(baton_arena_alloc(&arena, 8), (uint8_t *)small + 8);
#endif
                arena_reset(&arena);
                assert_true(arena.budget > 99 << 20);
        }
        arena_deinit(&arena);
        arena_deinit(&arena);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(memory_is_aligned_and_apart), cmocka_unit_test(budget_is_the_limit),
                cmocka_unit_test(callers_chunk_comes_first),   cmocka_unit_test(steady_load_settles),
                cmocka_unit_test(large_memory_is_given_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
