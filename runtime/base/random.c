#define _GNU_SOURCE
#include "base/random.h"
#include "base/clock.h"
#include "base/fork.h"
#include <sys/random.h>

/* splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
uint64_t random_u64(void)
{
        static _Thread_local uint64_t state, generation;
        if (generation != fork_generation()) { /* a forked child would repeat its parent's numbers */
                generation = fork_generation();
                if (getrandom(&state, sizeof state, GRND_NONBLOCK) != sizeof state)
                        state ^= clock_now_ns() ^ (uintptr_t)&state ^ generation << 48;
        }
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
}
