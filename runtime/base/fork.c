#define _GNU_SOURCE
#include "base/fork.h"
#include "base/clock.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- generations ------------------------------------------------------------------------------------------ */

/* The kernel wipes this page in every child (MADV_WIPEONFORK, Linux 4.14), however the child was made. */
static _Atomic(_Atomic uint64_t *) page;
static pthread_once_t page_once = PTHREAD_ONCE_INIT;

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
                pthread_once(&page_once, map_page);
                word = atomic_load_explicit(&page, memory_order_acquire);
                if (!word)
                        return (uint64_t)getpid(); /* slower, as good */
        }
        uint64_t generation = atomic_load_explicit(word, memory_order_relaxed);
        if (generation)
                return generation;
        /* With the time, as process numbers come again, and in each namespace. Whichever thread is first decides. */
        uint64_t mine = clock_now_ns() << 22 | (uint64_t)getpid();
        return atomic_compare_exchange_strong(word, &generation, mine) ? mine : generation;
}

/* ---- guarded fds ------------------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static uint8_t *guarded; /* one byte for each fd below n_guarded */
static size_t n_guarded;

static void before(void)
{
        pthread_mutex_lock(&lock);
}

static void after_in_parent(void)
{
        pthread_mutex_unlock(&lock);
}

static void after_in_child(void)
{
        for (size_t fd = 0; fd < n_guarded; fd++) {
                if (guarded[fd])
                        close((int)fd);
                guarded[fd] = 0;
        }
        pthread_mutex_unlock(&lock);
}

static void add_handlers(void)
{
        pthread_atfork(before, after_in_parent, after_in_child);
}

int fork_guard(int fd)
{
        pthread_once(&handlers_once, add_handlers);
        pthread_mutex_lock(&lock);
        size_t wanted = (size_t)fd + 1;
        if (wanted > n_guarded) {
                uint8_t *more = realloc(guarded, 2 * wanted);
                if (more) {
                        memset(more + n_guarded, 0, 2 * wanted - n_guarded);
                        guarded = more;
                        n_guarded = 2 * wanted;
                }
        }
        if ((size_t)fd < n_guarded) /* else memory is short, and the guard is a courtesy */
                guarded[fd] = 1;
        pthread_mutex_unlock(&lock);
        return fd;
}

void fork_close(int fd)
{
        pthread_mutex_lock(&lock);
        if ((size_t)fd < n_guarded)
                guarded[fd] = 0;
        close(fd);
        pthread_mutex_unlock(&lock);
}
