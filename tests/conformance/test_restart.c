/* Servers that drain, and servers that take over from others, while clients call: no call fails. */
#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 2, RESTARTS = 5, DRAIN_MS = 8000, AT_ONCE_NS = 3000000000 };

static char listen_at[LONGEST_ADDRESS], address[LONGEST_ADDRESS];

static int begin(void **state)
{
        (void)state;
        transport->addresses(scratch, listen_at, address);
        return 0;
}

static pid_t start_server(const char *how)
{
        char *argv[] = { (char *)RESTART_SERVER, listen_at, (char *)how, NULL };
        return start_program(argv);
}

static pid_t start_client(void)
{
        char *argv[] = { (char *)RESTART_CLIENT, address, NULL };
        return start_program(argv);
}

/* Waits for the process to end by itself, with status 0. */
static void expect_end(pid_t pid, const char *who)
{
        int status = 0;
        pid_t ended = 0;
        for (int i = 0; i < 5000 && !ended; i++) {
                ended = waitpid(pid, &status, WNOHANG);
                if (!ended)
                        pause_ms(1);
        }
        if (!ended) {
                kill(pid, SIGKILL);
                waitpid(pid, &status, 0);
                fail_msg("%s did not end", who);
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("%s ended with status 0x%x", who, (unsigned)status);
}

/* ---- draining ----------------------------------------------------------------------------------------------- */

/* A server on threads of the test, and when it ended. */
struct drained {
        baton_server *server;
        struct probe *probe;
        pthread_t thread;
};

static void *run(void *server)
{
        baton_server_run(server);
        return NULL;
}

static void start_here(struct drained *drained, uint32_t workers)
{
        drained->probe = probe_new();
        drained->server = baton_server_new(&(baton_server_options){ .workers = workers });
        assert_int_equal(probe_serve(drained->probe, drained->server), 0);
        assert_int_equal(baton_server_listen(drained->server, listen_at), 0);
        pthread_create(&drained->thread, NULL, run, drained->server);
}

/* Waits until all clients have left. */
static void expect_drained(struct drained *drained, uint64_t began_ns)
{
        pthread_join(drained->thread, NULL);
        assert_true(now_ns() - began_ns < AT_ONCE_NS);
        baton_server_free(drained->server);
        probe_free(drained->probe);
}

static void note(const baton_status *status, const Conformance__Outcome *reply, void *context)
{
        (void)reply;
        *(int *)context = (int)status->code;
}

static void *run_loop(void *loop)
{
        baton_loop_run(loop);
        return NULL;
}

/* Clients that do not call hear of it and leave: one that never called, some that did, by each kind of call; for
 * the asynchronous one, its loop runs. */
static void test_idle_clients_leave(void **state)
{
        (void)state;
        for (uint32_t workers = 1; workers <= 2; workers++) {
                struct drained drained;
                start_here(&drained, workers);
                baton_channel *channels[4];
                for (int i = 0; i < 4; i++) {
                        channels[i] = baton_channel_open(address, NULL);
                        expect_status(baton_channel_connect(channels[i]), BATON_OK, "");
                }
                expect_alive(channels[1]);
                baton_stream *stream = probe_collect_open(channels[3], NULL);
                assert_non_null(stream);
                expect_status(probe_collect_finish(stream, NULL), BATON_OK, "");
                baton_stream_close(stream);
                int code = -1;
                baton_loop *loop = baton_loop_new();
                Conformance__Order order = CONFORMANCE__ORDER__INIT;
                assert_int_equal(probe_act_async(channels[2], loop, &order, NULL, note, &code), 0);
                pthread_t thread;
                pthread_create(&thread, NULL, run_loop, loop);
                pause_ms(50);
                uint64_t began_ns = now_ns();
                assert_int_equal(baton_server_drain(drained.server, DRAIN_MS), 0);
                expect_drained(&drained, began_ns);
                baton_loop_stop(loop);
                pthread_join(thread, NULL);
                assert_int_equal(code, BATON_OK);
                for (int i = 0; i < 4; i++)
                        baton_channel_close(channels[i]);
                baton_loop_free(loop);
        }
}

static void *call_slowly(void *channel)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.defer_ms = 300;
        return (void *)(intptr_t)act(channel, &order, NULL, NULL).code;
}

