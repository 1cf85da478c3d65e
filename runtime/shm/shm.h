/* The shared-memory transport, as core sees it. */
#ifndef SHM_SHM_H
#define SHM_SHM_H

#include "transport/transport.h"

extern const struct transport shm_transport;

/* Entries of its table that are not with the client's; see struct transport. */
int shm_listen(const char *address, const struct server_config *config, struct server_sink *sink, baton_loop *loop,
               struct listener **out);
void shm_drain(struct listener *listener);
void shm_unlisten(struct listener *listener);

#endif
