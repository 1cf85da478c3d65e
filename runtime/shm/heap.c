#define _GNU_SOURCE
#include "shm/heap.h"
#include "base/error.h"
#include "shm/buddy.h"
#include "shm/region.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct heap_segment {
        struct buddy buddy;
        uint64_t offset;
        uint64_t size;
};

enum { NO_LOAN = UINT32_MAX, FIRST_LOAN_BLOCKS = 4 };

int heap_init(struct heap *heap, uint64_t limit, const _Atomic uint64_t *returned,
              int (*grown)(struct heap *, int, uint64_t, uint64_t))
{
        *heap = (struct heap){ .reserved = limit, .returned = returned, .grown = grown };
        heap->base = region_reserve(limit);
        if (!heap->base)
                return -ENOMEM;
        pthread_mutex_init(&heap->lock, NULL);
        return 0;
}

void heap_deinit(struct heap *heap)
{
        if (!heap->base)
                return;
        munmap(heap->base, heap->reserved);
        for (uint32_t i = 0; i < heap->n_segments; i++) {
                buddy_deinit(&heap->segments[i]->buddy);
                free(heap->segments[i]);
        }
        for (uint32_t i = 0; heap->loans && i < SHM_LOANS; i++)
                free(heap->loans[i].blocks);
        free(heap->loans);
        pthread_mutex_destroy(&heap->lock);
        heap->base = NULL;
}

/* ---- blocks; the lock is held ----------------------------------------------------------------------------- */

static struct heap_segment *segment_at(const struct heap *heap, uint64_t offset)
{
        for (uint32_t i = 0; i < heap->n_segments; i++)
                if (offset - heap->segments[i]->offset < heap->segments[i]->size)
                        return heap->segments[i];
        return NULL;
}

