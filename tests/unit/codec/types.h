/* The message types that the codec's tests go through: with walkers by hand, by idlc, or none. */
#ifndef TESTS_TYPES_H
#define TESTS_TYPES_H

#include <baton/graph.h>

extern const baton_type *const test_types[];
extern const size_t n_test_types;

#endif
