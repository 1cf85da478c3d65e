#include "base/fork.h"
#include "base/loop.h"
#include "shm/inproc.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <baton/status.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 100, THREADS = 4 };

static baton_loop *loop;
static atomic_int n_arrived;
static int echo_from[CLIENTS * THREADS + CLIENTS];

/* Greets whoever arrives, so that the client knows that it is connected to this port. */
static void arrived(struct inproc_port *port, int fd)
{
        echo_from[atomic_fetch_add(&n_arrived, 1)] = fd;
        assert_int_equal(send(fd, port->address, strlen(port->address) + 1, MSG_DONTWAIT), strlen(port->address) + 1);
}

static int begin(void **state)
{
        (void)state;
        loop = baton_loop_new();
        atomic_store(&n_arrived, 0);
        return loop ? 0 : -1;
}

static int end(void **state)
{
        (void)state;
        for (int i = 0; i < atomic_load(&n_arrived); i++)
                fork_close(echo_from[i]);
        baton_loop_free(loop);
        return 0;
}

static struct inproc_port port_of(const char *address)
{
        return (struct inproc_port){ .address = address, .loop = loop, .arrived = arrived };
}

static void expect_greeting(int fd, const char *address)
{
        char text[80] = "";
        assert_true(recv(fd, text, sizeof text, MSG_DONTWAIT) > 0);
        assert_string_equal(text, address);
        fork_close(fd);
}

static void by_name(void **state)
{
        (void)state;
        struct inproc_port a = port_of("inproc:a"), b = port_of("inproc:b"), again = port_of("inproc:a");
        assert_int_equal(inproc_connect("inproc:a"), -ECONNREFUSED);
        assert_non_null(strstr(baton_error(), "inproc:a"));
        assert_non_null(strstr(baton_error(), "no server of this process listens there"));
        assert_int_equal(inproc_listen(&a), 0);
        assert_int_equal(inproc_listen(&b), 0);
        assert_int_equal(inproc_listen(&again), -EADDRINUSE);
        assert_non_null(strstr(baton_error(), "inproc:a"));
        int to_a = inproc_connect("inproc:a"), to_b = inproc_connect("inproc:b");
        assert_true(to_a >= 0 && to_b >= 0);
        assert_int_equal(atomic_load(&n_arrived), 0); /* on the loop, not before */
        baton_loop_dispatch(loop);
        expect_greeting(to_a, "inproc:a");
        expect_greeting(to_b, "inproc:b");
        inproc_unlisten(&a);
        assert_int_equal(inproc_connect("inproc:a"), -ECONNREFUSED);
        assert_int_equal(inproc_listen(&again), 0);
        inproc_unlisten(&again);
        inproc_unlisten(&b);
}

/* Those who came before the server left are let in. */
static void waiting_at_the_end(void **state)
{
        (void)state;
        struct inproc_port port = port_of("inproc:a");
        int clients[3];
        assert_int_equal(inproc_listen(&port), 0);
        for (int i = 0; i < 3; i++)
                clients[i] = inproc_connect("inproc:a");
        inproc_unlisten(&port);
        assert_int_equal(atomic_load(&n_arrived), 3);
        for (int i = 0; i < 3; i++)
                expect_greeting(clients[i], "inproc:a");
        baton_loop_dispatch(loop); /* nothing is left for it */
        assert_int_equal(atomic_load(&n_arrived), 3);
}

static void *connect_often(void *unused)
{
        (void)unused;
        for (int i = 0; i < CLIENTS; i++) {
                int fd = inproc_connect("inproc:a");
                assert_true(fd >= 0);
                fork_close(fd);
        }
        return NULL;
}

/* The last of them may have come and gone before it is let in. */
static void swallow(struct inproc_port *port, int fd)
{
        (void)port;
        atomic_fetch_add(&n_arrived, 1);
        fork_close(fd);
}

static void many_at_once(void **state)
{
        (void)state;
        struct inproc_port port = port_of("inproc:a");
        port.arrived = swallow;
        pthread_t threads[THREADS];
        assert_int_equal(inproc_listen(&port), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_create(&threads[i], NULL, connect_often, NULL);
        while (atomic_load(&n_arrived) < THREADS * CLIENTS)
                baton_loop_dispatch(loop);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        inproc_unlisten(&port);
        assert_int_equal(atomic_load(&n_arrived), THREADS * CLIENTS);
        atomic_store(&n_arrived, 0);
}

static void connect_inside(struct loop_task *task)
{
        (void)task;
        assert_int_equal(inproc_connect("inproc:a"), -EDEADLK);
        assert_non_null(strstr(baton_error(), "connect from another"));
        atomic_fetch_add(&n_arrived, 1);
}

/* The loop's own thread would wait for itself. */
static void from_the_loop(void **state)
{
        (void)state;
        struct inproc_port port = port_of("inproc:a");
        struct loop_task task = { .run = connect_inside };
        assert_int_equal(inproc_listen(&port), 0);
        loop_post(loop, &task);
        baton_loop_dispatch(loop);
        assert_int_equal(atomic_load(&n_arrived), 1);
        atomic_store(&n_arrived, 0);
        inproc_unlisten(&port);
}

static void expect_none_in(pid_t pid)
{
        int status = 0;
        if (pid == 0)
                _exit(inproc_connect("inproc:a") == -ECONNREFUSED ? 0 : 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

/* A child has its parent's memory, and none of its servers. */
static void not_in_children(void **state)
{
        (void)state;
        struct inproc_port port = port_of("inproc:a");
        assert_int_equal(inproc_listen(&port), 0);
        expect_none_in(fork());
        expect_none_in((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
        int fd = inproc_connect("inproc:a");
        assert_true(fd >= 0);
        baton_loop_dispatch(loop);
        expect_greeting(fd, "inproc:a");
        inproc_unlisten(&port);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)
        const struct CMUnitTest tests[] = {
                TEST(by_name), TEST(waiting_at_the_end), TEST(many_at_once), TEST(from_the_loop), TEST(not_in_children),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
