/*
 * One side's payload memory: blocks that it lends to the peer by offset.
 *
 * All bookkeeping is private; shared are only the payloads. Blocks are power-of-two sized, from a buddy system (Knuth,
 * TAOCP 1, 2.5) over segments that are added as needed and never taken away while the connection lives.
 *
 * A block has holds: one of the user who allocated it, and one for each loan it is part of. A loan is the set of blocks of one
 * message; the peer gives it back whole, by pushing its number to `returned` in its own base region. Whatever the peer
 * pushes, only a loan that was sent can be closed, once.
 *
 * Safe from any thread.
 */
#ifndef SHM_HEAP_H
#define SHM_HEAP_H

#include "shm/layout.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAP_SEGMENTS = 32 };

struct heap_segment;

struct heap_loan {
        uint64_t *blocks; /* offsets */
        uint32_t n;
        uint32_t capacity;
        uint32_t next_free;
        bool open;
        _Atomic bool sent; /* the peer may give it back; before, it would take away blocks that are being written */
};

struct heap {
        pthread_mutex_t lock;
        uint8_t *base;         /* reserved addresses; segments are mapped from the start on */
        uint64_t reserved;     /* bytes; the heap's limit */
        _Atomic uint64_t size; /* bytes in segments; changed under the lock */
        struct heap_segment *segments[HEAP_SEGMENTS];
        uint32_t n_segments;
        struct heap_loan *loans; /* SHM_LOANS, or NULL before the first */
        uint32_t free_loan;
        uint32_t n_open;                  /* loans */
        const _Atomic uint64_t *returned; /* of the peer */
        uint64_t n_returned;
        atomic_bool broken; /* the peer gave back what it did not have: nothing more is taken back */
        /* Tells the peer of a new segment, before any of its blocks is used. 0 or negative errno. */
        int (*grown)(struct heap *heap, int fd, uint64_t offset, uint64_t size);
};

int heap_init(struct heap *heap, uint64_t limit, const _Atomic uint64_t *returned,
              int (*grown)(struct heap *, int, uint64_t, uint64_t));
void heap_deinit(struct heap *heap);

/* A block with one hold. NULL when the limit is reached or memory is short, reason set. */
void *heap_alloc(struct heap *heap, size_t size);

/* Gives back heap_alloc's hold. False when memory is not the start of a block from heap_alloc, or was given back before. */
bool heap_free(struct heap *heap, void *memory);

/* Whether memory lies in the heap's addresses. No lock. */
static inline bool heap_contains(const struct heap *heap, const void *memory)
{
        return (uint64_t)((uintptr_t)memory - (uintptr_t)heap->base) < heap->reserved;
}

/* Bytes in segments: covers every block that this thread knows of. */
static inline uint64_t heap_size(const struct heap *heap)
{
        return atomic_load_explicit(&heap->size, memory_order_relaxed);
}

/* Whether the peer broke the rules: the connection had better end. */
static inline bool heap_broken(const struct heap *heap)
{
        return atomic_load_explicit(&heap->broken, memory_order_relaxed);
}

/* Whether anything is on loan, so that waiting may bring room. */
bool heap_has_loans(struct heap *heap);

/* Opens an empty loan: its number, or -ENOBUFS when all are out, -ENOMEM. */
int heap_loan_open(struct heap *heap);

/*
 * Adds a payload to the loan: in place where it lies whole in a block, else as a copy in a new block. Its offset, or
 * -ENOBUFS, -ENOMEM.
 */
int64_t heap_lend(struct heap *heap, uint32_t loan, const void *data, size_t size);

/* Adds a new block to the loan; its memory, or NULL, reason set. */
void *heap_lend_new(struct heap *heap, uint32_t loan, size_t size);

/* The loan is complete and about to be published. Before, the peer cannot give it back. */
void heap_loan_sent(struct heap *heap, uint32_t loan);

/* Closes a loan that was not sent after all. */
void heap_loan_cancel(struct heap *heap, uint32_t loan);

/* How many bytes are in blocks held by someone; for tests. */
uint64_t heap_held(struct heap *heap);

#endif