/* A call in flight ends as it would have; the next one goes to the server that listens by then. */
static void test_calls_in_flight_go_on(void **state)
{
        (void)state;
        struct drained old, fresh;
        start_here(&old, 2);
        baton_channel *channel = baton_channel_open(address, NULL);
        expect_alive(channel);
        pthread_t thread;
        void *code = NULL;
        pthread_create(&thread, NULL, call_slowly, channel);
        pause_ms(100);
        uint64_t began_ns = now_ns();
        assert_int_equal(baton_server_drain(old.server, DRAIN_MS), 0);
        pause_ms(50);
        expect_status(baton_channel_connect(channel), BATON_UNAVAILABLE, "cannot connect");
        start_here(&fresh, 1);
        pause_ms(50);
        expect_alive(channel);
        pthread_join(thread, &code);
        assert_int_equal((intptr_t)code, BATON_OK);
        expect_drained(&old, began_ns);
        expect_alive(channel);
        began_ns = now_ns();
        assert_int_equal(baton_server_drain(fresh.server, DRAIN_MS), 0);
        expect_drained(&fresh, began_ns);
        baton_channel_close(channel);
}

static void *block_worker(void *channel)
{
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.sleep_ms = 400;
        return (void *)(intptr_t)act(channel, &order, NULL, NULL).code;
}

/* One-way calls that a busy server has yet to take keep the client from leaving. */
static void test_oneway_calls_are_not_lost(void **state)
{
        (void)state;
        struct drained drained;
        start_here(&drained, 2);
        baton_channel *channels[3]; /* the first and the last at the same worker */
        for (int i = 0; i < 3; i++) {
                channels[i] = baton_channel_open(address, NULL);
                expect_alive(channels[i]);
        }
        pthread_t thread;
        void *code = NULL;
        pthread_create(&thread, NULL, block_worker, channels[0]);
        pause_ms(100);
        uint64_t before = probe_runs(drained.probe), began_ns = now_ns();
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        for (int i = 0; i < 5; i++)
                assert_int_equal(probe_act_oneway(channels[2], &order, NULL), 0);
        assert_int_equal(probe_runs(drained.probe), before);
        assert_int_equal(baton_server_drain(drained.server, DRAIN_MS), 0);
        pthread_join(thread, &code);
        assert_int_equal((intptr_t)code, BATON_OK);
        pthread_join(drained.thread, NULL);
        assert_true(now_ns() - began_ns < AT_ONCE_NS);
        assert_int_equal(probe_runs(drained.probe), before + 5);
        baton_server_free(drained.server);
        probe_free(drained.probe);
        for (int i = 0; i < 3; i++)
                baton_channel_close(channels[i]);
}

/* ---- taking over -------------------------------------------------------------------------------------------- */

static void end_clients(const pid_t clients[CLIENTS])
{
        for (int i = 0; i < CLIENTS; i++) {
                kill(clients[i], SIGTERM);
                expect_end(clients[i], "a client, some of whose calls failed,");
        }
}

/* The address stays; each server hands it to the next. */
static void test_takeover_under_load(void **state)
{
        (void)state;
        pid_t clients[CLIENTS], server = start_server("listen");
        for (int i = 0; i < CLIENTS; i++)
                clients[i] = start_client();
        for (int i = 0; i < RESTARTS; i++) {
                pid_t next = start_server("takeover");
                expect_end(server, "the server that was taken over");
                server = next;
                pause_ms(50);
        }
        end_clients(clients);
        kill(server, SIGTERM);
        expect_end(server, "the last server");
        baton_channel *channel = baton_channel_open(address, NULL);
        expect_status(baton_channel_connect(channel), BATON_UNAVAILABLE, "No such file");
        baton_channel_close(channel);
}

