#define _GNU_SOURCE
#include "memory.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

enum {
        STORES = 100, /* of one location in one run */
        WORDS = 512,
        AREAS = 4,
};

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct store {
        uint64_t value;
        struct view view;
};

/* An atomic word, and the history of its stores. Found by its first use; stays for all later runs. */
struct location {
        const volatile void *at;
        size_t size;
        int n;
        int woken; /* stores up to this one were there at the last FUTEX_WAKE */
        struct store stores[STORES];
};

/* When each thread last touched a word of the shared memory, by its own clock. */
struct word {
        uint32_t read[2], written[2], loaded[2], stored[2];
};

static struct {
        uintptr_t start;
        size_t size;
        int first_word;
} areas[AREAS];
static int n_areas, n_words;
static struct word words[WORDS];
static struct location locations[LOCATIONS];
static int n_locations;
static struct view global; /* of seq_cst fences */
static unsigned spurious_left, guesses;

/* ---- memory ----------------------------------------------------------------------------------------------- */

void machine_share(void *memory, size_t size)
{
        areas[n_areas].start = (uintptr_t)memory;
        areas[n_areas].size = size;
        areas[n_areas++].first_word = n_words;
        n_words += (int)(size / 8);
        if (n_words > WORDS)
                abort();
}

static struct word *word_of(uintptr_t at)
{
        for (int i = 0; i < n_areas; i++)
                if (at - areas[i].start < areas[i].size)
                        return &words[areas[i].first_word + (int)((at - areas[i].start) / 8)];
        return NULL;
}

static struct word *word_at(const volatile void *at)
{
        struct word *word = word_of((uintptr_t)at);
        if (!word)
                machine_fail("an atomic operation outside the shared memory");
        return word;
}

static int find_location(const volatile void *at)
{
        for (int i = 0; i < n_locations; i++)
                if (locations[i].at == at)
                        return i;
        return NOBODY;
}

static void begin_history(struct location *location)
{
        location->n = 1;
        location->woken = 0;
        location->stores[0] = (struct store){ 0 };
        memcpy(&location->stores[0].value, (const void *)location->at, location->size);
}

static int location_of(const volatile void *at, size_t size)
{
        int i = find_location(at);
        if (i != NOBODY)
                return i;
        if (n_locations == LOCATIONS)
                machine_fail("too many atomic locations for the checker");
        locations[n_locations].at = at;
        locations[n_locations].size = size;
        begin_history(&locations[n_locations]);
        return n_locations++;
}

void memory_reset(const struct machine_scenario *scenario)
{
        memset(words, 0, (size_t)n_words * sizeof *words);
        memset(&global, 0, sizeof global);
        spurious_left = scenario->spurious;
        guesses = scenario->guesses;
        for (int i = 0; i < n_locations; i++)
                begin_history(&locations[i]);
        for (int t = 0; t < 2; t++)
                threads[t].current.clock[t] = 1;
}

bool memory_has_newer(const struct thread *thread)
{
        return locations[thread->location].n - 1 > thread->current.oldest[thread->location];
}

static void join(struct view *view, const struct view *other, bool clocks)
{
        for (int i = 0; i < LOCATIONS; i++)
                if (view->oldest[i] < other->oldest[i])
                        view->oldest[i] = other->oldest[i];
        for (int t = 0; clocks && t < 2; t++)
                if (view->clock[t] < other->clock[t])
                        view->clock[t] = other->clock[t];
}

/* The other thread's accesses that conflict must have happened before. */
static void check_race(const struct word *word, bool write, bool plain)
{
        int other = !running;
        uint32_t before = threads[running].current.clock[other];
        bool race = word->written[other] > before || (plain && word->stored[other] > before) ||
                    (write && word->read[other] > before) || (write && plain && word->loaded[other] > before);
        if (race)
                machine_fail("data race: plain memory is touched by both threads without order");
}

/* A release operation has taken the view along: what follows does not happen before what acquires it. */
static void tick(void)
{
        threads[running].current.clock[running]++;
}

static uint32_t now(void)
{
        return threads[running].current.clock[running];
}

void memory_settle_guess(void)
{
        for (int t = 0; t < 2; t++)
                if (threads[t].guessing && (t == running || threads[t].status != READY))
                        machine_leave(); /* nobody has stored it: this cannot happen */
}

