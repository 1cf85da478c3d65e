/* What the programs that the tests start share. Each writes a line when it is ready, and dies with its parent. */
#ifndef CONFORMANCE_PROGRAM_H
#define CONFORMANCE_PROGRAM_H

#include "probe.h"
#include <signal.h>

/* First in main: from now on it dies with its parent. */
void program_begin(void);
/* Blocks SIGTERM, for sigwait; before any thread is started. */
sigset_t program_block_sigterm(void);
void program_ready(void);
/* Is ready, serves until the server ends, and frees both; the result of baton_server_run. */
int program_serve(baton_server *server, struct probe *probe);

#endif