static int map_segment(struct heap *heap, struct heap_segment *segment)
{
        int error = buddy_init(&segment->buddy, segment->size);
        if (error < 0)
                return error_set(error, "cannot manage a heap segment: out of memory");
        void *memory;
        int fd = region_create(segment->size, heap->base + segment->offset, &memory);
        error = fd < 0 ? fd : heap->grown(heap, fd, segment->offset, segment->size);
        if (fd >= 0)
                close(fd);
        if (error < 0) {
                /* The peer may know the addresses or not: they stay reserved, and are replaced by the next try. */
                if (mmap(heap->base + segment->offset, segment->size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
                        log_line(BATON_LOG_WARNING, "a heap segment that is not used could not be unmapped");
                buddy_deinit(&segment->buddy);
        }
        return error;
}

/* Adds a segment that can hold `size` bytes, doubling the heap where it may. */
static int grow(struct heap *heap, uint64_t size)
{
        uint64_t wanted = SHM_SEGMENT_LEAST;
        while (wanted < size && wanted < heap->reserved)
                wanted *= 2;
        if (size > heap->reserved)
                return error_set(-ENOBUFS, "a payload of %llu bytes is more than max_heap_bytes, which is %llu",
                                 (unsigned long long)size, (unsigned long long)heap->reserved);
        uint64_t left = heap->reserved - heap->size;
        if (wanted > left || heap->n_segments == HEAP_SEGMENTS)
                return error_set(
                        -ENOBUFS,
                        "no room for %llu bytes of payload: %llu of at most %llu bytes are in use or were; release "
                        "replies sooner or raise max_heap_bytes",
                        (unsigned long long)size, (unsigned long long)heap->size, (unsigned long long)heap->reserved);
        while (wanted < heap->size && wanted * 2 <= left)
                wanted *= 2;
        struct heap_segment *segment = calloc(1, sizeof *segment);
        if (!segment)
                return error_set(-ENOMEM, "cannot grow the heap: out of memory");
        segment->offset = heap->size;
        segment->size = wanted;
        int error = map_segment(heap, segment);
        if (error < 0) {
                free(segment);
                return error;
        }
        heap->segments[heap->n_segments++] = segment;
        heap->size += wanted;
        return 0;
}

static int64_t alloc_from(struct heap *heap, uint64_t size)
{
        for (uint32_t i = heap->n_segments; i-- > 0;) {
                int64_t at = buddy_alloc(&heap->segments[i]->buddy, size);
                if (at >= 0)
                        return at + (int64_t)heap->segments[i]->offset;
        }
        return -1;
}

static void drop(struct heap *heap, uint64_t offset)
{
        struct heap_segment *segment = segment_at(heap, offset);
        buddy_drop(&segment->buddy, offset - segment->offset);
}

/* The block's one hold is the user's, to be given back by heap_free. */
static void own(struct heap *heap, uint64_t offset)
{
        struct heap_segment *segment = segment_at(heap, offset);
        buddy_own(&segment->buddy, offset - segment->offset);
}

static void close_loan(struct heap *heap, uint32_t number)
{
        struct heap_loan *loan = &heap->loans[number];
        for (uint32_t i = 0; i < loan->n; i++)
                drop(heap, loan->blocks[i]);
        loan->n = 0;
        loan->open = false;
        heap->n_open--;
        loan->next_free = heap->free_loan;
        heap->free_loan = number;
}

/* Takes in what the peer gave back. */
static void reclaim(struct heap *heap)
{
        while (heap->loans && !heap->broken) {
                uint64_t word =
                        atomic_load_explicit(&heap->returned[heap->n_returned % SHM_LOANS], memory_order_acquire);
                if (word >> 16 != heap->n_returned + 1)
                        return;
                uint32_t number = (uint32_t)(word & 0xffff);
                if (number >= SHM_LOANS || !heap->loans[number].open ||
                    !atomic_load_explicit(&heap->loans[number].sent, memory_order_relaxed))
                        heap->broken = true;
                else
                        close_loan(heap, number);
                heap->n_returned++;
        }
}

static int64_t alloc_block(struct heap *heap, uint64_t size)
{
        reclaim(heap);
        int64_t at = alloc_from(heap, size);
        if (at >= 0)
                return at;
        int error = grow(heap, size);
        return error < 0 ? error : alloc_from(heap, size);
}

/* ---- blocks ----------------------------------------------------------------------------------------------- */

void *heap_alloc(struct heap *heap, size_t size)
{
        pthread_mutex_lock(&heap->lock);
        int64_t at = alloc_block(heap, size);
        if (at >= 0)
                own(heap, (uint64_t)at);
        pthread_mutex_unlock(&heap->lock);
        return at < 0 ? NULL : heap->base + at;
}

bool heap_free(struct heap *heap, void *memory)
{
        if (!heap_contains(heap, memory))
                return false;
        uint64_t offset = (uint64_t)((uint8_t *)memory - heap->base), size;
        pthread_mutex_lock(&heap->lock);
        struct heap_segment *segment = segment_at(heap, offset);
        bool found =
                segment &&
                buddy_find(&segment->buddy, offset - segment->offset, &size) == (int64_t)(offset - segment->offset) &&
                buddy_disown(&segment->buddy, offset - segment->offset);
        if (found)
                drop(heap, offset);
        pthread_mutex_unlock(&heap->lock);
        return found;
}

uint64_t heap_held(struct heap *heap)
{
        uint64_t free_bytes = 0;
        pthread_mutex_lock(&heap->lock);
        reclaim(heap);
        for (uint32_t i = 0; i < heap->n_segments; i++) {
                const struct buddy *buddy = &heap->segments[i]->buddy;
                for (uint32_t order = 0; order < BUDDY_ORDERS; order++)
                        for (uint32_t unit = buddy->free_head[order]; unit != UINT32_MAX; unit = buddy->next[unit])
                                free_bytes += (uint64_t)BUDDY_UNIT << order;
        }
        uint64_t held = heap->size - free_bytes;
        pthread_mutex_unlock(&heap->lock);
        return held;
}

/* ---- loans ------------------------------------------------------------------------------------------------ */

static int make_loans(struct heap *heap)
{
        heap->loans = calloc(SHM_LOANS, sizeof *heap->loans);
        if (!heap->loans)
                return -ENOMEM;
        for (uint32_t i = 0; i < SHM_LOANS; i++)
                heap->loans[i].next_free = i + 1 < SHM_LOANS ? i + 1 : NO_LOAN;
        heap->free_loan = 0;
        return 0;
}

int heap_loan_open(struct heap *heap)
{
        int number = -ENOBUFS;
        pthread_mutex_lock(&heap->lock);
        if (!heap->loans && make_loans(heap) < 0) {
                pthread_mutex_unlock(&heap->lock);
                return error_set(-ENOMEM, "cannot lend a payload: out of memory");
        }
        reclaim(heap);
        if (heap->free_loan == NO_LOAN) {
                error_set(number, "%d messages with payloads are with the peer already; release some first", SHM_LOANS);
        } else {
                number = (int)heap->free_loan;
                heap->free_loan = heap->loans[number].next_free;
                heap->loans[number].open = true;
                atomic_store_explicit(&heap->loans[number].sent, false, memory_order_relaxed);
                heap->n_open++;
        }
        pthread_mutex_unlock(&heap->lock);
        return number;
}

bool heap_has_loans(struct heap *heap)
{
        pthread_mutex_lock(&heap->lock);
        reclaim(heap);
        bool any = heap->n_open;
        pthread_mutex_unlock(&heap->lock);
        return any;
}

void heap_loan_sent(struct heap *heap, uint32_t loan)
{
        /* The record's mark, the peer and its return are what orders this before an honest return is taken in. */
        atomic_store_explicit(&heap->loans[loan].sent, true, memory_order_relaxed);
}

void heap_loan_cancel(struct heap *heap, uint32_t loan)
{
        pthread_mutex_lock(&heap->lock);
        close_loan(heap, loan);
        pthread_mutex_unlock(&heap->lock);
}

/* Puts a block whose hold the loan takes over on its list. */
static int add_to_loan(struct heap_loan *loan, uint64_t block)
{
        if (loan->n == loan->capacity) {
                uint32_t capacity = loan->capacity ? 2 * loan->capacity : FIRST_LOAN_BLOCKS;
                uint64_t *blocks = realloc(loan->blocks, capacity * sizeof *blocks);
                if (!blocks)
                        return -ENOMEM;
                loan->blocks = blocks;
                loan->capacity = capacity;
        }
        loan->blocks[loan->n++] = block;
        return 0;
}

/* The start of the block in which the payload lies whole, now held once more; or -1. */
static int64_t hold_in_place(struct heap *heap, const void *data, size_t size)
{
        if (!heap_contains(heap, data))
                return -1;
        uint64_t offset = (uint64_t)((const uint8_t *)data - heap->base), block_size;
        struct heap_segment *segment = segment_at(heap, offset);
        int64_t start = segment ? buddy_find(&segment->buddy, offset - segment->offset, &block_size) : -1;
        if (start < 0 || size > block_size - (offset - segment->offset - (uint64_t)start))
                return -1;
        buddy_hold(&segment->buddy, (uint64_t)start);
        return start + (int64_t)segment->offset;
}

/* A block for the loan, in place or new; *in_place tells. */
static int64_t lend_block(struct heap *heap, uint32_t loan, const void *data, size_t size, bool *in_place)
{
        pthread_mutex_lock(&heap->lock);
        int64_t block = data ? hold_in_place(heap, data, size) : -1;
        *in_place = block >= 0;
        if (block < 0)
                block = alloc_block(heap, size);
        if (block >= 0 && add_to_loan(&heap->loans[loan], (uint64_t)block) < 0) {
                drop(heap, (uint64_t)block);
                block = error_set(-ENOMEM, "cannot lend a payload: out of memory");
        }
        pthread_mutex_unlock(&heap->lock);
        return block;
}

int64_t heap_lend(struct heap *heap, uint32_t loan, const void *data, size_t size)
{
        bool in_place;
        int64_t block = lend_block(heap, loan, data, size, &in_place);
        if (in_place)
                return (const uint8_t *)data - heap->base;
        if (block >= 0)
                memcpy(heap->base + block, data, size);
        return block;
}

void *heap_lend_new(struct heap *heap, uint32_t loan, size_t size)
{
        bool in_place;
        int64_t block = lend_block(heap, loan, NULL, size, &in_place);
        return block < 0 ? NULL : heap->base + block;
}
