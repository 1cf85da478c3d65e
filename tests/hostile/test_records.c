/* Clients that shake hands properly and then attack through shared memory. */
#include "attacker.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DROPPED_MS = 3000, FLOOD = 200000, SCRIBBLE_MS = 1500, PIECES = 400 };

static int n_attacks;

/* What has to become of the attacker. */
enum fate {
        DROPPED,  /* its connection is closed */
        ANSWERED, /* its call ends in a failure */
        EITHER,   /* or nothing at all: the server only has to live */
};

static const char *attacking;

static void survived(struct attacker *self, uint64_t call, enum fate fate)
{
        uint16_t code = 0;
        if (fate == DROPPED)
                check(hung_up(self->socket, DROPPED_MS), "%s: the client is not dropped", attacking);
        if (fate == ANSWERED)
                check(replied(self, call, &code) && code != BATON_OK, "%s: no failure came back (code %d)", attacking,
                      code);
        check_canary(attacking);
        retreat(self);
        n_attacks++;
}

/* One record, whatever it says, on a fresh connection with a heap. */
static void record(const char *what, struct shm_record header, const void *body, size_t size, enum fate fate)
{
        attacking = what;
        struct attacker self = attack();
        announce_heap(&self);
        header.method = header.method == UINT16_MAX ? self.echo : header.method;
        put_record(&self, header, body, size);
        survived(&self, header.call, fate);
}

static struct shm_record request(uint32_t size, uint8_t flags)
{
        return (struct shm_record){
                .kind = SHM_REQUEST, .method = UINT16_MAX, .call = 77, .size = size, .flags = flags
        };
}

/* ---- headers ------------------------------------------------------------------------------------------------ */

static void headers(void)
{
        static const uint32_t sizes[] = { RING_BYTES - 31, RING_BYTES,      RING_BYTES + 1,
                                          1u << 31,        UINT32_MAX - 31, UINT32_MAX };
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                record("an impossible size", request(sizes[i], 0), "", 0, DROPPED);
        for (unsigned kind = 0; kind < 256; kind += kind < 8 ? 1 : 31) {
                struct shm_record header = request(0, 0);
                header.kind = (uint8_t)kind;
                bool answer = kind == SHM_REPLY || kind == SHM_HEADERS;
                if (kind < SHM_PAD || kind > SHM_FENCE || answer)
                        record("an impossible kind", header, "", 0, DROPPED);
        }
        struct attacker probe = attack();
        const uint16_t methods[] = { (uint16_t)probe.n_methods, (uint16_t)(probe.n_methods + 1), 0x8000, 0xfffe };
        retreat(&probe);
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                struct shm_record header = request(0, 0);
                header.method = methods[i];
                record("an impossible method", header, "", 0, DROPPED);
        }
        static uint8_t noise[512];
        for (size_t i = 0; i < sizeof noise; i++)
                noise[i] = (uint8_t)(i * 199 + 3);
        for (unsigned flags = 0; flags < 256; flags += flags < 32 ? 1 : 13)
                record("noise with any flags", request(sizeof noise, (uint8_t)flags), noise, sizeof noise, EITHER);
}

/* Marks of other laps are no records; a call behind them is never run. */
static void marks(void)
{
        static const uint64_t wrong[] = { 2, RING_LINES, RING_LINES + 1, UINT64_C(1) << 63, UINT64_MAX };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                attacking = "a mark that jumps";
                struct attacker self = attack();
                struct shm_record *first = (struct shm_record *)self.mine->lane0.ring[0].bytes;
                *first = echo_record(&self);
                atomic_store(&first->mark, wrong[i]);
                ring_bell(&self);
                sleep_ms(5);
                check(atomic_load(&self.theirs->lane0.consumed) == 0, "a mark of another lap was taken for a record");
                survived(&self, 0, EITHER);
        }
}

