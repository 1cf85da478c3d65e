#include "shm/heap.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <baton/status.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20, LIMIT = 8 * MIB };

static struct heap heap;
static _Atomic uint64_t returned[SHM_LOANS]; /* as the peer would write it */
static uint64_t n_returned;
static int n_grown, grow_error;
static uint64_t grown_to;

static int on_grown(struct heap *of, int fd, uint64_t offset, uint64_t size)
{
        assert_ptr_equal(of, &heap);
        assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_FUTURE_WRITE);
        assert_int_equal(offset, grown_to);
        if (grow_error)
                return grow_error;
        n_grown++;
        grown_to += size;
        return 0;
}

static void give_back(uint64_t loan)
{
        atomic_store(&returned[n_returned % SHM_LOANS], (n_returned + 1) << 16 | loan);
        n_returned++;
}

static int set_up(void **state)
{
        (void)state;
        n_grown = grow_error = 0;
        n_returned = grown_to = 0;
        memset(returned, 0, sizeof returned);
        return heap_init(&heap, LIMIT, returned, on_grown);
}

static int tear_down(void **state)
{
        (void)state;
        heap_deinit(&heap);
        return 0;
}

static uint32_t open_loan(void)
{
        int loan = heap_loan_open(&heap);
        assert_true(loan >= 0);
        return (uint32_t)loan;
}

static void grows_and_ends(void **state)
{
        (void)state;
        assert_int_equal(heap_size(&heap), 0);
        void *blocks[LIMIT / MIB];
        for (int i = 0; i < LIMIT / MIB; i++) {
                assert_non_null(blocks[i] = heap_alloc(&heap, MIB));
                memset(blocks[i], i, MIB);
        }
        assert_int_equal(heap_size(&heap), LIMIT);
        assert_int_equal(heap_held(&heap), LIMIT);
        assert_true(n_grown < 8); /* doubling */
        assert_null(heap_alloc(&heap, 1));
        assert_non_null(strstr(baton_error(), "max_heap_bytes"));
        for (int i = 0; i < LIMIT / MIB; i++) {
                for (int at = 0; at < MIB; at += 4096)
                        assert_int_equal(((uint8_t *)blocks[i])[at], i);
                assert_true(heap_free(&heap, blocks[i]));
        }
        assert_int_equal(heap_held(&heap), 0);
        assert_null(heap_alloc(&heap, LIMIT + 1));
        assert_null(heap_alloc(&heap, SIZE_MAX / 2 - 1));
}

static void refuses_what_is_no_block(void **state)
{
        (void)state;
        int other;
        uint8_t *block = heap_alloc(&heap, 10000);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        assert_false(heap_free(&heap, &other));
        assert_false(heap_free(&heap, NULL));
        assert_false(heap_free(&heap, block + 1));
        assert_false(heap_free(&heap, block + 1024));
        assert_false(heap_free(&heap, heap.base + LIMIT - 1));
        assert_true(heap_contains(&heap, heap.base + LIMIT - 1));
        assert_false(heap_contains(&heap, heap.base + LIMIT));
        assert_true(heap_free(&heap, block));
        assert_false(heap_free(&heap, block)); /* twice */
        assert_int_equal(heap_held(&heap), 0);
}

static void lends_in_place_or_copies(void **state)
{
        (void)state;
        uint8_t *block = heap_alloc(&heap, 8192), own[5000];
        memset(block, 1, 8192);
        memset(own, 2, sizeof own);
        uint32_t loan = open_loan();
        assert_int_equal(heap_lend(&heap, loan, block, 8192), block - heap.base);
        assert_int_equal(heap_lend(&heap, loan, block + 3000, 100), block - heap.base + 3000);
        assert_int_equal(heap_lend(&heap, loan, block + 8191, 1), block - heap.base + 8191);
        /* Over the block's end: not whole in it. */
        uint8_t *behind = heap_alloc(&heap, 8192);
        memset(behind, 3, 8192);
        int64_t at = heap_lend(&heap, loan, block + 8000, 500);
        assert_true(at >= 0 && at != block - heap.base + 8000);
        assert_memory_equal(heap.base + at, block + 8000, 500);
        at = heap_lend(&heap, loan, own, sizeof own);
        assert_true(at >= 0);
        assert_memory_equal(heap.base + at, own, sizeof own);
        void *new = heap_lend_new(&heap, loan, 100000);
        assert_non_null(new);
        memset(new, 4, 100000);
        assert_true(heap_has_loans(&heap));
        /* What is lent outlives its user's hold. */
        assert_true(heap_free(&heap, block));
        assert_true(heap_free(&heap, behind));
        assert_int_equal(heap_held(&heap), 8192 + 1024 + 8192 + 131072);
        heap_loan_sent(&heap, loan);
        give_back(loan);
        assert_int_equal(heap_held(&heap), 0);
        assert_false(heap_has_loans(&heap));
}

