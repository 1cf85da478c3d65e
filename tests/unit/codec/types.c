#include "types.h"
#include "kinds2.baton.h"
#include "kinds3.baton.h"
#include "walkers.h"

static const baton_type all3 = { .descriptor = &kinds3__all__descriptor };
static const baton_type all2 = { .descriptor = &kinds2__all__descriptor };
static const baton_type empty = { .descriptor = &kinds3__empty__descriptor };

const baton_type *const test_types[] = {
        &walkers_point,
        &walkers_leaf,
        &walkers_chain,
        &walkers_needed,
        &all3,
        &all2,
        &empty,
        &kinds2__all__type,
        &kinds2__needed__type,
        &kinds3__all__type,
        &kinds3__leaf__type,
        &kinds3__chain__type,
        &kinds3__empty__type,
        &kinds3__point__type,
};
const size_t n_test_types = sizeof test_types / sizeof *test_types;
