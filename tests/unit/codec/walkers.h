/* Walkers written by hand, as idlc generates them. */
#ifndef TESTS_WALKERS_H
#define TESTS_WALKERS_H

#include <baton/graph.h>

extern const baton_type walkers_point;
extern const baton_type walkers_leaf;
extern const baton_type walkers_chain;
extern const baton_type walkers_needed;

#endif
