/* Listening sockets passed by systemd, or whoever speaks its protocol (sd_listen_fds(3)). */
#ifndef SHM_ACTIVATION_H
#define SHM_ACTIVATION_H

#include <sys/un.h>

/* A copy of the passed socket that is bound to this path; -ENOENT: none is. Else a negative errno with the reason set. */
int activation_take(const struct sockaddr_un *path);

#endif