/* One that begins where none runs listens as usual; one that is freed before it runs leaves all as it was. */
static void test_takeover_that_does_not_come(void **state)
{
        (void)state;
        pid_t server = start_server("takeover");
        baton_channel *channel = baton_channel_open(address, NULL);
        expect_alive(channel);
        struct probe *probe = probe_new();
        for (int i = 0; i < 3; i++) {
                baton_server *next = baton_server_new(&(baton_server_options){ .takeover = true });
                assert_int_equal(probe_serve(probe, next), 0);
                if (baton_server_listen(next, listen_at) < 0)
                        fail_msg("%s", baton_error());
                baton_server_free(next);
                expect_alive(channel);
        }
        probe_free(probe);
        baton_channel *fresh = baton_channel_open(address, NULL);
        expect_alive(fresh);
        baton_channel_close(fresh);
        kill(server, SIGTERM);
        expect_end(server, "the server");
        baton_channel_close(channel);
}

static int listen_over(const char *at)
{
        struct probe *probe = probe_new();
        baton_server *server = baton_server_new(&(baton_server_options){ .takeover = true });
        assert_int_equal(probe_serve(probe, server), 0);
        int error = baton_server_listen(server, at);
        baton_server_free(server);
        probe_free(probe);
        return error;
}

/* A stopped server cannot answer: that is told, after a while, with what to do. And it goes on as if nothing had been. */
static void test_takeover_of_a_stopped_server(void **state)
{
        (void)state;
        pid_t server = start_server("listen");
        kill(server, SIGSTOP);
        uint64_t began_ns = now_ns();
        assert_int_equal(listen_over(listen_at), -ETIMEDOUT);
        assert_true(now_ns() - began_ns < 6000000000);
        expect_error("cannot take|does not answer|kill -9");
        kill(server, SIGCONT);
        baton_channel *channel = baton_channel_open(address, NULL);
        expect_alive(channel);
        assert_int_equal(listen_over(listen_at), 0);
        expect_alive(channel);
        baton_channel_close(channel);
        kill(server, SIGTERM);
        expect_end(server, "the server");
}

/* A server that is full, or that lets nobody in, can be replaced all the same. */
static bool nobody(const baton_peer *who, void *context)
{
        (void)who;
        (void)context;
        return false;
}

static void test_takeover_of_a_full_server(void **state)
{
        (void)state;
        struct peer peer;
        peer_start_here(&peer, &(baton_server_options){ .max_connections = 1 });
        baton_channel *first = peer_open(&peer, NULL), *second = peer_open(&peer, NULL);
        expect_alive(first);
        expect_status(baton_channel_connect(second), BATON_RESOURCE_EXHAUSTED, "max_connections");
        assert_int_equal(listen_over(peer.listen), 0);
        baton_channel_close(first);
        baton_channel_close(second);
        peer_end(&peer);
        peer_start_here(&peer, &(baton_server_options){ .authorize = nobody });
        first = peer_open(&peer, NULL);
        expect_status(baton_channel_connect(first), BATON_PERMISSION_DENIED, "authorize");
        assert_int_equal(listen_over(peer.listen), 0);
        baton_channel_close(first);
        peer_end(&peer);
}

/* ---- sockets passed by systemd ------------------------------------------------------------------------------- */

static struct sockaddr_un socket_name(void)
{
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        const char *at = strchr(listen_at, ':') + 1;
        int n = at[0] == '/' ? snprintf(name.sun_path, sizeof name.sun_path, "%s", at)
                             : snprintf(name.sun_path, sizeof name.sun_path, "%s/baton/%s", scratch, at);
        assert_in_range(n, 1, sizeof name.sun_path - 1);
        return name;
}

static int passed_socket(int type)
{
        char directory[128];
        snprintf(directory, sizeof directory, "%s/baton", scratch);
        mkdir(directory, 0755);
        struct sockaddr_un name = socket_name();
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
        if (type != SOCK_DGRAM)
                assert_int_equal(listen(fd, 100), 0);
        return fd;
}

