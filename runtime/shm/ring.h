/*
 * A ring of variable records in 64-byte lines, with one producer and one consumer in different processes.
 *
 * The producer owns the ring's memory; the consumer owns the word `consumed`. A record starts at a line with a struct
 * shm_record and is contiguous; a pad record fills what is left at the end. The consumer polls the mark of the next record
 * only, so a small record costs one transfer of each of its lines.
 *
 * Proof of the order (labels stand at the operations in ring.c; tests/model checks it: ring.pml, and ring.c itself in all
 * interleavings):
 *   P1 publish: store-release of mark p+1   pairs with  C1 peek: load-acquire of the mark. Whoever sees the mark sees the body
 *      and the cleared mark of the next line (P0), so the next peek cannot take an old lap's bytes for a record.
 *   C2 advance: store-release of consumed   pairs with  P2 reserve: load-acquire of consumed. Whoever sees the position may
 *      overwrite the lines: the consumer's reads of them are over.
 *
 * The other side may write anything at any time into its word: positions are checked before use (-EPROTO), sizes likewise.
 */
#ifndef SHM_RING_H
#define SHM_RING_H

#include "shm/layout.h"
#include <stddef.h>
#include <stdint.h>

struct ring_producer {
        struct shm_line *lines;
        uint64_t n_lines;  /* a power of two */
        uint64_t tail;     /* the line of the next record, in the ring's life */
        uint64_t consumed; /* what the consumer was last seen to have read */
        const _Atomic uint64_t *consumed_word;
};

struct ring_consumer {
        const struct shm_line *lines;
        uint64_t n_lines;
        uint64_t head; /* the line of the next record */
        _Atomic uint64_t *consumed_word;
};

/* A record as the consumer read it: private but for the body. */
struct ring_record {
        const uint8_t *body; /* in the ring: read it once, before ring_advance */
        uint32_t size;
        uint16_t method;
        uint8_t kind;
        uint8_t flags;
        uint64_t call;
        uint64_t deadline_ns;
        uint64_t line; /* its first */
        uint64_t next; /* the line behind it */
};

/* Lines that a record with a body of this size takes. */
static inline uint64_t ring_lines(size_t body)
{
        return (sizeof(struct shm_record) + body + SHM_LINE - 1) / SHM_LINE;
}

void ring_producer_init(struct ring_producer *ring, struct shm_line *lines, size_t bytes,
                        const _Atomic uint64_t *consumed_word);
void ring_consumer_init(struct ring_consumer *ring, const struct shm_line *lines, size_t bytes,
                        _Atomic uint64_t *consumed_word);

/* The largest body a record can have: a quarter of the ring, so that with padding it always fits an empty one. */
size_t ring_largest(const struct ring_producer *ring);

/*
 * Makes room for a record with a body of `size` bytes; *body is where to write it and *room how much may be written there, at
 * least `size`. Any number of reserves may precede a publish. -EAGAIN: no room until the consumer reads on; -EPROTO: the
 * consumer's position is impossible; -EMSGSIZE: larger than ring_largest.
 */
int ring_reserve(struct ring_producer *ring, size_t size, uint8_t **body, size_t *room);

/* Publishes the record at the reserved place. header: all but the mark. */
void ring_publish(struct ring_producer *ring, const struct shm_record *header);

/* Whether a record of that body size would find room, without reserving it. */
int ring_has_room(struct ring_producer *ring, size_t size);

/* Whether something waits at the ring's head: one load, for polling. */
static inline int ring_ready(const struct ring_consumer *ring)
{
        const struct shm_record *record = (const struct shm_record *)&ring->lines[ring->head & (ring->n_lines - 1)];
        return atomic_load_explicit(&record->mark, memory_order_relaxed) == ring->head + 1;
}

/* 1 and the next record; 0 when there is none; -EPROTO when it cannot be one. Skips pads. */
int ring_peek(struct ring_consumer *ring, struct ring_record *out);

/* Hands the record's lines back to the producer. */
void ring_advance(struct ring_consumer *ring, const struct ring_record *record);

#endif
