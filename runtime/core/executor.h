/*
 * Where handlers run that do not run inline: on threads of the server's own, or wherever the user's execute() takes them.
 *
 * It is open while its server runs. Calls that come to their turn once it is closed are turned away, also when the server has been
 * freed by then: a user's executor may be late.
 */
#ifndef CORE_EXECUTOR_H
#define CORE_EXECUTOR_H

#include "transport/transport.h"

struct executor;

/* What the options ask for; NULL with the reason in baton_error(). */
struct executor *executor_new(const baton_server_options *options);

/* Starts the threads, where it has its own. 0 or a negative errno. The first executor_open, or after executor_join. */
int executor_open(struct executor *executor);

/* Has this call served soon; takes over one hold. Any thread. */
void executor_submit(struct executor *executor, struct baton_call *call);

/* From now on no handler begins; what waits in its own queue is told UNAVAILABLE. */
void executor_close(struct executor *executor);

/* Waits until no handler runs. After executor_close; not from a handler. Both harmless where it is not open. */
void executor_join(struct executor *executor);

/* Frees it, once calls that a user's executor still has are gone. NULL is allowed. */
void executor_free(struct executor *executor);

#endif
