#include "core/cancel.h"
#include "base/error.h"
#include "base/futex.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static bool init_lock(pthread_mutex_t *lock)
{
        pthread_mutexattr_t recursive;
        if (pthread_mutexattr_init(&recursive))
                return false;
        pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
        int r = pthread_mutex_init(lock, &recursive);
        pthread_mutexattr_destroy(&recursive);
        return r == 0;
}

baton_cancel *baton_cancel_new(void)
{
        baton_cancel *cancel = malloc(sizeof *cancel);
        if (!cancel || !init_lock(&cancel->lock)) {
                free(cancel);
                error_set(-ENOMEM, "baton_cancel_new: out of memory");
                return NULL;
        }
        atomic_init(&cancel->word, 0);
        list_init(&cancel->watches);
        return cancel;
}

bool baton_cancel_called(const baton_cancel *cancel)
{
        return cancel && atomic_load_explicit(&cancel->word, memory_order_acquire);
}

void baton_cancel_now(baton_cancel *cancel)
{
        if (!cancel)
                return;
        pthread_mutex_lock(&cancel->lock);
        if (!atomic_exchange_explicit(&cancel->word, 1, memory_order_release))
                futex_wake_all(&cancel->word);
        /* None is added any more, but fire may remove others. */
        while (!list_empty(&cancel->watches)) {
                struct cancel_watch *watch = container_of(cancel->watches.next, struct cancel_watch, link);
                list_remove(&watch->link);
                watch->fire(watch);
        }
        pthread_mutex_unlock(&cancel->lock);
}

void baton_cancel_free(baton_cancel *cancel)
{
        if (!cancel)
                return;
        /* A call can end by the word while the thread that cancelled is still at the lock: its last step there comes first. */
        pthread_mutex_lock(&cancel->lock);
        pthread_mutex_unlock(&cancel->lock);
        pthread_mutex_destroy(&cancel->lock);
        free(cancel);
}

int cancel_watch_add(struct baton_cancel *cancel, struct cancel_watch *watch)
{
        pthread_mutex_lock(&cancel->lock);
        bool late = atomic_load_explicit(&cancel->word, memory_order_relaxed);
        if (!late)
                list_append(&cancel->watches, &watch->link);
        pthread_mutex_unlock(&cancel->lock);
        return late ? error_set(-ECANCELED, "the call's baton_cancel was cancelled before") : 0;
}

void cancel_watch_remove(struct baton_cancel *cancel, struct cancel_watch *watch)
{
        pthread_mutex_lock(&cancel->lock);
        list_remove(&watch->link);
        pthread_mutex_unlock(&cancel->lock);
}
