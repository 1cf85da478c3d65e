#include "base/clock.h"
#include "base/list.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { MS = 1000000 };

/* ---- deadlines -------------------------------------------------------------------------------------------- */

static void clock_goes_on(void **state)
{
        (void)state;
        uint64_t before = clock_now_ns();
        nanosleep(&(struct timespec){ .tv_nsec = 2 * MS }, NULL);
        assert_true(clock_now_ns() >= before + 2 * MS);
}

static void none_is_later_than_any(void **state)
{
        (void)state;
        assert_int_equal(deadline_earlier(0, 0), 0);
        assert_int_equal(deadline_earlier(5, 0), 5);
        assert_int_equal(deadline_earlier(0, 5), 5);
        assert_int_equal(deadline_earlier(3, 5), 3);
        assert_int_equal(deadline_earlier(5, 3), 3);
        assert_true(deadline_earlier(UINT64_MAX, 0) == UINT64_MAX);
}

static void deadlines_pass(void **state)
{
        (void)state;
        assert_false(deadline_passed(0));
        assert_true(deadline_passed(1));
        assert_true(deadline_passed(clock_now_ns()));
        assert_false(deadline_passed(clock_now_ns() + UINT64_C(1000000000) * 60));
        assert_false(deadline_passed(UINT64_MAX));
}

static void time_left_is_for_poll(void **state)
{
        (void)state;
        assert_int_equal(deadline_left_ms(0, -1), -1);
        assert_int_equal(deadline_left_ms(0, 0), 0);
        assert_int_equal(deadline_left_ms(0, 70), 70);
        assert_int_equal(deadline_left_ms(1, -1), 0);
        assert_int_equal(deadline_left_ms(1, 70), 0);
        uint64_t minute = clock_now_ns() + UINT64_C(60000) * MS;
        assert_in_range(deadline_left_ms(minute, -1), 50000, 60000);
        assert_int_equal(deadline_left_ms(minute, 70), 70);
        assert_in_range(deadline_left_ms(minute, 100000), 50000, 60000);
        assert_int_equal(deadline_left_ms(minute, 0), 0);
        assert_int_equal(deadline_left_ms(UINT64_MAX, -1), INT32_MAX);
}

/* Rounded up: who polls for 0 ms while some time is left turns in circles. */
static void rest_of_a_millisecond_is_one(void **state)
{
        (void)state;
        for (int i = 0; i < 1000; i++) {
                uint64_t deadline = clock_now_ns() + MS / 2;
                int left = deadline_left_ms(deadline, -1);
                if (!deadline_passed(deadline)) {
                        assert_int_equal(left, 1);
                        return;
                }
        }
        fail();
}

/* ---- lists ------------------------------------------------------------------------------------------------ */

struct member {
        int number;
        struct list link;
};

/* The members' numbers as digits, forwards; they are the same backwards. */
static int digits(const struct list *head)
{
        int forwards = 0, backwards = 0, place = 1;
        for (const struct list *at = head->next; at != head; at = at->next)
                forwards = forwards * 10 + container_of(at, struct member, link)->number;
        for (const struct list *at = head->previous; at != head; at = at->previous, place *= 10)
                backwards += place * container_of(at, struct member, link)->number;
        assert_int_equal(forwards, backwards);
        return forwards;
}

static void list_keeps_order(void **state)
{
        (void)state;
        struct list head;
        struct member members[4];
        list_init(&head);
        assert_true(list_empty(&head));
        for (int i = 0; i < 4; i++) {
                members[i].number = i + 1;
                list_append(&head, &members[i].link);
        }
        assert_false(list_empty(&head));
        assert_int_equal(digits(&head), 1234);
        list_remove(&members[1].link);
        assert_int_equal(digits(&head), 134);
        list_remove(&members[1].link); /* harmless */
        assert_int_equal(digits(&head), 134);
        list_remove(&members[0].link);
        list_remove(&members[3].link);
        assert_int_equal(digits(&head), 3);
        list_append(&head, &members[0].link);
        assert_int_equal(digits(&head), 31);
        list_remove(&members[2].link);
        list_remove(&members[0].link);
        assert_true(list_empty(&head));
        struct list alone;
        list_init(&alone);
        list_remove(&alone);
        assert_true(list_empty(&alone));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(clock_goes_on),
                cmocka_unit_test(none_is_later_than_any),
                cmocka_unit_test(deadlines_pass),
                cmocka_unit_test(time_left_is_for_poll),
                cmocka_unit_test(rest_of_a_millisecond_is_one),
                cmocka_unit_test(list_keeps_order),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