static void freed_and_lent_again(void **state)
{
        (void)state;
        uint8_t *block = heap_alloc(&heap, 1000);
        assert_true(heap_free(&heap, block));
        uint32_t loan = open_loan();
        memcpy(block, "stale", 6); /* the user's mistake: memory that is not theirs any more is copied, not held */
        int64_t at = heap_lend(&heap, loan, block, 6);
        assert_true(at >= 0);
        heap_loan_cancel(&heap, loan);
        assert_int_equal(heap_held(&heap), 0);
}

static void returned_in_any_order(void **state)
{
        (void)state;
        static const int steps[] = { 1, 3, 7, 1021 };
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
                uint8_t *shared = heap_alloc(&heap, 2048);
                for (int i = 0; i < SHM_LOANS; i++) {
                        uint32_t loan = open_loan();
                        assert_true(heap_lend(&heap, loan, shared, 100) >= 0);
                        for (int n = 0; n < i % 7; n++)
                                assert_non_null(heap_lend_new(&heap, loan, 500));
                        heap_loan_sent(&heap, loan);
                }
                assert_int_equal(heap_loan_open(&heap), -ENOBUFS);
                assert_true(heap_free(&heap, shared));
                for (int i = 0, loan = 0; i < SHM_LOANS; i++, loan = (loan + steps[s]) % SHM_LOANS) {
                        assert_true(heap_has_loans(&heap));
                        give_back((uint64_t)loan);
                }
                assert_false(heap_has_loans(&heap));
                assert_int_equal(heap_held(&heap), 0);
                assert_false(heap.broken);
        }
}

static void cancelled(void **state)
{
        (void)state;
        for (int i = 0; i < 3 * SHM_LOANS; i++) {
                uint32_t loan = open_loan();
                assert_non_null(heap_lend_new(&heap, loan, 5000));
                heap_loan_cancel(&heap, loan);
        }
        assert_false(heap_has_loans(&heap));
        assert_int_equal(heap_held(&heap), 0);
}

/* What a hostile peer may push; nothing is freed by it, and nothing is taken in after it. */
static void garbage_breaks(void **state)
{
        enum { TWICE, NEVER_OPEN, TOO_HIGH, HIGHEST, NOT_SENT, CASES };
        for (int what = 0; what < CASES; what++) {
                uint32_t loan = open_loan(), other = open_loan();
                assert_non_null(heap_lend_new(&heap, loan, 1000));
                assert_non_null(heap_lend_new(&heap, other, 1000));
                heap_loan_sent(&heap, loan);
                if (what == TWICE)
                        give_back(loan);
                const uint64_t garbage[] = { loan, 500, SHM_LOANS, 0xffff, other };
                give_back(garbage[what]);
                uint64_t held = heap_held(&heap);
                assert_int_equal(held, what == TWICE ? 1024 : 2048);
                assert_true(heap.broken);
                heap_loan_sent(&heap, other);
                give_back(other);
                assert_int_equal(heap_held(&heap), held);
                tear_down(state);
                set_up(state);
        }
}

