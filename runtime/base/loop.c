#define _GNU_SOURCE
#include "base/loop.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/spin.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
        BATCH = 64,                  /* epoll events taken at once */
        ROUNDS_PER_CLOCK = 32,       /* polling rounds between two looks at the clock */
        SOURCES_EVERY_NS = 1000000,  /* a busy loop looks at its sources this often */
        PARKED_EVERY_NS = 100000,    /* or this, while one of them may be the bell of somebody parked */
        PARK_AFTER_NS = 2000000,     /* a poller quiet for that long is parked */
        DISPATCH_ROUNDS = 64,        /* polling rounds of one baton_loop_dispatch */
        DEFAULT_SPIN_NS = 50 * 1000, /* of a user's loop */
        PATIENCE_NS = 20000,         /* many clients share a loop: while they change, it had better stay on its CPU */
};

struct baton_loop {
        int epoll_fd;
        struct loop_source wakeup; /* an eventfd: ends the sleep */
        struct loop_source alarm;  /* a timerfd, for the earliest timer */
        uint64_t fork_generation;
        struct spin spin;
        struct list active;
        struct list parked;
        struct list *next;          /* where the polling round goes on */
        struct loop_poller *polled; /* whose turn it is; NULL once it is removed */
        struct timers timers;
        uint64_t alarm_ns; /* what the timerfd is set to; 0: not set */
        uint64_t sources_ns;
        uint32_t rounds;
        struct epoll_event batch[BATCH];
        int n_batch;
        /* Who sets one of the first two then looks at `asleep`, and rings; the loop sets `asleep` before it sleeps, and then
         * looks at those (Dekker). All of that is sequentially consistent, so that one of the two sees the other. */
        atomic_bool stop;
        atomic_bool pending;  /* something may stand in `posted` */
        atomic_bool asleep;   /* somebody waits for the fd, or will, and nobody has rung since */
        pthread_mutex_t lock; /* posted */
        struct list posted;
};

_Thread_local const baton_loop *loop_current;

/* ---- sources ---------------------------------------------------------------------------------------------- */

int loop_source_add(baton_loop *loop, struct loop_source *source, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.ptr = source };
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
                return error_set(-errno, "cannot watch fd %d: %s", source->fd, strerror(errno));
        return 0;
}

void loop_source_remove(baton_loop *loop, struct loop_source *source)
{
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        /* Its events may stand in the batch that is being handled right now. */
        for (int i = 0; i < loop->n_batch; i++)
                if (loop->batch[i].data.ptr == source)
                        loop->batch[i].data.ptr = NULL;
}

/* ---- being woken ------------------------------------------------------------------------------------------ */

static void ring(baton_loop *loop)
{
        int saved = errno; /* baton_loop_stop runs in signal handlers */
        uint64_t one = 1;
        ssize_t ignored = write(loop->wakeup.fd, &one, sizeof one); /* full means that it is readable already */
        (void)ignored;
        errno = saved;
}

/* After `stop` or `pending` was set: a loop that is awake sees that by itself. The first of several rings. */
static void wake_up(baton_loop *loop)
{
        if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false))
                ring(loop);
}

/* From now on the loop is woken. What was set before has to be looked at after this. */
static void fall_asleep(baton_loop *loop)
{
        atomic_store(&loop->asleep, true);
}

static int wakeup_ready(struct loop_source *source, uint32_t events)
{
        (void)events;
        uint64_t count;
        ssize_t ignored = read(source->fd, &count, sizeof count);
        (void)ignored;
        return 0; /* whoever looks at the sources runs what was posted */
}

/* ---- timers ----------------------------------------------------------------------------------------------- */

void loop_timer_set(baton_loop *loop, struct loop_timer *timer, uint64_t due_ns)
{
        timers_remove(&loop->timers, &timer->node);
        if (due_ns)
                timers_insert(&loop->timers, &timer->node, due_ns);
}

/* In the order in which they are due. */
static int run_timers(baton_loop *loop, uint64_t now)
{
        int fired = 0;
        for (struct timer_node *first; (first = timers_first(&loop->timers)) && first->due_ns <= now; fired++) {
                struct loop_timer *timer = container_of(first, struct loop_timer, node);
                timers_remove(&loop->timers, first);
                timer->fire(timer);
        }
        return fired;
}

