/* Included before ring.c and wake.c (gcc -include): their atomics, copies and system calls become the machine's. */
#ifndef MODEL_HOOKS_H
#define MODEL_HOOKS_H

#define _GNU_SOURCE
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "machine.h"

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_thread_fence
/* The comma makes the atomic type a plain one. */
#define atomic_load_explicit(at, order) \
        ((__typeof__((void)0, *(at)))machine_load((at), sizeof *(at), (order), __FILE__, __LINE__))
#define atomic_store_explicit(at, value, order) \
        machine_store((at), sizeof *(at), (uint64_t)(value), (order), __FILE__, __LINE__)
#define atomic_thread_fence(order) machine_fence((order), __FILE__, __LINE__)
#define memcpy(to, from, size) machine_memcpy((to), (from), (size))
#define syscall(...) machine_syscall(__VA_ARGS__)

#endif
