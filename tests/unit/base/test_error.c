#include "base/error.h"
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* ---- the text --------------------------------------------------------------------------------------------- */

static void code_comes_back_with_its_text(void **state)
{
        (void)state;
        assert_int_equal(error_set(-ENOENT, "cannot open %s: line %d", "a file", 7), -ENOENT);
        assert_string_equal(baton_error(), "cannot open a file: line 7");
        assert_int_equal(error_set(-EIO, "shorter"), -EIO);
        assert_string_equal(baton_error(), "shorter");
}

static void old_text_may_be_an_argument(void **state)
{
        (void)state;
        error_set(-EIO, "the disk is gone");
        error_set(-EIO, "cannot save: %s; and again: %s", baton_error(), baton_error());
        assert_string_equal(baton_error(), "cannot save: the disk is gone; and again: the disk is gone");
}

static void long_text_is_cut(void **state)
{
        (void)state;
        static char text[5000];
        memset(text, 'x', sizeof text - 1);
        assert_int_equal(error_set(-E2BIG, "%s", text), -E2BIG);
        assert_in_range(strlen(baton_error()), 500, sizeof text - 2);
        assert_int_equal(strspn(baton_error(), "x"), strlen(baton_error()));
}

static void *fail_elsewhere(void *had_text)
{
        *(bool *)had_text = baton_error()[0] != '\0';
        error_set(-EIO, "of another thread");
        return NULL;
}

static void text_is_the_threads_own(void **state)
{
        (void)state;
        pthread_t thread;
        bool had_text = true;
        error_set(-EIO, "mine");
        assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &had_text), 0);
        pthread_join(thread, NULL);
        assert_false(had_text);
        assert_string_equal(baton_error(), "mine");
}

static void codes_have_names(void **state)
{
        (void)state;
        assert_string_equal(baton_code_name(BATON_OK), "OK");
        assert_string_equal(baton_code_name(BATON_NOT_FOUND), "NOT_FOUND");
        assert_string_equal(baton_code_name(BATON_UNAUTHENTICATED), "UNAUTHENTICATED");
        assert_string_equal(baton_code_name(-1), "UNKNOWN");
        assert_string_equal(baton_code_name(17), "UNKNOWN");
}

/* ---- the log ---------------------------------------------------------------------------------------------- */

enum { LIMIT = 100, MOST = 1000 };

static struct {
        baton_log_level level;
        char text[64];
} lines[MOST];
static int n_lines;

static void keep(baton_log_level level, const char *line, void *context)
{
        assert_ptr_equal(context, &n_lines);
        assert_true(n_lines < MOST);
        lines[n_lines].level = level;
        snprintf(lines[n_lines++].text, sizeof lines->text, "%s", line);
}

static uint64_t second(void)
{
        return clock_now_ns() / 1000000000u;
}

/* The limit is per second: what is counted begins with one. */
static void await_next_second(void)
{
        uint64_t now = clock_now_ns();
        uint64_t left = 1000000000u - now % 1000000000u + 1000000;
        nanosleep(&(struct timespec){ .tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u) },
                  NULL);
}

static int begin_log(void **state)
{
        (void)state;
        baton_log_set(keep, &n_lines);
        await_next_second();
        log_line(BATON_LOG_INFO, "takes the note of what was dropped before");
        await_next_second();
        n_lines = 0;
        return 0;
}

static int end_log(void **state)
{
        (void)state;
        baton_log_set(NULL, NULL);
        return 0;
}

static void lines_reach_the_callback(void **state)
{
        (void)state;
        log_line(BATON_LOG_WARNING, "%s went %d times", "it", 3);
        log_line(BATON_LOG_ERROR, "lost");
        assert_int_equal(n_lines, 2);
        assert_int_equal(lines[0].level, BATON_LOG_WARNING);
        assert_string_equal(lines[0].text, "it went 3 times");
        assert_int_equal(lines[1].level, BATON_LOG_ERROR);
        assert_string_equal(lines[1].text, "lost");
        baton_log_set(NULL, NULL);
        log_line(BATON_LOG_ERROR, "to nobody");
        assert_int_equal(n_lines, 2);
}

/* Sends that many lines within one second; false where the second was over before. */
static bool flood(int n)
{
        uint64_t began = second();
        for (int i = 0; i < n; i++)
                log_line(BATON_LOG_INFO, "line %d", i);
        return second() == began;
}

static void too_many_lines_are_dropped_and_told(void **state)
{
        (void)state;
        bool whole = false;
        for (int tries = 0; tries < 5 && !whole; tries++) {
                begin_log(state);
                whole = flood(LIMIT + 37);
        }
        assert_true(whole);
        assert_int_equal(n_lines, LIMIT);
        assert_string_equal(lines[LIMIT - 1].text, "line 99");
        await_next_second();
        log_line(BATON_LOG_INFO, "next");
        assert_int_equal(n_lines, LIMIT + 2);
        assert_int_equal(lines[LIMIT].level, BATON_LOG_WARNING);
        assert_string_equal(lines[LIMIT].text, "37 lines were dropped here");
        assert_string_equal(lines[LIMIT + 1].text, "next");
        log_line(BATON_LOG_INFO, "told once");
        assert_int_equal(n_lines, LIMIT + 3);
}

static void as_many_as_may_be_are_not_dropped(void **state)
{
        (void)state;
        flood(LIMIT);
        assert_int_equal(n_lines, LIMIT);
        await_next_second();
        flood(LIMIT);
        assert_int_equal(n_lines, 2 * LIMIT); /* and no note */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(code_comes_back_with_its_text),
                cmocka_unit_test(old_text_may_be_an_argument),
                cmocka_unit_test(long_text_is_cut),
                cmocka_unit_test(text_is_the_threads_own),
                cmocka_unit_test(codes_have_names),
                cmocka_unit_test_setup_teardown(lines_reach_the_callback, begin_log, end_log),
                cmocka_unit_test_setup_teardown(too_many_lines_are_dropped_and_told, begin_log, end_log),
                cmocka_unit_test_setup_teardown(as_many_as_may_be_are_not_dropped, begin_log, end_log),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
