#define _GNU_SOURCE
#include "shm/watch.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BATCH = 16, STACK_BYTES = 128 * 1024, ORPHAN_MS = 10, MOST_MS = 60000 };

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER; /* starting and stopping the thread */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the rest; held while attend runs */
static struct list watches = { &watches, &watches };
static uint64_t next_due_ns; /* nothing is due earlier; 0: never */
static bool stopping;
static bool orphaned; /* the thread itself removed a watch: nobody stops it where that was the last */
static pthread_t thread;
static int epoll_fd = -1, wake_fd = -1;
static _Thread_local bool watching; /* this is the watching thread: it holds the lock whenever it is in attend */
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
                close(wake_fd);
        }
        epoll_fd = wake_fd = -1;
        next_due_ns = 0;
        orphaned = watching = false;
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

static void unlink_watch(struct watch *watch)
{
        if (list_empty(&watch->link))
                return;
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        list_remove(&watch->link);
}

static void attend(struct watch *watch)
{
        /* It may have been removed, and freed, after epoll_wait returned it. Another one may also have come to the same address
         * since: so the hang-up is looked at once more. */
        if (!registered(watch))
                return;
        struct pollfd control = { .fd = watch->fd, .events = POLLRDHUP };
        bool hung_up = poll(&control, 1, 0) > 0;
        if (hung_up)
                unlink_watch(watch);
        uint64_t due_ns = watch->attend(watch, hung_up);
        if (!registered(watch)) /* and perhaps freed */
                return;
        watch->due_ns = due_ns;
        next_due_ns = deadline_earlier(next_due_ns, due_ns);
}

static struct watch *first_due(uint64_t now)
{
        for (struct list *at = watches.next; at != &watches; at = at->next) {
                struct watch *watch = container_of(at, struct watch, link);
                if (watch->due_ns && watch->due_ns <= now)
                        return watch;
        }
        return NULL;
}

static void attend_due(void)
{
        uint64_t now = clock_now_ns();
        if (!next_due_ns || next_due_ns > now)
                return;
        for (struct watch *watch; (watch = first_due(now));) {
                watch->due_ns = 0;
                attend(watch);
        }
        next_due_ns = 0;
        for (struct list *at = watches.next; at != &watches; at = at->next)
                next_due_ns = deadline_earlier(next_due_ns, container_of(at, struct watch, link)->due_ns);
}

/* Handles what epoll_wait returned. False: the thread is to end. */
static bool handle(const struct epoll_event *events, int n)
{
        pthread_mutex_lock(&lock);
        for (int i = 0; i < n; i++) {
                uint64_t count;
                if (events[i].data.ptr)
                        attend(events[i].data.ptr);
                else if (read(wake_fd, &count, sizeof count) < 0)
                        continue;
        }
        attend_due();
        bool go_on = !stopping;
        pthread_mutex_unlock(&lock);
        return go_on;
}

static void close_fds(void)
{
        if (epoll_fd >= 0)
                close(epoll_fd);
        if (wake_fd >= 0)
                close(wake_fd);
        epoll_fd = wake_fd = -1;
}

/* The thread removed a watch itself: where that was the last, it ends by itself. */
static bool end_alone(void)
{
        if (pthread_mutex_trylock(&life)) /* somebody adds or removes: perhaps it joins this thread */
                return false;
        pthread_mutex_lock(&lock);
        orphaned = false;
        bool last = list_empty(&watches);
        if (last) {
                pthread_detach(thread);
                close_fds();
        }
        pthread_mutex_unlock(&lock);
        pthread_mutex_unlock(&life);
        return last;
}

static int patience_ms(void)
{
        pthread_mutex_lock(&lock);
        int ms = orphaned ? ORPHAN_MS : next_due_ns ? deadline_left_ms(next_due_ns, MOST_MS) : -1;
        pthread_mutex_unlock(&lock);
        return ms;
}

static void *run(void *unused)
{
        (void)unused;
        watching = true;
        for (;;) {
                struct epoll_event events[BATCH];
                int n = epoll_wait(epoll_fd, events, BATCH, patience_ms());
                if (!handle(events, n))
                        return NULL;
                if (orphaned && end_alone()) /* set by this thread only */
                        return NULL;
        }
}

static int start(void)
{
        pthread_once(&fork_once, watch_forks);
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct epoll_event event = { .events = EPOLLIN };
        int error = 0;
        if (epoll_fd < 0 || wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) < 0)
                error = -errno;
        else
                error = thread_start(&thread, STACK_BYTES, run, NULL);
        if (error < 0)
                close_fds();
        return error;
}

static void wake(void)
{
        uint64_t one = 1;
        ssize_t ignored = write(wake_fd, &one, sizeof one);
        (void)ignored;
}

static void stop(void)
{
        pthread_mutex_lock(&lock);
        stopping = true;
        wake();
        pthread_mutex_unlock(&lock);
        pthread_join(thread, NULL);
        close_fds();
        stopping = orphaned = false;
        next_due_ns = 0;
}

/* ---- interface -------------------------------------------------------------------------------------------- */

static void expect(uint64_t due_ns)
{
        if (due_ns && (!next_due_ns || due_ns < next_due_ns)) {
                next_due_ns = due_ns;
                wake();
        }
}

static int add(struct watch *watch)
{
        /* Edge-triggered: other threads read the sockets too, and what they leave is not for this one. */
        struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = watch };
        int error = 0;
        pthread_mutex_lock(&lock);
        list_append(&watches, &watch->link);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0) {
                error = -errno;
                list_remove(&watch->link);
        } else {
                expect(watch->due_ns);
        }
        pthread_mutex_unlock(&lock);
        return error;
}

int watch_add(struct watch *watch)
{
        list_init(&watch->link);
        pthread_mutex_lock(&life);
        int error = epoll_fd < 0 ? start() : 0;
        if (error >= 0)
                error = add(watch);
        pthread_mutex_unlock(&life);
        if (error < 0)
                return error_set(error, "cannot watch the server's socket: %s", strerror(-error));
        return 0;
}

void watch_poke(struct watch *watch)
{
        if (!watching)
                pthread_mutex_lock(&lock);
        if (registered(watch)) {
                watch->due_ns = 1;
                expect(1);
        }
        if (!watching)
                pthread_mutex_unlock(&lock);
}

void watch_remove(struct watch *watch)
{
        if (watching) {
                unlink_watch(watch);
                orphaned = true;
                return;
        }
        pthread_mutex_lock(&life);
        pthread_mutex_lock(&lock);
        unlink_watch(watch);
        bool last = list_empty(&watches);
        pthread_mutex_unlock(&lock);
        if (last && epoll_fd >= 0)
                stop();
        pthread_mutex_unlock(&life);
}
