/* Clients that shake hands properly and then break the rules of streams. */
#include "attacker.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DROPPED_MS = 3000, WINDOW = 1024, WINDOW_LINES = WINDOW / SHM_LINE, ROUNDS = 300, LIVE_MS = 5000 };

static int n_attacks;
static const char *attacking;

enum fate {
        DROPPED, /* the connection is closed */
        SERVED,  /* it goes on: a call on it is answered */
        FAILED,  /* call 1 ends in a failure, and the connection goes on */
        EITHER,  /* the server lives */
};

static struct attacker begin(const char *what)
{
        attacking = what;
        struct attacker self = attack();
        announce_heap(&self);
        return self;
}

static void survived(struct attacker *self, enum fate fate)
{
        uint16_t code = 0;
        if (fate == DROPPED)
                check(hung_up(self->socket, DROPPED_MS), "%s: the client is not dropped", attacking);
        if (fate == FAILED)
                check(replied(self, 1, &code) && code != BATON_OK, "%s: no failure came back (code %d)", attacking,
                      code);
        if (fate == FAILED || fate == SERVED) {
                struct shm_record echo = echo_record(self);
                echo.call = 9;
                put_record(self, echo, "", 0);
                check(replied(self, 9, &code) && code == BATON_OK, "%s: the client is not served any more (code %d)",
                      attacking, code);
        }
        check_canary(attacking);
        retreat(self);
        n_attacks++;
}

static void put(struct attacker *self, uint8_t kind, uint64_t call, uint64_t lines)
{
        put_record(self, (struct shm_record){ .kind = kind, .call = call, .deadline_ns = lines }, "", 0);
}

static void request(struct attacker *self, uint16_t method, uint64_t call)
{
        put_record(self, (struct shm_record){ .kind = SHM_REQUEST, .method = method, .call = call }, "", 0);
}

static struct shm_record message(uint32_t size, uint8_t flags)
{
        return (struct shm_record){ .kind = SHM_MESSAGE, .call = 1, .size = size, .flags = flags };
}

/* ---- credit ------------------------------------------------------------------------------------------------- */

static void beyond_credit(void)
{
        struct attacker self = begin("as many messages as there is credit for");
        request(&self, self.keep, 1);
        for (int i = 0; i < WINDOW_LINES; i++)
                put(&self, SHM_MESSAGE, 1, 0);
        survived(&self, SERVED);
        self = begin("a message beyond its credit");
        request(&self, self.keep, 1);
        for (int i = 0; i <= WINDOW_LINES; i++)
                put(&self, SHM_MESSAGE, 1, 0);
        survived(&self, DROPPED);
}

static void credit(void)
{
        static const uint64_t wrong[] = { SHM_CREDIT_MOST + 1, SHM_CREDIT_MOST, UINT64_MAX, UINT64_C(1) << 63,
                                          UINT64_MAX - SHM_CREDIT_MOST };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct attacker self = begin("impossible credit");
                request(&self, self.chat, 1);
                put(&self, SHM_CREDIT, 1, 1);
                put(&self, SHM_CREDIT, 1, wrong[i]);
                survived(&self, DROPPED);
        }
        struct attacker self = begin("credit that adds up to too much");
        request(&self, self.chat, 1);
        for (int i = 0; i < 20; i++)
                put(&self, SHM_CREDIT, 1, SHM_CREDIT_MOST / 16);
        survived(&self, DROPPED);
        self = begin("credit of nothing");
        request(&self, self.chat, 1);
        for (int i = 0; i < 100; i++)
                put(&self, SHM_CREDIT, 1, 0);
        survived(&self, SERVED);
        self = begin("credit for what only the client streams");
        request(&self, self.keep, 1);
        put(&self, SHM_CREDIT, 1, 1);
        survived(&self, DROPPED);
}

/* ---- order -------------------------------------------------------------------------------------------------- */

static void unknown_calls(void)
{
        static const uint64_t numbers[] = { 0, 1, 2, 0xffff, 0x10000, 0x1ffff, UINT64_MAX, UINT64_MAX << 16 };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                struct attacker self = begin("records for calls that there are not");
                put(&self, SHM_MESSAGE, numbers[i], 0);
                put(&self, SHM_CREDIT, numbers[i], UINT64_MAX);
                put(&self, SHM_HALF_CLOSE, numbers[i], 0);
                put(&self, SHM_CANCEL, numbers[i], 0);
                survived(&self, SERVED);
        }
        struct attacker self = begin("records for a call that has ended");
        request(&self, self.count, 1);
        for (int i = 0; i < 20; i++) {
                put(&self, SHM_MESSAGE, 1, 0);
                put(&self, SHM_CREDIT, 1, 1);
        }
        survived(&self, EITHER);
}

