#include "base/clock.h"
#include "shm/control.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <baton/status.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MS = 1000000 };

static char directory[64];
static int sockets[2];

static int set_up(void **state)
{
        (void)state;
        return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets);
}

static int tear_down(void **state)
{
        (void)state;
        close(sockets[0]);
        close(sockets[1]);
        return 0;
}

static int open_fds(void)
{
        int n = 0;
        DIR *self = opendir("/proc/self/fd");
        while (readdir(self))
                n++;
        closedir(self);
        return n;
}

/* ---- addresses -------------------------------------------------------------------------------------------- */

#define A64 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234"
#define P107 \
        "/aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggghhhhhhhhhhiiiiiiiiiijjjjjjjjjj123456"

static void addresses(void **state)
{
        (void)state;
        static const struct {
                const char *address, *path, *error;
        } table[] = {
                { "shm:a", "/run/user/x/baton/a", NULL },
                { "shm:A-z_0.9", "/run/user/x/baton/A-z_0.9", NULL },
                { "shm:" A64, "/run/user/x/baton/" A64, NULL },
                { "shm:/tmp/s", "/tmp/s", NULL },
                { "shm:" P107, P107, NULL },
                { "inproc:a", "inproc:a", NULL },
                { "inproc:" A64, "inproc:" A64, NULL },
                { "inproc:" A64 "5", NULL, "longer than 64" },
                { "inproc:", NULL, "the name is empty" },
                { "inproc:/tmp/s", NULL, "may have A-Z" },
                { "inproc:.a", NULL, "start with a dot" },
                { "inproc", NULL, "unknown scheme" },
                { "shm:", NULL, "the name is empty" },
                { "shm:" A64 "5", NULL, "longer than 64" },
                { "shm:" P107 "7", NULL, "longer than 107 bytes" },
                { "shm:.", NULL, "start with a dot" },
                { "shm:..", NULL, "start with a dot" },
                { "shm:.hidden", NULL, "start with a dot" },
                { "shm:a/b", NULL, "may have A-Z" },
                { "shm:../a", NULL, "may have A-Z" },
                { "shm:a b", NULL, "may have A-Z" },
                { "shm:a\n", NULL, "may have A-Z" },
                { "shm:\xc3\xa4", NULL, "may have A-Z" },
                { "", NULL, "unknown scheme" },
                { "a", NULL, "unknown scheme" },
                { "SHM:a", NULL, "unknown scheme" },
                { "shm", NULL, "unknown scheme" },
                { "unix:/tmp/s", NULL, "unknown scheme" },
        };
        setenv("XDG_RUNTIME_DIR", "/run/user/x", 1);
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                struct sockaddr_un path;
                int error = control_path(table[i].address, &path);
                if (table[i].path) {
                        assert_int_equal(error, 0);
                        assert_string_equal(path.sun_path, table[i].path);
                        assert_int_equal(path.sun_family, AF_UNIX);
                        continue;
                }
                assert_int_equal(error, -EINVAL);
                if (!strstr(baton_error(), table[i].error) || !strstr(baton_error(), "malformed address"))
                        fail_msg("\"%s\": %s", table[i].address, baton_error());
        }
}

static void runtime_directory(void **state)
{
        (void)state;
        struct sockaddr_un path;
        static const char *const unusable[] = { "", "relative/path" };
        for (int i = 0; i < 2; i++) {
                setenv("XDG_RUNTIME_DIR", unusable[i], 1);
                assert_int_equal(control_path("shm:a", &path), 0);
                assert_string_equal(path.sun_path, "/run/baton/a");
        }
        unsetenv("XDG_RUNTIME_DIR");
        assert_int_equal(control_path("shm:a", &path), 0);
        assert_string_equal(path.sun_path, "/run/baton/a");
        setenv("XDG_RUNTIME_DIR", P107, 1);
        assert_int_equal(control_path("shm:a", &path), -EINVAL);
}

/* ---- messages --------------------------------------------------------------------------------------------- */

