#include "shm/buddy.h"
#include <errno.h>
#include <stdlib.h>

enum { USED = 0x80 };

#define NONE UINT32_MAX
#define OWNED 0x80000000u /* in holds */

static uint32_t order_of(uint64_t size)
{
        uint32_t order = 0;
        while (((uint64_t)BUDDY_UNIT << order) < size)
                order++;
        return order;
}

static void push_free(struct buddy *buddy, uint32_t unit, uint32_t order)
{
        uint32_t head = buddy->free_head[order];
        buddy->state[unit] = (uint8_t)(order + 1);
        buddy->next[unit] = head;
        buddy->previous[unit] = NONE;
        if (head != NONE)
                buddy->previous[head] = unit;
        buddy->free_head[order] = unit;
}

static void take_free(struct buddy *buddy, uint32_t unit, uint32_t order)
{
        uint32_t next = buddy->next[unit], previous = buddy->previous[unit];
        if (previous != NONE)
                buddy->next[previous] = next;
        else
                buddy->free_head[order] = next;
        if (next != NONE)
                buddy->previous[next] = previous;
        buddy->state[unit] = 0;
}

int buddy_init(struct buddy *buddy, uint64_t bytes)
{
        uint32_t n = (uint32_t)(bytes / BUDDY_UNIT);
        *buddy = (struct buddy){ .n_units = n };
        buddy->state = calloc(n, sizeof *buddy->state);
        buddy->next = malloc(n * sizeof *buddy->next);
        buddy->previous = malloc(n * sizeof *buddy->previous);
        buddy->holds = malloc(n * sizeof *buddy->holds);
        if (!buddy->state || !buddy->next || !buddy->previous || !buddy->holds) {
                buddy_deinit(buddy);
                return -ENOMEM;
        }
        for (uint32_t order = 0; order < BUDDY_ORDERS; order++)
                buddy->free_head[order] = NONE;
        push_free(buddy, 0, order_of(bytes));
        return 0;
}

void buddy_deinit(struct buddy *buddy)
{
        free(buddy->state);
        free(buddy->next);
        free(buddy->previous);
        free(buddy->holds);
        *buddy = (struct buddy){ 0 };
}

int64_t buddy_alloc(struct buddy *buddy, uint64_t size)
{
        if (size > (uint64_t)buddy->n_units * BUDDY_UNIT)
                return -1;
        uint32_t wanted = order_of(size), order = wanted;
        while (order < BUDDY_ORDERS && buddy->free_head[order] == NONE)
                order++;
        if (order == BUDDY_ORDERS)
                return -1;
        uint32_t unit = buddy->free_head[order];
        take_free(buddy, unit, order);
        while (order > wanted) {
                order--;
                push_free(buddy, unit + (1u << order), order);
        }
        buddy->state[unit] = (uint8_t)(USED | (wanted + 1));
        buddy->holds[unit] = 1;
        return (int64_t)unit * BUDDY_UNIT;
}

int64_t buddy_find(const struct buddy *buddy, uint64_t offset, uint64_t *size)
{
        uint32_t unit = (uint32_t)(offset / BUDDY_UNIT);
        for (uint32_t order = 0; unit < buddy->n_units && order < BUDDY_ORDERS - 1; order++) {
                uint32_t start = unit & ~((1u << order) - 1);
                uint8_t state = buddy->state[start];
                if (!(state & USED) || (uint32_t)(state & ~USED) - 1 < order)
                        continue;
                *size = (uint64_t)BUDDY_UNIT << ((state & ~USED) - 1);
                return (int64_t)start * BUDDY_UNIT;
        }
        return -1;
}

void buddy_own(struct buddy *buddy, uint64_t start)
{
        buddy->holds[start / BUDDY_UNIT] |= OWNED;
}

bool buddy_disown(struct buddy *buddy, uint64_t start)
{
        bool owned = buddy->holds[start / BUDDY_UNIT] & OWNED;
        buddy->holds[start / BUDDY_UNIT] &= ~OWNED;
        return owned;
}

void buddy_hold(struct buddy *buddy, uint64_t start)
{
        buddy->holds[start / BUDDY_UNIT]++;
}

void buddy_drop(struct buddy *buddy, uint64_t start)
{
        uint32_t unit = (uint32_t)(start / BUDDY_UNIT);
        if (--buddy->holds[unit])
                return;
        uint32_t order = (uint32_t)(buddy->state[unit] & ~USED) - 1;
        buddy->state[unit] = 0;
        for (; (2u << order) <= buddy->n_units; order++) {
                uint32_t other = unit ^ (1u << order);
                if (buddy->state[other] != order + 1)
                        break;
                take_free(buddy, other, order);
                unit &= ~(1u << order);
        }
        push_free(buddy, unit, order);
}
