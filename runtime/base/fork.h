/*
 * fork(): children must not use what the parent opened, nor keep it alive.
 *
 * A child that does not exec holds copies of all descriptors. Left open, they would keep the parent's connections from
 * hanging up when the parent dies, and its listening addresses in use; so the child closes those that are guarded, inside
 * fork().
 */
#ifndef BASE_FORK_H
#define BASE_FORK_H

#include <stdint.h>

/* A number that differs between a process and its fork()ed children, also those of a raw clone(2). */
uint64_t fork_generation(void);

/* Has children of fork(3) close this fd. Returns fd. Any thread. */
int fork_guard(int fd);

/* Ends that, and closes the fd here. Harmless for one that is not guarded. */
void fork_close(int fd);

#endif
