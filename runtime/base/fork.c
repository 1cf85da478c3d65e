#define _GNU_SOURCE
#include "base/fork.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* The kernel wipes this page in every child (MADV_WIPEONFORK, Linux 4.14), however the child was made. */
static _Atomic(_Atomic uint64_t *) page;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void map_page(void)
{
        long size = sysconf(_SC_PAGESIZE);
        void *memory = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || madvise(memory, (size_t)size, MADV_WIPEONFORK) < 0)
                return;
        atomic_store_explicit(&page, memory, memory_order_release);
}

uint64_t fork_generation(void)
{
        _Atomic uint64_t *word = atomic_load_explicit(&page, memory_order_acquire);
        if (!word) {
                pthread_once(&once, map_page);
                word = atomic_load_explicit(&page, memory_order_acquire);
                if (!word)
                        return (uint64_t)getpid(); /* slower, as good */
        }
        uint64_t generation = atomic_load_explicit(word, memory_order_relaxed);
        if (!generation) {
                generation = (uint64_t)getpid();
                atomic_store_explicit(word, generation, memory_order_relaxed);
        }
        return generation;
}
