#include "shm/ring.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static struct shm_record *producer_at(const struct ring_producer *ring, uint64_t line)
{
        return (struct shm_record *)&ring->lines[line & (ring->n_lines - 1)];
}

void ring_producer_init(struct ring_producer *ring, struct shm_line *lines, size_t bytes,
                        const _Atomic uint64_t *consumed_word)
{
        *ring = (struct ring_producer){ .lines = lines, .n_lines = bytes / SHM_LINE, .consumed_word = consumed_word };
}

void ring_consumer_init(struct ring_consumer *ring, const struct shm_line *lines, size_t bytes,
                        _Atomic uint64_t *consumed_word)
{
        *ring = (struct ring_consumer){ .lines = lines, .n_lines = bytes / SHM_LINE, .consumed_word = consumed_word };
}

size_t ring_largest(const struct ring_producer *ring)
{
        return ring->n_lines / 4 * SHM_LINE - sizeof(struct shm_record);
}

/* Lines that may be written from the tail on; one more stays free for the cleared mark. Negative errno. */
static int64_t free_lines(struct ring_producer *ring, uint64_t wanted)
{
        uint64_t used = ring->tail - ring->consumed;
        if (ring->n_lines - used > wanted)
                return (int64_t)(ring->n_lines - used) - 1;
        uint64_t consumed = atomic_load_explicit(ring->consumed_word, memory_order_acquire); /* P2 */
        if (consumed < ring->consumed || consumed > ring->tail)
                return -EPROTO;
        ring->consumed = consumed;
        return (int64_t)(ring->n_lines - (ring->tail - consumed)) - 1;
}

/* How many lines lie between the tail and the ring's end. */
static uint64_t to_end(const struct ring_producer *ring)
{
        return ring->n_lines - (ring->tail & (ring->n_lines - 1));
}

static int find_room(struct ring_producer *ring, size_t size, uint64_t *pad)
{
        if (size > ring_largest(ring))
                return -EMSGSIZE;
        uint64_t lines = ring_lines(size);
        *pad = to_end(ring) < lines ? to_end(ring) : 0;
        int64_t room = free_lines(ring, lines + *pad);
        if (room < 0)
                return (int)room;
        return (uint64_t)room < lines + *pad ? -EAGAIN : (int)(room - (int64_t)*pad);
}

int ring_has_room(struct ring_producer *ring, size_t size)
{
        uint64_t pad;
        int room = find_room(ring, size, &pad);
        return room < 0 ? room : 0;
}

static void publish(struct ring_producer *ring, const struct shm_record *header, uint64_t lines)
{
        struct shm_record *record = producer_at(ring, ring->tail);
        /* The next mark must read as "nothing yet" before this record can be seen: the line holds bytes of an old lap. */
        atomic_store_explicit(&producer_at(ring, ring->tail + lines)->mark, 0, memory_order_relaxed); /* P0 */
        memcpy((uint8_t *)record + sizeof record->mark, (const uint8_t *)header + sizeof header->mark,
               sizeof *header - sizeof header->mark);
        atomic_store_explicit(&record->mark, ring->tail + 1, memory_order_release); /* P1 */
        ring->tail += lines;
        /* The producer is about to wait: it can take the next record's second line meanwhile. The first is polled. */
        __builtin_prefetch((uint8_t *)producer_at(ring, ring->tail) + SHM_LINE, 1);
}

int ring_reserve(struct ring_producer *ring, size_t size, uint8_t **body, size_t *room)
{
        uint64_t pad;
        int lines = find_room(ring, size, &pad);
        if (lines < 0)
                return lines;
        if (pad) {
                struct shm_record header = { .size = (uint32_t)(pad * SHM_LINE - sizeof header), .kind = SHM_PAD };
                publish(ring, &header, pad);
        }
        uint64_t contiguous = to_end(ring);
        size_t bytes =
                ((uint64_t)lines < contiguous ? (uint64_t)lines : contiguous) * SHM_LINE - sizeof(struct shm_record);
        *body = (uint8_t *)(producer_at(ring, ring->tail) + 1);
        *room = bytes < ring_largest(ring) ? bytes : ring_largest(ring);
        return 0;
}

void ring_publish(struct ring_producer *ring, const struct shm_record *header)
{
        publish(ring, header, ring_lines(header->size));
}

int ring_peek(struct ring_consumer *ring, struct ring_record *out)
{
        for (;;) {
                uint64_t line = ring->head & (ring->n_lines - 1);
                const struct shm_record *record = (const struct shm_record *)&ring->lines[line];
                if (atomic_load_explicit(&record->mark, memory_order_acquire) != ring->head + 1) /* C1 */
                        return 0;
                __builtin_prefetch((const uint8_t *)record + SHM_LINE); /* on its way while the header is looked at */
                struct shm_record header;
                memcpy((uint8_t *)&header + sizeof header.mark, (const uint8_t *)record + sizeof header.mark,
                       sizeof header - sizeof header.mark);
                __asm__ __volatile__("" ::: "memory"); /* from here on only the copy is read */
                uint64_t lines = ring_lines(header.size);
                bool pad = header.kind == SHM_PAD;
                /* A pad ends with the ring and does not fill it: so one peek meets one at most, whatever the peer writes. */
                if (lines > ring->n_lines - line || (pad && (lines != ring->n_lines - line || !line)))
                        return -EPROTO;
                *out = (struct ring_record){ .body = (const uint8_t *)(record + 1),
                                             .size = header.size,
                                             .method = header.method,
                                             .kind = header.kind,
                                             .flags = header.flags,
                                             .call = header.call,
                                             .deadline_ns = header.deadline_ns,
                                             .line = ring->head,
                                             .next = ring->head + lines };
                if (!pad)
                        return 1;
                ring_advance(ring, out);
        }
}

void ring_advance(struct ring_consumer *ring, const struct ring_record *record)
{
        ring->head = record->next;
        atomic_store_explicit(ring->consumed_word, ring->head, memory_order_release); /* C2 */
}
