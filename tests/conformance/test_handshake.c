/* The local protocol's handshake spoken by hand, from both ends: other versions, strangers, silence. */
#include "harness.h"
#include "shm/layout.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct peer peer;
static char path[sizeof((struct sockaddr_un *)0)->sun_path];

static int begin(void **state)
{
        (void)state;
        if (!transport->shm)
                return 0;
        peer_start_here(&peer, &(baton_server_options){ .handshake_timeout_ms = 150 });
        const char *name = peer.listen + strlen("shm:");
        snprintf(path, sizeof path, *name == '/' ? "%s%s" : "%s/baton/%s", *name == '/' ? "" : scratch, name);
        return 0;
}

static int end(void **state)
{
        (void)state;
        if (transport->shm)
                peer_end(&peer);
        return 0;
}

/* ---- a client by hand ------------------------------------------------------------------------------------- */

static int connect_raw(void)
{
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        memcpy(name.sun_path, path, sizeof name.sun_path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
        return fd;
}

/* Waits for a packet; its size, 0 when the server hung up. */
static ssize_t receive(int fd, void *packet, size_t size)
{
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        memset(packet, 0, size);
        assert_int_equal(poll(&ready, 1, 5000), 1);
        ssize_t n = recv(fd, packet, size, 0);
        if (n < 0 && errno == ECONNRESET) /* what follows a refusal of what was not read */
                n = recv(fd, packet, size, 0);
        return n < 0 ? 0 : n;
}

static struct shm_hello a_hello(void)
{
        return (struct shm_hello){
                .kind = SHM_HELLO, .version = SHM_VERSION, .magic = SHM_MAGIC, .heap_max = 1 << 20, .ring_bytes = 8192
        };
}

static void expect_refusal(const void *packet, size_t size, baton_code code, const char *words)
{
        struct shm_refusal refusal;
        int fd = connect_raw();
        assert_int_equal(send(fd, packet, size, MSG_NOSIGNAL), size);
        assert_int_equal(receive(fd, &refusal, sizeof refusal), sizeof refusal);
        assert_int_equal(refusal.kind, SHM_REFUSE);
        expect_status(((baton_status){ .code = (baton_code)refusal.code, .message = refusal.text }), code, words);
        assert_int_equal(receive(fd, &refusal, sizeof refusal), 0);
        close(fd);
}

/* The server hangs up; before, it may say why. */
static void expect_hang_up(const void *packet, size_t size)
{
        struct shm_refusal refusal;
        int fd = connect_raw();
        if (size)
                assert_int_equal(send(fd, packet, size, MSG_NOSIGNAL), size);
        ssize_t n = receive(fd, &refusal, sizeof refusal);
        if (n > 0) {
                assert_int_equal(refusal.kind, SHM_REFUSE);
                n = receive(fd, &refusal, sizeof refusal);
        }
        assert_int_equal(n, 0);
        close(fd);
}

static void expect_server_alive(void)
{
        baton_channel *channel = peer_open(&peer, NULL);
        expect_alive(channel);
        baton_channel_close(channel);
}

static void test_client_of_another_version(void **state)
{
        (void)state;
        struct {
                struct shm_hello hello;
                uint64_t more[8];
        } newer = { .hello = a_hello() };
        if (!transport->shm)
                skip();
        log_clear();
        newer.hello.version = 3;
        expect_refusal(&newer.hello, sizeof newer.hello, BATON_FAILED_PRECONDITION,
                       "version 3|version 2|rebuild the older");
        /* A later version's greeting may be of another size. */
        newer.hello.version = 9;
        expect_refusal(&newer, sizeof newer, BATON_FAILED_PRECONDITION, "version 9|version 2");
        expect_refusal(&newer, 16, BATON_FAILED_PRECONDITION, "version 9|version 2");
        assert_true(log_has("dropping the client|version 9"));
        expect_server_alive();
}

static void test_strange_greetings(void **state)
{
        (void)state;
        struct shm_hello hello = a_hello();
        if (!transport->shm)
                skip();
        hello.magic++;
        expect_refusal(&hello, sizeof hello, BATON_INVALID_ARGUMENT, "not Baton's");
        hello = a_hello();
        hello.ring_bytes = 4097;
        expect_refusal(&hello, sizeof hello, BATON_INVALID_ARGUMENT, "impossible sizes");
        hello = a_hello();
        hello.heap_max = UINT64_MAX;
        expect_refusal(&hello, sizeof hello, BATON_INVALID_ARGUMENT, "impossible sizes");
        hello = a_hello();
        hello.stream_window = UINT64_MAX / 2;
        expect_refusal(&hello, sizeof hello, BATON_INVALID_ARGUMENT, "impossible sizes");
        hello = a_hello(); /* without its memory */
        expect_refusal(&hello, sizeof hello, BATON_INVALID_ARGUMENT, "");
        expect_hang_up("GET / HTTP/1.1\r\n\r\n", 18);
        struct shm_bell bell = { .kind = SHM_BELL };
        expect_hang_up(&bell, sizeof bell);
        expect_hang_up("x", 1);
        expect_server_alive();
}

static void test_silent_client(void **state)
{
        (void)state;
        if (!transport->shm)
                skip();
        log_clear();
        uint64_t start_ns = now_ns();
        expect_hang_up(NULL, 0);
        assert_in_range(now_ns() - start_ns, 100000000, 1000000000);
        assert_true(log_has("dropping the client|introduce itself"));
        expect_server_alive();
}

/* Clients that leave at any point, with memory or without. */
static void test_clients_that_leave(void **state)
{
        (void)state;
        struct shm_hello hello = a_hello();
        if (!transport->shm)
                skip();
        for (int i = 0; i < 200; i++) {
                int fd = connect_raw();
                if (i % 2)
                        assert_true(send(fd, &hello, sizeof hello, MSG_NOSIGNAL) > 0);
                close(fd);
        }
        for (int i = 0; i < 100; i++) { /* real ones, whose deadline is over before the answer */
                baton_channel *channel = peer_open(&peer, NULL);
                Conformance__Order order = CONFORMANCE__ORDER__INIT;
                act(channel, &order, &(baton_call_options){ .deadline_ns = 1 }, NULL);
                baton_channel_close(channel);
        }
        expect_server_alive();
}

/* ---- a server by hand ------------------------------------------------------------------------------------- */

static baton_status connect_to(const void *answer, size_t size, char text[512])
{
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        char address[128];
        static int n_servers;
        snprintf(address, sizeof address, "shm:%s/raw%d", scratch, n_servers);
        snprintf(name.sun_path, sizeof name.sun_path, "%s/raw%d", scratch, n_servers++);
        int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
        assert_int_equal(listen(listener, 5), 0);
        baton_channel *channel = baton_channel_open(address, &(baton_channel_options){ .connect_timeout_ms = 150 });
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int fd = accept(listener, NULL, NULL);
                char hello[1024];
                if (recv(fd, hello, sizeof hello, 0) < 0 || (size && send(fd, answer, size, 0) < 0))
                        _exit(1);
                pause(); /* the parent ends it */
        }
        baton_status status = baton_channel_connect(channel);
        snprintf(text, 512, "%s", status.message);
        status.message = text;
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        baton_channel_close(channel);
        close(listener);
        return status;
}

