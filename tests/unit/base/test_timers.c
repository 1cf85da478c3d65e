#include "base/timers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>

enum { NODES = 300, STEPS = 40000, MANY = 100000 };

static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
        seed = seed * 1664525u + 1013904223u;
        return (seed >> 8) % n;
}

/* ---- against a plain array -------------------------------------------------------------------------------- */

/* Counts the nodes, and checks order and links. */
static uint32_t check_heap(const struct timer_node *node, const struct timer_node *parent)
{
        uint32_t n = 0;
        const struct timer_node *previous = parent;
        for (; node; previous = node, node = node->next, n++) {
                assert_true(node->due_ns != 0);
                assert_ptr_equal(node->previous, previous);
                if (parent)
                        assert_true(parent->due_ns <= node->due_ns);
                n += check_heap(node->child, node);
        }
        return n;
}

static void check_model(const struct timers *timers, const struct timer_node *nodes, const uint64_t *due)
{
        uint64_t earliest = 0;
        uint32_t n = 0;
        for (int i = 0; i < NODES; i++) {
                assert_true(nodes[i].due_ns == due[i]);
                n += due[i] != 0;
                if (due[i] && (!earliest || due[i] < earliest))
                        earliest = due[i];
        }
        assert_int_equal(check_heap(timers->first, NULL), n);
        assert_true(timers_first(timers) ? timers_first(timers)->due_ns == earliest : earliest == 0);
}

static void step(struct timers *timers, struct timer_node *nodes, uint64_t *due, uint32_t range)
{
        struct timer_node *node = random_below(4) ? &nodes[random_below(NODES)] : timers_first(timers);
        if (!node)
                return;
        long at = node - nodes;
        timers_remove(timers, node);
        due[at] = 0;
        if (random_below(3)) {
                due[at] = 1 + random_below(range);
                timers_insert(timers, node, due[at]);
        }
}

static void random_operations(void **state)
{
        (void)state;
        static const uint32_t ranges[] = { 3, 1000, 1u << 24 }; /* with few times most are equal */
        for (seed = 1; seed <= 3; seed++) {
                static struct timer_node nodes[NODES];
                static uint64_t due[NODES];
                struct timers timers = { 0 };
                uint32_t range = ranges[seed - 1], kept = seed;
                for (int i = 0; i < NODES; i++) {
                        nodes[i] = (struct timer_node){ 0 };
                        due[i] = 0;
                }
                for (int i = 0; i < STEPS; i++) {
                        step(&timers, nodes, due, range);
                        if (i % 16 == 0)
                                check_model(&timers, nodes, due);
                }
                seed = kept;
        }
}

/* ---- as a queue ------------------------------------------------------------------------------------------- */

static void insert_many(struct timers *timers, struct timer_node *nodes, int order)
{
        for (uint32_t i = 0; i < MANY; i++)
                timers_insert(timers, &nodes[i], 1 + (order < 0 ? MANY - i : order > 0 ? i : random_below(MANY)));
}

/* Sorted either way and shuffled; linear removal would take minutes, and recursion overflow the stack. */
static void comes_out_in_order(void **state)
{
        (void)state;
        struct timer_node *nodes = calloc(MANY, sizeof *nodes);
        assert_non_null(nodes);
        for (int order = -1; order <= 1; order++) {
                struct timers timers = { 0 };
                uint64_t last = 0;
                insert_many(&timers, nodes, order);
                for (uint32_t i = 0; i < MANY; i++) {
                        struct timer_node *first = timers_first(&timers);
                        assert_true(first->due_ns >= last);
                        last = first->due_ns;
                        timers_remove(&timers, first);
                        assert_true(first->due_ns == 0);
                }
                assert_null(timers_first(&timers));
        }
        free(nodes);
}

static void removes_what_is_in_no_queue(void **state)
{
        (void)state;
        struct timers timers = { 0 };
        struct timer_node a = { 0 }, b = { 0 };
        timers_remove(&timers, &a);
        timers_insert(&timers, &b, 5);
        timers_remove(&timers, &a);
        assert_ptr_equal(timers_first(&timers), &b);
        timers_remove(&timers, &b);
        timers_remove(&timers, &b);
        assert_null(timers_first(&timers));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(random_operations),
                cmocka_unit_test(comes_out_in_order),
                cmocka_unit_test(removes_what_is_in_no_queue),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
