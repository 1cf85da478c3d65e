#include "attacker.h"
#include "base/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, ANSWER_MS = 2000 };

/* ---- memory ------------------------------------------------------------------------------------------------- */

int make_memory(size_t size, bool allocated, enum seals seals, void **memory)
{
        int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        check(fd >= 0 && ftruncate(fd, (off_t)size) == 0, "memfd: %s", strerror(errno));
        if (allocated)
                check(fallocate(fd, 0, 0, (off_t)size) == 0, "fallocate: %s", strerror(errno));
        if (memory)
                *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (seals == SEALED)
                check(fcntl(fd, F_ADD_SEALS, SEALS) == 0, "seals: %s", strerror(errno));
        return fd;
}

static size_t whole_pages(size_t size)
{
        return (size + 4095) & ~(size_t)4095;
}

size_t half_bytes(uint32_t ring_bytes)
{
        return whole_pages(sizeof(struct shm_half) + ring_bytes);
}

size_t base_bytes(uint32_t ring_bytes)
{
        return whole_pages(offsetof(struct shm_base, lane0) + sizeof(struct shm_half) + ring_bytes);
}

/* ---- the control socket ------------------------------------------------------------------------------------- */

int dial(void)
{
        struct sockaddr_un path = { .sun_family = AF_UNIX };
        strcpy(path.sun_path, socket_path());
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        check(fd >= 0 && connect(fd, (struct sockaddr *)&path, sizeof path) == 0, "cannot connect: %s",
              strerror(errno));
        return fd;
}

bool post(int socket, const void *message, size_t size, const int *fds, int n_fds)
{
        union {
                char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
                struct cmsghdr align;
        } buffer;
        struct iovec part = { .iov_base = (void *)message, .iov_len = size };
        struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
        memset(&buffer, 0, sizeof buffer);
        if (n_fds) {
                header.msg_control = buffer.bytes;
                header.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
                struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
                rights->cmsg_level = SOL_SOCKET;
                rights->cmsg_type = SCM_RIGHTS;
                rights->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
                memcpy(CMSG_DATA(rights), fds, (size_t)n_fds * sizeof(int));
        }
        return sendmsg(socket, &header, MSG_NOSIGNAL) >= 0;
}

bool hung_up(int socket, unsigned ms)
{
        char buffer[1024];
        for (uint64_t until = now_ns() + ms * UINT64_C(1000000); now_ns() < until;) {
                struct pollfd ready = { .fd = socket, .events = POLLIN };
                if (poll(&ready, 1, 10) <= 0)
                        continue;
                ssize_t n = recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        return true;
        }
        return false;
}

struct shm_hello greeting(void)
{
        return (struct shm_hello){ .kind = SHM_HELLO,
                                   .version = SHM_VERSION,
                                   .magic = SHM_MAGIC,
                                   .heap_max = HEAP_BYTES,
                                   .ring_bytes = RING_BYTES,
                                   .stream_window = 1024 };
}

/* ---- a whole connection ------------------------------------------------------------------------------------- */

static int receive_fds(int socket, void *message, size_t size, int fds[2])
{
        union {
                char bytes[CMSG_SPACE(2 * sizeof(int))];
                struct cmsghdr align;
        } buffer;
        struct iovec part = { .iov_base = message, .iov_len = size };
        struct msghdr header = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = &buffer, .msg_controllen = sizeof buffer
        };
        ssize_t n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        if (n == (ssize_t)size && rights && rights->cmsg_len == CMSG_LEN(2 * sizeof(int))) {
                memcpy(fds, CMSG_DATA(rights), 2 * sizeof(int));
                return 0;
        }
        return -1;
}

static uint16_t find_method(int fd, uint32_t n, const char *path)
{
        for (uint32_t i = 0; i < n; i++) {
                struct shm_method method;
                check(pread(fd, &method, sizeof method, (off_t)(i * sizeof method)) == sizeof method,
                      "no method table");
                if (method.path_hash == hash_string(path))
                        return (uint16_t)i;
        }
        check(false, "%s is not in the method table", path);
        return 0;
}

