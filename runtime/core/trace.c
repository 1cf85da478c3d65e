#include "core/trace.h"
#include "base/clock.h"
#include "base/fork.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

enum {
        TRACE_ID_AT = 3,
        PARENT_ID_AT = 36,
        FLAGS_AT = 53,
        KNOWN_FLAGS = 0x3, /* sampled, and random-trace-id of the second level; others are not passed on */
};

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* The value of a lower-case hex digit; -1: is none. */
static int hex(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether n hex digits stand there. *any: and one of them is not 0. Looks at nothing behind a NUL. */
static bool digits(const char *text, int n, bool *any)
{
        *any = false;
        for (int i = 0; i < n; i++) {
                if (hex(text[i]) < 0)
                        return false;
                *any |= text[i] != '0';
        }
        return true;
}

bool trace_valid(const char *traceparent)
{
        bool later, trace, parent, flags;
        return traceparent && digits(traceparent, 2, &later) && strncmp(traceparent, "ff", 2) != 0 &&
               traceparent[2] == '-' && digits(traceparent + TRACE_ID_AT, 32, &trace) && trace &&
               traceparent[PARENT_ID_AT - 1] == '-' && digits(traceparent + PARENT_ID_AT, 16, &parent) && parent &&
               traceparent[FLAGS_AT - 1] == '-' && digits(traceparent + FLAGS_AT, 2, &flags) &&
               (!traceparent[FLAGS_AT + 2] || (later && traceparent[FLAGS_AT + 2] == '-'));
}

/* ---- random numbers --------------------------------------------------------------------------------------- */

/* SplitMix64 (https://prng.di.unimi.it/splitmix64.c): well spread, not secret. Each thread has its own. */
struct numbers {
        uint64_t state;
        uint64_t generation; /* of the process that seeded it: a forked child begins anew; 0: not seeded */
};

static void seed(struct numbers *numbers)
{
        /* Where the kernel refuses: the time, and the address, which differs between threads. */
        if (getrandom(&numbers->state, sizeof numbers->state, GRND_NONBLOCK) != sizeof numbers->state)
                numbers->state = clock_now_ns() * 0x9e3779b97f4a7c15u ^ (uintptr_t)numbers;
}

/* Never 0, which would be no id. */
static uint64_t next_id(void)
{
        static _Thread_local struct numbers numbers;
        uint64_t generation = fork_generation();
        if (numbers.generation != generation) {
                seed(&numbers);
                numbers.generation = generation;
        }
        uint64_t z = numbers.state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        return z ? z : 1;
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

static void put_hex(char *out, uint64_t value, int n)
{
        for (int i = n - 1; i >= 0; i--, value >>= 4)
                out[i] = "0123456789abcdef"[value & 0xf];
}

bool trace_child(const char *parent, char out[TRACEPARENT_SIZE])
{
        if (!trace_valid(parent)) {
                out[0] = 0;
                return false;
        }
        memcpy(out, parent, TRACEPARENT_SIZE - 1);
        out[TRACEPARENT_SIZE - 1] = 0;
        put_hex(out, 0, 2);
        put_hex(out + PARENT_ID_AT, next_id(), 16);
        put_hex(out + FLAGS_AT, (uint64_t)(hex(parent[FLAGS_AT + 1]) & KNOWN_FLAGS), 2);
        return true;
}
