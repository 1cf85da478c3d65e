/* W3 trace context, the traceparent header alone (https://www.w3.org/TR/trace-context/): carried on, never begun. */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include <stdbool.h>

enum { TRACEPARENT_SIZE = 56 }; /* "00-" trace-id "-" parent-id "-" flags, and the NUL */

/* Whether it is a traceparent of version 00, or of a later one that can be read as such. NULL: no. */
bool trace_valid(const char *traceparent);

/*
 * What a call made inside another one sends: its trace-id and flags, with a new random parent-id. False, and out is "", where there
 * is nothing valid to carry on: then the call belongs to no trace. No system call, but for the first of a thread.
 */
bool trace_child(const char *parent, char out[TRACEPARENT_SIZE]);

#endif