static void test_server_of_another_version(void **state)
{
        (void)state;
        char text[512];
        struct shm_hello welcome = a_hello();
        if (!transport->shm)
                skip();
        welcome.kind = SHM_WELCOME;
        welcome.version = 7;
        expect_status(connect_to(&welcome, sizeof welcome, text), BATON_FAILED_PRECONDITION,
                      "version 7|this program version 2|rebuild the older");
        welcome.version = SHM_VERSION;
        expect_status(connect_to(&welcome, sizeof welcome, text), BATON_UNAVAILABLE, "no memory");
        welcome.magic = 1;
        expect_status(connect_to(&welcome, sizeof welcome, text), BATON_UNAVAILABLE, "no Baton server");
        expect_status(connect_to("220 smtp ready\r\n", 16, text), BATON_UNAVAILABLE, "no Baton server");
}

static void test_refusals_of_a_server(void **state)
{
        (void)state;
        char text[512];
        struct shm_refusal refusal = { .kind = SHM_REFUSE, .code = BATON_UNAUTHENTICATED, .text = "show your pass" };
        if (!transport->shm)
                skip();
        expect_status(connect_to(&refusal, sizeof refusal, text), BATON_UNAUTHENTICATED, "refused|show your pass");
        refusal.code = 1000;
        memset(refusal.text, 'a', sizeof refusal.text); /* without an end */
        expect_status(connect_to(&refusal, sizeof refusal, text), BATON_UNAVAILABLE, "refused");
}

static void test_silent_server(void **state)
{
        (void)state;
        char text[512];
        if (!transport->shm)
                skip();
        uint64_t start_ns = now_ns();
        expect_status(connect_to(NULL, 0, text), BATON_UNAVAILABLE, "does not answer|stopped or overloaded");
        assert_in_range(now_ns() - start_ns, 140000000, 1000000000);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_client_of_another_version, begin, end),
                cmocka_unit_test_setup_teardown(test_strange_greetings, begin, end),
                cmocka_unit_test_setup_teardown(test_silent_client, begin, end),
                cmocka_unit_test_setup_teardown(test_clients_that_leave, begin, end),
                cmocka_unit_test(test_server_of_another_version),
                cmocka_unit_test(test_refusals_of_a_server),
                cmocka_unit_test(test_silent_server),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