/* Pads that do not end at the ring's end, and pads without end by a producer as fast as the reader. */
static void pads(void)
{
        struct shm_record pad = { .kind = SHM_PAD, .size = 0 };
        record("a pad in the middle", pad, "", 0, DROPPED);
        pad.size = RING_BYTES - sizeof pad;
        attacking = "a pad of the whole ring";
        struct attacker self = attack();
        struct shm_record *first = (struct shm_record *)self.mine->lane0.ring[0].bytes;
        *first = pad;
        atomic_store(&first->mark, 1);
        ring_bell(&self);
        survived(&self, 0, DROPPED);
}

/* ---- heap references ---------------------------------------------------------------------------------------- */

struct tail {
        struct shm_outline outline;
        struct shm_loan loan;
};

static void outlines(void)
{
        enum { MIB = SHM_SEGMENT_LEAST };
        static const struct shm_outline wrong[] = {
                { MIB, 8 },        { MIB - 8, 16 },        { 0, MIB + 1 },      { 0, UINT64_MAX },
                { UINT64_MAX, 1 }, { UINT64_MAX - 7, 16 }, { -UINT64_C(8), 8 }, { UINT64_C(1) << 63, 8 },
                { 4, 8 },          { HEAP_BYTES, 0 },      { HEAP_BYTES, 8 },
        };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct tail tail = { .outline = wrong[i], .loan = { .loan = 0, .heap_size = MIB } };
                record("an outline outside the heap", request(sizeof tail, SHM_LOAN | SHM_OUTLINE), &tail, sizeof tail,
                       DROPPED);
                record("such an outline without a loan", request(sizeof tail.outline, SHM_OUTLINE), &tail,
                       sizeof tail.outline, DROPPED);
        }
        record("an outline cut short", request(8, SHM_OUTLINE), "12345678", 8, DROPPED);
        record("a loan cut short", request(8, SHM_LOAN), "12345678", 8, DROPPED);
        record("an outline that is not there", request(0, SHM_OUTLINE), "", 0, DROPPED);
}

static void loans(void)
{
        static const struct shm_loan wrong[] = { { SHM_LOANS, 0 },        { UINT64_MAX, 0 }, { UINT64_C(1) << 32, 0 },
                                                 { 0, HEAP_BYTES + 1 },   { 0, UINT64_MAX }, { 0, 2 << 20 },
                                                 { 0, UINT64_C(1) << 63 } };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                record("an impossible loan", request(sizeof wrong[i], SHM_LOAN), &wrong[i], sizeof wrong[i], DROPPED);
}

/* A graph stream of Blob: {data.len, data slot, number}. */
struct blob_stream {
        uint64_t length, slot, number;
        struct shm_loan loan;
};

static void graph_streams(void)
{
        enum { MIB = SHM_SEGMENT_LEAST };
        struct blob_stream good = { .length = 64, .slot = 0 << 2 | 2, .number = 5, .loan = { 3, MIB } };
        for (uint32_t size = 0; size < 24; size++)
                record("a graph stream cut short", request(size, SHM_GRAPH | SHM_GRAPH_REPLY), &good, size, ANSWERED);
        record("a reference without a loan", request(24, SHM_GRAPH), &good, 24, EITHER);
        static const struct {
                uint64_t length, slot;
        } wrong[] = { { 64, (uint64_t)MIB << 2 | 2 },
                      { 64, (uint64_t)(MIB - 63) << 2 | 2 },
                      { MIB + 1, 2 },
                      { UINT64_MAX, 2 },
                      { UINT64_C(1) << 63, 2 },
                      { 64, UINT64_MAX << 2 | 2 },
                      { 64, (UINT64_MAX - 63) << 2 | 2 },
                      { 64, 1 },
                      { UINT64_MAX, 1 },
                      { UINT64_MAX - 7, 1 },
                      { 64, 3 },
                      { 64, UINT64_MAX },
                      { 64, 0 },
                      { 0, 1 },
                      { 64, 0x7fff12345678 } };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct blob_stream bad = good;
                bad.length = wrong[i].length;
                bad.slot = wrong[i].slot;
                record("a slot that lies", request(sizeof bad, SHM_GRAPH | SHM_LOAN), &bad, sizeof bad, ANSWERED);
        }
        record("a stream with more behind it", request(32, SHM_GRAPH), (uint64_t[]){ 0, 0, 5, 99 }, 32, ANSWERED);
        static const uint8_t wire[] = { 0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f };
        record("a wire message that lies", request(sizeof wire, 0), wire, sizeof wire, ANSWERED);
}

