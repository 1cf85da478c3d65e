/* Peers that ask for a server's listening socket and may not have it, or play with it; and servers that answer such a request with
 * rubbish. */
#include "attacker.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MS = 2000, PINGS = 20000 };

static int n_attacks;

static void survived(const char *what)
{
        check_canary(what);
        n_attacks++;
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static const struct shm_takeover request = { .kind = SHM_TAKEOVER, .magic = SHM_MAGIC };

/* The kind of the answer, its fds closed; 0: the connection ended. *code: of a refusal. */
static uint32_t answer(int socket, uint32_t *code, int *n_fds)
{
        struct shm_refusal message = { 0 };
        union {
                char bytes[CMSG_SPACE(4 * sizeof(int))];
                struct cmsghdr align;
        } buffer;
        struct iovec part = { .iov_base = &message, .iov_len = sizeof message };
        struct msghdr header = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = buffer.bytes, .msg_controllen = sizeof buffer.bytes
        };
        struct pollfd ready = { .fd = socket, .events = POLLIN };
        check(poll(&ready, 1, ANSWER_MS) == 1, "no answer to a request for the socket");
        *n_fds = 0;
        if (recvmsg(socket, &header, MSG_CMSG_CLOEXEC) <= 0)
                return 0;
        for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at; at = CMSG_NXTHDR(&header, at))
                for (size_t i = 0; i < (at->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, ++*n_fds) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
                        close(fd);
                }
        *code = message.code;
        return message.kind;
}

static void expect_handover(int socket, const char *what)
{
        uint32_t code;
        int n_fds;
        check(post(socket, &request, sizeof request, NULL, 0), "%s: the server hung up", what);
        check(answer(socket, &code, &n_fds) == SHM_HANDOVER && n_fds == 2, "%s: the socket is not handed over", what);
}

static void expect_refusal(int socket, baton_code expected, const char *what)
{
        uint32_t code = 0;
        int n_fds;
        post(socket, &request, sizeof request, NULL, 0);
        check(answer(socket, &code, &n_fds) == SHM_REFUSE && code == (uint32_t)expected && !n_fds,
              "%s: refused with %s", what, baton_code_name((int)code));
        check(hung_up(socket, ANSWER_MS), "%s: not dropped", what);
}

static void one_at_a_time(void)
{
        for (int i = 0; i < 20; i++) {
                int first = dial(), second = dial();
                expect_handover(first, "the first to ask");
                expect_refusal(second, BATON_UNAVAILABLE, "the second to ask");
                close(second);
                survived("two that ask for the socket");
                close(first); /* never served: the server goes on */
                survived("one that was given the socket and left");
        }
}

/* Asks twice; greets after it asked; says that it serves what it was not given. */
static void out_of_turn(int good_fd)
{
        struct shm_plain taken = { .kind = SHM_TAKEN };
        struct shm_hello hello = greeting();
        int socket = dial();
        expect_handover(socket, "asking");
        expect_refusal(socket, BATON_UNAVAILABLE, "asking again");
        close(socket);
        survived("asking again");
        socket = dial();
        expect_handover(socket, "asking");
        post(socket, &hello, sizeof hello, &good_fd, 1);
        post(socket, &taken, sizeof taken, NULL, 0);
        check(hung_up(socket, ANSWER_MS), "one that greets after asking is not dropped");
        close(socket);
        survived("greeting after asking");
        socket = dial();
        post(socket, &taken, sizeof taken, NULL, 0);
        check(hung_up(socket, ANSWER_MS), "one that took what it was not given is not dropped");
        close(socket);
        survived("taking without asking");
}

static void malformed(int good_fd)
{
        struct shm_takeover wrong = request;
        wrong.magic++;
        for (size_t size = 4; size <= sizeof request + 8; size += 4) {
                uint8_t bytes[sizeof request + 8] = { 0 };
                memcpy(bytes, &request, sizeof request);
                if (size == sizeof request)
                        continue;
                int socket = dial();
                post(socket, bytes, size, NULL, 0);
                check(hung_up(socket, ANSWER_MS), "a request of %zu bytes is not refused", size);
                close(socket);
        }
        int socket = dial();
        post(socket, &wrong, sizeof wrong, NULL, 0);
        check(hung_up(socket, ANSWER_MS), "a request with another magic number is not refused");
        close(socket);
        socket = dial();
        post(socket, &request, sizeof request, &good_fd, 1);
        check(hung_up(socket, ANSWER_MS), "a request with an fd is not refused");
        close(socket);
        survived("malformed requests for the socket");
}

