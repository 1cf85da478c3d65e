/* What most tests stand on: a server, a channel to it, and a loop. */
#ifndef CONFORMANCE_FIXTURE_H
#define CONFORMANCE_FIXTURE_H

#include "harness.h"

extern struct peer peer;
extern baton_channel *channel;
extern baton_loop *loop;

/* cmocka's set-up, with the defaults at both, and tear-down. The log begins empty. */
int begin(void **state);
int end(void **state);

/* The same for tests with options of their own; NULL: the defaults. */
void fixture_open(const baton_server_options *server, const baton_channel_options *client);
/* Ends what there is: a test may have ended any of the three, and set it to NULL. */
void fixture_close(void);

#endif
