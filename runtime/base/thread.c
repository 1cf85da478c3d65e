#include "base/thread.h"
#include <signal.h>

int thread_start(pthread_t *thread, size_t stack_bytes, void *(*run)(void *argument), void *argument)
{
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, stack_bytes);
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int error = pthread_create(thread, &attributes, run, argument);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attributes);
        return -error;
}