/* Sets the timerfd where an earlier timer came up; a later one leaves it as it is: one needless wake-up is cheaper
 * than a system call for each change. */
static void set_alarm(baton_loop *loop)
{
        const struct timer_node *first = timers_first(&loop->timers);
        if (!first || (loop->alarm_ns && loop->alarm_ns <= first->due_ns))
                return;
        uint64_t due_ns = first->due_ns;
        struct itimerspec when = { .it_value = clock_timespec(due_ns) };
        timerfd_settime(loop->alarm.fd, TFD_TIMER_ABSTIME, &when, NULL);
        loop->alarm_ns = due_ns;
}

static int alarm_ready(struct loop_source *source, uint32_t events)
{
        (void)events;
        baton_loop *loop = container_of(source, baton_loop, alarm);
        uint64_t count;
        if (read(source->fd, &count, sizeof count) < 0)
                return 0;
        loop->alarm_ns = 0;
        return 0; /* whoever looks at the sources runs the timers */
}

/* ---- tasks ------------------------------------------------------------------------------------------------ */

void loop_post(baton_loop *loop, struct loop_task *task)
{
        pthread_mutex_lock(&loop->lock);
        list_append(&loop->posted, &task->link);
        pthread_mutex_unlock(&loop->lock);
        atomic_store(&loop->pending, true);
        wake_up(loop);
}

void loop_unpost(baton_loop *loop, struct loop_task *task)
{
        pthread_mutex_lock(&loop->lock);
        if (task->link.next)
                list_remove(&task->link);
        pthread_mutex_unlock(&loop->lock);
}

static struct loop_task *next_task(baton_loop *loop, struct list *end)
{
        struct loop_task *task = NULL;
        pthread_mutex_lock(&loop->lock);
        if (loop->posted.next != end) {
                task = container_of(loop->posted.next, struct loop_task, link);
                list_remove(&task->link);
        }
        pthread_mutex_unlock(&loop->lock);
        return task;
}

/* Runs what was posted before: a task that posts itself again has its turn after the others. */
static int run_posted(baton_loop *loop)
{
        if (!atomic_load_explicit(&loop->pending, memory_order_relaxed)) /* the lock orders what was posted */
                return 0;
        struct loop_task mark = { 0 };
        /* Whoever posts what is not seen below takes the lock later, and sets it again. */
        atomic_store_explicit(&loop->pending, false, memory_order_relaxed);
        pthread_mutex_lock(&loop->lock);
        list_append(&loop->posted, &mark.link);
        pthread_mutex_unlock(&loop->lock);
        int done = 0;
        for (struct loop_task *task; (task = next_task(loop, &mark.link)); done++)
                task->run(task);
        loop_unpost(loop, &mark);
        return done;
}

/* ---- pollers ---------------------------------------------------------------------------------------------- */

void loop_poller_add(baton_loop *loop, struct loop_poller *poller)
{
        list_init(&poller->link);
        loop_poller_wake(loop, poller);
}

void loop_poller_wake(baton_loop *loop, struct loop_poller *poller)
{
        if (!list_empty(&poller->link) && !poller->parked)
                return;
        list_remove(&poller->link);
        poller->parked = false;
        poller->disarm(poller);
        poller->active_ns = clock_now_ns();
        poller->busy = false;
        list_append(&loop->active, &poller->link);
}

void loop_poller_first(baton_loop *loop, struct loop_poller *poller)
{
        list_remove(&poller->link);
        list_append(loop->active.next, &poller->link);
}

void loop_poller_remove(baton_loop *loop, struct loop_poller *poller)
{
        if (loop->next == &poller->link)
                loop->next = poller->link.next;
        if (loop->polled == poller)
                loop->polled = NULL;
        list_remove(&poller->link);
}

/* A poller may remove any poller, itself included, while it is polled: next and polled follow. */
static int poll_active(baton_loop *loop)
{
        int handled = 0;
        for (struct list *at = loop->active.next; at != &loop->active; at = loop->next) {
                struct loop_poller *poller = container_of(at, struct loop_poller, link);
                loop->next = at->next;
                loop->polled = poller;
                int n = poller->poll(poller);
                if (n && loop->polled)
                        poller->busy = true;
                handled += n;
        }
        return handled;
}

