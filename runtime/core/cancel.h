/* What stands behind baton_cancel: a word that blocking calls sleep on, and the list of what else is to be told. */
#ifndef CORE_CANCEL_H
#define CORE_CANCEL_H

#include "base/list.h"
#include <baton/call.h>
#include <pthread.h>
#include <stdint.h>

/* One that is told: an asynchronous call or a stream. */
struct cancel_watch {
        /* Called once, on the thread that cancels and with the lock held: it may post a task to a loop, and must not wait for
         * anything. It may call the functions below. */
        void (*fire)(struct cancel_watch *watch);
        struct list link;
};

struct baton_cancel {
        _Atomic uint32_t
                word; /* becomes 1: what client_call.cancelled points to. Release; pairs with whoever acquires it */
        pthread_mutex_t lock; /* recursive, so that fire may add and remove */
        struct list watches;
};

/* From now on watch->fire is told. 0; -ECANCELED where it was cancelled already: then fire is not called. error_set. */
int cancel_watch_add(struct baton_cancel *cancel, struct cancel_watch *watch);

/* After this fire does not run and will not; waits for one that is running on another thread. Once for each successful add,
 * whether it fired or not. */
void cancel_watch_remove(struct baton_cancel *cancel, struct cancel_watch *watch);

#endif
