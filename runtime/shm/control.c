#define _GNU_SOURCE
#include "shm/control.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST_NAME = 64, BACKLOG = 4096, BACKLOG_RETRY_US = 1000 };

/* ---- names ------------------------------------------------------------------------------------------------ */

static int bad_address(const char *address, const char *why)
{
        return error_set(-EINVAL, "malformed address \"%.100s\": %s; expected shm:NAME, shm:/PATH or inproc:NAME",
                         address, why);
}

static int check_name(const char *address, const char *name)
{
        size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
        if (name[length])
                return bad_address(address, "a name may have A-Z a-z 0-9 . _ - only");
        if (!length)
                return bad_address(address, "the name is empty");
        if (length > LONGEST_NAME)
                return bad_address(address, "the name is longer than 64 characters");
        if (name[0] == '.')
                return bad_address(address, "a name may not start with a dot");
        return 0;
}

int control_path(const char *address, struct sockaddr_un *path)
{
        *path = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (strncmp(address, "inproc:", 7) == 0) {
                int error = check_name(address, address + 7);
                if (error >= 0)
                        snprintf(path->sun_path, sizeof path->sun_path, "%s", address);
                return error;
        }
        if (strncmp(address, "shm:", 4) != 0)
                return bad_address(address, "unknown scheme");
        const char *name = address + 4;
        int length;
        if (name[0] == '/') {
                length = snprintf(path->sun_path, sizeof path->sun_path, "%s", name);
        } else {
                int error = check_name(address, name);
                if (error < 0)
                        return error;
                const char *runtime = getenv("XDG_RUNTIME_DIR");
                length = snprintf(path->sun_path, sizeof path->sun_path, "%s/baton/%s",
                                  runtime && runtime[0] == '/' ? runtime : "/run", name);
        }
        /* The lock beside it needs five characters more, though it is no socket and could be longer. */
        if (length >= (int)sizeof path->sun_path)
                return error_set(-EINVAL,
                                 "malformed address \"%.100s\": the socket's path %.60s… is longer than 107 bytes",
                                 address, path->sun_path);
        return 0;
}

/* ---- listening -------------------------------------------------------------------------------------------- */

static int cannot_listen(const struct sockaddr_un *path, const char *what)
{
        int error = errno;
        const char *hint = "";
        if (error == EACCES || error == EPERM || error == EROFS)
                hint = "; set XDG_RUNTIME_DIR to a directory of yours, or use shm:/PATH";
        else if (error == ENOENT)
                hint = "; create the directory first";
        return error_set(-error, "cannot listen at %s: %s: %s%s", path->sun_path, what, strerror(error), hint);
}

/* Makes the directory "…/baton" of a plain name; any other must exist. */
static int make_directory(const struct sockaddr_un *path)
{
        char directory[sizeof path->sun_path];
        memcpy(directory, path->sun_path, sizeof directory);
        char *slash = strrchr(directory, '/');
        *slash = '\0';
        const char *last = strrchr(directory, '/');
        if (!last || strcmp(last, "/baton") != 0)
                return 0;
        if (mkdir(directory, 0755) < 0 && errno != EEXIST)
                return cannot_listen(path, "mkdir");
        return 0;
}

/* The lock says that the path's server lives; the kernel drops it with the process, however that ends. */
static int take_lock(const struct sockaddr_un *path)
{
        char name[sizeof path->sun_path + 8];
        snprintf(name, sizeof name, "%s.lock", path->sun_path);
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return cannot_listen(path, "lock file");
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                int error = errno == EWOULDBLOCK
                                    ? error_set(-EADDRINUSE,
                                                "cannot listen at %s: a server that is running has it; stop "
                                                "it or choose another name",
                                                path->sun_path)
                                    : cannot_listen(path, "lock");
                close(fd);
                return error;
        }
        return fd;
}

/* Whether somebody listens there who does not know of our lock. */
static bool taken_by_stranger(const struct sockaddr_un *path)
{
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        bool taken = fd >= 0 && (connect(fd, (const struct sockaddr *)path, sizeof *path) == 0 || errno == EAGAIN ||
                                 errno == EPROTOTYPE);
        if (fd >= 0)
                close(fd);
        return taken;
}

