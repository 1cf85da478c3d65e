/* Random numbers for jitter and identifiers: cheap, of each thread's own, and no secret. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

uint64_t random_u64(void);

#endif
