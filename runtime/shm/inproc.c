#define _GNU_SOURCE
#include "shm/inproc.h"
#include "base/error.h"
#include "base/fork.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

struct waiting {
        struct list link;
        int socket;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list ports = { &ports, &ports };
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* ---- fork: the child has none of its parent's servers ------------------------------------------------------- */

static void before_fork(void)
{
        pthread_mutex_lock(&lock);
}

static void after_fork_parent(void)
{
        pthread_mutex_unlock(&lock);
}

static void after_fork_child(void)
{
        while (!list_empty(&ports))
                list_remove(ports.next);
        pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- servers ------------------------------------------------------------------------------------------------ */

bool inproc_is(const struct sockaddr_un *path)
{
        return strncmp(path->sun_path, "inproc:", 7) == 0;
}

/* The lock is held. Children of a raw clone(2) still have the list. */
static struct inproc_port *find(const char *address)
{
        for (struct list *at = ports.next; at != &ports; at = at->next) {
                struct inproc_port *port = container_of(at, struct inproc_port, link);
                if (strcmp(port->address, address) == 0 && port->fork_generation == fork_generation())
                        return port;
        }
        return NULL;
}

/* The socket of the client that has waited longest; negative: none waits. */
static int take_waiting(struct inproc_port *port)
{
        struct waiting *first = NULL;
        pthread_mutex_lock(&lock);
        if (!list_empty(&port->waiting)) {
                first = container_of(port->waiting.next, struct waiting, link);
                list_remove(&first->link);
                port->n_waiting--;
        } else {
                port->posted = false;
        }
        pthread_mutex_unlock(&lock);
        int socket = first ? first->socket : -1;
        free(first);
        return socket;
}

static void let_in(struct loop_task *task)
{
        struct inproc_port *port = container_of(task, struct inproc_port, task);
        int socket;
        while ((socket = take_waiting(port)) >= 0)
                port->arrived(port, socket);
}

int inproc_listen(struct inproc_port *port)
{
        pthread_once(&fork_once, watch_forks);
        list_init(&port->waiting);
        list_init(&port->link);
        port->task = (struct loop_task){ .run = let_in };
        port->posted = false;
        port->n_waiting = 0;
        port->fork_generation = fork_generation();
        pthread_mutex_lock(&lock);
        bool taken = find(port->address);
        if (!taken)
                list_append(&ports, &port->link);
        pthread_mutex_unlock(&lock);
        return taken ? error_set(-EADDRINUSE,
                                 "cannot listen at %s: a server of this process that is running has it; stop it or "
                                 "choose another name",
                                 port->address)
                     : 0;
}

void inproc_unlisten(struct inproc_port *port)
{
        pthread_mutex_lock(&lock);
        list_remove(&port->link);
        pthread_mutex_unlock(&lock);
        loop_unpost(port->loop, &port->task);
        let_in(&port->task);
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

/* The lock is held. */
static int hand_over(struct inproc_port *port, int socket)
{
        struct waiting *waiting = malloc(sizeof *waiting);
        if (!waiting)
                return error_set(-ENOMEM, "cannot connect to %s: out of memory", port->address);
        waiting->socket = socket;
        list_append(&port->waiting, &waiting->link);
        port->n_waiting++;
        if (!port->posted)
                loop_post(port->loop, &port->task);
        port->posted = true;
        return 0;
}

/* The lock is held. */
static int knock(const char *address, int socket)
{
        struct inproc_port *port = find(address);
        if (!port)
                return error_set(-ECONNREFUSED,
                                 "cannot connect to %s: no server of this process listens there; is the server "
                                 "running, and under this name?",
                                 address);
        if (port->n_waiting >= BACKLOG)
                return error_set(-EAGAIN, "cannot connect to %s: the server does not accept connections", address);
        /* It would wait for itself; asynchronous calls connect on another thread. */
        if (loop_is_current(port->loop))
                return error_set(-EDEADLK,
                                 "cannot connect to %s from the thread that accepts its connections; connect from "
                                 "another one, or serve with handler_threads or several workers",
                                 address);
        return hand_over(port, socket);
}

int inproc_connect(const char *address)
{
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return error_set(-errno, "cannot make a socket pair: %s; see ulimit -n", strerror(errno));
        fork_guard(pair[0]);
        fork_guard(pair[1]);
        pthread_mutex_lock(&lock);
        int error = knock(address, pair[1]);
        pthread_mutex_unlock(&lock);
        if (error >= 0)
                return pair[0];
        fork_close(pair[0]);
        fork_close(pair[1]);
        return error;
}
