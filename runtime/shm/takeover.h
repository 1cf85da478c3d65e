/*
 * Hot restarts: a new server asks the one that runs for its listening socket. The old one goes on accepting, as both have
 * the socket now, until the new one serves and says so. So no client is refused in between, and if the new one fails the old one
 * has never stopped.
 */
#ifndef SHM_TAKEOVER_H
#define SHM_TAKEOVER_H

#include "shm/server.h"

/* ---- the new server ---------------------------------------------------------------------------------------- */

/* Listens at the listener's path with the socket of the server that runs there, or, where none does, with its own. 0 or a negative
 * errno with the reason set. Waits some seconds at most. */
int takeover_listen(struct listener *listener);

/* ---- the old server; on the connection's loop --------------------------------------------------------------- */

/* A TAKEOVER message: hands over. Negative: the connection is to be closed. */
int takeover_give(struct server_connection *connection, const struct control_message *message);

/* A TAKEN message: the listener stops, and its server drains. Likewise. */
int takeover_taken(struct server_connection *connection);

/* The connection ends, perhaps before that. The listener's lock is held. */
void takeover_forget(struct server_connection *connection);

#endif
