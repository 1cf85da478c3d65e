/* The handlers of the service Probe: of servers on threads of the test, and of conformance-server. */
#ifndef CONFORMANCE_PROBE_H
#define CONFORMANCE_PROBE_H

#include "probe.baton.h"
#include <baton/baton.h>

struct probe;

/* Aborts where memory is short, as all helpers of the tests. */
struct probe *probe_new(void);

/* After its server: answers what is still held, to nobody. */
void probe_free(struct probe *probe);

/* Handlers of streams may wait: they run on threads of their own (handler_threads). */
void probe_set_blocking(struct probe *probe);

/* Registers the service. 0 or a negative errno. */
int probe_serve(struct probe *probe, baton_server *server);

/* How often Act ran. */
uint64_t probe_runs(const struct probe *probe);

/* What the latest mistaken, late or deferred answer returned. */
int probe_error(const struct probe *probe);

/* How many calls are held by `batch` now. */
uint32_t probe_held(struct probe *probe);

/* Answers all that is held, from the calling thread, the last one first. */
void probe_answer_held(struct probe *probe);

/* The permissions of the mapping that an address lies in, "r--s" for example; "" where there is none. */
void permissions_at(const void *address, char text[8]);

#endif
