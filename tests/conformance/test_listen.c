/* Addresses, well-formed and not; listening and the order of a server's life. */
#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const probe_handlers no_handlers;

/* ---- addresses -------------------------------------------------------------------------------------------- */

#define LETTERS_60 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
        const char *address;
        const char *words; /* beside the address */
} malformed[] = {
        { "", "unknown scheme|shm:NAME" },
        { "greeter", "unknown scheme|shm:NAME" },
        { "/tmp/socket", "unknown scheme" },
        { ":name", "unknown scheme" },
        { "SHM:name", "unknown scheme" },
        { "shmem:name", "unknown scheme" },
        { "http://localhost", "unknown scheme" },
        { "shm", "unknown scheme" },
        { "shm:", "name is empty" },
        { "shm:with space", "A-Z a-z 0-9" },
        { "shm:a/b", "A-Z a-z 0-9" },
        { "shm:näme", "A-Z a-z 0-9" },
        { "shm:name\n", "A-Z a-z 0-9" },
        { "shm:..", "start with a dot" },
        { "shm:" LETTERS_60 "12345", "longer than 64" },
        { "shm:/" LETTERS_60 LETTERS_60, "longer than 107" },
};

static void test_malformed_addresses(void **state)
{
        (void)state;
        baton_server *server = baton_server_new(NULL);
        assert_int_equal(probe_register(server, &no_handlers, NULL), 0);
        for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
                char quoted[256];
                snprintf(quoted, sizeof quoted, "malformed address \"%.100s\"", malformed[i].address);
                assert_null(baton_channel_open(malformed[i].address, NULL));
                expect_error(quoted);
                expect_error(malformed[i].words);
                assert_int_equal(baton_server_listen(server, malformed[i].address), -EINVAL);
                expect_error(quoted);
                expect_error(malformed[i].words);
        }
        baton_server_free(server);
}

static void test_longest_name(void **state)
{
        (void)state;
        char address[128];
        snprintf(address, sizeof address, "shm:%s1234", LETTERS_60);
        baton_channel *channel = baton_channel_open(address, NULL);
        assert_non_null(channel);
        expect_status(baton_channel_connect(channel), BATON_UNAVAILABLE, "cannot connect|1234");
        baton_channel_close(channel);
}

static void test_where_names_lie(void **state)
{
        (void)state;
        char path[128];
        if (!transport->shm)
                skip();
        struct peer peer;
        peer_start_here(&peer, NULL);
        baton_server *second = baton_server_new(NULL);
        assert_int_equal(probe_register(second, &no_handlers, NULL), 0);
        assert_int_equal(baton_server_listen(second, "shm:by-name"), 0);
        snprintf(path, sizeof path, "shm:%s/baton/by-name", scratch);
        baton_channel *channel = baton_channel_open(path, NULL);
        assert_int_equal(baton_server_start(second), 0);
        expect_status(baton_channel_connect(channel), BATON_OK, "");
        baton_channel_close(channel);
        baton_server_free(second);
        assert_int_not_equal(access(path + 4, F_OK), 0); /* a stopped server leaves no socket */
        peer_end(&peer);
}

/* ---- listening -------------------------------------------------------------------------------------------- */

static baton_server *new_server(void)
{
        baton_server *server = baton_server_new(NULL);
        assert_non_null(server);
        assert_int_equal(probe_register(server, &no_handlers, NULL), 0);
        return server;
}

static void test_order_of_life(void **state)
{
        (void)state;
        char listen[LONGEST_ADDRESS], channel[LONGEST_ADDRESS];
        transport->addresses(scratch, listen, channel);
        baton_server *server = new_server();
        assert_int_equal(probe_register(server, &no_handlers, NULL), -EALREADY);
        expect_error("conformance.Probe|registered already");
        assert_int_equal(baton_server_start(server), -EINVAL);
        expect_error("does not listen");
        assert_int_equal(baton_server_listen(server, listen), 0);
        static const stranger_handlers strangers;
        assert_int_equal(stranger_register(server, &strangers, NULL), -EBUSY);
        expect_error("conformance.Stranger|listens already|before baton_server_listen");
        assert_int_equal(baton_server_start(server), 0);
        assert_int_equal(baton_server_start(server), -EALREADY);
        assert_int_equal(baton_server_run(server), -EALREADY);
        expect_error("runs already");
        char other[LONGEST_ADDRESS];
        transport->addresses(scratch, other, channel);
        assert_int_equal(baton_server_listen(server, other), -EBUSY);
        expect_error("runs already");
        baton_server_stop(server);
        baton_server_stop(server);
        baton_server_free(server);
}