struct attacker attack(void)
{
        struct attacker self = { .socket = dial() };
        struct shm_hello hello = greeting(), welcome;
        int fds[2];
        int fd = make_memory(base_bytes(RING_BYTES), true, SEALED, (void **)&self.mine);
        check(post(self.socket, &hello, sizeof hello, &fd, 1), "cannot greet: %s", strerror(errno));
        close(fd);
        check(receive_fds(self.socket, &welcome, sizeof welcome, fds) == 0 && welcome.kind == SHM_WELCOME,
              "no welcome");
        self.theirs = mmap(NULL, base_bytes(RING_BYTES), PROT_READ, MAP_SHARED, fds[0], 0);
        self.echo = find_method(fds[1], welcome.n_methods, "/test.Peer/Echo");
        self.hold = find_method(fds[1], welcome.n_methods, "/test.Peer/Hold");
        self.chat = find_method(fds[1], welcome.n_methods, "/test.Peer/Chat");
        self.keep = find_method(fds[1], welcome.n_methods, "/test.Peer/Keep");
        self.count = find_method(fds[1], welcome.n_methods, "/test.Peer/Count");
        self.n_methods = welcome.n_methods;
        close(fds[0]);
        close(fds[1]);
        return self;
}

void retreat(struct attacker *attacker)
{
        close(attacker->socket);
        munmap(attacker->mine, base_bytes(RING_BYTES));
        munmap((void *)attacker->theirs, base_bytes(RING_BYTES));
        if (attacker->heap)
                munmap(attacker->heap, SHM_SEGMENT_LEAST);
}

void announce_heap(struct attacker *attacker)
{
        struct shm_new_segment segment = { .kind = SHM_SEGMENT, .size = SHM_SEGMENT_LEAST };
        int fd = make_memory(SHM_SEGMENT_LEAST, true, SEALED, (void **)&attacker->heap);
        check(post(attacker->socket, &segment, sizeof segment, &fd, 1), "cannot announce the heap: %s",
              strerror(errno));
        close(fd);
}

void ring_bell(struct attacker *attacker)
{
        struct shm_bell bell = { .kind = SHM_BELL };
        post(attacker->socket, &bell, sizeof bell, NULL, 0);
}

void put_record(struct attacker *attacker, struct shm_record header, const void *body, size_t size)
{
        uint64_t lines = (sizeof header + size + SHM_LINE - 1) / SHM_LINE;
        struct shm_line *ring = attacker->mine->lane0.ring;
        uint8_t *at = ring[attacker->tail % RING_LINES].bytes;
        check(attacker->tail % RING_LINES + lines < RING_LINES, "the test's record does not fit");
        memset(ring[(attacker->tail + lines) % RING_LINES].bytes, 0, 8);
        if (size)
                memcpy(at + sizeof header, body, size);
        memcpy(at + 8, (uint8_t *)&header + 8, sizeof header - 8);
        atomic_store_explicit(&((struct shm_record *)at)->mark, attacker->tail + 1, memory_order_release);
        attacker->tail += lines;
        ring_bell(attacker);
}

struct shm_record echo_record(const struct attacker *attacker)
{
        return (struct shm_record){ .kind = SHM_REQUEST, .method = attacker->echo, .call = 1 };
}

bool replied(struct attacker *attacker, uint64_t call, uint16_t *code)
{
        for (uint64_t until = now_ns() + ANSWER_MS * UINT64_C(1000000); now_ns() < until; sleep_ms(1)) {
                for (uint64_t line = 0; line < RING_LINES; line++) {
                        const struct shm_record *record =
                                (const struct shm_record *)attacker->theirs->lane0.ring[line].bytes;
                        if (atomic_load_explicit(&record->mark, memory_order_acquire) != line + 1 ||
                            record->call != call || record->kind != SHM_REPLY)
                                continue;
                        *code = record->method;
                        return true;
                }
                struct pollfd end = { .fd = attacker->socket };
                if (poll(&end, 1, 0) > 0)
                        return false;
        }
        return false;
}

/* ---- the canary ---------------------------------------------------------------------------------------------- */

static baton_channel *canary;
static const struct process *canary_server;

void keep_canary(const struct process *server)
{
        canary = open_channel(NULL);
        canary_server = server;
        check_canary("nothing yet");
}

void check_canary(const char *what)
{
        check(running(canary_server), "%s: the server died", what);
        for (uint64_t i = 0; i < 3; i++) {
                struct outcome small = call_echo(canary, i, 40, 5000), large = call_echo(canary, i, 100000, 5000);
                check(small.code == BATON_OK && large.code == BATON_OK, "%s: the canary's calls ended %s and %s", what,
                      baton_code_name(small.code), baton_code_name(large.code));
        }
}

void free_canary(void)
{
        baton_channel_close(canary);
}