/* The thread that guessed reads this store, or perhaps a later one of the same value. */
static void fulfil(struct thread *thread, int i, const struct store *store)
{
        if (!thread->guessing || thread->guessed != i || thread->guess != store->value || !machine_choose(2))
                return;
        thread->guessing = false;
        thread->current.oldest[i] = (uint8_t)(locations[i].n - 1);
        join(&thread->acquired, &store->view, true);
}

static void append(int i, uint64_t value, const struct view *view)
{
        struct location *location = &locations[i];
        if (location->n == STORES)
                machine_fail("too many stores for the checker");
        struct thread *me = &threads[running];
        me->current.oldest[i] = me->acquired.oldest[i] = (uint8_t)location->n;
        struct store *store = &location->stores[location->n++];
        store->value = value;
        store->view = *view;
        store->view.oldest[i] = (uint8_t)(location->n - 1);
        fulfil(&threads[!running], i, store);
}

uint64_t machine_load(const volatile void *at, size_t size, int order, const char *file, int line)
{
        machine_schedule();
        struct thread *me = &threads[running];
        if (machine_is_mutated(file, line, MACHINE_RELAX))
                order = memory_order_relaxed;
        int i = location_of(at, size);
        if (order != memory_order_relaxed || (me->guessing && me->guessed == i))
                memory_settle_guess();
        struct word *word = word_at(at);
        check_race(word, false, false);
        word->loaded[running] = now();
        int newest = locations[i].n - 1, oldest = me->current.oldest[i] + (me->newer && me->location == i);
        int future = order == memory_order_relaxed && size == 4 && !me->newer && !me->guessing ? (int)guesses : 0;
        int read = newest - machine_choose(newest - oldest + 1 + future);
        me->newer = false;
        me->location = i;
        if (read < oldest) {
                me->guessing = true;
                me->guessed = i;
                me->guess = (uint64_t)(oldest - read);
                machine_remember(me->guess << 16 | (uint64_t)i);
                return me->guess;
        }
        machine_remember((uint64_t)read << 8 | (uint64_t)i);
        const struct store *store = &locations[i].stores[read];
        me->current.oldest[i] = (uint8_t)read;
        join(&me->acquired, &store->view, true);
        if (order == memory_order_acquire)
                join(&me->current, &store->view, true);
        return store->value;
}

void machine_store(volatile void *at, size_t size, uint64_t value, int order, const char *file, int line)
{
        machine_schedule();
        struct thread *me = &threads[running];
        machine_remember(1);
        if (machine_is_mutated(file, line, MACHINE_DROP))
                return;
        if (machine_is_mutated(file, line, MACHINE_RELAX))
                order = memory_order_relaxed;
        if (order != memory_order_relaxed)
                memory_settle_guess();
        int i = location_of(at, size);
        struct word *word = word_at(at);
        check_race(word, true, false);
        word->stored[running] = now();
        append(i, value, order == memory_order_release ? &me->current : &me->released);
        if (order == memory_order_release)
                tick();
        memcpy((void *)at, &value, size);
}

void machine_fence(int order, const char *file, int line)
{
        if (order != memory_order_seq_cst)
                machine_fail("the checker knows seq_cst fences only");
        machine_schedule();
        struct thread *me = &threads[running];
        machine_remember(1);
        if (machine_is_mutated(file, line, MACHINE_RELAX))
                return;
        memory_settle_guess();
        join(&me->current, &me->acquired, true);
        join(&me->current, &global, false);
        join(&global, &me->current, false);
        me->acquired = me->released = me->current;
        tick();
}

void *machine_memcpy(void *to, const void *from, size_t size)
{
        for (size_t i = 0; i < size; i += 8) {
                struct word *word = word_of((uintptr_t)from + i);
                if (!word)
                        continue;
                check_race(word, false, true);
                word->read[running] = now();
        }
        memcpy(to, from, size);
        for (size_t i = 0; i < size; i += 8) {
                uintptr_t at = (uintptr_t)to + i;
                struct word *word = word_of(at);
                if (!word)
                        continue;
                check_race(word, true, true);
                word->written[running] = now();
                /* An atomic word may be plain memory for a while, as the marks of a ring are. */
                int place = find_location((const void *)at);
                uint64_t value;
                memcpy(&value, (void *)at, sizeof value);
                if (place != NOBODY)
                        append(place, value, &threads[running].current);
        }
        return to;
}

/* ---- what a state is -------------------------------------------------------------------------------------- */

