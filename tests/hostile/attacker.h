/* A client written by hand: it speaks the handshake and then whatever a test wants. */
#ifndef HOSTILE_ATTACKER_H
#define HOSTILE_ATTACKER_H

#include "../crash/support.h"
#include "shm/layout.h"
#include <sys/socket.h>

enum { RING_BYTES = 8192, RING_LINES = RING_BYTES / SHM_LINE, HEAP_BYTES = 4 << 20, MOST_FDS = 253 };

/* Where a malformed thing hits: the server must be as it was, whatever became of the attacker. */
struct attacker {
        int socket;
        struct shm_base *mine; /* this side's base region, lane 0 included */
        const struct shm_base *theirs;
        struct shm_half *half; /* of the lane that it plays the server of; lane 0's, or another's */
        const struct shm_half *peer_half;
        int bell;      /* the client's, of an asynchronous lane; 0: none */
        uint8_t *heap; /* this side's first segment, once announced */
        uint64_t tail; /* the line of the next record */
        uint32_t n_methods;
        uint16_t echo, hold, chat, keep, count; /* numbers of Peer's methods, found by asking */
};

/* ---- memory ------------------------------------------------------------------------------------------------- */

enum seals { SEALED, UNSEALED };

/* A memfd of that many bytes, its pages allocated or not; mapped writable where memory is not NULL. */
int make_memory(size_t size, bool allocated, enum seals seals, void **memory);
size_t base_bytes(uint32_t ring_bytes);
size_t half_bytes(uint32_t ring_bytes);

/* ---- the control socket ------------------------------------------------------------------------------------- */

int dial(void);
/* False where the server has closed. */
bool post(int socket, const void *message, size_t size, const int *fds, int n_fds);
/* Waits for the end of the connection, reading what comes; false after that many ms. */
bool hung_up(int socket, unsigned ms);
/* A valid greeting, to be spoilt. */
struct shm_hello greeting(void);

/* ---- a whole connection ------------------------------------------------------------------------------------- */

/* Shakes hands properly. */
struct attacker attack(void);
/* Closes and unmaps. */
void retreat(struct attacker *attacker);
/* Announces the first MiB of heap properly. */
void announce_heap(struct attacker *attacker);
/* Tells the server to look at lane 0. */
void ring_bell(struct attacker *attacker);

/* Puts a record at the tail of lane 0's ring as it is, whatever its size says, and rings. */
void put_record(struct attacker *attacker, struct shm_record header, const void *body, size_t size);
/* A valid request for Echo: an empty Blob in wire format. */
struct shm_record echo_record(const struct attacker *attacker);
/* Whether a reply to the call with this number came within 2 s; its code in *code. */
bool replied(struct attacker *attacker, uint64_t call, uint16_t *code);

/* ---- the canary ---------------------------------------------------------------------------------------------- */

/* Opens a channel of an honest client, whose calls must always succeed. */
void keep_canary(const struct process *server);
/* The server lives and serves the canary; `what` was done to it. */
void check_canary(const char *what);
void free_canary(void);

#endif
