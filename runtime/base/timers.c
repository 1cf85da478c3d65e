#include "base/timers.h"
#include <stddef.h>

/* Makes one heap of two, of which either may be NULL. */
static struct timer_node *meld(struct timer_node *a, struct timer_node *b)
{
        if (!a || !b)
                return a ? a : b;
        struct timer_node *first = b->due_ns < a->due_ns ? b : a;
        struct timer_node *later = first == a ? b : a;
        later->previous = first;
        later->next = first->child;
        if (later->next)
                later->next->previous = later;
        first->child = later;
        return first;
}

/* Makes one heap of siblings: melds them in pairs from the left, then the pairs from the right, which is what makes
 * removal logarithmic. */
static struct timer_node *meld_siblings(struct timer_node *at)
{
        struct timer_node *pairs = NULL, *heap = NULL;
        while (at) {
                struct timer_node *a = at, *b = at->next;
                at = b ? b->next : NULL;
                a->next = a->previous = NULL;
                if (b)
                        b->next = b->previous = NULL;
                struct timer_node *pair = meld(a, b);
                pair->next = pairs;
                pairs = pair;
        }
        while (pairs) {
                struct timer_node *pair = pairs;
                pairs = pair->next;
                pair->next = NULL;
                heap = meld(heap, pair);
        }
        return heap;
}

void timers_insert(struct timers *timers, struct timer_node *node, uint64_t due_ns)
{
        *node = (struct timer_node){ .due_ns = due_ns };
        timers->first = meld(timers->first, node);
}

void timers_remove(struct timers *timers, struct timer_node *node)
{
        if (!node->due_ns)
                return;
        struct timer_node *below = meld_siblings(node->child);
        if (timers->first == node) {
                timers->first = below;
        } else {
                if (node->previous->child == node)
                        node->previous->child = node->next;
                else
                        node->previous->next = node->next;
                if (node->next)
                        node->next->previous = node->previous;
                timers->first = meld(timers->first, below);
        }
        *node = (struct timer_node){ 0 };
}
