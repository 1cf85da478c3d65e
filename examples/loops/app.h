/* A server and a client that run in anybody's event loop: all that knows Baton, and nothing that knows the loop. */
#ifndef LOOPS_APP_H
#define LOOPS_APP_H

#include <baton/baton.h>
#include <stdbool.h>

struct app;

/* role: "server" or "client". Ends the program where that is impossible. */
struct app *app_new(const char *role);
void app_free(struct app *app);

/* Wait for these events on this fd, then call app_ready. */
int app_fd(const struct app *app);
short app_events(const struct app *app);
void app_ready(struct app *app);

/* To be called once a second. */
void app_tick(struct app *app);

/* The client reads stdin, but not always; app_read is to be called when it does and there is something to read. */
bool app_reads(const struct app *app);
void app_read(struct app *app);

/* Whether the client has sent all, and has all answers. */
bool app_finished(const struct app *app);

#endif
