/* The greeter on a loop: the server says what it has served, the client greets whoever stands on its input. */
#include "app.h"
#include "common/report.h"
#include "greeter.baton.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct app {
        baton_loop *loop;
        baton_server *server;   /* the server's */
        baton_channel *channel; /* the client's */
        unsigned served, told;
        unsigned in_flight;
        bool no_more; /* the input has ended */
        bool full;    /* too many calls are on their way: reading pauses */
        size_t n;
        char line[256]; /* what was read of a line: n bytes */
};

/* ---- server ----------------------------------------------------------------------------------------------- */

static void say_hello(baton_call *call, const Demo__HelloRequest *request, void *context)
{
        struct app *app = context;
        app->served++; /* on the loop's thread, as all else */
        Demo__HelloReply reply = DEMO__HELLO_REPLY__INIT;
        reply.text = baton_call_printf(call, "hello %s", request->name);
        greeter_say_hello_reply(call, &reply);
}

static void serve(struct app *app)
{
        static const greeter_handlers handlers = { .say_hello = say_hello };
        app->server = baton_server_new(&(baton_server_options){ .loop = app->loop });
        if (!app->server || greeter_register(app->server, &handlers, app) < 0 ||
            baton_server_listen(app->server, "shm:loops") < 0)
                die("%s", baton_error());
        fprintf(stderr, "loops-server: serving shm:loops\n");
}

/* ---- client ----------------------------------------------------------------------------------------------- */

static void greet_lines(struct app *app);

static void greeted(const baton_status *status, const Demo__HelloReply *reply, void *context)
{
        struct app *app = context;
        app->in_flight--;
        if (status->code == BATON_OK)
                printf("%s\n", reply->text);
        else
                fprintf(stderr, "loops-client: %s: %s\n", baton_code_name(status->code), status->message);
        fflush(stdout);
        if (app->full)
                greet_lines(app);
}

/* False when it is to be tried again after the next answer. */
static bool greet(struct app *app, char *name)
{
        Demo__HelloRequest request = DEMO__HELLO_REQUEST__INIT;
        request.name = name;
        baton_call_options options = { .timeout_ms = 5000 };
        int error = greeter_say_hello_async(app->channel, app->loop, &request, &options, greeted, app);
        if (error == -EAGAIN && app->in_flight)
                return false;
        if (error < 0)
                fprintf(stderr, "loops-client: '%s' is not greeted: %s\n", name, baton_error());
        else
                app->in_flight++;
        return true;
}

/* Greets those whose lines have been read, as far as there is room for calls. */
static void greet_lines(struct app *app)
{
        char *begin = app->line, *end;
        app->full = false;
        while (!app->full && (end = memchr(begin, '\n', app->n))) {
                *end = '\0';
                app->full = !greet(app, begin);
                if (app->full) {
                        *end = '\n';
                } else {
                        app->n -= (size_t)(end + 1 - begin);
                        begin = end + 1;
                }
        }
        memmove(app->line, begin, app->n);
}

void app_read(struct app *app)
{
        ssize_t n = read(STDIN_FILENO, app->line + app->n, sizeof app->line - 1 - app->n);
        if (n < 0)
                die("stdin: %s", strerror(errno));
        app->no_more = n == 0;
        app->n += (size_t)n;
        bool too_long = app->n == sizeof app->line - 1 && !memchr(app->line, '\n', app->n);
        if (too_long || (app->no_more && app->n)) /* there is room for one more byte */
                app->line[app->n++] = '\n';
        greet_lines(app);
}

bool app_reads(const struct app *app)
{
        return app->channel && !app->no_more && !app->full;
}

bool app_finished(const struct app *app)
{
        return app->no_more && app->n == 0 && app->in_flight == 0;
}

/* ---- both ------------------------------------------------------------------------------------------------- */

struct app *app_new(const char *role)
{
        struct app *app = calloc(1, sizeof *app);
        if (!app || !(app->loop = baton_loop_new()))
                die("%s", app ? baton_error() : "out of memory");
        if (role && strcmp(role, "server") == 0)
                serve(app);
        else if (!role || strcmp(role, "client") != 0)
                die("say what it is to be: server or client");
        else if (!(app->channel = baton_channel_open("shm:loops", NULL)))
                die("%s", baton_error());
        return app;
}

void app_free(struct app *app)
{
        baton_channel_close(app->channel);
        baton_server_free(app->server);
        baton_loop_free(app->loop); /* the last */
        free(app);
}

int app_fd(const struct app *app)
{
        return baton_loop_fd(app->loop);
}

short app_events(const struct app *app)
{
        return baton_loop_events(app->loop);
}

void app_ready(struct app *app)
{
        if (baton_loop_dispatch(app->loop) < 0)
                die("%s", baton_error());
}

void app_tick(struct app *app)
{
        if (app->served != app->told)
                fprintf(stderr, "loops-server: %u greeted\n", app->told = app->served);
        if (app->in_flight)
                fprintf(stderr, "loops-client: %u answers are due\n", app->in_flight);
}
