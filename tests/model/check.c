/*
 * Runs ring.c and wake.c in all interleavings (machine.h tells of which memory, and what is not covered), then again with
 * each labelled operation weakened, which must be noticed: each order in these files is needed, and looked at.
 *
 * check        everything: exit status 0 when all is as expected
 */
#include "hooks.h"
#include "shm/ring.h"
#include "shm/wake.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum { PRODUCER, CONSUMER, MOST_LINES = 8, MOST_RECORDS = 12, MOST_WORDS = 12 };

/* The shared memory, of each side's half what is used. */
static struct {
        struct shm_half half;
        struct shm_line lines[MOST_LINES];
} halves[2];

static struct ring_producer producer;
static struct ring_consumer consumer;
static struct waker wakers[2];

static uint64_t n_lines; /* of the ring */
static uint32_t sizes[MOST_RECORDS];
static int n_records;
static int n_before;  /* 0, or 1: a record of size 0 is there from the start */
static int published; /* records whose mark is certainly stored */
static int begun;     /* records whose mark may be stored */
static int received;

static void reset(void)
{
        memset(halves, 0, sizeof halves);
        ring_producer_init(&producer, halves[PRODUCER].half.ring, n_lines * SHM_LINE, &halves[CONSUMER].half.consumed);
        ring_consumer_init(&consumer, halves[PRODUCER].half.ring, n_lines * SHM_LINE, &halves[CONSUMER].half.consumed);
        for (int side = 0; side < 2; side++)
                wakers[side] = (struct waker){ .mine = &halves[side].half, .peer = &halves[!side].half };
        published = begun = received = 0;
        if (n_before) {
                struct shm_record *record = (struct shm_record *)halves[PRODUCER].half.ring;
                *record = (struct shm_record){ .mark = 1, .kind = SHM_REQUEST };
                producer.tail = 1;
                published = begun = 1;
        }
}

/* At the head of a thread's loop: all that it goes by. */
static void settle(int side)
{
        uint64_t state[] = { producer.tail,      producer.consumed,  consumer.head,     (uint64_t)begun,
                             (uint64_t)received, wakers[side].sleep, wakers[side].rung, wakers[side].bell };
        if (side == PRODUCER)
                state[2] = state[4] = 0;
        else
                state[0] = state[1] = state[3] = 0;
        machine_settle(state, sizeof state);
}

/* ---- the ring alone --------------------------------------------------------------------------------------- */

/* Every word of a body looks like a mark: the one that would be right at its line in the next lap. */
static uint64_t word_at(uint64_t line, int record, uint32_t i)
{
        uint64_t offset = sizeof(struct shm_record) + 8 * i;
        return offset % SHM_LINE ? (uint64_t)record << 32 | i : line + offset / SHM_LINE + n_lines + 1;
}

/* Tries to send the next record: 0 or -EAGAIN. */
static int produce(void)
{
        uint64_t words[MOST_WORDS];
        uint8_t *body;
        size_t room;
        uint32_t size = sizes[begun];
        int error = ring_reserve(&producer, size, &body, &room);
        if (error == -EAGAIN)
                return error;
        if (error < 0)
                machine_fail("ring_reserve fails");
        for (uint32_t i = 0; i < size / 8; i++)
                words[i] = word_at(producer.tail, begun, i);
        memcpy(body, words, size);
        struct shm_record header = { .size = size, .kind = SHM_REQUEST, .call = (uint64_t)begun };
        begun++;
        ring_publish(&producer, &header);
        published = begun;
        return 0;
}

/* Tries to receive the next record: whether there was one. */
static bool consume(void)
{
        struct ring_record record;
        uint64_t words[MOST_WORDS];
        uint64_t head;
        int n = ring_peek(&consumer, &record);
        if (n < 0)
                machine_fail("ring_peek takes the producer's record for impossible");
        if (!n)
                return false;
        head = consumer.head;
        if (received >= begun)
                machine_fail("a record that nobody sent");
        if (record.call != (uint64_t)received || record.size != sizes[received] || record.kind != SHM_REQUEST)
                machine_fail("a record is lost, comes twice, or its header is torn");
        memcpy(words, record.body, record.size);
        for (uint32_t i = 0; i < record.size / 8; i++)
                if (words[i] != word_at(head, received, i))
                        machine_fail("a body is torn");
        ring_advance(&consumer, &record);
        received++;
        return true;
}