/* Parks the pollers that asked their peers for a wake-up in time. quiet_since: only those not busy since then. True
 * when one has something after all. */
static bool park(baton_loop *loop, uint64_t quiet_since)
{
        bool pending = false;
        for (struct list *at = loop->active.next; at != &loop->active;) {
                struct loop_poller *poller = container_of(at, struct loop_poller, link);
                at = at->next;
                if (poller->active_ns > quiet_since)
                        continue;
                if (poller->arm(poller)) {
                        poller->disarm(poller);
                        pending = true;
                } else {
                        list_remove(&poller->link);
                        list_append(&loop->parked, &poller->link);
                        poller->parked = true;
                }
        }
        return pending;
}

/* ---- turning ---------------------------------------------------------------------------------------------- */

static int handle_sources(baton_loop *loop, int timeout_ms)
{
        set_alarm(loop);
        if (timeout_ms) {
                fall_asleep(loop);
                if (atomic_load(&loop->pending) || atomic_load(&loop->stop))
                        timeout_ms = 0;
        }
        int handled = 0;
        loop->n_batch = epoll_wait(loop->epoll_fd, loop->batch, BATCH, timeout_ms);
        atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
        for (int i = 0; i < loop->n_batch; i++) {
                struct loop_source *source = loop->batch[i].data.ptr;
                if (source)
                        handled += source->ready(source, loop->batch[i].events);
        }
        loop->n_batch = 0;
        loop->sources_ns = clock_now_ns();
        handled += run_posted(loop);
        return handled + run_timers(loop, loop->sources_ns);
}

/* Between polling rounds: now and then sees to the sources, and parks whom nobody calls. */
static int keep_house(baton_loop *loop, uint64_t now)
{
        if (now - loop->sources_ns < (list_empty(&loop->parked) ? SOURCES_EVERY_NS : PARKED_EVERY_NS))
                return 0;
        for (struct list *at = loop->active.next; at != &loop->active; at = at->next) {
                struct loop_poller *poller = container_of(at, struct loop_poller, link);
                if (poller->busy)
                        poller->active_ns = now;
                poller->busy = false;
        }
        park(loop, now - PARK_AFTER_NS);
        return handle_sources(loop, 0);
}

/* Polls until something was handled or the time to sleep has come. */
static int spin_once(baton_loop *loop, struct spin_wait *wait, uint64_t end_ns)
{
        for (;;) {
                int handled = poll_active(loop) + run_posted(loop);
                /* A round can take long where handlers do, so that rounds alone do not tell the time. */
                bool look = ++loop->rounds % ROUNDS_PER_CLOCK == 0 ||
                            (handled && clock_coarse_ns() > loop->sources_ns + SOURCES_EVERY_NS);
                if (look)
                        handled += keep_house(loop, clock_now_ns());
                if (handled)
                        spin_hit(&loop->spin, wait);
                if (handled || atomic_load_explicit(&loop->stop, memory_order_relaxed))
                        return handled;
                spin_relax();
                if (!look && loop->spin.max_ns)
                        continue;
                uint64_t now = clock_now_ns();
                if ((end_ns && now >= end_ns) || !spin_again(&loop->spin, wait, now))
                        return 0;
        }
}

static int wait_until(baton_loop *loop, uint64_t end_ns, bool forever)
{
        for (;;) {
                struct spin_wait wait = { 0 };
                int handled = spin_once(loop, &wait, end_ns);
                if (handled || atomic_load_explicit(&loop->stop, memory_order_relaxed))
                        return handled;
                int timeout_ms = forever ? -1 : deadline_left_ms(end_ns, -1);
                if (park(loop, UINT64_MAX))
                        continue;
                handled = handle_sources(loop, timeout_ms);
                if (wait.began_ns)
                        spin_slept(&loop->spin, loop->sources_ns - wait.began_ns);
                if (handled || (!forever && loop->sources_ns >= end_ns))
                        return handled;
                /* Woken for a poller: it is polled with a new budget. */
        }
}

