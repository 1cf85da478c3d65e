/*
 * Floors: what the machine itself can do, without Baton. Each benchmark program registers the floors of its own
 * question, so that both sides of a ratio come from one run.
 *
 * All of them run two processes over a shared memfd, as Baton does, and each line is written by one side only.
 */
#ifndef PERF_FLOORS_H
#define PERF_FLOORS_H

#include "harness.h"

namespace perf
{

/* One word there, one word back, on two cache lines, both sides polling: the least any message can cost. */
void floor_cacheline(benchmark::State &state);

/* The same with both sides asleep in FUTEX_WAIT: between two cores, and taking turns on one. */
void floor_futex_two_cores(benchmark::State &state);
void floor_futex_one_core(benchmark::State &state);

/* One memcpy of range(0) bytes from ordinary into shared memory, on one core; buffers are used again, hence warm. */
void floor_memcpy(benchmark::State &state);

/* An echo made of nothing but its copies: this side copies range(0) bytes into shared memory and tells the other,
 * which copies as many into its own and tells back. What a call by copy does, in the same place. */
void floor_two_memcpys(benchmark::State &state);

/* A bounded ring of 64-byte records, one producer and one consumer, indices cached on either side: counter
 * per_second is the records that pass. */
void floor_spsc(benchmark::State &state);

} // namespace perf

#endif
