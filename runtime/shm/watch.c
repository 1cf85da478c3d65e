#define _GNU_SOURCE
#include "shm/watch.h"
#include "base/error.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BATCH = 16, STACK_BYTES = 128 * 1024 };

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER; /* starting and stopping the thread */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list; held while hangup runs */
static struct list watches = { &watches, &watches };
static pthread_t thread;
static int epoll_fd = -1, stop_fd = -1;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* ---- fork: the child has no watching thread and starts afresh ---------------------------------------------- */

static void before_fork(void)
{
        pthread_mutex_lock(&life);
        pthread_mutex_lock(&lock);
}

static void after_fork_parent(void)
{
        pthread_mutex_unlock(&lock);
        pthread_mutex_unlock(&life);
}

static void after_fork_child(void)
{
        while (!list_empty(&watches))
                list_remove(watches.next);
        if (epoll_fd >= 0) {
                close(epoll_fd);
                close(stop_fd);
        }
        epoll_fd = stop_fd = -1;
        after_fork_parent();
}

static void watch_forks(void)
{
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- the thread ------------------------------------------------------------------------------------------- */

static bool registered(const struct watch *watch)
{
        for (struct list *at = watches.next; at != &watches; at = at->next)
                if (container_of(at, struct watch, link) == watch)
                        return true;
        return false;
}

static void report(struct watch *watch)
{
        pthread_mutex_lock(&lock);
        /* It may have been removed, and freed, after epoll_wait returned it. */
        struct pollfd control = { .events = POLLRDHUP };
        bool there = registered(watch);
        if (there)
                control.fd = watch->fd;
        /* Another one may also have come to the same address since: so the hang-up is looked at once more. */
        if (there && poll(&control, 1, 0) > 0) {
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
                list_remove(&watch->link);
                watch->hangup(watch);
        }
        pthread_mutex_unlock(&lock);
}

static void *run(void *unused)
{
        (void)unused;
        for (;;) {
                struct epoll_event events[BATCH];
                int n = epoll_wait(epoll_fd, events, BATCH, -1);
                for (int i = 0; i < n; i++) {
                        if (!events[i].data.ptr)
                                return NULL;
                        report(events[i].data.ptr);
                }
        }
}

static int start_thread(void)
{
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        sigset_t all, old;
        sigfillset(&all); /* the program's signals belong to the program's threads */
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int error = pthread_create(&thread, &attributes, run, NULL);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attributes);
        return -error;
}

static void close_fds(void)
{
        if (epoll_fd >= 0)
                close(epoll_fd);
        if (stop_fd >= 0)
                close(stop_fd);
        epoll_fd = stop_fd = -1;
}

static int start(void)
{
        pthread_once(&fork_once, watch_forks);
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct epoll_event event = { .events = EPOLLIN };
        int error = 0;
        if (epoll_fd < 0 || stop_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, stop_fd, &event) < 0)
                error = -errno;
        else
                error = start_thread();
        if (error < 0)
                close_fds();
        return error;
}

static void stop(void)
{
        uint64_t one = 1;
        ssize_t ignored = write(stop_fd, &one, sizeof one);
        (void)ignored;
        pthread_join(thread, NULL);
        close_fds();
}

/* ---- interface -------------------------------------------------------------------------------------------- */

int watch_add(struct watch *watch)
{
        list_init(&watch->link);
        pthread_mutex_lock(&life);
        int error = epoll_fd < 0 ? start() : 0;
        if (error >= 0) {
                pthread_mutex_lock(&lock);
                struct epoll_event event = { .events = EPOLLRDHUP, .data.ptr = watch };
                list_append(&watches, &watch->link);
                if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0) {
                        error = -errno;
                        list_remove(&watch->link);
                }
                pthread_mutex_unlock(&lock);
        }
        pthread_mutex_unlock(&life);
        if (error < 0)
                return error_set(error, "cannot watch the server's socket: %s", strerror(-error));
        return 0;
}

void watch_remove(struct watch *watch)
{
        pthread_mutex_lock(&life);
        pthread_mutex_lock(&lock);
        if (!list_empty(&watch->link)) {
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
                list_remove(&watch->link);
        }
        bool last = list_empty(&watches);
        pthread_mutex_unlock(&lock);
        if (last && epoll_fd >= 0)
                stop();
        pthread_mutex_unlock(&life);
}