static void positions_out_of_turn(void **state)
{
        (void)state;
        uint32_t loan = open_loan();
        assert_non_null(heap_lend_new(&heap, loan, 1000));
        heap_loan_sent(&heap, loan);
        static const uint64_t positions[] = { 0, 2, SHM_LOANS, SHM_LOANS + 1, UINT64_MAX >> 16 };
        for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
                atomic_store(&returned[0], positions[i] << 16 | loan);
                assert_int_equal(heap_held(&heap), 1024); /* not yet given back */
        }
        give_back(loan);
        assert_int_equal(heap_held(&heap), 0);
        assert_false(heap.broken);
}

static void announcement_fails(void **state)
{
        (void)state;
        grow_error = -EPIPE;
        assert_null(heap_alloc(&heap, 1000));
        assert_int_equal(heap_size(&heap), 0);
        uint32_t loan = open_loan();
        assert_null(heap_lend_new(&heap, loan, 1000));
        assert_true(heap_lend(&heap, loan, "x", 1) < 0);
        heap_loan_cancel(&heap, loan);
        grow_error = 0;
        uint8_t *block = heap_alloc(&heap, 1000);
        assert_non_null(block);
        grow_error = -EAGAIN;
        assert_null(heap_alloc(&heap, 2 * MIB));
        assert_int_equal(heap_size(&heap), MIB);
        grow_error = 0;
        uint8_t *large = heap_alloc(&heap, 2 * MIB);
        assert_non_null(large);
        memset(large, 1, 2 * MIB);
        memset(block, 1, 1000);
        assert_true(heap_free(&heap, block) && heap_free(&heap, large));
        assert_int_equal(heap_held(&heap), 0);
}

/* ---- at random, against a list ---------------------------------------------------------------------------- */

enum { BLOCKS = 64, STEPS = 30000 };

static uint32_t random_below(uint32_t n)
{
        static uint64_t seed = 3;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(seed >> 33) % n;
}

static void at_random(void **state)
{
        (void)state;
        struct {
                uint8_t *at;
                size_t size;
                int loan; /* -1: held by the user */
        } blocks[BLOCKS] = { 0 };
        for (int step = 0; step < STEPS; step++) {
                uint32_t i = random_below(BLOCKS);
                if (!blocks[i].at) {
                        blocks[i].size = 1 + random_below(random_below(8) ? 5000 : 500000);
                        blocks[i].loan = random_below(2) ? heap_loan_open(&heap) : -1;
                        blocks[i].at = blocks[i].loan < 0
                                               ? heap_alloc(&heap, blocks[i].size)
                                               : heap_lend_new(&heap, (uint32_t)blocks[i].loan, blocks[i].size);
                        if (blocks[i].at)
                                memset(blocks[i].at, (int)i, blocks[i].size);
                        else if (blocks[i].loan >= 0)
                                heap_loan_cancel(&heap, (uint32_t)blocks[i].loan);
                        continue;
                }
                /* Nobody else has written into it. */
                assert_int_equal(blocks[i].at[0], i);
                assert_int_equal(blocks[i].at[blocks[i].size - 1], i);
                assert_int_equal(blocks[i].at[blocks[i].size / 2], i);
                if (blocks[i].loan < 0) {
                        assert_true(heap_free(&heap, blocks[i].at));
                } else {
                        heap_loan_sent(&heap, (uint32_t)blocks[i].loan);
                        give_back((uint64_t)blocks[i].loan);
                        heap_has_loans(&heap); /* takes it in before its block may be written again */
                }
                blocks[i].at = NULL;
        }
        for (int i = 0; i < BLOCKS; i++) {
                if (blocks[i].at && blocks[i].loan < 0)
                        heap_free(&heap, blocks[i].at);
                else if (blocks[i].at)
                        heap_loan_cancel(&heap, (uint32_t)blocks[i].loan);
        }
        assert_int_equal(heap_held(&heap), 0);
        assert_false(heap.broken);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(grows_and_ends),           TEST(refuses_what_is_no_block),
                TEST(lends_in_place_or_copies), TEST(freed_and_lent_again),
                TEST(returned_in_any_order),    TEST(cancelled),
                TEST(garbage_breaks),           TEST(positions_out_of_turn),
                TEST(announcement_fails),       TEST(at_random),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
