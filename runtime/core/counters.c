#include "core/counters.h"
#include "base/error.h"
#include "base/thread_number.h"
#include "base/ticks.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
        FIRST_SLOTS = 16,
        TIMED_FIRST = 64, /* calls of a thread that are all timed, */
        TIMED_EVERY = 16, /* and then one in so many */
        LEAST_BITS = 6,   /* bucket 0 begins at 0, and ends like the first quarter behind 2^6 ns */
};

/* One method's counts in one shard. Relaxed: each number stands for itself. */
struct counts {
        const baton_method *method;
        uint64_t n_begun; /* the writer's own */
        _Atomic uint64_t sent, received, copied, spun, lent;
        _Atomic uint64_t by_code[BATON_CODES]; /* BATON_OK stands in one cache line with what most calls change */
        _Atomic uint64_t slept;
        _Atomic uint64_t latency[BATON_LATENCY_BUCKETS];
};

/* Counts by their methods' addresses: open addressing, never full. Changed by its thread, under the lock; read by that thread
 * without. */
struct shard {
        uint32_t n, n_slots;
        struct counts **slots;
};

struct counters {
        pthread_mutex_t lock;
        const baton_method **methods; /* in the order in which they came up */
        size_t n_methods;
        struct shard shards[THREAD_NUMBERS + 1]; /* by thread_number(); the last one is used under the lock */
};

/* ---- buckets ---------------------------------------------------------------------------------------------- */

static unsigned bucket_of(uint64_t ns)
{
        if (ns < 1u << LEAST_BITS)
                return 0;
        unsigned bits = 63 - (unsigned)__builtin_clzll(ns);
        unsigned bucket = (bits - LEAST_BITS) * 4 + (unsigned)(ns >> (bits - 2) & 3);
        return bucket < BATON_LATENCY_BUCKETS ? bucket : BATON_LATENCY_BUCKETS - 1;
}

uint64_t baton_latency_bound(unsigned bucket)
{
        if (bucket >= BATON_LATENCY_BUCKETS - 1)
                return UINT64_MAX;
        bucket++; /* where the next one begins */
        return (UINT64_C(4) + bucket % 4) << (bucket / 4 + LEAST_BITS - 2);
}

uint64_t baton_latency_quantile(const baton_counters *counters, double share)
{
        uint64_t total = 0, below = 0;
        for (unsigned i = 0; counters && i < BATON_LATENCY_BUCKETS; i++)
                total += counters->latency[i];
        if (!total)
                return 0;
        double wanted = share > 0 ? share * (double)total : 0; /* not a number: 0 */
        for (unsigned i = 0; i < BATON_LATENCY_BUCKETS; i++) {
                below += counters->latency[i];
                if (below && (double)below >= wanted)
                        return baton_latency_bound(i);
        }
        return UINT64_MAX;
}

/* ---- shards ----------------------------------------------------------------------------------------------- */

