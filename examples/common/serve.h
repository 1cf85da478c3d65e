/* What the example servers have in common: their options, their log, and stopping on a signal. */
#ifndef EXAMPLES_SERVE_H
#define EXAMPLES_SERVE_H

#include <baton/server.h>

struct serve_arguments {
        const char *address;
        unsigned workers;
};

/* Reads [--workers N] [--address ADDRESS]; ends the program with a hint when there is anything else.
 * From then on Baton's warnings and errors go to stderr. */
struct serve_arguments serve_parse(int argc, char **argv, const char *default_address);

/* Listens at the address and serves until SIGINT or SIGTERM; ends the program when that is impossible. */
void serve_until_signal(baton_server *server, const char *address);

#endif
