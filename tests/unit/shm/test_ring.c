#include "shm/ring.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 1024, LARGE = 64 * 1024, STRESS_RECORDS = 2000000, STRESS_SECONDS = 60 };

struct shared {
        _Alignas(SHM_LINE) _Atomic uint64_t consumed;
        struct shm_line lines[LARGE / SHM_LINE];
};

struct pair {
        struct shared *shared;
        struct ring_producer producer;
        struct ring_consumer consumer;
};

static struct pair new_pair(size_t bytes)
{
        struct pair pair;
        pair.shared = mmap(NULL, sizeof *pair.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(pair.shared != MAP_FAILED);
        ring_producer_init(&pair.producer, pair.shared->lines, bytes, &pair.shared->consumed);
        ring_consumer_init(&pair.consumer, pair.shared->lines, bytes, &pair.shared->consumed);
        return pair;
}

static void free_pair(struct pair *pair)
{
        munmap(pair->shared, sizeof *pair->shared);
}

/* As if that many lines had gone through already. */
static void start_at(struct pair *pair, uint64_t line)
{
        pair->producer.tail = pair->producer.consumed = pair->consumer.head = line;
        atomic_store(&pair->shared->consumed, line);
}

static uint32_t random_from(uint64_t *state)
{
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(*state >> 33);
}

static uint8_t byte_of(uint64_t call, size_t i)
{
        return (uint8_t)(call * 31 + i * 7 + (i >> 8));
}

static int send_record(struct pair *pair, uint64_t call, uint32_t size)
{
        uint8_t *body;
        size_t room;
        int error = ring_reserve(&pair->producer, size, &body, &room);
        if (error < 0)
                return error;
        assert_true(room >= size);
        for (size_t i = 0; i < size; i++)
                body[i] = byte_of(call, i);
        memset(body + size, 0xff, room - size); /* it may be written, all of it */
        struct shm_record header = { .size = size, .kind = SHM_REQUEST, .method = (uint16_t)call, .call = call };
        ring_publish(&pair->producer, &header);
        return 0;
}

static void receive_record(struct pair *pair, uint64_t call, uint32_t size)
{
        struct ring_record record;
        assert_int_equal(ring_peek(&pair->consumer, &record), 1);
        assert_true(ring_ready(&pair->consumer));
        assert_int_equal(record.call, call);
        assert_int_equal(record.size, size);
        assert_int_equal(record.kind, SHM_REQUEST);
        assert_int_equal(record.method, (uint16_t)call);
        for (size_t i = 0; i < size; i++)
                assert_int_equal(record.body[i], byte_of(call, i));
        ring_advance(&pair->consumer, &record);
}

static void every_size(void **state)
{
        (void)state;
        struct pair pair = new_pair(LARGE);
        size_t largest = ring_largest(&pair.producer);
        assert_int_equal(largest, LARGE / 4 - 32);
        for (uint32_t size = 0; size <= largest; size += size < 600 ? 1 : 61) {
                assert_false(ring_ready(&pair.consumer));
                assert_int_equal(send_record(&pair, size, size), 0);
                receive_record(&pair, size, size);
        }
        assert_int_equal(send_record(&pair, 1, (uint32_t)largest), 0);
        receive_record(&pair, 1, (uint32_t)largest);
        uint8_t *body;
        size_t room;
        assert_int_equal(ring_reserve(&pair.producer, largest + 1, &body, &room), -EMSGSIZE);
        assert_int_equal(ring_reserve(&pair.producer, SIZE_MAX - 100, &body, &room), -EMSGSIZE);
        assert_int_equal(ring_has_room(&pair.producer, largest + 1), -EMSGSIZE);
        free_pair(&pair);
}

/* Every size at every offset, where the pad has every length; the largest always finds room in an empty ring. */
static void every_offset(void **state)
{
        (void)state;
        struct pair pair = new_pair(SMALL);
        for (uint64_t line = 0; line < 2 * SMALL / SHM_LINE; line++) {
                for (uint32_t size = 0; size <= ring_largest(&pair.producer); size++) {
                        start_at(&pair, line);
                        atomic_store((_Atomic uint64_t *)&pair.shared->lines[line % (SMALL / SHM_LINE)], 0);
                        assert_int_equal(send_record(&pair, size, size), 0);
                        assert_int_equal(send_record(&pair, size + 1, 0), 0);
                        receive_record(&pair, size, size);
                        receive_record(&pair, size + 1, 0);
                        assert_false(ring_ready(&pair.consumer));
                        assert_int_equal(atomic_load(&pair.shared->consumed), pair.producer.tail);
                }
        }
        free_pair(&pair);
}

static void full_and_empty(void **state)
{
        (void)state;
        struct pair pair = new_pair(SMALL);
        struct ring_record record;
        assert_int_equal(ring_peek(&pair.consumer, &record), 0);
        for (int lap = 0; lap < 5; lap++) {
                uint64_t n = 0;
                while (ring_has_room(&pair.producer, 32) >= 0) {
                        assert_int_equal(send_record(&pair, n, 32), 0);
                        n++;
                }
                assert_int_equal(n, SMALL / SHM_LINE - 1); /* one line stays for the cleared mark */
                assert_int_equal(send_record(&pair, n, 32), -EAGAIN);
                assert_int_equal(send_record(&pair, n, 0), -EAGAIN);
                receive_record(&pair, 0, 32);
                assert_int_equal(send_record(&pair, n, 32), 0);
                assert_int_equal(send_record(&pair, n, 32), -EAGAIN);
                for (uint64_t i = 1; i <= n; i++)
                        receive_record(&pair, i, 32);
                assert_int_equal(ring_peek(&pair.consumer, &record), 0);
        }
        free_pair(&pair);
}

static void impossible_positions(void **state)
{
        (void)state;
        enum { START = 500, SENT = SMALL / SHM_LINE - 1 };
        static const uint64_t wrong[] = { START - 1,           START - 100, 1,          0,         START + SENT + 1,
                                          START + SENT + 1000, 1u << 31,    UINT32_MAX, INT64_MAX, UINT64_MAX };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct pair pair = new_pair(SMALL);
                start_at(&pair, START);
                while (send_record(&pair, 1, 32) == 0) {
                }
                assert_int_equal(pair.producer.tail, START + SENT);
                /* Ahead of what was sent, or behind where it was: noticed as soon as it is looked at. */
                atomic_store(&pair.shared->consumed, wrong[i]);
                assert_int_equal(send_record(&pair, 1, 32), -EPROTO);
                assert_int_equal(ring_has_room(&pair.producer, 32), -EPROTO);
                free_pair(&pair);
        }
}