/* Where the method stands, or belongs. There are slots. */
static struct counts **slot_of(const struct shard *shard, const baton_method *method)
{
        uint32_t at = (uint32_t)(((uintptr_t)method * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
        while (shard->slots[at & (shard->n_slots - 1)] && shard->slots[at & (shard->n_slots - 1)]->method != method)
                at++;
        return &shard->slots[at & (shard->n_slots - 1)];
}

/* At most half of the slots are used. */
static bool make_room(struct shard *shard)
{
        if (2 * (shard->n + 1) <= shard->n_slots)
                return true;
        struct shard larger = { .n = shard->n, .n_slots = shard->n_slots ? 2 * shard->n_slots : FIRST_SLOTS };
        larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
        if (!larger.slots)
                return false;
        for (uint32_t i = 0; i < shard->n_slots; i++)
                if (shard->slots[i])
                        *slot_of(&larger, shard->slots[i]->method) = shard->slots[i];
        free(shard->slots);
        *shard = larger;
        return true;
}

/* NULL: no memory. The lock is held. */
static struct counts *add(struct shard *shard, const baton_method *method)
{
        struct counts *counts = make_room(shard) ? aligned_alloc(64, (sizeof *counts + 63) / 64 * 64) : NULL;
        if (!counts)
                return NULL;
        memset(counts, 0, sizeof *counts);
        counts->method = method;
        *slot_of(shard, method) = counts;
        shard->n++;
        return counts;
}

static struct counts *find(const struct shard *shard, const baton_method *method)
{
        return shard->n_slots ? *slot_of(shard, method) : NULL;
}

/* The shared counts of the method, which list it. Likewise. */
static struct counts *list(struct counters *counters, const baton_method *method)
{
        struct shard *shared = &counters->shards[THREAD_NUMBERS];
        struct counts *counts = find(shared, method);
        if (counts)
                return counts;
        const baton_method **methods = realloc(counters->methods, (counters->n_methods + 1) * sizeof *methods);
        if (!methods)
                return NULL;
        counters->methods = methods;
        counts = add(shared, method);
        if (counts)
                methods[counters->n_methods++] = method;
        return counts;
}

/* This thread's counts of the method, until leave. NULL: no memory, and the call is not counted. */
static struct counts *enter(struct counters *counters, const baton_method *method, unsigned number)
{
        struct shard *shard = &counters->shards[number];
        struct counts *counts;
        if (number == THREAD_NUMBERS) {
                pthread_mutex_lock(&counters->lock);
                return list(counters, method);
        }
        counts = find(shard, method);
        if (counts)
                return counts;
        pthread_mutex_lock(&counters->lock);
        if (list(counters, method))
                counts = add(shard, method);
        pthread_mutex_unlock(&counters->lock);
        return counts;
}

static void leave(struct counters *counters, unsigned number)
{
        if (number == THREAD_NUMBERS)
                pthread_mutex_unlock(&counters->lock);
}

/* ---- counting --------------------------------------------------------------------------------------------- */

/* There is one writer. */
static void more(_Atomic uint64_t *count, uint64_t by)
{
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + by, memory_order_relaxed);
}

void counters_begin(struct counters *counters, const baton_method *method, struct count_begun *begun)
{
        unsigned number = thread_number();
        struct counts *counts = enter(counters, method, number);
        uint64_t n = counts ? counts->n_begun++ : 1 + TIMED_FIRST;
        leave(counters, number);
        begun->counts = number < THREAD_NUMBERS ? counts : NULL; /* those that are shared: only under the lock */
        begun->number = number;
        begun->ticks = n < TIMED_FIRST || n % TIMED_EVERY == 0 ? ticks_now() : 0;
}

static void count_traffic(struct counts *counts, const struct traffic *traffic)
{
        if (traffic->copied)
                more(&counts->copied, traffic->copied);
        if (traffic->lent)
                more(&counts->lent, traffic->lent);
        if (traffic->slept)
                more(&counts->slept, traffic->slept);
        if (traffic->spun)
                more(&counts->spun, traffic->spun);
}

void counters_end(struct counters *counters, const baton_method *method, const struct count_begun *begun,
                  const struct count *count)
{
        uint64_t ns = begun->ticks ? ticks_to_ns(ticks_now() - begun->ticks) : 0;
        unsigned number = thread_number();
        /* Mostly it ends on the thread on which it began. */
        struct counts *counts =
                begun->counts && begun->number == number ? begun->counts : enter(counters, method, number);
        if (counts) {
                more(&counts->by_code[(unsigned)count->code < BATON_CODES ? count->code : BATON_UNKNOWN], 1);
                if (count->sent)
                        more(&counts->sent, count->sent);
                if (count->received)
                        more(&counts->received, count->received);
                if (count->traffic)
                        count_traffic(counts, count->traffic);
                if (begun->ticks)
                        more(&counts->latency[bucket_of(ns)], 1);
        }
        leave(counters, number);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static uint64_t value(const _Atomic uint64_t *count)
{
        return atomic_load_explicit(count, memory_order_relaxed);
}

static void sum_up(baton_counters *out, const struct counts *counts)
{
        for (unsigned i = 0; i < BATON_CODES; i++) {
                uint64_t calls = value(&counts->by_code[i]);
                out->by_code[i] += calls;
                out->calls += calls;
        }
        for (unsigned i = 0; i < BATON_LATENCY_BUCKETS; i++)
                out->latency[i] += value(&counts->latency[i]);
        out->messages_sent += value(&counts->sent);
        out->messages_received += value(&counts->received);
        out->bytes_copied += value(&counts->copied);
        out->bytes_by_reference += value(&counts->lent);
        out->wakes += value(&counts->slept);
        out->spins += value(&counts->spun);
}

size_t counters_read(struct counters *counters, baton_counters *out, size_t n)
{
        pthread_mutex_lock(&counters->lock);
        size_t n_methods = counters->n_methods;
        for (size_t i = 0; out && i < n && i < n_methods; i++) {
                out[i] = (baton_counters){ .method = counters->methods[i]->path };
                for (unsigned number = 0; number <= THREAD_NUMBERS; number++) {
                        const struct counts *counts = find(&counters->shards[number], counters->methods[i]);
                        if (counts)
                                sum_up(&out[i], counts);
                }
        }
        pthread_mutex_unlock(&counters->lock);
        return n_methods;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

struct counters *counters_new(void)
{
        struct counters *counters = calloc(1, sizeof *counters);
        if (!counters)
                return NULL;
        pthread_mutex_init(&counters->lock, NULL);
        ticks_init();
        return counters;
}

int counters_list(struct counters *counters, const baton_method *method)
{
        pthread_mutex_lock(&counters->lock);
        bool listed = list(counters, method);
        pthread_mutex_unlock(&counters->lock);
        return listed ? 0 : error_set(-ENOMEM, "no memory for the counters of %s", method->path);
}

void counters_free(struct counters *counters)
{
        if (!counters)
                return;
        for (unsigned number = 0; number <= THREAD_NUMBERS; number++) {
                struct shard *shard = &counters->shards[number];
                for (uint32_t i = 0; i < shard->n_slots; i++)
                        free(shard->slots[i]);
                free(shard->slots);
        }
        free(counters->methods);
        pthread_mutex_destroy(&counters->lock);
        free(counters);
}
