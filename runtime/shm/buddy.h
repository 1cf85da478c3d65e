/* The buddy system of one heap segment, all in private memory. Knows sizes and offsets only. */
#ifndef SHM_BUDDY_H
#define SHM_BUDDY_H

#include <stdbool.h>
#include <stdint.h>

enum { BUDDY_UNIT = 1024, BUDDY_ORDERS = 32 };

struct buddy {
        uint32_t n_units; /* a power of two */
        uint32_t free_head[BUDDY_ORDERS];
        uint8_t *state; /* per unit: 0 inside a block, else order + 1, with USED where allocated */
        uint32_t *next; /* free lists, valid at the first unit of a free block */
        uint32_t *previous;
        uint32_t *holds; /* valid at the first unit of a used block: a count, and OWNED */
};

int buddy_init(struct buddy *buddy, uint64_t bytes);
void buddy_deinit(struct buddy *buddy);

/* The offset of a block of at least `size` bytes with one hold, or -1. */
int64_t buddy_alloc(struct buddy *buddy, uint64_t size);

/* The start of the used block around this offset and its size, or -1. */
int64_t buddy_find(const struct buddy *buddy, uint64_t offset, uint64_t *size);

/* One of the holds of a used block can be marked as its owner's; disown: false where it was not. */
void buddy_own(struct buddy *buddy, uint64_t start);
bool buddy_disown(struct buddy *buddy, uint64_t start);

/* Changes the holds of the used block that starts at this offset; it is freed with the last. */
void buddy_hold(struct buddy *buddy, uint64_t start);
void buddy_drop(struct buddy *buddy, uint64_t start);

#endif
