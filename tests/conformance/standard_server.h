/* Servers of Probe, and of the standard services, on threads of the test. */
#ifndef CONFORMANCE_STANDARD_SERVER_H
#define CONFORMANCE_STANDARD_SERVER_H

#include "harness.h"
#include <baton/health.h>

/* Its peer is ended with standard_end, or peer_end and baton_health_free. */
baton_health *standard_start(struct peer *peer, const baton_server_options *options);
void standard_end(struct peer *peer, baton_health *health);

#endif