static void unary_calls(void)
{
        static const uint8_t kinds[] = { SHM_MESSAGE, SHM_HALF_CLOSE, SHM_CREDIT };
        for (size_t i = 0; i < sizeof kinds; i++) {
                struct attacker self = begin("a stream's record for a unary call");
                request(&self, self.hold, 1);
                put(&self, kinds[i], 1, 1);
                survived(&self, DROPPED);
        }
}

static void half_close(void)
{
        struct attacker self = begin("a message after half-close");
        request(&self, self.keep, 1);
        put(&self, SHM_HALF_CLOSE, 1, 0);
        put(&self, SHM_MESSAGE, 1, 0);
        survived(&self, DROPPED);
        self = begin("half-close twice");
        request(&self, self.keep, 1);
        put(&self, SHM_HALF_CLOSE, 1, 0);
        put(&self, SHM_HALF_CLOSE, 1, 0);
        survived(&self, SERVED);
        self = begin("half-close of what the server streams");
        request(&self, self.chat, 1);
        put(&self, SHM_HALF_CLOSE, 1, 0);
        put(&self, SHM_HALF_CLOSE, 1, 0);
        survived(&self, SERVED);
}

/* What only servers send. */
static void directions(void)
{
        static const uint8_t kinds[] = { SHM_HEADERS, SHM_REPLY };
        for (size_t i = 0; i < sizeof kinds; i++) {
                struct attacker self = begin("a server's record");
                request(&self, self.chat, 1);
                put(&self, kinds[i], 1, 0);
                survived(&self, DROPPED);
        }
}

static void slots(void)
{
        static const uint64_t numbers[] = { 0xffff, 0x1ffff, UINT64_MAX, 0x8000, 0x7fff };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                struct attacker self = begin("a slot far out");
                request(&self, self.keep, numbers[i]);
                put(&self, SHM_MESSAGE, numbers[i], 0);
                survived(&self, SERVED);
        }
        struct attacker self = begin("requests that reuse a live slot");
        for (uint64_t i = 0; i < 100; i++)
                request(&self, i & 1 ? self.keep : self.chat, i % 3 ? 5 : (i << SHM_SLOT_BITS) + 5);
        survived(&self, SERVED);
        self = begin("floods of cancellation");
        request(&self, self.chat, 1);
        for (int i = 0; i < 100; i++)
                put(&self, SHM_CANCEL, (uint64_t)(i % 4), 0);
        survived(&self, SERVED);
        self = begin("floods of fences");
        for (int i = 0; i < 100; i++)
                put(&self, SHM_FENCE, UINT64_MAX - (uint64_t)i, 0);
        survived(&self, EITHER);
}

/* ---- contents ----------------------------------------------------------------------------------------------- */

struct tail {
        struct shm_outline outline;
        struct shm_loan loan;
};

static void one_message(const char *what, struct shm_record header, const void *body, size_t size, enum fate fate)
{
        for (int reads = 0; reads < 2; reads++) {
                struct attacker self = begin(what);
                memset(self.heap, 0xf7, SHM_SEGMENT_LEAST);
                request(&self, reads ? self.chat : self.keep, 1);
                put_record(&self, header, body, size);
                survived(&self, fate == FAILED && !reads ? SERVED : fate);
        }
}

static void outlines(void)
{
        enum { MIB = SHM_SEGMENT_LEAST };
        static const struct shm_outline wrong[] = { { MIB, 8 },        { MIB - 8, 16 },         { 0, UINT64_MAX },
                                                    { UINT64_MAX, 1 }, { -UINT64_C(8), 8 },     { 4, 8 },
                                                    { HEAP_BYTES, 8 }, { UINT64_C(1) << 63, 8 } };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct tail tail = { wrong[i], { .loan = 0, .heap_size = MIB } };
                one_message("a message outside the heap", message(sizeof tail, SHM_LOAN | SHM_OUTLINE), &tail,
                            sizeof tail, DROPPED);
                one_message("such a message without a loan", message(sizeof tail.outline, SHM_OUTLINE), &tail,
                            sizeof tail.outline, DROPPED);
        }
        static const struct shm_loan loans[] = {
                { SHM_LOANS, MIB }, { UINT64_MAX, MIB }, { 0, UINT64_MAX }, { 0, HEAP_BYTES + 1 }
        };
        for (size_t i = 0; i < sizeof loans / sizeof *loans; i++) {
                struct tail tail = { { 0, 64 }, loans[i] };
                one_message("a message with an impossible loan", message(sizeof tail, SHM_LOAN | SHM_OUTLINE), &tail,
                            sizeof tail, DROPPED);
        }
        struct tail tail = { { 0, 4096 }, { .loan = 3, .heap_size = MIB } };
        one_message("noise in the heap", message(sizeof tail, SHM_LOAN | SHM_OUTLINE), &tail, sizeof tail, FAILED);
        one_message("a graph of noise in the heap", message(sizeof tail, SHM_LOAN | SHM_OUTLINE | SHM_GRAPH), &tail,
                    sizeof tail, FAILED);
        one_message("a message cut short", message(8, SHM_LOAN | SHM_OUTLINE), "12345678", 8, DROPPED);
}

