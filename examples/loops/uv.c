/* loops-uv server|client: Baton in a libuv loop, beside a timer, signals and stdin. */
#include "app.h"
#include "common/report.h"
#include <poll.h>
#include <unistd.h>
#include <uv.h>

static uv_poll_t baton, input;

static void on_stdin(uv_poll_t *poll, int status, int events);

/* After each turn of the application. */
static void go_on(struct app *app)
{
        if (app_finished(app))
                uv_stop(baton.loop);
        else if (app_reads(app))
                uv_poll_start(&input, UV_READABLE, on_stdin); /* once more does no harm */
        else if (uv_is_active((uv_handle_t *)&input))
                uv_poll_stop(&input);
}

static void on_stdin(uv_poll_t *poll, int status, int events)
{
        (void)status, (void)events;
        app_read(poll->data);
        go_on(poll->data);
}

static void on_baton(uv_poll_t *poll, int status, int events)
{
        (void)status, (void)events;
        app_ready(poll->data);
        go_on(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
        app_tick(timer->data);
}

static void on_signal(uv_signal_t *signal, int number)
{
        (void)number;
        uv_stop(signal->loop);
}

static void watch_fd(uv_poll_t *poll, struct app *app, int fd, int events, uv_poll_cb callback)
{
        poll->data = app;
        int error = uv_poll_init(uv_default_loop(), poll, fd);
        if (!error)
                error = uv_poll_start(poll, events, callback);
        if (error)
                die("fd %d cannot be polled (stdin must be a terminal or a pipe): %s", fd, uv_strerror(error));
}

int main(int argc, char **argv)
{
        (void)argc;
        struct app *app = app_new(argv[1]);
        uv_loop_t *loop = uv_default_loop();
        uv_timer_t timer = { .data = app };
        uv_signal_t terminate, interrupt;

        watch_fd(&baton, app, app_fd(app), app_events(app) & POLLIN ? UV_READABLE : 0,
                 on_baton); /* this is all it takes */
        if (app_reads(app))
                watch_fd(&input, app, STDIN_FILENO, UV_READABLE, on_stdin);
        uv_timer_init(loop, &timer);
        uv_timer_start(&timer, on_timer, 1000, 1000);
        uv_signal_init(loop, &terminate);
        uv_signal_start(&terminate, on_signal, SIGTERM);
        uv_signal_init(loop, &interrupt);
        uv_signal_start(&interrupt, on_signal, SIGINT);

        uv_run(loop, UV_RUN_DEFAULT);
        app_free(app);
        return 0;
}