/* Random bytes as streams, many on one connection while it lasts. */
static void random_streams(void)
{
        uint32_t state = 12345;
        attacking = "random records";
        for (int piece = 0; piece < PIECES; piece++) {
                struct attacker self = attack();
                announce_heap(&self);
                uint64_t body[12];
                for (uint64_t call = 1; self.tail + 4 < RING_LINES; call++) {
                        for (size_t i = 0; i < 12; i++) {
                                state = state * 1664525 + 1013904223;
                                body[i] = state >> 24 < 100 ? state >> 28 : (uint64_t)state << (state >> 27);
                        }
                        struct shm_record header = request(8 * (state >> 8) % 97, (uint8_t)(state >> 16 & 15));
                        header.method = self.echo;
                        header.call = call;
                        put_record(&self, header, body, sizeof body);
                }
                retreat(&self);
                n_attacks++;
        }
        check_canary(attacking);
}

/* ---- what the attacker says of the server's memory ----------------------------------------------------------- */

static void consumed_positions(void)
{
        static const uint64_t wrong[] = { 1000, UINT64_MAX, UINT64_C(1) << 63, RING_LINES * 2 };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                attacking = "a read position beyond what was written";
                struct attacker self = attack();
                atomic_store(&self.mine->lane0.consumed, wrong[i]);
                /* The server looks at the position when its ring seems full. */
                for (uint64_t call = 1; self.tail + 2 < RING_LINES; call++) {
                        struct shm_record header = echo_record(&self);
                        header.call = call;
                        put_record(&self, header, "", 0);
                }
                self.tail = 0;
                for (int lap = 0; lap < 3 && !hung_up(self.socket, 20); lap++) {
                        /* Another lap: the same lines with the marks of the next. */
                        uint64_t base = atomic_load(&self.theirs->lane0.consumed);
                        for (uint64_t line = base; line < base + RING_LINES - 2; line++) {
                                struct shm_record *at =
                                        (struct shm_record *)self.mine->lane0.ring[line % RING_LINES].bytes;
                                struct shm_record header = echo_record(&self);
                                memcpy((uint8_t *)at + 8, (uint8_t *)&header + 8, sizeof header - 8);
                                atomic_store(&at->mark, line + 1);
                        }
                        ring_bell(&self);
                }
                survived(&self, 0, DROPPED);
        }
}

/* Gives back loans that it does not have, and twice. A loan is open, so that the server looks. */
static void returned_loans(void)
{
        enum { MIB = SHM_SEGMENT_LEAST };
        for (int i = 0; i < 6; i++) {
                attacking = "loans given back that were not lent";
                struct attacker self = attack();
                announce_heap(&self);
                for (uint64_t n = 0; n < SHM_LOANS; n++)
                        atomic_store(&self.mine->returned[n], i == 0   ? UINT64_MAX
                                                              : i == 1 ? (n + 1) << 16 | 0xffff
                                                              : i == 2 ? (n + 1) << 16 | 5
                                                              : i == 3 ? (n + 1) << 16
                                                              : i == 4 ? (n + 1) << 16 | n
                                                                       : (n + 2) << 16);
                /* Echoes of 64 KiB by reference: the server lends its copy. */
                for (uint64_t call = 1; call < 20; call++) {
                        struct blob_stream stream = {
                                .length = 65536, .slot = 2, .number = call, .loan = { call, MIB }
                        };
                        struct shm_record header = request(sizeof stream, SHM_GRAPH | SHM_GRAPH_REPLY | SHM_LOAN);
                        header.method = self.echo;
                        header.call = call;
                        put_record(&self, header, &stream, sizeof stream);
                }
                sleep_ms(5);
                survived(&self, 0, EITHER);
        }
}

/* ---- quantity ----------------------------------------------------------------------------------------------- */

