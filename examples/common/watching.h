/* Interceptors of the example servers, and what their counters say. */
#ifndef EXAMPLES_WATCHING_H
#define EXAMPLES_WATCHING_H

#include <baton/baton.h>

/* Logs each call that ended to stderr: who called, what, how it ended, how long it took. */
baton_interceptor log_calls(void);

/* Refuses calls that do not carry "authorization: Bearer TOKEN" with UNAUTHENTICATED. token must stay valid. */
baton_interceptor require_token(const char *token);

/* For a client: has each call carry that. */
baton_interceptor send_token(const char *token);

/* Prints the server's counters to stderr, one line per method that was called. */
void print_counters(baton_server *server);

#endif
