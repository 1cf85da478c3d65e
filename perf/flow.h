/* The streams of the benchmarks' server. */
#ifndef PERF_FLOW_H
#define PERF_FLOW_H

#include "perf.baton.h"
#include <baton/baton.h>

namespace perf
{

/* Registers perf.Flow. As baton_server_register. */
int register_flow(baton_server *server);

} // namespace perf

#endif
