/*
 * Servers of this process, by name: how a channel finds one without a socket file. A connection is a socket pair whose
 * other end is handed to the server's loop; from there on all is as between processes.
 */
#ifndef SHM_INPROC_H
#define SHM_INPROC_H

#include "base/loop.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

/* A server that listens. */
struct inproc_port {
        const char *address; /* as control_path wrote it */
        baton_loop *loop;
        void (*arrived)(struct inproc_port *port,
                        int socket); /* on the loop; takes over the socket, which is guarded */
        struct list link;            /* the rest: inproc.c's */
        struct list waiting;
        struct loop_task task;
        bool posted;
        unsigned n_waiting;
        uint64_t fork_generation;
};

/* Whether this is the address of a server of this process. */
bool inproc_is(const struct sockaddr_un *path);

/* From now on clients arrive. 0, or -EADDRINUSE with the reason set. */
int inproc_listen(struct inproc_port *port);

/* None will arrive any more; those who wait do now. The loop's thread, or no loop runs. */
void inproc_unlisten(struct inproc_port *port);

/* A connected, guarded socket, or a negative errno with the reason set: -EDEADLK on the thread of the server's loop, where only blocking
 * calls connect; asynchronous ones do on a thread of their own. */
int inproc_connect(const char *address);

#endif
