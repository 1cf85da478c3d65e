/* Whether this process is the one that created an object: children of fork() must not use it. */
#ifndef BASE_FORK_H
#define BASE_FORK_H

#include <stdbool.h>
#include <stdint.h>

/* A number that differs between a process and its fork()ed children, also those of a raw clone(2). */
uint64_t fork_generation(void);

#endif
