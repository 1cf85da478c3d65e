/* Those who watch the store. */
#ifndef KV_WATCH_H
#define KV_WATCH_H

#include "store.h"
#include <pthread.h>

struct watch;

struct watches {
        pthread_mutex_t lock;
        struct watch *first;
};

void watches_init(struct watches *watches);
void watches_deinit(struct watches *watches);

/* For store_observe, with the watches as its context: tells those who watch this key. Waits for none of them. */
void watches_tell(void *context, struct record *record, bool deleted);

#endif
