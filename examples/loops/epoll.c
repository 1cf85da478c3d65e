/* loops-epoll server|client: Baton in a plain epoll loop, beside a timer, signals and stdin. */
#include "app.h"
#include "common/report.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void add(int epoll, int fd, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.fd = fd };
        if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
                die("fd %d cannot be polled (stdin must be a terminal or a pipe): %s", fd, strerror(errno));
}

static int every_second(void)
{
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        timerfd_settime(fd, 0, &(struct itimerspec){ .it_interval.tv_sec = 1, .it_value.tv_sec = 1 }, NULL);
        return fd;
}

static int termination(void)
{
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL); /* before Baton starts threads, which inherit it */
        return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
        (void)argc;
        int signals = termination(), timer = every_second(), epoll = epoll_create1(EPOLL_CLOEXEC);
        struct app *app = app_new(argv[1]);
        add(epoll, app_fd(app), (uint32_t)app_events(app)); /* this is all it takes */
        add(epoll, signals, EPOLLIN);
        add(epoll, timer, EPOLLIN);
        for (bool stopped = false, reading = false; !stopped && !app_finished(app);) {
                if (!reading && app_reads(app))
                        add(epoll, STDIN_FILENO, EPOLLIN);
                else if (reading && !app_reads(app))
                        epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
                reading = app_reads(app);

                struct epoll_event event;
                if (epoll_wait(epoll, &event, 1, -1) < 1)
                        continue;
                uint64_t expirations;
                if (event.data.fd == app_fd(app)) {
                        app_ready(app);
                } else if (event.data.fd == signals) {
                        stopped = true;
                } else if (event.data.fd == timer) {
                        if (read(timer, &expirations, sizeof expirations) > 0)
                                app_tick(app);
                } else {
                        app_read(app);
                }
        }
        app_free(app);
        close(epoll);
        close(timer);
        close(signals);
        return 0;
}
