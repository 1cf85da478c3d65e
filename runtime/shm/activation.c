#define _GNU_SOURCE
#include "shm/activation.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST = 3, MOST = 1024 };

static long number(const char *variable)
{
        const char *text = getenv(variable);
        char *end;
        if (!text || *text < '0' || *text > '9')
                return -1;
        errno = 0;
        long value = strtol(text, &end, 10);
        return errno || *end ? -1 : value;
}

static bool bound_to(int fd, const struct sockaddr_un *path)
{
        struct sockaddr_un name = { 0 };
        socklen_t size = sizeof name;
        return getsockname(fd, (struct sockaddr *)&name, &size) == 0 && name.sun_family == AF_UNIX &&
               size > sizeof name.sun_family && strncmp(name.sun_path, path->sun_path, sizeof name.sun_path) == 0;
}

static int option(int fd, int name)
{
        int value = -1;
        socklen_t size = sizeof value;
        return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

static int copy(int fd, const struct sockaddr_un *path)
{
        if (option(fd, SO_TYPE) != SOCK_SEQPACKET)
                return error_set(-EPROTOTYPE,
                                 "cannot listen at %s: the socket passed for it (LISTEN_FDS) is of another type; use "
                                 "ListenSequentialPacket= in its .socket unit",
                                 path->sun_path);
        if (option(fd, SO_ACCEPTCONN) != 1)
                return error_set(-EINVAL,
                                 "cannot listen at %s: the socket passed for it (LISTEN_FDS) does not listen; use "
                                 "Accept=no in its .socket unit",
                                 path->sun_path);
        /* The passed one stays for a server that listens there again later. */
        int mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (mine < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(mine, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
                int error = errno;
                if (mine >= 0)
                        close(mine);
                return error_set(-error, "cannot listen at %s with the socket passed for it: %s", path->sun_path,
                                 strerror(error));
        }
        return mine;
}

int activation_take(const struct sockaddr_un *path)
{
        long n = number("LISTEN_FDS");
        if (n <= 0 || number("LISTEN_PID") != (long)getpid())
                return -ENOENT;
        for (int fd = FIRST; fd < FIRST + (n < MOST ? n : MOST); fd++)
                if (bound_to(fd, path))
                        return copy(fd, path);
        return -ENOENT;
}