/* What only servers say, and what comes at the wrong time. */
static void from_clients(void)
{
        static const uint32_t kinds[] = { SHM_GOAWAY, SHM_PONG, SHM_TAKEN };
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
                struct shm_plain message = { .kind = kinds[i] };
                struct attacker attacker = attack();
                post(attacker.socket, &message, sizeof message, NULL, 0);
                check(hung_up(attacker.socket, ANSWER_MS), "a client that sends message %u is not dropped", kinds[i]);
                retreat(&attacker);
                survived("a message that only servers send");
        }
        struct attacker attacker = attack();
        post(attacker.socket, &request, sizeof request, NULL, 0);
        check(hung_up(attacker.socket, ANSWER_MS), "a client that asks for the socket is not dropped");
        retreat(&attacker);
        survived("a client that asks for the socket");
}

/* Pings without end, and reads no answer: nobody else notices. */
static void pings(void)
{
        struct shm_plain ping = { .kind = SHM_PING };
        struct attacker attacker = attack();
        for (int i = 0; i < PINGS; i++)
                if (send(attacker.socket, &ping, sizeof ping, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                        check(errno == EAGAIN, "ping: %s", strerror(errno));
        survived("pings whose answers nobody reads");
        retreat(&attacker);
}

/* Who asks between the new server's word that it serves and the old one's end gets nothing: two would serve. */
static void given_once(void)
{
        struct process server = start_server();
        struct shm_plain taken = { .kind = SHM_TAKEN };
        int first = dial(), second = dial(), status = 0;
        expect_handover(first, "the first to ask");
        stop(&server); /* both messages will be there at once */
        check(post(first, &taken, sizeof taken, NULL, 0) && post(second, &request, sizeof request, NULL, 0),
              "the server hung up");
        go_on(&server);
        uint32_t code = 0;
        int n_fds;
        uint32_t kind = answer(second, &code, &n_fds);
        check(kind == SHM_REFUSE && code == BATON_UNAVAILABLE && !n_fds, "the socket is given twice");
        close(first);
        close(second);
        check(waitpid(server.pid, &status, 0) == server.pid && status == 0,
              "the server that was taken over, and has no clients, ended with 0x%x", (unsigned)status);
        close(server.out);
        unlink(socket_path()); /* was the new server's to remove */
        n_attacks++;
}

/* ---- another user --------------------------------------------------------------------------------------------- */

static bool anybody(const baton_peer *who, void *context)
{
        (void)who;
        (void)context;
        return true;
}

/* A server that lets everybody call lets nobody else have its socket. */
static void another_user(void)
{
        char at[200], *slash;
        if (getuid() != 0)
                return;
        snprintf(at, sizeof at, "%s", socket_path());
        slash = strrchr(at, '/');
        *slash = '\0';
        check(chmod(at, 0711) == 0, "chmod: %s", strerror(errno));
        snprintf(at, sizeof at, "%s.open", address());
        baton_server *server = baton_server_new(&(baton_server_options){ .authorize = anybody });
        check(server && baton_server_listen(server, at) == 0 && baton_server_start(server) == 0, "%s", baton_error());
        pid_t pid = fork();
        if (pid == 0) {
                uint32_t code = 0;
                int n_fds;
                struct sockaddr_un path = { .sun_family = AF_UNIX };
                snprintf(path.sun_path, sizeof path.sun_path, "%s.open", socket_path());
                int socket_fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
                if (setuid(65534) < 0 || connect(socket_fd, (struct sockaddr *)&path, sizeof path) < 0)
                        _exit(100);
                post(socket_fd, &request, sizeof request, NULL, 0);
                uint32_t kind = answer(socket_fd, &code, &n_fds);
                _exit(kind == SHM_REFUSE && !n_fds ? (int)code : 101);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        check(WIFEXITED(status) && WEXITSTATUS(status) == BATON_PERMISSION_DENIED,
              "another user who asks for the socket is told 0x%x", (unsigned)status);
        baton_server_free(server);
        n_attacks++;
}

/* ---- servers that answer with rubbish ------------------------------------------------------------------------- */

struct impostor {
        int listener;
        const void *message;
        size_t size;
        int fds[2];
        int n_fds;
};

static void *answer_wrongly(void *argument)
{
        struct impostor *impostor = argument;
        char buffer[64];
        int socket = accept(impostor->listener, NULL, NULL);
        if (socket < 0 || recv(socket, buffer, sizeof buffer, 0) < 0)
                return NULL;
        post(socket, impostor->message, impostor->size, impostor->fds, impostor->n_fds);
        close(socket);
        return NULL;
}

static void ask_impostor(struct impostor *impostor, const char *at, const char *what)
{
        pthread_t thread;
        pthread_create(&thread, NULL, answer_wrongly, impostor);
        baton_server *server = baton_server_new(&(baton_server_options){ .takeover = true });
        int error = baton_server_listen(server, at);
        check(error == -EPROTO || error == -EACCES, "%s: listening ended %d (%s)", what, error, baton_error());
        check(strstr(baton_error(), "cannot take") != NULL, "%s: \"%s\"", what, baton_error());
        baton_server_free(server);
        pthread_join(thread, NULL);
        n_attacks++;
}

static void impostors(void)
{
        char at[200];
        struct sockaddr_un path = { .sun_family = AF_UNIX };
        snprintf(path.sun_path, sizeof path.sun_path, "%s.fake", socket_path());
        snprintf(at, sizeof at, "%s.fake", address());
        int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        check(bind(listener, (struct sockaddr *)&path, sizeof path) == 0 && listen(listener, 10) == 0, "listen: %s",
              strerror(errno));
        int pair[2], elsewhere = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "socketpair: %s", strerror(errno));
        strcat(path.sun_path, "2");
        check(bind(elsewhere, (struct sockaddr *)&path, sizeof path) == 0 && listen(elsewhere, 10) == 0, "listen: %s",
              strerror(errno));
        struct shm_takeover handover = { .kind = SHM_HANDOVER, .owns_file = 1, .magic = SHM_MAGIC };
        struct shm_takeover strange = { .kind = SHM_HANDOVER, .magic = 1 };
        struct shm_refusal refusal = { .kind = SHM_REFUSE, .code = 7777 };
        memset(refusal.text, 'x', sizeof refusal.text);
        struct impostor all[] = {
                { listener, &handover, sizeof handover, { 0, 0 }, 0 },
                { listener, &handover, sizeof handover, { pair[0], pair[1] }, 2 },
                { listener, &handover, sizeof handover, { elsewhere, pair[1] }, 2 },
                { listener, &strange, sizeof strange, { listener, pair[1] }, 2 },
                { listener, &refusal, sizeof refusal, { 0, 0 }, 0 },
                { listener, "no message of any kind", 22, { 0, 0 }, 0 },
        };
        static const char *const names[] = {
                "no socket",     "a socket that does not listen",        "a socket of another path",
                "another magic", "a refusal without an end to its text", "noise"
        };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                ask_impostor(&all[i], at, names[i]);
        close(listener);
        close(elsewhere);
        close(pair[0]);
        close(pair[1]);
}

int main(void)
{
        struct process server = start("crash_server", (const char *const[]){ address(), "handshake", "300", NULL });
        int good_fd = make_memory(base_bytes(RING_BYTES), true, SEALED, NULL);
        keep_canary(&server);
        struct holding before = holding(server.pid);
        one_at_a_time();
        out_of_turn(good_fd);
        malformed(good_fd);
        from_clients();
        pings();
        check_back(server.pid, before, 4, 2048, "the server after all of it");
        baton_channel *late = open_channel(NULL);
        check(call_echo(late, 1, 10, 5000).code == BATON_OK, "the server does not accept any more");
        baton_channel_close(late);
        free_canary();
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        check(access(socket_path(), F_OK) < 0, "the server did not remove its socket file");
        given_once();
        another_user();
        impostors();
        say("%d requests for a server's socket: none was granted that should not have been", n_attacks);
        return 0;
}