/* Runs the server as systemd would. */
static pid_t start_activated(int socket)
{
        int ready[2];
        char byte = 0;
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
                char number[16];
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(ready[1], STDOUT_FILENO);
                int copy = fcntl(socket, F_DUPFD, 10);
                dup2(copy, 3);
                close(copy);
                snprintf(number, sizeof number, "%d", (int)getpid());
                setenv("LISTEN_PID", number, 1);
                setenv("LISTEN_FDS", "1", 1);
                execl(RESTART_SERVER, RESTART_SERVER, listen_at, "listen", (char *)NULL);
                _exit(127);
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        return pid;
}

/* The socket outlives its servers: clients wait in it where there is none just now. */
static void test_activation_under_load(void **state)
{
        (void)state;
        int fd = passed_socket(SOCK_SEQPACKET);
        pid_t clients[CLIENTS], server = start_activated(fd);
        for (int i = 0; i < CLIENTS; i++)
                clients[i] = start_client();
        for (int i = 0; i < RESTARTS; i++) {
                pid_t next = start_activated(fd);
                kill(server, SIGTERM);
                expect_end(server, "the server before");
                server = next;
                pause_ms(50);
        }
        end_clients(clients);
        kill(server, SIGTERM);
        expect_end(server, "the last server");
        struct sockaddr_un name = socket_name();
        assert_int_equal(access(name.sun_path, F_OK), 0); /* not the server's to remove */
        unlink(name.sun_path);
        close(fd);
}

static void test_activation_with_the_wrong_type(void **state)
{
        (void)state;
        char number[16];
        int saved = fcntl(3, F_DUPFD_CLOEXEC, 10);
        int fd = passed_socket(SOCK_STREAM);
        if (fd != 3)
                dup2(fd, 3);
        snprintf(number, sizeof number, "%d", (int)getpid());
        setenv("LISTEN_PID", number, 1);
        setenv("LISTEN_FDS", "1", 1);
        baton_server *server = baton_server_new(NULL);
        int error = baton_server_listen(server, listen_at);
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        assert_int_equal(error, -EPROTOTYPE);
        expect_error("cannot listen at|LISTEN_FDS|ListenSequentialPacket=");
        baton_server_free(server);
        if (fd != 3)
                close(fd);
        if (saved >= 0)
                dup2(saved, 3);
        else
                close(3);
        close(saved);
        struct sockaddr_un name = socket_name();
        unlink(name.sun_path);
}

/* ---- servers that hang --------------------------------------------------------------------------------------- */

static void test_keepalive(void **state)
{
        (void)state;
        pid_t server = start_server("listen");
        baton_channel *channel = baton_channel_open(
                address, &(baton_channel_options){ .keepalive_ms = 50, .keepalive_timeout_ms = 500 });
        expect_alive(channel);
        pause_ms(800); /* a living one is kept, though nobody calls */
        Conformance__Order order = CONFORMANCE__ORDER__INIT;
        order.defer_ms = 800;
        expect_status(act(channel, &order, NULL, NULL), BATON_OK, "");
        log_clear();
        kill(server, SIGSTOP);
        uint64_t began_ns = now_ns();
        baton_status status = act(channel, &order, &(baton_call_options){ .timeout_ms = 8000 }, NULL);
        expect_status(status, BATON_UNAVAILABLE, "no sign of life|keepalive_ms");
        assert_true(status.maybe_executed);
        assert_true(now_ns() - began_ns < 4000000000);
        assert_true(log_has("did not answer for 500 ms"));
        kill(server, SIGCONT);
        expect_alive(channel);
        baton_channel_close(channel);
        kill(server, SIGTERM);
        expect_end(server, "the server");
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_idle_clients_leave, begin),
                cmocka_unit_test_setup(test_calls_in_flight_go_on, begin),
                cmocka_unit_test_setup(test_oneway_calls_are_not_lost, begin),
                cmocka_unit_test_setup(test_takeover_under_load, begin),
                cmocka_unit_test_setup(test_takeover_that_does_not_come, begin),
                cmocka_unit_test_setup(test_takeover_of_a_stopped_server, begin),
                cmocka_unit_test_setup(test_takeover_of_a_full_server, begin),
                cmocka_unit_test_setup(test_activation_under_load, begin),
                cmocka_unit_test_setup(test_activation_with_the_wrong_type, begin),
                cmocka_unit_test_setup(test_keepalive, begin),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