static void every_kind(void **state)
{
        (void)state;
        const struct {
                uint32_t kind;
                size_t size;
        } kinds[] = {
                { SHM_HELLO, sizeof(struct shm_hello) },       { SHM_WELCOME, sizeof(struct shm_hello) },
                { SHM_REFUSE, sizeof(struct shm_refusal) },    { SHM_BELL, sizeof(struct shm_bell) },
                { SHM_LANE, sizeof(struct shm_new_lane) },     { SHM_SEGMENT, sizeof(struct shm_new_segment) },
                { SHM_GOAWAY, sizeof(struct shm_plain) },      { SHM_PING, sizeof(struct shm_plain) },
                { SHM_PONG, sizeof(struct shm_plain) },        { SHM_TAKEOVER, sizeof(struct shm_takeover) },
                { SHM_HANDOVER, sizeof(struct shm_takeover) }, { SHM_TAKEN, sizeof(struct shm_plain) },
        };
        struct control_message message;
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
                struct control_message sent = { .kind = kinds[i].kind };
                if (kinds[i].kind <= SHM_WELCOME)
                        sent.hello.version = SHM_VERSION;
                for (size_t size = 1; size <= offsetof(struct control_message, size) + 8; size++) {
                        uint8_t bytes[sizeof sent + 8] = { 0 };
                        memcpy(bytes, &sent, offsetof(struct control_message, size));
                        assert_int_equal(control_send(sockets[0], bytes, size, NULL, 0), 0);
                        assert_int_equal(control_receive(sockets[1], &message), size == kinds[i].size ? 1 : -EPROTO);
                }
                assert_int_equal(control_receive(sockets[1], &message), 0);
        }
        static const uint32_t unknown[] = { 0, SHM_KIND_LAST + 1, 0x80000000, UINT32_MAX };
        for (int i = 0; i < 4; i++) {
                struct shm_bell bell = { .kind = unknown[i] };
                assert_int_equal(control_send(sockets[0], &bell, sizeof bell, NULL, 0), 0);
                assert_int_equal(control_receive(sockets[1], &message), -EPROTO);
        }
}

static void another_version(void **state)
{
        (void)state;
        uint32_t hello[8] = { SHM_HELLO, SHM_VERSION + 1 };
        struct control_message message;
        assert_int_equal(control_send(sockets[0], hello, sizeof hello, NULL, 0), 0);
        assert_int_equal(control_receive(sockets[1], &message), 1); /* so that it can be refused by name */
        assert_int_equal(message.hello.version, SHM_VERSION + 1);
}

static void passes_fds(void **state)
{
        (void)state;
        int before = open_fds(), pipes[2];
        assert_int_equal(pipe(pipes), 0);
        struct shm_new_lane lane = { .kind = SHM_LANE, .lane = 3 };
        struct control_message message;
        assert_int_equal(control_send(sockets[0], &lane, sizeof lane, pipes, 2), 0);
        assert_int_equal(control_receive(sockets[1], &message), 1);
        assert_int_equal(message.n_fds, 2);
        assert_int_equal(message.lane.lane, 3);
        int end = control_take(&message, 1);
        assert_true(end >= 0);
        assert_true(fcntl(end, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(control_take(&message, 1), -1); /* taken */
        assert_int_equal(control_take(&message, 2), -1); /* none there */
        assert_int_equal(write(end, "x", 1), 1);
        char byte;
        assert_int_equal(read(pipes[0], &byte, 1), 1);
        control_discard(&message);
        control_discard(&message); /* again: harmless */
        close(end);
        close(pipes[0]);
        close(pipes[1]);
        assert_int_equal(open_fds(), before);
}

static void send_many(int n)
{
        int fds[253];
        char buffer[CMSG_SPACE(sizeof fds)] __attribute__((aligned(8))) = { 0 };
        struct shm_bell bell = { .kind = SHM_BELL };
        struct iovec part = { .iov_base = &bell, .iov_len = sizeof bell };
        struct msghdr header = { .msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = buffer,
                                 .msg_controllen = CMSG_SPACE((size_t)n * sizeof(int)) };
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
        for (int i = 0; i < n; i++)
                fds[i] = STDIN_FILENO;
        memcpy(CMSG_DATA(rights), fds, (size_t)n * sizeof(int));
        assert_true(sendmsg(sockets[0], &header, 0) >= 0);
}

/* More than any message has: refused, and none of them stays open. */
static void too_many_fds(void **state)
{
        (void)state;
        int before = open_fds();
        static const int counts[] = { 3, 4, 5, 16, 253 };
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
                struct control_message message;
                send_many(counts[i]);
                assert_int_equal(control_receive(sockets[1], &message), -EPROTO);
                assert_int_equal(open_fds(), before);
        }
}

/* The kernel could not hand over all of the fds: the message is refused, and what came of them is closed. */
static void out_of_fds(void **state)
{
        (void)state;
        int before = open_fds(), fds[2] = { STDIN_FILENO, STDIN_FILENO };
        struct shm_new_lane lane = { .kind = SHM_LANE };
        struct control_message message;
        struct rlimit limit, tight;
        assert_int_equal(control_send(sockets[0], &lane, sizeof lane, fds, 2), 0);
        int lowest = dup(STDIN_FILENO);
        close(lowest);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        tight = limit;
        tight.rlim_cur = (rlim_t)lowest + 1; /* one more */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        int n = control_receive(sockets[1], &message);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(n, -EPROTO);
        assert_int_equal(open_fds(), before);
}

static void fds_of_malformed_messages(void **state)
{
        (void)state;
        int before = open_fds(), fd = STDIN_FILENO;
        struct shm_bell bell = { .kind = 99 };
        struct control_message message;
        assert_int_equal(control_send(sockets[0], &bell, sizeof bell, &fd, 1), 0);
        assert_int_equal(control_receive(sockets[1], &message), -EPROTO);
        assert_int_equal(control_send(sockets[0], &bell, 0, &fd, 1), 0);
        assert_true(control_receive(sockets[1], &message) < 0);
        assert_int_equal(open_fds(), before);
}

static void peer_gone(void **state)
{
        (void)state;
        struct shm_bell bell = { .kind = SHM_BELL };
        struct control_message message;
        assert_int_equal(control_send(sockets[0], &bell, sizeof bell, NULL, 0), 0);
        close(sockets[0]);
        assert_int_equal(control_receive(sockets[1], &message), 1); /* what came before counts */
        assert_int_equal(control_receive(sockets[1], &message), -ECONNRESET);
        assert_int_equal(control_send(sockets[1], &bell, sizeof bell, NULL, 0), -EPIPE);
        sockets[0] = -1;
}

static void would_block(void **state)
{
        (void)state;
        struct shm_bell bell = { .kind = SHM_BELL };
        struct control_message message;
        int n = 0, error;
        while ((error = control_send(sockets[0], &bell, sizeof bell, NULL, 0)) == 0)
                n++;
        assert_int_equal(error, -EAGAIN);
        uint64_t before = clock_now_ns();
        assert_int_equal(control_send_wait(sockets[0], &bell, sizeof bell, NULL, 0, before + 20 * MS), -ETIMEDOUT);
        assert_true(clock_now_ns() - before >= 20 * MS);
        for (; n; n--)
                assert_int_equal(control_receive(sockets[1], &message), 1);
        assert_int_equal(control_receive(sockets[1], &message), 0);
        assert_int_equal(control_send_wait(sockets[0], &bell, sizeof bell, NULL, 0, before + 1), 0);
}

/* ---- listening -------------------------------------------------------------------------------------------- */

static struct sockaddr_un path_of(const char *name)
{
        struct sockaddr_un path = { .sun_family = AF_UNIX };
        snprintf(path.sun_path, sizeof path.sun_path, "%s/%s", directory, name);
        return path;
}

static void one_server_a_path(void **state)
{
        (void)state;
        struct sockaddr_un path = path_of("s");
        int lock, other;
        assert_true(control_connect(&path, 0) == -ENOENT);
        assert_non_null(strstr(baton_error(), "is the server running"));
        int fd = control_listen(&path, &lock);
        assert_true(fd >= 0);
        assert_int_equal(control_listen(&path, &other), -EADDRINUSE);
        assert_non_null(strstr(baton_error(), path.sun_path));
        int client = control_connect(&path, 0);
        assert_true(client >= 0); /* the refused one has left the socket alone */
        baton_peer peer = control_peer(client);
        assert_int_equal(peer.pid, getpid());
        assert_int_equal(peer.uid, getuid());
        close(client);
        control_unlisten(&path, fd, lock);
        assert_true(access(path.sun_path, F_OK) < 0);
        fd = control_listen(&path, &lock); /* the lock file has stayed, its lock not */
        assert_true(fd >= 0);
        control_unlisten(&path, fd, lock);
}

static void after_a_crash(void **state)
{
        (void)state;
        struct sockaddr_un path = path_of("crashed");
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
                int lock;
                _exit(control_listen(&path, &lock) < 0);
        }
        int status, lock;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
        assert_int_equal(access(path.sun_path, F_OK), 0); /* left behind */
        assert_int_equal(control_connect(&path, 0), -ECONNREFUSED);
        int fd = control_listen(&path, &lock);
        assert_true(fd >= 0);
        control_unlisten(&path, fd, lock);
}

