/* A server written by hand, which lies to its client in one way. */
#ifndef HOSTILE_LIAR_H
#define HOSTILE_LIAR_H

#include "attacker.h"

enum { CLIENT_RING = 32 << 10 };

/* What the server does differently; each function may be NULL for the honest behaviour. */
struct lie {
        const char *what;
        void (*welcome)(struct shm_hello *welcome);                             /* spoils the welcome */
        void (*methods)(struct shm_method *methods, uint32_t *n);               /* spoils the table */
        int (*memory)(void);                                                    /* makes the base region's fd */
        void (*serve)(struct attacker *self, const struct shm_record *request); /* answers the first request */
        const char *path; /* of the method that there is instead of Echo; NULL: Echo */
        bool mute;        /* no wake-ups */
        int n_fds;        /* with the welcome; 0: two */
};

/* The lie that is being told; and whether the client makes its call on a loop. */
extern const struct lie *lie;
extern bool async;

void listen_at_address(void);

/* The server's thread: serves one connection, and stays until the client hangs up or the scenario is over. */
void *play_server(void *unused);

/* Wakes the client up. */
void wake_client(struct attacker *self);

/* Puts a record at the tail of the ring that the client reads. */
void put(struct attacker *self, struct shm_record header, const void *body, size_t size);

#endif
