#include "shm/inbox.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 100000, MANY = 200000, BUDGET = 1 << 20 };

static struct inbox_budget budget;
static struct inbox inbox;
static struct link link;

static int set_up(void **state)
{
        (void)state;
        atomic_init(&budget.used, 0);
        budget.limit = BUDGET;
        link.mine = aligned_alloc(64, sizeof(struct shm_base));
        memset(link.mine, 0, sizeof(struct shm_base));
        link.n_returned = 0;
        pthread_mutex_init(&link.return_lock, NULL);
        inbox_init(&inbox, &budget);
        return 0;
}

/* All memory comes back, whatever was left unread. */
static int tear_down(void **state)
{
        (void)state;
        inbox_deinit(&inbox, &link);
        assert_int_equal(atomic_load(&budget.used), 0);
        pthread_mutex_destroy(&link.return_lock);
        free(link.mine);
        return 0;
}

static uint8_t bytes[LARGE];

/* Pushes a message of so many bytes, all of this value. */
static int push(size_t size, uint8_t value, int64_t loan)
{
        struct message_body body = { .at = bytes, .size = size, .loan = loan };
        struct ring_record record = { .body = bytes, .size = (uint32_t)size, .line = 7, .next = 7 + ring_lines(size) };
        memset(bytes, value, size);
        int error = inbox_push(&inbox, &record, &body);
        memset(bytes, 0xee, size); /* the ring is reused */
        assert_int_equal(body.loan, error < 0 ? loan : NO_LOAN);
        return error;
}

static void expect(size_t size, uint8_t value, int64_t loan)
{
        struct inbox_message message;
        assert_true(inbox_peek(&inbox, &message));
        assert_int_equal(message.body.size, size);
        assert_int_equal(message.body.loan, loan);
        assert_int_equal(message.lines, ring_lines(size));
        for (size_t i = 0; i < size; i++)
                assert_int_equal(message.body.at[i], value);
        assert_int_equal((uintptr_t)message.body.at % 8, 0); /* as in the ring */
        inbox_drop(&inbox);
}

static bool empty(void)
{
        struct inbox_message message;
        return !inbox_peek(&inbox, &message);
}

static void first_in_first_out(void **state)
{
        (void)state;
        assert_true(empty());
        for (int round = 0; round < 50; round++) {
                for (int i = 0; i < 100; i++)
                        assert_int_equal(push((size_t)(i * round) % 700, (uint8_t)i, NO_LOAN), 0);
                for (int i = 0; i < 100; i++)
                        expect((size_t)(i * round) % 700, (uint8_t)i, NO_LOAN);
                assert_true(empty());
                assert_true(empty());
        }
        assert_true(atomic_load(&budget.used) < 20000); /* what was read is freed */
}

static void large_ones(void **state)
{
        (void)state;
        for (size_t size = 1; size <= LARGE; size *= 10) {
                assert_int_equal(push(size, 1, NO_LOAN), 0);
                assert_int_equal(push(size, 2, NO_LOAN), 0);
                expect(size, 1, NO_LOAN);
                expect(size, 2, NO_LOAN);
        }
        assert_true(empty());
}

static void within_the_budget(void **state)
{
        (void)state;
        struct inbox other;
        size_t n = 0;
        int error;
        inbox_init(&other, &budget);
        while ((error = push(1000, (uint8_t)n, NO_LOAN)) == 0)
                n++;
        assert_int_equal(error, -ENOBUFS);
        assert_in_range(n, BUDGET / 1000 / 2, BUDGET / 1000);
        assert_true(atomic_load(&budget.used) <= BUDGET);
        assert_int_equal(push(1000, 0, 3), -ENOBUFS); /* the loan stays the caller's */
        struct inbox mine = inbox;
        inbox = other;
        assert_int_equal(push(20000, 0, NO_LOAN), -ENOBUFS); /* they share it */
        other = inbox;
        inbox = mine;
        for (size_t i = 0; i < n; i++)
                expect(1000, (uint8_t)i, NO_LOAN);
        assert_int_equal(push(20000, 5, NO_LOAN), 0);
        expect(20000, 5, NO_LOAN);
        inbox_deinit(&other, &link);
}

/* A loan goes to the reader, or back. */
static void loans(void **state)
{
        (void)state;
        assert_int_equal(push(64, 1, 11), 0);
        assert_int_equal(push(64, 2, NO_LOAN), 0);
        assert_int_equal(push(64, 3, 12), 0);
        assert_int_equal(push(64, 4, 13), 0);
        expect(64, 1, 11);
        assert_int_equal(link.n_returned, 0); /* that is the reader's to give back */
        inbox_deinit(&inbox, &link);
        assert_int_equal(link.n_returned, 2);
        assert_int_equal(link.mine->returned[0] & 0xffff, 12);
        assert_int_equal(link.mine->returned[1] & 0xffff, 13);
}

/* What lies in the heap is not copied. */
static void outlined(void **state)
{
        (void)state;
        static const uint8_t heap[64] = { 9 };
        struct message_body body = { .at = heap, .size = sizeof heap, .loan = 5 };
        struct ring_record record = { .flags = SHM_OUTLINE | SHM_LOAN | SHM_GRAPH, .line = 1, .next = 2 };
        struct inbox_message message;
        assert_int_equal(inbox_push(&inbox, &record, &body), 0);
        assert_true(inbox_peek(&inbox, &message));
        assert_ptr_equal(message.body.at, heap);
        assert_true(message.graph);
        assert_int_equal(message.lines, SHM_LOAN_LINES);
}

static void *write_many(void *unused)
{
        for (uint64_t i = 0; i < MANY;) {
                uint64_t words[64];
                size_t size = 8 + 8 * (i % 60);
                words[0] = words[size / 8 - 1] = i;
                struct message_body body = { .at = (uint8_t *)words, .size = size, .loan = NO_LOAN };
                struct ring_record record = { .size = (uint32_t)size, .next = 1 };
                if (inbox_push(&inbox, &record, &body) == 0)
                        i++;
        }
        return unused;
}

static void two_threads(void **state)
{
        (void)state;
        pthread_t writer;
        struct inbox_message message;
        pthread_create(&writer, NULL, write_many, NULL);
        for (uint64_t i = 0; i < MANY;) {
                if (!inbox_peek(&inbox, &message))
                        continue;
                assert_int_equal(((const uint64_t *)message.body.at)[0], i);
                assert_int_equal(((const uint64_t *)message.body.at)[message.body.size / 8 - 1], i);
                inbox_drop(&inbox);
                i++;
        }
        pthread_join(writer, NULL);
        assert_true(empty());
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(first_in_first_out, set_up, tear_down),
                cmocka_unit_test_setup_teardown(large_ones, set_up, tear_down),
                cmocka_unit_test_setup_teardown(within_the_budget, set_up, tear_down),
                cmocka_unit_test_setup_teardown(loans, set_up, tear_down),
                cmocka_unit_test_setup_teardown(outlined, set_up, tear_down),
                cmocka_unit_test_setup_teardown(two_threads, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