static void what_is_in_the_way(void **state)
{
        (void)state;
        struct sockaddr_un file = path_of("file"), missing = path_of("missing/s"), named = path_of("baton/s");
        int lock, before = open_fds();
        FILE *text = fopen(file.sun_path, "w");
        assert_non_null(text);
        fclose(text);
        assert_int_equal(control_listen(&file, &lock), -EEXIST);
        assert_non_null(strstr(baton_error(), "no socket is in the way"));
        assert_int_equal(access(file.sun_path, F_OK), 0); /* not removed */
        assert_int_equal(control_listen(&missing, &lock), -ENOENT);
        assert_non_null(strstr(baton_error(), "create the directory"));
        assert_int_equal(open_fds(), before);
        int fd = control_listen(&named, &lock); /* the directory of plain names is made */
        assert_true(fd >= 0);
        control_unlisten(&named, fd, lock);
}

int main(void)
{
        snprintf(directory, sizeof directory, "/tmp/baton-control-XXXXXX");
        if (!mkdtemp(directory))
                return 1;
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(addresses),          TEST(runtime_directory),
                TEST(every_kind),         TEST(another_version),
                TEST(passes_fds),         TEST(too_many_fds),
                TEST(out_of_fds),         TEST(fds_of_malformed_messages),
                TEST(peer_gone),          TEST(would_block),
                TEST(one_server_a_path),  TEST(after_a_crash),
                TEST(what_is_in_the_way),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        char command[128];
        snprintf(command, sizeof command, "rm -rf %s", directory);
        return system(command) || failed;
}
