/* A call being served: what call.c, call_stream.c and server.c share. */
#ifndef CORE_CALL_H
#define CORE_CALL_H

#include "transport/transport.h"

/* The sink's init and unref. */
void call_init(struct baton_call *call, uint32_t memory);
void call_unref(struct baton_call *call);

#endif
