#include "core/trace.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GOOD "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* In memory of its exact size: a sanitizer sees each step beyond. */
static bool valid(const char *text)
{
        char *copy = strdup(text);
        bool r = trace_valid(copy);
        free(copy);
        return r;
}

static void valid_ones(void **state)
{
        (void)state;
        static const char *const texts[] = {
                GOOD,
                "00-00000000000000000000000000000001-0000000000000001-00",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
                "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-follows",
                "fe-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                assert_true(valid(texts[i]));
}

static void invalid_ones(void **state)
{
        (void)state;
        static const char *const texts[] = {
                GOOD "-",
                GOOD "0",
                GOOD " ",
                " " GOOD,
                "00-00000000000000000000000000000000-b7ad6b7169203331-01", /* no trace-id */
                "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", /* no parent-id */
                "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
                "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                assert_false(valid(texts[i]));
        assert_false(trace_valid(NULL));
        for (size_t size = 0; size < strlen(GOOD); size++) {
                char cut[] = GOOD;
                cut[size] = 0;
                assert_false(valid(cut));
                char bad[] = GOOD;
                bad[size] = 'g';
                assert_false(valid(bad));
                if (GOOD[size] != '-') {
                        bad[size] = '-';
                        assert_false(valid(bad));
                }
        }
}

static void child_of(void **state)
{
        (void)state;
        char out[TRACEPARENT_SIZE];
        assert_true(trace_child(GOOD, out));
        assert_int_equal(strlen(out), 55);
        assert_true(trace_valid(out));
        assert_memory_equal(out, GOOD, 36);
        assert_string_equal(out + 52, GOOD + 52);
        assert_true(memcmp(out + 36, GOOD + 36, 16) != 0);
        /* Of a later version, and with flags that nobody knows yet. */
        assert_true(trace_child("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more", out));
        assert_memory_equal(out, GOOD, 36);
        assert_string_equal(out + 52, "-03");
}

static void no_child(void **state)
{
        (void)state;
        char out[TRACEPARENT_SIZE] = "x";
        assert_false(trace_child(NULL, out));
        assert_string_equal(out, "");
        out[0] = 'x';
        assert_false(trace_child("", out));
        assert_string_equal(out, "");
        assert_false(trace_child("nonsense", out));
}

enum { IDS = 2000 };

static void *make_ids(void *context)
{
        char(*ids)[TRACEPARENT_SIZE] = context;
        for (int i = 0; i < IDS; i++)
                trace_child(GOOD, ids[i]);
        return NULL;
}

static int compare(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* No id comes twice, in threads neither. */
static void all_differ(void **state)
{
        (void)state;
        static char ids[3 * IDS][TRACEPARENT_SIZE];
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, make_ids, ids + i * IDS), 0);
        make_ids(ids + 2 * IDS);
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        qsort(ids, 3 * IDS, TRACEPARENT_SIZE, compare);
        for (int i = 1; i < 3 * IDS; i++)
                assert_true(strcmp(ids[i - 1], ids[i]) < 0);
}

static void a_forked_child_differs(void **state)
{
        (void)state;
        char mine[TRACEPARENT_SIZE], theirs[TRACEPARENT_SIZE];
        int ends[2];
        trace_child(GOOD, mine); /* the parent is seeded */
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
                trace_child(GOOD, theirs);
                _exit(write(ends[1], theirs, sizeof theirs) != sizeof theirs);
        }
        assert_true(child > 0);
        assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        trace_child(GOOD, mine);
        assert_string_not_equal(mine, theirs);
        close(ends[0]);
        close(ends[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(valid_ones), cmocka_unit_test(invalid_ones), cmocka_unit_test(child_of),
                cmocka_unit_test(no_child),   cmocka_unit_test(all_differ),   cmocka_unit_test(a_forked_child_differs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
