#include "base/fork.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

/* As fork(2) does it, past the handlers of fork(3). */
static pid_t raw_clone(void)
{
        return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* Reaps the child, and fails the test where it said no. */
static void expect_child(pid_t pid)
{
        int status = 0;
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

/* ---- generations ------------------------------------------------------------------------------------------ */

static void generation_differs_in(pid_t (*make_child)(void))
{
        uint64_t mine = fork_generation();
        assert_int_not_equal(mine, 0);
        pid_t pid = make_child();
        if (pid == 0) {
                uint64_t childs = fork_generation();
                _exit(childs && childs != mine && childs == fork_generation() ? 0 : 1);
        }
        expect_child(pid);
        assert_int_equal(fork_generation(), mine);
}

static void generation_differs_in_children(void **state)
{
        (void)state;
        generation_differs_in(fork);
        generation_differs_in(raw_clone);
}

static void generation_differs_among_generations(void **state)
{
        (void)state;
        uint64_t mine = fork_generation();
        pid_t pid = fork();
        if (pid == 0) {
                uint64_t childs = fork_generation();
                pid_t grandchild = fork();
                if (grandchild == 0) {
                        uint64_t third = fork_generation();
                        _exit(third != childs && third != mine ? 0 : 1);
                }
                int status = 0;
                _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
        }
        expect_child(pid);
}

static void *ask(void *generation)
{
        *(uint64_t *)generation = fork_generation();
        return NULL;
}

/* The child's threads agree, whichever asks first. */
static void threads_have_one_generation(void **state)
{
        (void)state;
        enum { THREADS = 4 };
        uint64_t seen[THREADS];
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, ask, &seen[i]), 0);
        for (int i = 0; i < THREADS; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(seen[i], fork_generation());
        }
}

/* ---- guarded fds ------------------------------------------------------------------------------------------ */

static void child_closes_what_is_guarded(void **state)
{
        (void)state;
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        assert_int_equal(fork_guard(pair[0]), pair[0]);
        pid_t pid = fork();
        if (pid == 0)
                _exit(!is_open(pair[0]) && is_open(pair[1]) ? 0 : 1);
        expect_child(pid);
        assert_true(is_open(pair[0]));
        fork_close(pair[0]);
        close(pair[1]);
}

/* What it is for: the peer hears of the end, though a child lives on. */
static void living_child_keeps_no_socket_open(void **state)
{
        (void)state;
        int pair[2], life[2];
        char byte;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        assert_int_equal(pipe(life), 0);
        fork_guard(pair[0]);
        pid_t pid = fork();
        if (pid == 0) {
                close(life[1]);
                close(pair[1]);
                _exit(read(life[0], &byte, 1) == 0 ? 0 : 1); /* until the parent is done */
        }
        fork_close(pair[0]);
        struct pollfd hang_up = { .fd = pair[1], .events = POLLIN };
        int heard = poll(&hang_up, 1, 5000);
        close(life[1]);
        expect_child(pid);
        assert_int_equal(heard, 1);
        assert_true(hang_up.revents & POLLHUP);
        close(pair[1]);
        close(life[0]);
}

/* A guard ends with its fd, not with the number: who gets that next has nothing to do with it. */
static void closed_fd_is_not_guarded(void **state)
{
        (void)state;
        int fd = fork_guard(open("/dev/null", O_RDONLY));
        fork_close(fd);
        assert_false(is_open(fd));
        assert_int_equal(open("/dev/null", O_RDONLY), fd); /* the lowest number that is free */
        pid_t pid = fork();
        if (pid == 0)
                _exit(is_open(fd) ? 0 : 1);
        expect_child(pid);
        fork_close(fd); /* harmless for one without a guard */
        assert_false(is_open(fd));
}

/* The child has closed them: their numbers are free there, and a child of its own must keep what it opened under them. */
static void guards_end_in_the_child(void **state)
{
        (void)state;
        int fd = fork_guard(open("/dev/null", O_RDONLY));
        pid_t pid = fork();
        if (pid == 0) {
                if (open("/dev/null", O_RDONLY) != fd)
                        _exit(1);
                pid_t grandchild = fork();
                if (grandchild == 0)
                        _exit(is_open(fd) ? 0 : 1);
                int status = 0;
                _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
        }
        expect_child(pid);
        fork_close(fd);
}

/* The table grows, also by more than its double. */
static void high_numbers_are_guarded(void **state)
{
        (void)state;
        static const int numbers[] = { 40, 41, 200, 900 };
        int low = open("/dev/null", O_RDONLY);
        for (int i = 0; i < 4; i++) {
                assert_int_equal(dup2(low, numbers[i]), numbers[i]);
                fork_guard(numbers[i]);
        }
        pid_t pid = fork();
        if (pid == 0) {
                bool fine = is_open(low);
                for (int i = 0; i < 4; i++)
                        fine = fine && !is_open(numbers[i]);
                _exit(fine ? 0 : 1);
        }
        expect_child(pid);
        for (int i = 0; i < 4; i++)
                fork_close(numbers[i]);
        close(low);
}

static atomic_bool over;

static void *guard_on(void *unused)
{
        while (!atomic_load(&over))
                fork_close(fork_guard(open("/dev/null", O_RDONLY)));
        return unused;
}

/* The child can use the guards, even where fork() came amid a change of them. */
static void fork_amid_changes(void **state)
{
        (void)state;
#ifdef __SANITIZE_THREAD__
        skip(); /* its runtime cannot follow a fork amid threads */
#endif
        pthread_t thread;
        atomic_store(&over, false);
        assert_int_equal(pthread_create(&thread, NULL, guard_on, NULL), 0);
        for (int i = 0; i < 200; i++) {
                pid_t pid = fork();
                if (pid == 0) {
                        alarm(10);
                        fork_close(fork_guard(open("/dev/null", O_RDONLY)));
                        _exit(0);
                }
                expect_child(pid);
        }
        atomic_store(&over, true);
        pthread_join(thread, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(generation_differs_in_children),
                cmocka_unit_test(generation_differs_among_generations),
                cmocka_unit_test(threads_have_one_generation),
                cmocka_unit_test(child_closes_what_is_guarded),
                cmocka_unit_test(living_child_keeps_no_socket_open),
                cmocka_unit_test(closed_fd_is_not_guarded),
                cmocka_unit_test(guards_end_in_the_child),
                cmocka_unit_test(high_numbers_are_guarded),
                cmocka_unit_test(fork_amid_changes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
