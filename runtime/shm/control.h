/* The control socket: names, listening, connecting, and messages with fds (unix(7), SOCK_SEQPACKET). */
#ifndef SHM_CONTROL_H
#define SHM_CONTROL_H

#include "shm/layout.h"
#include <baton/call.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

/* A received message; owns its fds until they are taken (set to -1). */
struct control_message {
        union {
                uint32_t kind;
                struct shm_hello hello;
                struct shm_refusal refusal;
                struct shm_bell bell;
                struct shm_new_lane lane;
                struct shm_new_segment segment;
                struct shm_takeover takeover;
        };
        size_t size;
        int fds[2];
        int n_fds;
};

/* The socket's path for an address ("shm:…"); for one within this process ("inproc:…"), which has none, the address itself. 0, or -EINVAL with the reason set. */
int control_path(const char *address, struct sockaddr_un *path);

/* A listening socket at that path, and the fd that holds its lock. Makes the directory where it is one of Baton's own. Returns
 * the socket or a negative errno with the reason set; -EADDRINUSE when a living server has it. */
int control_listen(const struct sockaddr_un *path, int *lock_fd);

/* Whether this is a listening socket of the right kind, bound to that path. */
bool control_listens_at(int fd, const struct sockaddr_un *path);

/* Makes this process the one that clients see at the other end of sockets they connect from now on. */
void control_listen_again(int fd);

/* Removes the socket file, unless path is NULL; closes both, or the one where lock_fd is -1. */
void control_unlisten(const struct sockaddr_un *path, int socket_fd, int lock_fd);

/* A connected non-blocking socket, or a negative errno with the reason set. Waits while the backlog is full. */
int control_connect(const struct sockaddr_un *path, uint64_t deadline_ns);

/* Who is at the other end. */
baton_peer control_peer(int socket_fd);

/* Sends one message. 0; -EAGAIN when the peer does not read; -EPIPE when it is gone; other negative errno. Never blocks. */
int control_send(int socket_fd, const void *message, size_t size, const int *fds, int n_fds);

/* The same for one that says no more than its kind. */
int control_send_plain(int socket_fd, uint32_t kind);

/* As control_send, but waits for room until the deadline. */
int control_send_wait(int socket_fd, const void *message, size_t size, const int *fds, int n_fds, uint64_t deadline_ns);

/* Receives one message. 1; 0 when there is none; -ECONNRESET when the peer is gone; -EPROTO for one no peer sends. */
int control_receive(int socket_fd, struct control_message *message);

/* Takes over one fd of the message; -1 where it has none. */
int control_take(struct control_message *message, int index);

/* Closes what was not taken. */
void control_discard(struct control_message *message);

#endif
