/* An intrusive doubly linked list with a head node, and the way back from a member to its struct. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct list {
        struct list *next;
        struct list *previous;
};

static inline void list_init(struct list *head)
{
        head->next = head->previous = head;
}

static inline bool list_empty(const struct list *head)
{
        return head->next == head;
}

/* Appends entry before the head, that is at the end. */
static inline void list_append(struct list *head, struct list *entry)
{
        entry->next = head;
        entry->previous = head->previous;
        head->previous->next = entry;
        head->previous = entry;
}

/* Removes entry; harmless where it is in no list but initialised. */
static inline void list_remove(struct list *entry)
{
        entry->previous->next = entry->next;
        entry->next->previous = entry->previous;
        list_init(entry);
}

#endif