static void test_address_in_use(void **state)
{
        (void)state;
        struct peer peer;
        peer_start(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        baton_server *second = new_server();
        assert_int_equal(baton_server_listen(second, peer.listen), -EADDRINUSE);
        expect_error("cannot listen at|running has it");
        expect_error(strchr(peer.listen, ':') + 1);
        expect_alive(channel);
        peer_end(&peer);
        assert_int_equal(baton_server_listen(second, peer.listen), 0);
        baton_server_free(second);
        baton_channel_close(channel);
}

static void test_several_listeners(void **state)
{
        (void)state;
        char listen[3][LONGEST_ADDRESS], address[3][LONGEST_ADDRESS];
        baton_server *server = baton_server_new(&(baton_server_options){ .workers = 2 });
        struct probe *probe = probe_new();
        assert_int_equal(probe_serve(probe, server), 0);
        for (int i = 0; i < 3; i++) {
                transport->addresses(scratch, listen[i], address[i]);
                assert_int_equal(baton_server_listen(server, listen[i]), 0);
        }
        assert_int_equal(baton_server_listen(server, listen[1]), -EADDRINUSE); /* its own is one, too */
        assert_int_equal(baton_server_start(server), 0);
        for (int i = 0; i < 3; i++) {
                baton_channel *channel = baton_channel_open(address[i], NULL);
                expect_alive(channel);
                baton_channel_close(channel);
        }
        baton_server_free(server);
        probe_free(probe);
}

/* What a server leaves behind that was killed. */
static void test_stale_socket(void **state)
{
        (void)state;
        struct peer peer;
        peer_start_process(&peer, NULL);
        baton_channel *channel = peer_open(&peer, NULL);
        expect_alive(channel);
        peer_kill(&peer);
        baton_channel *fresh = peer_open(&peer, NULL);
        expect_status(baton_channel_connect(fresh), BATON_UNAVAILABLE, "cannot connect|refused");
        baton_channel_close(fresh);
        bool were = processes;
        processes = false;
        peer_restart(&peer, NULL);
        processes = were;
        expect_alive(channel);
        baton_channel_close(channel);
        peer_end(&peer);
}

static void expect_no_listening(const char *address, int error, const char *words)
{
        baton_server *server = new_server();
        assert_int_equal(baton_server_listen(server, address), error);
        expect_error("cannot listen at");
        expect_error(words);
        /* The server is as good as before. */
        char listen[LONGEST_ADDRESS], channel[LONGEST_ADDRESS];
        transport->addresses(scratch, listen, channel);
        assert_int_equal(baton_server_listen(server, listen), 0);
        baton_server_free(server);
}

static void test_places_that_will_not_do(void **state)
{
        (void)state;
        char address[128];
        if (!transport->shm)
                skip();
        snprintf(address, sizeof address, "shm:%s/missing/socket", scratch);
        expect_no_listening(address, -ENOENT, "missing/socket|No such file|create the directory");
        snprintf(address, sizeof address, "shm:%s/a-file", scratch);
        int fd = open(address + 4, O_CREAT | O_WRONLY, 0600);
        assert_int_equal(write(fd, "kept", 4), 4);
        close(fd);
        expect_no_listening(address, -EEXIST, "a-file|no socket is in the way");
        struct stat status;
        assert_int_equal(stat(address + 4, &status), 0);
        assert_int_equal(status.st_size, 4); /* and it is untouched */
        expect_no_listening("shm:/dev/null/socket", -ENOTDIR, "Not a directory");
}

static void test_listening_without_permission(void **state)
{
        (void)state;
        if (getuid() != 0 || !transport->shm)
                skip();
        char address[128];
        snprintf(address, sizeof address, "shm:%s/barred/socket", scratch);
        char directory[96];
        snprintf(directory, sizeof directory, "%s/barred", scratch);
        assert_int_equal(mkdir(directory, 0755), 0);
        assert_int_equal(chmod(scratch, 0711), 0);
        pid_t pid = fork();
        if (pid == 0) {
                bool fine = setgid(65534) == 0 && setuid(65534) == 0;
                baton_server *server = baton_server_new(NULL);
                fine = fine && baton_server_listen(server, address) == -EACCES && strstr(baton_error(), address + 4) &&
                       strstr(baton_error(), "Permission denied") && strstr(baton_error(), "XDG_RUNTIME_DIR");
                _exit(fine ? 0 : 1);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(chmod(scratch, 0700), 0);
        assert_int_equal(status, 0);
}

/* ---- what is no Baton server ------------------------------------------------------------------------------ */

static void test_a_socket_of_another_kind(void **state)
{
        (void)state;
        char address[128];
        struct sockaddr_un name = { .sun_family = AF_UNIX };
        if (!transport->shm)
                skip();
        snprintf(address, sizeof address, "shm:%s/stream", scratch);
        snprintf(name.sun_path, sizeof name.sun_path, "%s/stream", scratch);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
        assert_int_equal(listen(fd, 5), 0);
        baton_channel *channel = baton_channel_open(address, NULL);
        expect_status(baton_channel_connect(channel), BATON_UNAVAILABLE, "cannot connect|stream|wrong type");
        baton_channel_close(channel);
        close(fd);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_malformed_addresses),
                cmocka_unit_test(test_longest_name),
                cmocka_unit_test(test_where_names_lie),
                cmocka_unit_test(test_order_of_life),
                cmocka_unit_test(test_address_in_use),
                cmocka_unit_test(test_several_listeners),
                cmocka_unit_test(test_stale_socket),
                cmocka_unit_test(test_places_that_will_not_do),
                cmocka_unit_test(test_listening_without_permission),
                cmocka_unit_test(test_a_socket_of_another_kind),
        };
        return run_suite(argc, argv, tests, sizeof tests / sizeof *tests);
}