static struct shm_record *at_head(struct pair *pair)
{
        return (struct shm_record *)&pair->shared->lines[pair->consumer.head % pair->consumer.n_lines];
}

static void hostile_headers(void **state)
{
        (void)state;
        static const uint32_t sizes[] = { SMALL, SMALL - 31, 0x7fffffff, 0x80000000, 0xffffffe0, 0xffffffff };
        struct pair pair = new_pair(SMALL);
        struct ring_record record;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                for (int kind = 0; kind < 256; kind++) {
                        *at_head(&pair) = (struct shm_record){ .mark = 1, .size = sizes[i], .kind = (uint8_t)kind };
                        assert_int_equal(ring_peek(&pair.consumer, &record), -EPROTO);
                }
        }
        for (uint64_t line = 1; line < SMALL / SHM_LINE; line++) {
                start_at(&pair, line);
                uint32_t left = (uint32_t)(SMALL - line * SHM_LINE - 32);
                *at_head(&pair) = (struct shm_record){ .mark = line + 1, .size = left, .kind = SHM_REPLY };
                assert_int_equal(ring_peek(&pair.consumer, &record), 1);
                at_head(&pair)->size = left + 1;
                assert_int_equal(ring_peek(&pair.consumer, &record), -EPROTO);
        }
        /* An unknown kind is the caller's to judge. */
        *at_head(&pair) = (struct shm_record){ .mark = pair.consumer.head + 1, .kind = 77 };
        assert_int_equal(ring_peek(&pair.consumer, &record), 1);
        assert_int_equal(record.kind, 77);
        free_pair(&pair);
}

/* Pads that no producer writes: a peek must not walk over them for as long as a peer likes to write them. */
static void hostile_pads(void **state)
{
        (void)state;
        struct pair pair = new_pair(SMALL);
        struct ring_record record;
        for (uint64_t line = 0; line < SMALL / SHM_LINE; line++) {
                struct shm_record pad = { .mark = line + 1, .size = 32, .kind = SHM_PAD };
                memcpy(&pair.shared->lines[line], &pad, sizeof pad);
        }
        assert_int_equal(ring_peek(&pair.consumer, &record), -EPROTO);
        at_head(&pair)->size = SMALL - 32; /* all of the ring */
        assert_int_equal(ring_peek(&pair.consumer, &record), -EPROTO);
        start_at(&pair, SMALL / SHM_LINE - 1);
        at_head(&pair)->mark = SMALL / SHM_LINE;
        assert_int_equal(ring_peek(&pair.consumer, &record), 0); /* the one that is right */
        free_pair(&pair);
}

