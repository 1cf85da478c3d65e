/* What the example servers have in common: their options, their log, and stopping on a signal. */
#ifndef EXAMPLES_SERVE_H
#define EXAMPLES_SERVE_H

#include <baton/baton.h>

struct serve_arguments {
        const char *address;
        baton_server_options options;
        baton_interceptor interceptors[2]; /* what options refers to */
};

/* Reads
 *   --workers N        threads that serve
 *   --address ADDRESS  where to listen
 *   --takeover         take the address over from the server that runs there: a hot restart
 *   --token TOKEN      refuse callers that do not send it
 *   --log              log each call
 *   --counters         print counters at the end
 * and ends the program with a hint when there is anything else. Baton's warnings and errors go to stderr from then on. */
void serve_parse(struct serve_arguments *arguments, int argc, char **argv, const char *default_address);

/* Listens at the address and serves until SIGINT or SIGTERM, or until another server has taken over; ends the program when that is
 * impossible. */
void serve_until_signal(baton_server *server, const struct serve_arguments *arguments);

#endif
