/*
 * Messages of one stream that arrived and were not read yet: a queue with one writer, the thread that takes them off the ring, and one
 * reader, who need no lock between them. They must leave the ring, which other calls share, before their reader comes.
 *
 * Bytes lie in chunks that are linked as they fill. Order of the atomics, which connect threads of one process only:
 *   F1 the writer's store-release of `filled`  pairs with  R1 the reader's load-acquire: it sees the entries before that.
 *   F2 the writer's store-release of `next` (or `first`)  pairs with  R2 the reader's load-acquire: it sees the chunk set up, and
 *      what was filled into the one before it, for F1 came earlier.
 */
#ifndef SHM_INBOX_H
#define SHM_INBOX_H

#include "shm/message.h"
#include <stdatomic.h>

/* How much memory inboxes of one connection take together; shared by them. */
struct inbox_budget {
        atomic_size_t used; /* bytes */
        size_t limit;       /* 0: none */
};

struct inbox_chunk;

struct inbox {
        struct inbox_budget *budget;
        _Atomic(struct inbox_chunk *) first; /* NULL before the first message */
        struct inbox_chunk *writing;         /* the writer's */
        struct inbox_chunk *reading;         /* the reader's */
};

/* One message; valid until inbox_drop. */
struct inbox_message {
        struct message_body body;
        uint32_t lines; /* that it takes of the window */
        bool graph;
};

/* What a message of so many lines in the ring takes of its stream's window; more: what it counts besides. */
static inline uint32_t inbox_lines(uint64_t lines, uint8_t flags, uint64_t more)
{
        return (uint32_t)((flags & SHM_LOAN && lines < SHM_LOAN_LINES ? SHM_LOAN_LINES : lines) + more);
}

void inbox_init(struct inbox *inbox, struct inbox_budget *budget);

/* Gives back what was not read, and frees all. Nobody writes or reads any more. */
void inbox_deinit(struct inbox *inbox, struct link *link);

/* Takes over the located body of this record, copying what lies in the ring. 0, -ENOMEM, -ENOBUFS over the budget; then the body
 * stays the caller's. The writer. */
int inbox_push(struct inbox *inbox, const struct ring_record *record, struct message_body *body);

/* The next message; false where there is none. The reader. */
bool inbox_peek(struct inbox *inbox, struct inbox_message *message);

/* Forgets the message that inbox_peek gave; its loan is the reader's to give back. */
void inbox_drop(struct inbox *inbox);

#endif
