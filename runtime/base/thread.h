/* Threads of the library's own. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* Starts one with a stack of its own size, and with all signals blocked: those belong to the program's threads. 0 or a negative
 * errno. */
int thread_start(pthread_t *thread, size_t stack_bytes, void *(*run)(void *argument), void *argument);

#endif