static int bind_socket(const struct sockaddr_un *path)
{
        struct stat status;
        if (lstat(path->sun_path, &status) == 0 && !S_ISSOCK(status.st_mode)) {
                errno = EEXIST;
                return cannot_listen(path, "a file that is no socket is in the way");
        }
        if (taken_by_stranger(path))
                return error_set(-EADDRINUSE, "cannot listen at %s: another program listens there; choose another name",
                                 path->sun_path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return cannot_listen(path, "socket");
        unlink(path->sun_path); /* left by a dead server: its lock was free */
        if (bind(fd, (const struct sockaddr *)path, sizeof *path) == 0 && chmod(path->sun_path, 0666) == 0 &&
            listen(fd, BACKLOG) == 0)
                return fd;
        int error = cannot_listen(path, "bind");
        close(fd);
        return error;
}

int control_listen(const struct sockaddr_un *path, int *lock_fd)
{
        int error = make_directory(path);
        if (error < 0)
                return error;
        *lock_fd = take_lock(path);
        if (*lock_fd < 0)
                return *lock_fd;
        int fd = bind_socket(path);
        if (fd < 0) {
                close(*lock_fd);
                return fd;
        }
        fork_guard(*lock_fd);
        return fork_guard(fd);
}

bool control_listens_at(int fd, const struct sockaddr_un *path)
{
        struct sockaddr_un name = { 0 };
        socklen_t name_size = sizeof name, size = sizeof(int);
        int type = -1, listens = 0;
        return getsockname(fd, (struct sockaddr *)&name, &name_size) == 0 && name.sun_family == AF_UNIX &&
               strncmp(name.sun_path, path->sun_path, sizeof name.sun_path) == 0 &&
               getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
               getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens;
}

void control_listen_again(int fd)
{
        listen(fd, BACKLOG);
}

void control_unlisten(const struct sockaddr_un *path, int socket_fd, int lock_fd)
{
        if (path)
                unlink(path->sun_path);
        fork_close(socket_fd);
        if (lock_fd >= 0)
                fork_close(lock_fd); /* the lock file stays: removing it would race with the next server's lock */
}

/* ---- connecting ------------------------------------------------------------------------------------------- */

int control_connect(const struct sockaddr_un *path, uint64_t deadline_ns)
{
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_set(-errno, "cannot make a socket: %s; see ulimit -n", strerror(errno));
        while (connect(fd, (const struct sockaddr *)path, sizeof *path) < 0) {
                int error = errno;
                if ((error == EAGAIN || error == EINTR) && !deadline_passed(deadline_ns)) {
                        usleep(BACKLOG_RETRY_US);
                        continue;
                }
                close(fd);
                const char *hint = "";
                if (error == ENOENT)
                        hint = "; is the server running, under this name, and with the same XDG_RUNTIME_DIR?";
                else if (error == ECONNREFUSED)
                        hint = "; its server is gone: is the server running, or to be started again?";
                else if (error == EAGAIN)
                        hint = "; the server does not accept connections";
                else if (error == EACCES)
                        hint = "; this user may not use that socket";
                return error_set(-error, "cannot connect to %s: %s%s", path->sun_path, strerror(error), hint);
        }
        return fd;
}

baton_peer control_peer(int socket_fd)
{
        struct ucred credentials = { .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
        socklen_t size = sizeof credentials;
        getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
        return (baton_peer){ .pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid };
}

/* ---- messages --------------------------------------------------------------------------------------------- */

union fd_buffer {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
};

int control_send(int socket_fd, const void *message, size_t size, const int *fds, int n_fds)
{
        struct iovec part = { .iov_base = (void *)message, .iov_len = size };
        union fd_buffer buffer = { 0 };
        struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
        if (n_fds) {
                header.msg_control = buffer.bytes;
                header.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
                struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
                rights->cmsg_level = SOL_SOCKET;
                rights->cmsg_type = SCM_RIGHTS;
                rights->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
                memcpy(CMSG_DATA(rights), fds, (size_t)n_fds * sizeof(int));
        }
        for (;;) {
                if (sendmsg(socket_fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                        return 0;
                if (errno == EINTR)
                        continue;
                return errno == ECONNRESET ? -EPIPE : -errno;
        }
}

int control_send_wait(int socket_fd, const void *message, size_t size, const int *fds, int n_fds, uint64_t deadline_ns)
{
        for (;;) {
                int error = control_send(socket_fd, message, size, fds, n_fds);
                if (error != -EAGAIN)
                        return error;
                struct pollfd ready = { .fd = socket_fd, .events = POLLOUT };
                if (poll(&ready, 1, deadline_left_ms(deadline_ns, 1000)) == 0 && deadline_passed(deadline_ns))
                        return -ETIMEDOUT;
        }
}

static void take_rights(struct control_message *message, struct msghdr *header, int *n_received)
{
        for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at; at = CMSG_NXTHDR(header, at)) {
                if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
                        continue;
                int n = (int)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                for (int i = 0; i < n; i++, (*n_received)++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(at) + (size_t)i * sizeof fd, sizeof fd);
                        if (message->n_fds < 2)
                                message->fds[message->n_fds++] = fd;
                        else
                                close(fd);
                }
        }
}

int control_receive(int socket_fd, struct control_message *message)
{
        struct iovec part = { .iov_base = message, .iov_len = offsetof(struct control_message, size) };
        union fd_buffer buffer;
        struct msghdr header = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = buffer.bytes, .msg_controllen = sizeof buffer.bytes
        };
        memset(message, 0, sizeof *message);
        ssize_t size;
        do
                size = recvmsg(socket_fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (size < 0 && errno == EINTR);
        if (size < 0)
                return errno == EAGAIN ? 0 : -ECONNRESET;
        int n_received = 0;
        take_rights(message, &header, &n_received);
        if (size == 0 && n_received == 0)
                return -ECONNRESET;
        message->size = (size_t)size;
        static const size_t sizes[] = {
                [SHM_HELLO] = sizeof(struct shm_hello),       [SHM_WELCOME] = sizeof(struct shm_hello),
                [SHM_REFUSE] = sizeof(struct shm_refusal),    [SHM_BELL] = sizeof(struct shm_bell),
                [SHM_LANE] = sizeof(struct shm_new_lane),     [SHM_SEGMENT] = sizeof(struct shm_new_segment),
                [SHM_GOAWAY] = sizeof(struct shm_plain),      [SHM_PING] = sizeof(struct shm_plain),
                [SHM_PONG] = sizeof(struct shm_plain),        [SHM_TAKEOVER] = sizeof(struct shm_takeover),
                [SHM_HANDOVER] = sizeof(struct shm_takeover), [SHM_TAKEN] = sizeof(struct shm_plain),
        };
        bool known =
                (size_t)size >= sizeof message->kind && message->kind >= SHM_HELLO && message->kind <= SHM_KIND_LAST;
        /* Another version may greet in another size: its version number decides, so that the answer can name it. */
        bool fits = known && ((size_t)size == sizes[message->kind] ||
                              (message->kind <= SHM_WELCOME && size >= 16 && message->hello.version != SHM_VERSION));
        if (fits && n_received <= 2 && !(header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
                return 1;
        control_discard(message);
        return error_set(
                -EPROTO,
                header.msg_flags & MSG_CTRUNC
                        ? "a message came without its file descriptors; is this process out of them (ulimit -n)?"
                        : "a message came that no Baton peer sends");
}

int control_take(struct control_message *message, int index)
{
        if (index >= message->n_fds)
                return -1;
        int fd = message->fds[index];
        message->fds[index] = -1;
        return fd;
}

int control_send_plain(int socket_fd, uint32_t kind)
{
        struct shm_plain message = { .kind = kind };
        return control_send(socket_fd, &message, sizeof message, NULL, 0);
}

void control_discard(struct control_message *message)
{
        for (int i = 0; i < message->n_fds; i++)
                if (message->fds[i] >= 0)
                        close(message->fds[i]);
        message->n_fds = 0;
}