static uint64_t hash_view(uint64_t hash, const struct view *view)
{
        for (int i = 0; i < LOCATIONS; i += 8) {
                uint64_t eight;
                memcpy(&eight, view->oldest + i, sizeof eight);
                hash = machine_mix(hash, eight);
        }
        return machine_mix(hash, (uint64_t)view->clock[0] << 32 | view->clock[1]);
}

static uint64_t hash_thread(uint64_t hash, const struct thread *thread)
{
        hash = machine_mix(hash, thread->history);
        hash = machine_mix(hash, (uint64_t)thread->status << 32 | (uint64_t)thread->location << 8 |
                                         (uint64_t)thread->guessing << 2 | (uint64_t)thread->newer << 1 |
                                         thread->begun);
        hash = machine_mix(hash, thread->guess << 8 | (uint64_t)thread->guessed);
        hash = hash_view(hash, &thread->current);
        hash = hash_view(hash, &thread->acquired);
        return hash_view(hash, &thread->released);
}

/* Of stores, those that somebody may still read. */
static uint64_t hash_location(uint64_t hash, int i)
{
        const struct location *location = &locations[i];
        uint8_t a = threads[0].current.oldest[i], b = threads[1].current.oldest[i];
        hash = machine_mix(hash, (uint64_t)location->n << 8 | (uint64_t)location->woken);
        for (int j = a < b ? a : b; j < location->n; j++)
                hash = hash_view(machine_mix(hash, location->stores[j].value), &location->stores[j].view);
        return hash;
}

/* An access that the other thread is known to be behind cannot race any more. */
static uint64_t pending(const uint32_t stamps[2])
{
        uint64_t a = stamps[0] > threads[1].current.clock[0] ? stamps[0] : 0;
        uint64_t b = stamps[1] > threads[0].current.clock[1] ? stamps[1] : 0;
        return a << 32 | b;
}

uint64_t memory_hash(void)
{
        uint64_t hash = hash_view(spurious_left, &global);
        for (int t = 0; t < 2; t++)
                hash = hash_thread(hash, &threads[t]);
        for (int i = 0; i < n_locations; i++)
                hash = hash_location(hash, i);
        for (int i = 0; i < n_words; i++) {
                uint64_t used = pending(words[i].read) ^ pending(words[i].written) << 8 ^
                                pending(words[i].loaded) << 16 ^ pending(words[i].stored) << 24;
                if (used)
                        hash = machine_mix(machine_mix(hash, (uint64_t)i), used);
        }
        return hash;
}

/* ---- futexes ---------------------------------------------------------------------------------------------- */

/* The kernel compares under the lock of the wait queue, which FUTEX_WAKE takes too: stores before the last wake are seen. */
static long futex_wait(const void *at, uint64_t expected)
{
        machine_schedule();
        memory_settle_guess();
        struct thread *me = &threads[running];
        int i = location_of(at, 4);
        int newest = locations[i].n - 1;
        int oldest = me->current.oldest[i] > locations[i].woken ? me->current.oldest[i] : locations[i].woken;
        int read = newest - machine_choose(newest - oldest + 1);
        me->current.oldest[i] = (uint8_t)read; /* what the kernel has read for me, I have read */
        machine_remember((uint64_t)read << 8 | 2);
        errno = EAGAIN;
        if (locations[i].stores[read].value != expected)
                return -1;
        errno = EINTR;
        if (spurious_left && machine_choose(2)) {
                spurious_left--;
                machine_remember(3);
                return -1;
        }
        me->status = SLEEPING;
        me->location = i;
        machine_schedule();
        return 0;
}

static long futex_wake(const void *at)
{
        machine_schedule();
        memory_settle_guess();
        int i = location_of(at, 4), other = !running;
        locations[i].woken = locations[i].n - 1;
        bool sleeping = threads[other].status == SLEEPING && threads[other].location == i;
        if (sleeping)
                threads[other].status = READY;
        machine_remember(4 + sleeping);
        return sleeping;
}

long machine_syscall(long number, ...)
{
        va_list arguments;
        va_start(arguments, number);
        const void *at = va_arg(arguments, const void *);
        int operation = va_arg(arguments, int);
        va_end(arguments);
        const struct futex_waitv *wait = at;
        if (number == SYS_futex_waitv)
                return futex_wait((const void *)(uintptr_t)wait->uaddr, wait->val);
        if (number == SYS_futex && operation == FUTEX_WAKE)
                return futex_wake(at);
        machine_fail("a system call that the checker does not know");
        return -1;
}