/* Bodies full of marks, of this lap, the next and the one after: none is ever taken for a record. */
static void old_marks(void **state)
{
        (void)state;
        struct pair pair = new_pair(SMALL);
        uint64_t seed = 42, n_lines = SMALL / SHM_LINE;
        uint32_t waiting[64];
        uint64_t sent = 0, received = 0;
        for (int i = 0; i < 300000; i++) {
                uint8_t *body;
                size_t room;
                uint32_t size = random_from(&seed) % (uint32_t)(ring_largest(&pair.producer) + 1);
                if (random_from(&seed) % 2 && ring_reserve(&pair.producer, size, &body, &room) == 0) {
                        for (size_t at = 0; at + 8 <= room; at += 8) {
                                uint64_t mark = pair.producer.tail + (at + 32) / SHM_LINE +
                                                random_from(&seed) % 3 * n_lines + 1;
                                memcpy(body + at, &mark, sizeof mark);
                        }
                        struct shm_record header = { .size = size, .kind = SHM_REPLY, .call = sent };
                        ring_publish(&pair.producer, &header);
                        waiting[sent++ % 64] = size;
                }
                struct ring_record record;
                int n = random_from(&seed) % 2 ? ring_peek(&pair.consumer, &record) : 0;
                assert_true(n >= 0);
                if (!n)
                        continue;
                assert_true(received < sent);
                assert_int_equal(record.call, received);
                assert_int_equal(record.size, waiting[received++ % 64]);
                ring_advance(&pair.consumer, &record);
        }
        assert_true(received > 50000);
        free_pair(&pair);
}

/* ---- stress ----------------------------------------------------------------------------------------------- */

static uint64_t checksum(const uint8_t *bytes, size_t size)
{
        uint64_t sum = size, word;
        for (; size >= 8; size -= 8, bytes += 8) {
                memcpy(&word, bytes, sizeof word);
                sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
        }
        for (; size; size--)
                sum = (sum ^ *bytes++) * 0x100000001b3u;
        return sum;
}

/* False when a record cannot be sent. */
static bool stress_send(struct ring_producer *ring, uint64_t call, uint64_t *seed)
{
        uint32_t size = random_from(seed) % 4 ? random_from(seed) % 100 : random_from(seed) % 1000;
        uint8_t *body;
        size_t room;
        int error;
        while ((error = ring_reserve(ring, size, &body, &room)) == -EAGAIN)
                sched_yield();
        if (error < 0)
                return false;
        uint64_t word = call;
        for (size_t at = 0; at < size; at += 8, word = word * 3 + 1)
                memcpy(body + at, &word, size - at < 8 ? size - at : 8);
        struct shm_record header = {
                .size = size, .kind = SHM_REQUEST, .call = call, .deadline_ns = checksum(body, size)
        };
        ring_publish(ring, &header);
        return true;
}

static void *stress_producer(void *context)
{
        uint64_t seed = 7;
        for (uint64_t call = 0; call < STRESS_RECORDS; call++)
                if (!stress_send(context, call, &seed))
                        return context;
        return NULL;
}

/* The first record that is wrong, or STRESS_RECORDS. */
static uint64_t stress_consume(struct ring_consumer *ring)
{
        for (uint64_t call = 0; call < STRESS_RECORDS;) {
                struct ring_record record;
                int n = ring_peek(ring, &record);
                if (n < 0 || (n && (record.call != call || checksum(record.body, record.size) != record.deadline_ns)))
                        return call;
                if (!n) {
                        sched_yield();
                        continue;
                }
                ring_advance(ring, &record);
                call++;
        }
        return STRESS_RECORDS;
}

static void two_threads(void **state)
{
        (void)state;
        struct pair pair = new_pair(8192);
        pthread_t thread;
        void *failed;
        alarm(STRESS_SECONDS);
        assert_int_equal(pthread_create(&thread, NULL, stress_producer, &pair.producer), 0);
        assert_int_equal(stress_consume(&pair.consumer), STRESS_RECORDS);
        pthread_join(thread, &failed);
        alarm(0);
        assert_null(failed);
        free_pair(&pair);
}

static void two_processes(void **state)
{
        (void)state;
        struct pair pair = new_pair(8192);
        alarm(STRESS_SECONDS);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
                alarm(STRESS_SECONDS);
                _exit(stress_producer(&pair.producer) ? 1 : 0);
        }
        assert_int_equal(stress_consume(&pair.consumer), STRESS_RECORDS);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        alarm(0);
        assert_int_equal(status, 0);
        free_pair(&pair);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_size),      cmocka_unit_test(every_offset),
                cmocka_unit_test(full_and_empty),  cmocka_unit_test(impossible_positions),
                cmocka_unit_test(hostile_headers), cmocka_unit_test(hostile_pads),
                cmocka_unit_test(old_marks),       cmocka_unit_test(two_threads),
                cmocka_unit_test(two_processes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
