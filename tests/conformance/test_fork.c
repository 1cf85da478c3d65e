/* A process that forks: the child leaves the parent's channels alone, and opens its own. */
#include "fixture.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool call_is(baton_channel *on, baton_code code, const char *word)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        Conformance__Outcome outcome;
        order.value = 12;
        baton_status status = act(on, &order, &(baton_call_options){ .timeout_ms = 5000 }, &outcome);
        return status.code == code && strstr(status.message, word) && (code != BATON_OK || outcome.value == 12);
}

/* Runs the function in a child; the test fails where it returns false. */
static void in_child(bool (*function)(void))
{
        pid_t pid = fork();
        if (pid == 0) {
                alarm(10);
                _exit(function() ? 0 : 1);
        }
        int status = 0;
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void never(const baton_status *status, const Conformance__Outcome *outcome, void *context)
{
        (void)status;
        (void)outcome;
        (void)context;
        abort();
}

static bool inherited_is_refused(void)
{
        baton_loop *own = baton_loop_new();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        baton_status status = baton_channel_connect(channel);
        return call_is(channel, BATON_FAILED_PRECONDITION, "before fork()") &&
               status.code == BATON_FAILED_PRECONDITION && strstr(status.message, "before fork()") &&
               !baton_channel_alloc(channel, 100) &&
               probe_act_async(channel, own, &order, NULL, never, NULL) == -ECHILD &&
               strstr(baton_error(), "before fork()");
}

static void test_inherited_channel(void **state)
{
        (void)state;
        in_child(inherited_is_refused); /* not connected */
        expect_alive(channel);
        in_child(inherited_is_refused);
        expect_alive(channel);
}

static bool own_works(void)
{
        baton_channel *own = baton_channel_open(peer.address, NULL);
        bool fine = true;
        for (int i = 0; i < 100; i++)
                fine = fine && call_is(own, BATON_OK, "");
        baton_channel_close(own);
        return fine;
}

static void test_own_channel(void **state)
{
        (void)state;
        expect_alive(channel);
        in_child(own_works);
        in_child(own_works);
        expect_alive(channel);
}

static bool grandchild_works(void)
{
        baton_channel *own = baton_channel_open(peer.address, NULL);
        bool fine = call_is(own, BATON_OK, "");
        pid_t pid = fork();
        if (pid == 0)
                _exit(call_is(own, BATON_FAILED_PRECONDITION, "fork") && own_works() ? 0 : 1);
        int status = 0;
        return fine && waitpid(pid, &status, 0) == pid && status == 0 && call_is(own, BATON_OK, "");
}

static void test_child_of_the_child(void **state)
{
        (void)state;
        expect_alive(channel);
        in_child(grandchild_works);
        expect_alive(channel);
}

static bool closes_inherited(void)
{
        baton_channel_close(channel);
        return own_works();
}

/* Closing its copy takes nothing from the parent. */
static void test_child_closes_the_inherited_channel(void **state)
{
        (void)state;
        in_child(closes_inherited);
        expect_alive(channel);
        void *block = baton_channel_alloc(channel, 100000);
        assert_non_null(block);
        in_child(closes_inherited);
        memset(block, 1, 100000);
        expect_alive(channel);
        baton_channel_free(channel, block);
}

static const Conformance__Blob *held;

static bool releases_inherited(void)
{
        baton_release(held);
        return own_works();
}

/* So does releasing a reply: the memory is the parent's to give back. */
static void test_child_releases_an_inherited_reply(void **state)
{
        (void)state;
        Conformance__Wish wish = CONFORMANCE__WISH__INIT;
        wish.size = 100000;
        wish.lend = true;
        expect_status(probe_make(channel, &wish, &held, NULL), BATON_OK, "");
        in_child(releases_inherited);
        for (int i = 0; i < 20; i++) {
                const Conformance__Blob *other = NULL;
                wish.seed = 99;
                expect_status(probe_make(channel, &wish, &other, NULL), BATON_OK, "");
                baton_release(other);
        }
        assert_true(is_pattern(held->data.data, held->data.len, 0));
        baton_release(held);
        expect_alive(channel);
}

static baton_server *inherited_server;

static bool frees_inherited_server(void)
{
        baton_server_free(inherited_server);
        return own_works();
}

/* The sockets and epoll sets of an inherited server are the parent's: what the child frees, the parent keeps. */
static void test_child_frees_the_inherited_server(void **state)
{
        (void)state;
        struct peer here;
        peer_start_here(&here, &(baton_server_options){ .workers = 2 });
        inherited_server = here.server;
        baton_channel *before = peer_open(&here, NULL);
        expect_alive(before);
        in_child(frees_inherited_server);
        expect_alive(before);
        baton_channel *after = peer_open(&here, NULL); /* it listens yet */
        expect_alive(after);
        baton_channel_close(before);
        baton_channel_close(after);
        peer_end(&here);
}

static atomic_bool stop_calling;

static void *keep_calling(void *argument)
{
        while (!atomic_load(&stop_calling))
                if (!call_is(channel, BATON_OK, ""))
                        atomic_fetch_add((atomic_int *)argument, 1);
        return NULL;
}

/* The parent's other threads are amid calls. */
static void test_fork_amid_calls(void **state)
{
        (void)state;
        pthread_t threads[3];
        atomic_int n_wrong = 0;
        atomic_store(&stop_calling, false);
        for (int i = 0; i < 3; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, keep_calling, &n_wrong), 0);
        for (int i = 0; i < 20; i++)
                in_child(own_works);
        atomic_store(&stop_calling, true);
        for (int i = 0; i < 3; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(n_wrong, 0);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_inherited_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_own_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_child_of_the_child, begin, end),
                cmocka_unit_test_setup_teardown(test_child_closes_the_inherited_channel, begin, end),
                cmocka_unit_test_setup_teardown(test_child_releases_an_inherited_reply, begin, end),
                cmocka_unit_test_setup_teardown(test_child_frees_the_inherited_server, begin, end),
                cmocka_unit_test_setup_teardown(test_fork_amid_calls, begin, end),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
