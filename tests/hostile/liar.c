#include "liar.h"
#include "base/hash.h"
#include "codec/layout.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

const struct lie *lie;
bool async;

static int listener;

void listen_at_address(void)
{
        struct sockaddr_un path = { .sun_family = AF_UNIX };
        strcpy(path.sun_path, socket_path());
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        check(bind(listener, (struct sockaddr *)&path, sizeof path) == 0 && listen(listener, 64) == 0, "listen: %s",
              strerror(errno));
}

static int receive_hello(int socket)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } buffer;
        struct shm_hello hello;
        int fd = -1;
        struct iovec part = { .iov_base = &hello, .iov_len = sizeof hello };
        struct msghdr header = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = &buffer, .msg_controllen = sizeof buffer
        };
        check(recvmsg(socket, &header, MSG_CMSG_CLOEXEC) == sizeof hello && CMSG_FIRSTHDR(&header), "no greeting");
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
        check(hello.ring_bytes == CLIENT_RING, "the client's ring has %u bytes", hello.ring_bytes);
        return fd;
}

/* The honest table: Echo, with its layouts, or the method of the lie. */
static int make_methods(uint32_t *n)
{
        struct shm_method methods[64] = { { .path_hash = hash_string("/test.Peer/Echo"),
                                            .input_layout = layout_hash(&test__blob__descriptor),
                                            .output_layout = layout_hash(&test__blob__descriptor) } };
        *n = 1;
        if (lie->path)
                methods[0].path_hash = hash_string(lie->path);
        if (lie->methods)
                lie->methods(methods, n);
        int fd = memfd_create("methods", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        uint32_t written = *n < 64 ? *n : 64;
        check(write(fd, methods, written * sizeof *methods) == (ssize_t)(written * sizeof *methods), "methods");
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
        return fd;
}

static void send_welcome(struct attacker *self)
{
        int fds[2];
        struct shm_hello welcome = greeting();
        welcome.kind = SHM_WELCOME;
        welcome.ring_bytes = CLIENT_RING;
        fds[0] = lie->memory ? lie->memory() : make_memory(base_bytes(CLIENT_RING), true, SEALED, (void **)&self->mine);
        fds[1] = make_methods(&welcome.n_methods);
        if (lie->welcome)
                lie->welcome(&welcome);
        post(self->socket, &welcome, sizeof welcome, fds, lie->n_fds ? lie->n_fds - 1 : 2);
        close(fds[0]);
        close(fds[1]);
}

static void await_request(struct attacker *self, struct shm_record *request)
{
        const struct shm_record *at = (const struct shm_record *)self->peer_half->ring[0].bytes;
        struct pollfd end = { .fd = self->socket, .events = POLLRDHUP };
        while (atomic_load_explicit(&at->mark, memory_order_acquire) != 1) {
                poll(&end, 1, 1);
                if (end.revents & (POLLRDHUP | POLLHUP))
                        return;
        }
        memcpy(request, at, sizeof *request);
        lie->serve(self, request);
}

/* Grants the lane that the client asks for, with a bell. */
static void grant_lane(struct attacker *self)
{
        union {
                char bytes[CMSG_SPACE(2 * sizeof(int))];
                struct cmsghdr align;
        } buffer;
        struct shm_new_lane lane;
        int fds[2];
        struct iovec part = { .iov_base = &lane, .iov_len = sizeof lane };
        struct msghdr header = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = &buffer, .msg_controllen = sizeof buffer
        };
        if (recvmsg(self->socket, &header, MSG_CMSG_CLOEXEC) != sizeof lane)
                return;
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fds);
        self->peer_half = mmap(NULL, half_bytes(CLIENT_RING), PROT_READ, MAP_SHARED, fds[0], 0);
        close(fds[0]);
        self->bell = fds[1];
        int fd = make_memory(half_bytes(CLIENT_RING), true, SEALED, (void **)&self->half);
        post(self->socket, &lane, sizeof lane, &fd, 1);
        close(fd);
}

static void leave_lane(struct attacker *self)
{
        if (!self->bell)
                return;
        close(self->bell);
        munmap(self->half, half_bytes(CLIENT_RING));
        munmap((void *)self->peer_half, half_bytes(CLIENT_RING));
}

void *play_server(void *unused)
{
        struct attacker self = { .socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC) };
        struct shm_record request = { 0 };
        /* A client that tries again finds nobody. */
        close(listener);
        unlink(socket_path());
        int fd = receive_hello(self.socket);
        self.theirs = mmap(NULL, base_bytes(CLIENT_RING), PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        send_welcome(&self);
        self.half = self.mine ? &self.mine->lane0 : NULL;
        self.peer_half = &self.theirs->lane0;
        if (async)
                grant_lane(&self);
        if (lie->serve && self.mine)
                await_request(&self, &request);
        hung_up(self.socket, 5000);
        close(self.socket);
        leave_lane(&self);
        munmap((void *)self.theirs, base_bytes(CLIENT_RING));
        if (self.mine)
                munmap(self.mine, base_bytes(CLIENT_RING));
        if (self.heap)
                munmap(self.heap, SHM_SEGMENT_LEAST);
        return unused;
}

void wake_client(struct attacker *self)
{
        atomic_fetch_add(&self->half->bell, 1);
        syscall(SYS_futex, &self->half->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        if (self->bell)
                send(self->bell, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void put(struct attacker *self, struct shm_record header, const void *body, size_t size)
{
        uint64_t lines = (sizeof header + size + SHM_LINE - 1) / SHM_LINE;
        struct shm_line *ring = self->half->ring;
        uint8_t *at = ring[self->tail].bytes;
        if (size)
                memcpy(at + sizeof header, body, size);
        memcpy(at + 8, (uint8_t *)&header + 8, sizeof header - 8);
        atomic_store_explicit(&((struct shm_record *)at)->mark, self->tail + 1, memory_order_release);
        self->tail += lines;
        if (!lie->mute)
                wake_client(self);
}
