/*
 * What both ends of a connection have: the control socket, one's own base region and heap, and read-only views of the
 * peer's. And a lane as both ends see it.
 */
#ifndef SHM_LINK_H
#define SHM_LINK_H

#include "shm/control.h"
#include "shm/heap.h"
#include "shm/ring.h"
#include "shm/wake.h"
#include <pthread.h>
#include <stdatomic.h>

struct link {
        int socket;
        struct shm_base *mine;
        const struct shm_base *peer;
        uint32_t ring_bytes; /* of lane 0 */
        struct heap heap;

        const uint8_t *peer_heap; /* reserved addresses; mapped up to peer_heap_size */
        uint64_t peer_heap_reserved;
        _Atomic uint64_t peer_heap_size;

        pthread_mutex_t return_lock;
        uint64_t n_returned; /* loans given back to the peer */
};

/* One side's hold on a lane; `out` and `waker` belong to whoever may send, `in` to whoever may receive. */
struct lane_ends {
        struct link *link;
        struct shm_half *mine;
        const struct shm_half *peer;
        uint32_t ring_bytes;
        uint32_t number; /* 0: lives in the base regions */
        struct ring_producer out;
        struct ring_consumer in;
        struct waker waker;
};

/* Bytes of a base region and of a lane region. */
size_t link_base_bytes(uint32_t ring_bytes);
size_t link_half_bytes(uint32_t ring_bytes);

/* Whether a peer may ask for rings of this size. */
bool link_ring_bytes_valid(uint32_t ring_bytes);

/* Makes the own side: base region and heap. Returns the region's fd, to be sent and closed, or a negative errno. The
 * link takes over the socket in every case. */
int link_init(struct link *link, int socket, uint32_t ring_bytes, uint64_t heap_max);

/* Adds the peer's side. 0 or a negative errno. */
int link_attach(struct link *link, int base_fd, uint64_t heap_max);

/* Unmaps and closes all. */
void link_deinit(struct link *link);

/* Handles a SEGMENT message. 0, or -EPROTO and such: then the connection must end. */
int link_segment(struct link *link, struct control_message *message);

/* Gives a loan back to the peer. Any thread. */
void link_return_loan(struct link *link, uint32_t loan);

/* Sets up lane 0. */
void link_lane0(struct link *link, struct lane_ends *lane);

/* Makes the own half of a further lane: its region's fd, or negative errno; then adds the peer's half. */
int link_lane_init(struct link *link, struct lane_ends *lane, uint32_t number, uint32_t ring_bytes);
int link_lane_attach(struct lane_ends *lane, int fd);
void link_lane_deinit(struct lane_ends *lane);

#endif
