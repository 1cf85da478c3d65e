#define _GNU_SOURCE
#include "shm/link.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/list.h"
#include "shm/region.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

size_t link_half_bytes(uint32_t ring_bytes)
{
        return sizeof(struct shm_half) + ring_bytes;
}

size_t link_base_bytes(uint32_t ring_bytes)
{
        return offsetof(struct shm_base, lane0) + link_half_bytes(ring_bytes);
}

bool link_ring_bytes_valid(uint32_t ring_bytes)
{
        return ring_bytes >= SHM_RING_LEAST && ring_bytes <= SHM_RING_MOST && !(ring_bytes & (ring_bytes - 1));
}

/* heap_alloc tells the peer of each new segment before it hands out the first block of it. */
static int announce_segment(struct heap *heap, int fd, uint64_t offset, uint64_t size)
{
        struct link *link = container_of(heap, struct link, heap);
        struct shm_new_segment message = { .kind = SHM_SEGMENT, .offset = offset, .size = size };
        int error = control_send(link->socket, &message, sizeof message, &fd, 1);
        if (error < 0)
                return error_set(error, "cannot announce a heap segment to the peer: %s", strerror(-error));
        return 0;
}

int link_init(struct link *link, int socket, uint32_t ring_bytes, uint64_t heap_max)
{
        memset(link, 0, sizeof *link);
        link->socket = socket;
        link->ring_bytes = ring_bytes;
        pthread_mutex_init(&link->return_lock, NULL);
        void *base;
        int fd = region_create(link_base_bytes(ring_bytes), NULL, &base);
        if (fd >= 0)
                link->mine = base;
        link->heap.reserved = heap_max;
        return fd;
}

int link_attach(struct link *link, int base_fd, uint64_t heap_max)
{
        const void *base;
        int error = region_map(base_fd, link_base_bytes(link->ring_bytes), NULL, &base);
        if (error < 0)
                return error;
        link->peer = base;
        /* The peer's base region holds what it gives back, so the heap begins here. */
        error = heap_init(&link->heap, link->heap.reserved, link->peer->returned, announce_segment);
        if (error < 0)
                return error;
        if (heap_max > SHM_HEAP_MOST)
                return error_set(-EPROTO, "the peer announced a heap of %llu bytes", (unsigned long long)heap_max);
        link->peer_heap = heap_max ? region_reserve(heap_max) : NULL;
        if (heap_max && !link->peer_heap)
                return -ENOMEM;
        link->peer_heap_reserved = heap_max;
        return 0;
}

void link_deinit(struct link *link)
{
        if (link->socket >= 0)
                fork_close(link->socket);
        link->socket = -1;
        heap_deinit(&link->heap);
        region_unmap(link->mine, link_base_bytes(link->ring_bytes));
        region_unmap(link->peer, link_base_bytes(link->ring_bytes));
        if (link->peer_heap)
                munmap((void *)link->peer_heap, link->peer_heap_reserved);
        pthread_mutex_destroy(&link->return_lock);
}

int link_segment(struct link *link, struct control_message *message)
{
        uint64_t offset = message->segment.offset, size = message->segment.size;
        uint64_t mapped = atomic_load_explicit(&link->peer_heap_size, memory_order_relaxed);
        int fd = control_take(message, 0);
        int error = -EPROTO;
        const void *memory;
        if (fd >= 0 && offset == mapped && size >= SHM_SEGMENT_LEAST && !(size & (SHM_SEGMENT_LEAST - 1)) &&
            size <= link->peer_heap_reserved - mapped)
                error = region_map(fd, size, (uint8_t *)link->peer_heap + offset, &memory);
        else
                error_set(error, "the peer sent a heap segment that does not fit");
        if (fd >= 0)
                close(fd);
        if (error < 0)
                return error;
        atomic_store_explicit(&link->peer_heap_size, mapped + size, memory_order_release);
        return 0;
}

void link_return_loan(struct link *link, uint32_t loan)
{
        pthread_mutex_lock(&link->return_lock);
        uint64_t position = link->n_returned++;
        atomic_store_explicit(&link->mine->returned[position % SHM_LOANS], (position + 1) << 16 | loan,
                              memory_order_release); /* pairs with the acquire in heap.c, reclaim */
        pthread_mutex_unlock(&link->return_lock);
}

/* ---- lanes ------------------------------------------------------------------------------------------------ */

static void join(struct lane_ends *lane)
{
        ring_producer_init(&lane->out, lane->mine->ring, lane->ring_bytes, &lane->peer->consumed);
        ring_consumer_init(&lane->in, lane->peer->ring, lane->ring_bytes, &lane->mine->consumed);
        lane->waker = (struct waker){ .mine = lane->mine, .peer = lane->peer };
}

void link_lane0(struct link *link, struct lane_ends *lane)
{
        *lane = (struct lane_ends){
                .link = link, .mine = &link->mine->lane0, .peer = &link->peer->lane0, .ring_bytes = link->ring_bytes
        };
        join(lane);
}

int link_lane_init(struct link *link, struct lane_ends *lane, uint32_t number, uint32_t ring_bytes)
{
        *lane = (struct lane_ends){ .link = link, .number = number, .ring_bytes = ring_bytes };
        void *half;
        int fd = region_create(link_half_bytes(ring_bytes), NULL, &half);
        if (fd >= 0)
                lane->mine = half;
        return fd;
}

int link_lane_attach(struct lane_ends *lane, int fd)
{
        const void *half;
        int error = region_map(fd, link_half_bytes(lane->ring_bytes), NULL, &half);
        if (error < 0)
                return error;
        lane->peer = half;
        join(lane);
        return 0;
}

void link_lane_deinit(struct lane_ends *lane)
{
        if (lane->number) {
                region_unmap(lane->mine, link_half_bytes(lane->ring_bytes));
                region_unmap(lane->peer, link_half_bytes(lane->ring_bytes));
        }
        lane->mine = NULL;
        lane->peer = NULL;
}