static void noise(void)
{
        static uint8_t bytes[256];
        memset(bytes, 0xf7, sizeof bytes);
        one_message("noise", message(sizeof bytes, 0), bytes, sizeof bytes, FAILED);
        one_message("a graph of noise", message(sizeof bytes, SHM_GRAPH), bytes, sizeof bytes, FAILED);
        for (unsigned flags = 0; flags < 256; flags++)
                one_message("noise with any flags", message(sizeof bytes, (uint8_t)flags), bytes, sizeof bytes, EITHER);
}

static void metadata(void)
{
        enum { MIB = SHM_SEGMENT_LEAST };
        static const struct shm_metadata wrong[] = {
                { SHM_HERE, 1 },
                { SHM_HERE, 4096 },
                { SHM_HERE, UINT64_MAX },
                { SHM_HERE, UINT64_MAX - 7 },
                { SHM_HERE, 8 },
                { SHM_HERE, 16 },
                { SHM_HERE, 64 },
                { 0, 8 },
                { 0, UINT64_MAX },
                { MIB, 8 },
                { MIB - 8, 16 },
                { 4, 8 },
                { UINT64_MAX - 8, 8 },
                { 0, MIB },
                { 0, 4096 },
        };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                for (int lent = 0; lent < 2; lent++)
                        for (int content = 0; content < 3; content++) {
                                struct attacker self = begin("malformed metadata");
                                uint8_t body[128] = { 0 };
                                struct shm_loan loan = { .loan = 1, .heap_size = MIB };
                                memset(body, content == 0 ? 0 : content == 1 ? 0xff : 1, sizeof body);
                                memset(self.heap, content == 0 ? 0 : content == 1 ? 0xff : 1, MIB);
                                memcpy(body, &wrong[i], sizeof wrong[i]);
                                memcpy(body + sizeof body - sizeof loan, &loan, sizeof loan);
                                struct shm_record header = { .kind = SHM_REQUEST,
                                                             .method = lent ? self.chat : self.echo,
                                                             .call = 1,
                                                             .size = sizeof body,
                                                             .flags = SHM_METADATA | (lent ? SHM_LOAN : 0) };
                                put_record(&self, header, body, sizeof body);
                                survived(&self, EITHER);
                        }
}

/* ---- at random ---------------------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        return *state;
}

static void random_records(void)
{
        uint32_t state = 2463534242u;
        for (int round = 0; round < ROUNDS; round++) {
                struct attacker self = begin("records at random");
                const uint16_t methods[] = { self.echo, self.hold, self.chat, self.keep, self.count };
                for (int i = 0; i < 30; i++) {
                        uint8_t body[64];
                        for (size_t k = 0; k < sizeof body; k++)
                                body[k] = next_random(&state) % 4 ? 0 : (uint8_t)next_random(&state);
                        struct shm_record header = { .kind = (uint8_t)(2 + next_random(&state) % 8),
                                                     .method = methods[next_random(&state) % 5],
                                                     .call = next_random(&state) % 4,
                                                     .size = next_random(&state) % sizeof body,
                                                     .deadline_ns = next_random(&state) % 8,
                                                     .flags = next_random(&state) % 8 ? 0
                                                                                      : (uint8_t)next_random(&state) };
                        if (header.kind == SHM_REQUEST)
                                header.deadline_ns = 0;
                        put_record(&self, header, body, sizeof body);
                }
                retreat(&self);
                n_attacks++;
        }
        check_canary("records at random");
}

/* All handlers hear of the end. */
static void await_no_streams(void)
{
        baton_channel *channel = open_channel(NULL);
        uint64_t left = 1;
        for (int i = 0; i < LIVE_MS && (left = look(channel).streams); i++)
                sleep_ms(1);
        check(left == 0, "%llu handlers were not told that their clients are gone", (unsigned long long)left);
        release_held(channel);
        baton_channel_close(channel);
}

int main(void)
{
        char log[128], window[16];
        snprintf(log, sizeof log, "%s/log", place());
        snprintf(window, sizeof window, "%d", WINDOW);
        struct process server =
                start("crash_server", (const char *const[]){ address(), "window", window, "log", log, NULL });
        keep_canary(&server);
        struct holding before = holding(server.pid);
        beyond_credit();
        credit();
        unknown_calls();
        unary_calls();
        half_close();
        directions();
        slots();
        outlines();
        noise();
        metadata();
        random_records();
        await_no_streams();
        check_back(server.pid, before, 6, 4096, "the server after all of it");
        free_canary();
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        say("%d attacks on streams: the server lives, the canary was served", n_attacks);
        return 0;
}