static void produce_all(void)
{
        while (begun < n_records) {
                settle(PRODUCER);
                if (produce() == -EAGAIN)
                        machine_wait();
        }
}

static void consume_all(void)
{
        while (received < n_records) {
                settle(CONSUMER);
                if (!consume())
                        machine_wait();
        }
}

static void ring_end(void)
{
        if (machine_crashed(CONSUMER))
                return; /* the producer is full, and has overwritten nothing: that would be a race */
        if (received < published)
                machine_fail("a published record is never received");
        if (received < n_records && !machine_crashed(PRODUCER))
                machine_fail("both wait for ever");
}

/* ---- the wait protocol alone ------------------------------------------------------------------------------ */

static _Atomic uint64_t *value(void)
{
        return &halves[PRODUCER].half.consumed;
}

static bool value_reached(void)
{
        return atomic_load_explicit(value(), memory_order_relaxed) > (uint64_t)received;
}

static void notify(int side)
{
        if (wake_wanted(&wakers[side]))
                wake_ring(&wakers[side]);
}

static void notify_room(int side)
{
        if (wake_room_wanted(&wakers[side]))
                wake_ring(&wakers[side]);
}

static bool room_ready(void)
{
        return ring_has_room(&producer, ring_largest(&producer)) != -EAGAIN;
}

/* As client_call.c, wait_for_reply. */
static void sleep_until(int side, bool (*ready)(void))
{
        _Atomic uint32_t never = 0;
        wake_arm(&wakers[side], ready == room_ready);
        if (!ready())
                wake_sleep(&wakers[side], &never, 0, 0);
        wake_disarm(&wakers[side]);
}

static void change_all(void)
{
        while (begun < n_records) {
                settle(PRODUCER);
                begun++;
                atomic_store_explicit(value(), (uint64_t)begun, memory_order_relaxed); /* W1 */
                published = begun;
                notify(PRODUCER);
        }
}

static void see_all(void)
{
        for (; received < n_records; received++)
                for (settle(CONSUMER); !value_reached(); settle(CONSUMER))
                        sleep_until(CONSUMER, value_reached);
}

static void wake_end(void)
{
        if (received < n_records && !machine_crashed(PRODUCER) && !machine_crashed(CONSUMER))
                machine_fail("a wake-up is lost");
}

/* ---- both: records one way, room the other, as a lane has it ---------------------------------------------- */

static bool record_ready(void)
{
        return ring_ready(&consumer);
}

static void send_all(void)
{
        while (begun < n_records) {
                settle(PRODUCER);
                if (produce() == -EAGAIN)
                        sleep_until(PRODUCER, room_ready);
                else
                        notify(PRODUCER);
        }
}

static void receive_all(void)
{
        while (received < n_records) {
                settle(CONSUMER);
                if (consume())
                        notify_room(CONSUMER);
                else
                        sleep_until(CONSUMER, record_ready);
        }
}

/* ---- running ---------------------------------------------------------------------------------------------- */

struct plan {
        struct machine_scenario scenario;
        uint64_t n_lines;
        int n_records, n_before;
        uint32_t sizes[MOST_RECORDS];
};

enum { RING_LAPS, RING_PADS, WAKE, BOTH };

