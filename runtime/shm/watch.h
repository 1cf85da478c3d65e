/*
 * Looks after control sockets while nobody calls: one thread per process, which sleeps until a server sends something or
 * its process is gone, or something is due. Callers blocked on a futex could not see that themselves. Runs while there is
 * something to watch.
 */
#ifndef SHM_WATCH_H
#define SHM_WATCH_H

#include "base/list.h"
#include <stdint.h>

struct watch {
        int fd;
        /* On the watching thread: something came, or is due, or the watch was poked. Returns when it is due next (CLOCK_MONOTONIC;
         * 0: never). hung_up: for the last time. Must not block, nor call watch_add. */
        uint64_t (*attend)(struct watch *watch, bool hung_up);
        uint64_t due_ns; /* set before watch_add, or 0; then watch.c's */
        struct list link;
};

/* 0 or a negative errno with the reason set. Any thread but the watching one. */
int watch_add(struct watch *watch);

/* Has the watching thread attend to it, soon. Any thread; harmless for one that is not watched. */
void watch_poke(struct watch *watch);

/* After this attend does not run and will not. Any thread; harmless for one that is not watched but initialised. */
void watch_remove(struct watch *watch);

#endif