/* Requests without end and never a look at the replies: the server must not keep them all. */
static void never_reads(const struct process *server)
{
        attacking = "requests without end, replies never read";
        struct attacker self = attack();
        struct holding before = holding(server->pid);
        uint64_t sent = 0, stalled = 0;
        while (sent < FLOOD && stalled < 300) {
                uint64_t consumed = atomic_load_explicit(&self.theirs->lane0.consumed, memory_order_acquire);
                if (sent - consumed >= RING_LINES - 1) {
                        sleep_ms(1);
                        stalled++;
                        continue;
                }
                stalled = 0;
                struct shm_record *at = (struct shm_record *)self.mine->lane0.ring[sent % RING_LINES].bytes;
                struct shm_record header = echo_record(&self);
                atomic_store(&((struct shm_record *)self.mine->lane0.ring[(sent + 1) % RING_LINES].bytes)->mark, 0);
                memcpy((uint8_t *)at + 8, (uint8_t *)&header + 8, sizeof header - 8);
                atomic_store_explicit(&at->mark, ++sent, memory_order_release);
                if (sent % 16 == 0)
                        ring_bell(&self);
        }
        struct holding now = holding(server->pid);
        say("%llu requests without reading a reply: the server took %ld KiB for them", (unsigned long long)sent,
            now.anonymous_kb - before.anonymous_kb);
        check(!memory_counts() || now.anonymous_kb - before.anonymous_kb < 4096,
              "the server keeps replies without bound");
        survived(&self, 0, EITHER);
}

static atomic_bool quit;

/* Writes noise over everything that the server reads, all the time: a race on purpose. */
__attribute__((no_sanitize("thread"))) static void *scribble(void *attacker)
{
        struct attacker *self = attacker;
        uint32_t state = 1;
        while (!quit) {
                state = state * 1664525 + 1013904223;
                uint8_t *half = (uint8_t *)&self->mine->lane0;
                size_t at = state >> 8;
                switch (state >> 29) {
                case 0:
                        half[at % (sizeof(struct shm_half) + RING_BYTES)] = (uint8_t)state;
                        break;
                case 1:
                        self->mine->returned[at % SHM_LOANS] = state;
                        break;
                case 2: /* the length or slot of a stream that is being read */
                        ((volatile uint64_t *)self->mine->lane0.ring)[4 + at % 4] = state % 3 ? state : UINT64_MAX;
                        break;
                default:
                        self->heap[at % SHM_SEGMENT_LEAST] = (uint8_t)state;
                }
        }
        return NULL;
}

static void flipping(void)
{
        attacking = "a thread that scribbles over ring and heap";
        uint64_t until = now_ns() + SCRIBBLE_MS * UINT64_C(1000000);
        int connections = 0;
        for (; now_ns() < until; connections++) {
                pthread_t thread;
                struct attacker self = attack();
                announce_heap(&self);
                quit = false;
                pthread_create(&thread, NULL, scribble, &self);
                for (uint64_t call = 1; self.tail + 2 < RING_LINES; call++) {
                        struct blob_stream stream = {
                                .length = 65536, .slot = 2, .number = call, .loan = { call, SHM_SEGMENT_LEAST }
                        };
                        struct shm_record header = request(sizeof stream, SHM_GRAPH | SHM_GRAPH_REPLY | SHM_LOAN);
                        header.method = self.echo;
                        header.call = call;
                        put_record(&self, header, &stream, sizeof stream);
                }
                sleep_ms(2);
                check_canary(attacking);
                quit = true;
                pthread_join(thread, NULL);
                retreat(&self);
        }
        n_attacks += connections;
        say("%d connections scribbled over", connections);
}

int main(void)
{
        char log[128];
        snprintf(log, sizeof log, "%s/log", place());
        struct process server = start("crash_server", (const char *const[]){ address(), "log", log, NULL });
        keep_canary(&server);
        struct holding before = holding(server.pid);
        headers();
        marks();
        pads();
        outlines();
        loans();
        graph_streams();
        random_streams();
        consumed_positions();
        returned_loans();
        flipping();
        never_reads(&server);
        check_back(server.pid, before, 6, 4096, "the server after all of it");
        free_canary();
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        say("%d attacks through shared memory: the server lives, the canary was served", n_attacks);
        return 0;
}
