/* Tells whether a payload was handed over or copied, by asking the kernel rather than by believing the library. */
#ifndef EXAMPLES_SHARED_MEMORY_H
#define EXAMPLES_SHARED_MEMORY_H

#include <stdbool.h>

/* Whether the address lies in a mapped memfd, the kind of memory that Baton shares between processes. Reads
 * /proc/self/maps: tens of microseconds, so ask for large payloads only. */
bool in_shared_memory(const void *address);

#endif
