/* The table of calls in flight. It grows as needed, and slots never move: the loop holds on to them while others are added. */
#define _GNU_SOURCE
#include "base/error.h"
#include "shm/async_lane.h"
#include <errno.h>
#include <stdlib.h>

static struct slot *slot_at(struct async_lane *lane, uint32_t index)
{
        return &lane->slots[index / SLOTS_AT_ONCE][index % SLOTS_AT_ONCE];
}

static uint32_t index_of(const struct slot *slot)
{
        return (uint32_t)(slot->number & ((1u << SHM_SLOT_BITS) - 1));
}

static int grow(struct async_lane *lane)
{
        uint32_t most = lane->connection->options.max_in_flight;
        if (lane->n_slots >= most)
                return error_set(-EBUSY,
                                 "%u calls are in flight on this loop; handle replies first, or raise max_in_flight",
                                 most);
        struct slot *slots = calloc(SLOTS_AT_ONCE, sizeof *slots);
        if (!slots)
                return error_set(-ENOMEM, "no memory for a call");
        lane->slots[lane->n_slots / SLOTS_AT_ONCE] = slots;
        uint32_t n = most - lane->n_slots < SLOTS_AT_ONCE ? most - lane->n_slots : SLOTS_AT_ONCE;
        for (uint32_t i = 0; i < n; i++) {
                slots[i].number = lane->n_slots + i;
                slots[i].next_free = i + 1 < n ? lane->n_slots + i + 1 : NO_SLOT;
        }
        lane->free_slot = lane->n_slots;
        lane->n_slots += n;
        return 0;
}

struct slot *slot_find(struct async_lane *lane, int *error)
{
        *error = lane->free_slot == NO_SLOT ? grow(lane) : 0;
        return *error < 0 ? NULL : slot_at(lane, lane->free_slot);
}

void slot_fill(struct async_lane *lane, struct slot *slot, struct client_call *call, struct stream_end *stream)
{
        lane->free_slot = slot->next_free;
        lane->n_used++;
        slot->call = call;
        call->number = slot->number;
        slot->stream = stream;
        slot->end = lane->ends.out.tail;
        if (call->deadline_ns)
                timers_insert(&lane->deadlines, &slot->due, call->deadline_ns);
}

struct slot *slot_of(struct async_lane *lane, uint64_t number)
{
        uint32_t index = (uint32_t)(number & ((1u << SHM_SLOT_BITS) - 1));
        if (index >= lane->n_slots)
                return NULL;
        struct slot *slot = slot_at(lane, index);
        return slot->call && slot->number == number ? slot : NULL;
}

void slot_release(struct async_lane *lane, struct slot *slot)
{
        timers_remove(&lane->deadlines, &slot->due);
        slot->call = NULL;
        slot->stream = NULL;
        slot->next_free = lane->free_slot;
        lane->free_slot = index_of(slot);
        lane->n_used--;
}

void slots_free(struct async_lane *lane)
{
        for (uint32_t i = 0; i < SLOT_CHUNKS; i++)
                free(lane->slots[i]);
}
