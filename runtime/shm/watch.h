/*
 * Tells a client at once when a server's process is gone: one thread per process, which sleeps until the kernel reports a
 * hang-up on one of the control sockets. Callers blocked on a futex could not see that themselves. Runs while there is
 * something to watch.
 */
#ifndef SHM_WATCH_H
#define SHM_WATCH_H

#include "base/list.h"

struct watch {
        int fd;
        void (*hangup)(struct watch *watch); /* on the watching thread, once; must not block or call watch_* */
        struct list link;
};

/* 0 or a negative errno with the reason set. Any thread. */
int watch_add(struct watch *watch);

/* After this hangup does not run and will not. Any thread but the watching one. */
void watch_remove(struct watch *watch);

#endif