/* A forked child shares the epoll set with the parent, and lacks the shared memory. */
static int check_loop(const baton_loop *loop)
{
        if (!loop)
                return error_set(-EINVAL, "the loop is NULL; did baton_loop_new fail?");
        if (loop->fork_generation == fork_generation())
                return 0;
        return error_set(-ECHILD, "the loop was made before fork(); make one in the child");
}

int baton_loop_wait(baton_loop *loop, int timeout_ms)
{
        int error = check_loop(loop);
        if (error < 0)
                return error;
        if (timeout_ms == 0)
                return baton_loop_dispatch(loop);
        const baton_loop *outer = loop_current;
        loop_current = loop;
        uint64_t end_ns = timeout_ms < 0 ? 0 : clock_now_ns() + (uint64_t)timeout_ms * 1000000u;
        int handled = wait_until(loop, end_ns, timeout_ms < 0);
        if (!handled)
                atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
        loop_current = outer;
        return handled;
}

int baton_loop_dispatch(baton_loop *loop)
{
        int error = check_loop(loop);
        if (error < 0)
                return error;
        const baton_loop *outer = loop_current;
        loop_current = loop;
        int handled = handle_sources(loop, 0);
        for (int round = 0, n = 1; n && round < DISPATCH_ROUNDS; round++)
                handled += n = poll_active(loop) + run_posted(loop);
        fall_asleep(loop);
        if (park(loop, UINT64_MAX) || !list_empty(&loop->active) || atomic_load(&loop->pending))
                ring(loop); /* more has come: the fd stays readable */
        set_alarm(loop);
        loop_current = outer;
        return handled;
}

int baton_loop_run(baton_loop *loop)
{
        int error = check_loop(loop);
        if (error < 0)
                return error;
        const baton_loop *outer = loop_current;
        loop_current = loop;
        while (!atomic_load_explicit(&loop->stop, memory_order_relaxed))
                wait_until(loop, 0, true);
        atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
        loop_current = outer;
        return 0;
}

void baton_loop_stop(baton_loop *loop)
{
        if (!loop)
                return;
        atomic_store(&loop->stop, true);
        wake_up(loop);
}

void loop_clear_stop(baton_loop *loop)
{
        atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
}

int baton_loop_fd(const baton_loop *loop)
{
        return loop ? loop->epoll_fd : error_set(-EINVAL, "the loop is NULL; did baton_loop_new fail?");
}

short baton_loop_events(const baton_loop *loop)
{
        (void)loop; /* epoll sets, timers and all, are only ever readable */
        return POLLIN;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int open_fds(baton_loop *loop)
{
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        loop->wakeup.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        loop->alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (loop->epoll_fd < 0 || loop->wakeup.fd < 0 || loop->alarm.fd < 0)
                return error_set(-errno, "cannot make an event loop: %s; see ulimit -n", strerror(errno));
        int error = loop_source_add(loop, &loop->wakeup, EPOLLIN);
        return error ? error : loop_source_add(loop, &loop->alarm, EPOLLIN);
}

baton_loop *loop_new(uint64_t spin_ns)
{
        baton_loop *loop = calloc(1, sizeof *loop);
        if (!loop) {
                error_set(-ENOMEM, "cannot make an event loop: out of memory");
                return NULL;
        }
        loop->epoll_fd = loop->wakeup.fd = loop->alarm.fd = -1;
        loop->fork_generation = fork_generation();
        loop->wakeup.ready = wakeup_ready;
        loop->alarm.ready = alarm_ready;
        list_init(&loop->active);
        list_init(&loop->parked);
        list_init(&loop->posted);
        atomic_init(&loop->asleep, true);
        pthread_mutex_init(&loop->lock, NULL);
        spin_init(&loop->spin, spin_ns, PATIENCE_NS);
        if (open_fds(loop) < 0) {
                baton_loop_free(loop);
                return NULL;
        }
        return loop;
}

baton_loop *baton_loop_new(void)
{
        return loop_new(DEFAULT_SPIN_NS);
}

void baton_loop_free(baton_loop *loop)
{
        if (!loop)
                return;
        int fds[] = { loop->epoll_fd, loop->wakeup.fd, loop->alarm.fd };
        for (int i = 0; i < 3; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        pthread_mutex_destroy(&loop->lock);
        free(loop);
}
