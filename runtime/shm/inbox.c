#include "shm/inbox.h"
#include "base/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CHUNK = 1024, CHUNK = 8192 };

struct entry {
        struct inbox_message message; /* body.at NULL: the bytes follow */
        uint32_t size;                /* of the entry, a multiple of 16 */
};

struct inbox_chunk {
        _Atomic(struct inbox_chunk *) next;
        uint32_t size;           /* bytes of `bytes` */
        _Atomic uint32_t filled; /* the writer's */
        uint32_t taken;          /* the reader's */
        _Alignas(16) uint8_t bytes[];
};

void inbox_init(struct inbox *inbox, struct inbox_budget *budget)
{
        *inbox = (struct inbox){ .budget = budget };
}

static void free_chunk(struct inbox *inbox, struct inbox_chunk *chunk)
{
        atomic_fetch_sub_explicit(&inbox->budget->used, sizeof *chunk + chunk->size, memory_order_relaxed);
        free(chunk);
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

static struct inbox_chunk *new_chunk(struct inbox *inbox, uint32_t entry, int *error)
{
        uint32_t size = inbox->writing ? CHUNK : FIRST_CHUNK;
        if (size < entry)
                size = entry;
        struct inbox_budget *budget = inbox->budget;
        size_t bytes = sizeof(struct inbox_chunk) + size;
        size_t used = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed) + bytes;
        bool over = budget->limit && used > budget->limit;
        struct inbox_chunk *chunk = over ? NULL : malloc(bytes);
        if (!chunk) {
                atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
                *error = over ? error_set(-ENOBUFS, "the messages that wait on this connection take over %zu bytes",
                                          budget->limit)
                              : error_set(-ENOMEM, "no memory for a message that waits to be read");
                return NULL;
        }
        atomic_init(&chunk->next, NULL);
        atomic_init(&chunk->filled, 0);
        chunk->size = size;
        chunk->taken = 0;
        return chunk;
}

/* The chunk that has room for an entry of this size. */
static struct inbox_chunk *chunk_for(struct inbox *inbox, uint32_t size, int *error)
{
        struct inbox_chunk *last = inbox->writing;
        if (last && last->size - atomic_load_explicit(&last->filled, memory_order_relaxed) >= size)
                return last;
        struct inbox_chunk *chunk = new_chunk(inbox, size, error);
        if (!chunk)
                return NULL;
        atomic_store_explicit(last ? &last->next : &inbox->first, chunk, memory_order_release); /* F2 */
        inbox->writing = chunk;
        return chunk;
}

int inbox_push(struct inbox *inbox, const struct ring_record *record, struct message_body *body)
{
        /* Whole in the ring, or else in the heap. */
        bool here = !(record->flags & SHM_OUTLINE);
        uint32_t size = (uint32_t)(sizeof(struct entry) + (here ? body->size : 0) + 15) & ~15u;
        int error = 0;
        struct inbox_chunk *chunk = chunk_for(inbox, size, &error);
        if (!chunk)
                return error;
        uint32_t filled = atomic_load_explicit(&chunk->filled, memory_order_relaxed);
        struct entry *entry = (struct entry *)(chunk->bytes + filled);
        *entry = (struct entry){ .message = { .body = *body,
                                              .lines = inbox_lines(record->next - record->line, record->flags,
                                                                   record->deadline_ns),
                                              .graph = record->flags & SHM_GRAPH },
                                 .size = size };
        if (here) {
                memcpy(entry + 1, body->at, body->size);
                entry->message.body.at = NULL;
        }
        body->loan = NO_LOAN;
        atomic_store_explicit(&chunk->filled, filled + size, memory_order_release); /* F1 */
        return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* The entry at the head; NULL: none. Chunks that are read to their end go, but for the last. */
static struct entry *head(struct inbox *inbox)
{
        if (!inbox->reading)
                inbox->reading = atomic_load_explicit(&inbox->first, memory_order_acquire); /* R2 */
        for (struct inbox_chunk *chunk; (chunk = inbox->reading);) {
                /* Before `filled`: what is filled into a chunk that has a successor is final. */
                struct inbox_chunk *next = atomic_load_explicit(&chunk->next, memory_order_acquire); /* R2 */
                if (chunk->taken < atomic_load_explicit(&chunk->filled, memory_order_acquire))       /* R1 */
                        return (struct entry *)(chunk->bytes + chunk->taken);
                if (!next)
                        return NULL;
                inbox->reading = next;
                free_chunk(inbox, chunk);
        }
        return NULL;
}

bool inbox_peek(struct inbox *inbox, struct inbox_message *message)
{
        struct entry *entry = head(inbox);
        if (!entry)
                return false;
        *message = entry->message;
        if (!message->body.at)
                message->body.at = (const uint8_t *)(entry + 1);
        return true;
}

void inbox_drop(struct inbox *inbox)
{
        struct entry *entry = head(inbox);
        inbox->reading->taken += entry->size;
}

void inbox_deinit(struct inbox *inbox, struct link *link)
{
        struct inbox_message message;
        while (inbox_peek(inbox, &message)) {
                message_return(link, &message.body);
                inbox_drop(inbox);
        }
        if (inbox->reading)
                free_chunk(inbox, inbox->reading);
        *inbox = (struct inbox){ .budget = inbox->budget };
}