static const struct plan plans[] = {
        [RING_LAPS] = { { "ring, 4 lines, records of a line", reset, { produce_all, consume_all }, ring_end, 3, 0, 0 },
                        4,
                        9,
                        0,
                        { 0, 32, 8, 16, 24, 32, 0, 8, 32 } },
        [RING_PADS] = { { "ring, 8 lines, records of 1 and 2 lines, pads",
                          reset,
                          { produce_all, consume_all },
                          ring_end,
                          3,
                          0,
                          0 },
                        8,
                        9,
                        0,
                        { 32, 96, 96, 64, 96, 0, 40, 96, 96 } },
        [WAKE] = { { "wake-ups", reset, { change_all, see_all }, wake_end, 0, 1, 3 }, 4, 3, 0, { 0 } },
        [BOTH] = { { "ring and wake-ups both ways", reset, { send_all, receive_all }, wake_end, 0, 0, 0 },
                   4,
                   4,
                   1,
                   { 0, 32, 8, 16 } },
};

static const struct {
        const char *label;
        enum machine_mutation how;
        int plan;
} mutants[] = {
        { "P0", MACHINE_DROP, RING_PADS },  { "P1", MACHINE_RELAX, RING_LAPS }, { "P1", MACHINE_RELAX, RING_PADS },
        { "P2", MACHINE_RELAX, RING_LAPS }, { "P2", MACHINE_RELAX, RING_PADS }, { "C1", MACHINE_RELAX, RING_LAPS },
        { "C1", MACHINE_RELAX, RING_PADS }, { "C2", MACHINE_RELAX, RING_LAPS }, { "C2", MACHINE_RELAX, RING_PADS },
        { "C2", MACHINE_DROP, RING_LAPS },  { "S2", MACHINE_DROP, WAKE },       { "S3", MACHINE_RELAX, WAKE },
        { "W2", MACHINE_RELAX, WAKE },      { "W4", MACHINE_DROP, WAKE },       { "S3", MACHINE_RELAX, BOTH },
        { "S1", MACHINE_RELAX, WAKE },      { "W4", MACHINE_RELAX, WAKE },      { "W2", MACHINE_RELAX, BOTH },
        { "W4", MACHINE_DROP, BOTH },
};

static struct machine_result explore(const struct plan *plan, const char *label, enum machine_mutation how)
{
        n_lines = plan->n_lines;
        n_records = plan->n_records;
        n_before = plan->n_before;
        memcpy(sizes, plan->sizes, sizeof sizes);
        return machine_explore(&plan->scenario, label, how);
}

static bool run_sound(const struct plan *plan)
{
        struct machine_result result = explore(plan, NULL, MACHINE_SOUND);
        printf("%-45s %9llu runs %9llu states: %s\n", plan->scenario.name, (unsigned long long)result.runs,
               (unsigned long long)result.states, result.failure ? result.failure : "ok");
        return !result.failure;
}

static bool run_mutant(const struct plan *plan, const char *label, enum machine_mutation how)
{
        struct machine_result result = explore(plan, label, how);
        printf("  %s %s, %-40s %s%s\n", label, how == MACHINE_DROP ? "left out" : "weakened", plan->scenario.name,
               result.failure ? "noticed: " : "NOT NOTICED", result.failure ? result.failure : "");
        if (!machine_mutated())
                printf("  no operation with the label %s was met\n", label);
        return result.failure && machine_mutated();
}

/* Labels are found by line: the sources must be those that were compiled. */
static bool read_labels(const char *path)
{
        struct stat source, program;
        if (stat(path, &source) == 0 && stat("/proc/self/exe", &program) == 0 &&
            source.st_mtim.tv_sec <= program.st_mtim.tv_sec && machine_labels(path))
                return true;
        fprintf(stderr, "check: cannot read %s, or it has changed since the build: build again\n", path);
        return false;
}

int main(void)
{
        int failed = 0;
        machine_share(halves, sizeof halves);
        if (!read_labels(RUNTIME "/shm/ring.c") || !read_labels(RUNTIME "/shm/wake.c"))
                return 2;
        for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
                failed += !run_sound(&plans[i]);
        for (size_t i = 0; i < sizeof mutants / sizeof *mutants; i++)
                failed += !run_mutant(&plans[mutants[i].plan], mutants[i].label, mutants[i].how);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
