#include "base/thread_number.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static _Atomic uint64_t taken[THREAD_NUMBERS / 64];
_Thread_local unsigned thread_number_plus;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int have_key;

/* Other destructors may still ask afterwards: they are given another one. */
static void pass_on(void *value)
{
        unsigned number = (unsigned)(uintptr_t)value - 1;
        thread_number_plus = 0;
        /* release pairs with the acquire in take() */
        atomic_fetch_and_explicit(&taken[number / 64], ~(UINT64_C(1) << number % 64), memory_order_release);
}

static void make_key(void)
{
        have_key = pthread_key_create(&key, pass_on) == 0;
}

/* A key would outlive a library that is unloaded. */
__attribute__((destructor)) static void delete_key(void)
{
        if (have_key)
                pthread_key_delete(key);
}

static unsigned take(void)
{
        for (unsigned word = 0; word < THREAD_NUMBERS / 64; word++) {
                uint64_t seen = atomic_load_explicit(&taken[word], memory_order_relaxed);
                while (~seen) {
                        unsigned bit = (unsigned)__builtin_ctzll(~seen);
                        if (atomic_compare_exchange_weak_explicit(&taken[word], &seen, seen | UINT64_C(1) << bit,
                                                                  memory_order_acquire, memory_order_relaxed))
                                return word * 64 + bit;
                }
        }
        return THREAD_NUMBERS;
}

unsigned thread_number_take(void)
{
        pthread_once(&once, make_key);
        unsigned number = have_key ? take() : THREAD_NUMBERS;
        thread_number_plus = number + 1;
        if (number < THREAD_NUMBERS && pthread_setspecific(key, (void *)(uintptr_t)thread_number_plus) != 0) {
                pass_on((void *)(uintptr_t)thread_number_plus);
                thread_number_plus = THREAD_NUMBERS + 1;
        }
        return thread_number_plus - 1;
}
