/* Servers that break the rules of streams, against an honest client of this process. */
#include "liar.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { DEADLINE_MS = 150, LATE_MS = 2000, WINDOW = 1024, WINDOW_LINES = WINDOW / SHM_LINE, RANDOM_SERVERS = 60 };

static int n_lies;
static uint32_t seed;

/* ---- the lies ----------------------------------------------------------------------------------------------- */

static struct shm_record answer_to(const struct shm_record *request, uint8_t kind, uint64_t lines)
{
        return (struct shm_record){ .kind = kind, .call = request->call, .deadline_ns = lines };
}

static void put_bare(struct attacker *self, const struct shm_record *request, uint8_t kind, uint64_t lines)
{
        put(self, answer_to(request, kind, lines), "", 0);
}

static void beyond_credit(struct attacker *self, const struct shm_record *request)
{
        for (int i = 0; i < 4 * WINDOW_LINES; i++)
                put_bare(self, request, SHM_MESSAGE, 0);
}

static void vast_credit(struct attacker *self, const struct shm_record *request)
{
        put_bare(self, request, SHM_CREDIT, UINT64_MAX);
}

static void adding_up(struct attacker *self, const struct shm_record *request)
{
        for (int i = 0; i < 40; i++)
                put_bare(self, request, SHM_CREDIT, SHM_CREDIT_MOST / 16);
}

static void headers_twice(struct attacker *self, const struct shm_record *request)
{
        put_bare(self, request, SHM_HEADERS, 0);
        put_bare(self, request, SHM_HEADERS, 0);
}

static void headers_late(struct attacker *self, const struct shm_record *request)
{
        put_bare(self, request, SHM_MESSAGE, 0);
        put_bare(self, request, SHM_HEADERS, 0);
}

static void after_the_end(struct attacker *self, const struct shm_record *request)
{
        static const uint8_t kinds[] = { SHM_MESSAGE, SHM_CREDIT, SHM_HEADERS, SHM_REPLY };
        put_bare(self, request, SHM_REPLY, 0);
        for (int i = 0; i < 40; i++)
                put_bare(self, request, kinds[i % 4], 1);
}

static void others_streams(struct attacker *self, const struct shm_record *request)
{
        for (uint64_t i = 1; i < 40; i++) {
                struct shm_record header = answer_to(request, SHM_MESSAGE, 0);
                header.call = i & 1 ? request->call + (i << SHM_SLOT_BITS) : request->call + i;
                put(self, header, "", 0);
        }
}

static void clients_records(struct attacker *self, const struct shm_record *request)
{
        static const uint8_t kinds[] = { SHM_REQUEST, SHM_HALF_CLOSE, SHM_CANCEL, SHM_FENCE };
        put_bare(self, request, kinds[seed++ % 4], 0);
}

static void noise(struct attacker *self, const struct shm_record *request)
{
        uint8_t bytes[200];
        struct shm_record header = answer_to(request, SHM_MESSAGE, 0);
        memset(bytes, 0xf7, sizeof bytes);
        header.size = sizeof bytes;
        header.flags = (uint8_t)seed++;
        put(self, header, bytes, sizeof bytes);
}

static void bad_metadata(struct attacker *self, const struct shm_record *request)
{
        static const struct shm_metadata wrong[] = { { SHM_HERE, 1 },          { SHM_HERE, 4096 }, { SHM_HERE, 64 },
                                                     { SHM_HERE, UINT64_MAX }, { 0, 8 },           { UINT64_MAX, 8 } };
        uint8_t bytes[128];
        struct shm_record header = answer_to(request, seed & 1 ? SHM_HEADERS : SHM_REPLY, 0);
        memset(bytes, seed & 2 ? 0xff : 1, sizeof bytes);
        memcpy(bytes, &wrong[seed++ / 4 % 6], sizeof *wrong);
        header.size = sizeof bytes;
        header.flags = SHM_METADATA;
        put(self, header, bytes, sizeof bytes);
}

static void bad_loans(struct attacker *self, const struct shm_record *request)
{
        static const struct shm_loan loans[] = {
                { SHM_LOANS, 0 }, { UINT64_MAX, 0 }, { 0, UINT64_MAX }, { 0, 0 }, { 1, 4096 }
        };
        struct {
                struct shm_outline outline;
                struct shm_loan loan;
        } body = { { seed & 1 ? 0 : UINT64_MAX, 64 }, loans[seed / 2 % 5] };
        struct shm_record header = answer_to(request, SHM_MESSAGE, 0);
        seed++;
        header.size = sizeof body;
        header.flags = SHM_LOAN | SHM_OUTLINE;
        put(self, header, &body, sizeof body);
}

static void anything(struct attacker *self, const struct shm_record *request)
{
        while (self->tail + 8 < CLIENT_RING / SHM_LINE / 4) {
                uint8_t body[64];
                for (size_t i = 0; i < sizeof body; i++) {
                        seed = seed * 1664525 + 1013904223;
                        body[i] = seed >> 30 ? 0 : (uint8_t)(seed >> 16);
                }
                struct shm_record header = answer_to(request, (uint8_t)(3 + (seed >> 20) % 7), seed >> 28);
                header.size = (seed >> 8) % sizeof body;
                header.flags = seed >> 27 & 1 ? (uint8_t)(seed >> 16) : 0;
                header.call += seed >> 29 ? 0 : 1;
                put(self, header, body, sizeof body);
        }
}

/* ---- the client ---------------------------------------------------------------------------------------------- */

static baton_status use(baton_channel *channel, const char *path, baton_stream **stream)
{
        baton_call_options options = { .timeout_ms = DEADLINE_MS };
        const Test__Blob *blob;
        Test__Amount amount = TEST__AMOUNT__INIT;
        Test__Blob mine = TEST__BLOB__INIT;
        if (strcmp(path, "/test.Peer/Count") == 0) {
                *stream = peer_count_open(channel, &amount, &options);
                while (peer_count_read(*stream, &blob) > 0) {
                }
                return peer_count_finish(*stream);
        }
        if (strcmp(path, "/test.Peer/Keep") == 0) {
                *stream = peer_keep_open(channel, &options);
                for (int i = 0; i < 100 && peer_keep_write(*stream, &mine) == 0; i++) {
                }
                return peer_keep_finish(*stream, &blob);
        }
        *stream = peer_chat_open(channel, &options);
        for (int i = 0; i < 100 && peer_chat_write(*stream, &mine) == 0 && peer_chat_read(*stream, &blob) > 0; i++) {
        }
        return peer_chat_finish(*stream);
}

static void suffer(const char *what, void (*serve)(struct attacker *, const struct shm_record *), const char *path)
{
        pthread_t thread;
        struct lie scenario = { .what = what, .serve = serve, .path = path };
        lie = &scenario;
        async = true; /* the lane of a loop */
        listen_at_address();
        pthread_create(&thread, NULL, play_server, NULL);
        baton_channel *channel = open_channel(&(baton_channel_options){ .stream_window_bytes = WINDOW });
        uint64_t start = now_ns();
        baton_stream *stream = NULL;
        baton_status status = use(channel, path, &stream);
        double took = (double)(now_ns() - start) / 1e6;
        if (getenv("VERBOSE"))
                say("%s to %s: %s after %.1f ms: %s", what, path, baton_code_name(status.code), took, status.message);
        check(stream != NULL, "%s: no stream: %s", what, baton_error());
        check(took < DEADLINE_MS + LATE_MS, "%s: the stream ended after %.0f ms", what, took);
        check((status.code == BATON_OK) == !status.message[0], "%s: %s without a text", what,
              baton_code_name(status.code));
        baton_stream_close(stream);
        baton_channel_close(channel);
        pthread_join(thread, NULL);
        n_lies++;
}

int main(void)
{
        static const struct {
                const char *what;
                void (*serve)(struct attacker *self, const struct shm_record *request);
                int times;
        } lies[] = {
                { "messages beyond credit", beyond_credit, 1 },
                { "vast credit", vast_credit, 1 },
                { "credit that adds up to too much", adding_up, 1 },
                { "headers twice", headers_twice, 1 },
                { "headers after a message", headers_late, 1 },
                { "records after the end", after_the_end, 1 },
                { "messages of other streams", others_streams, 1 },
                { "records that only clients send", clients_records, 4 },
                { "noise with any flags", noise, 64 },
                { "malformed metadata", bad_metadata, 24 },
                { "impossible loans", bad_loans, 10 },
                { "anything", anything, RANDOM_SERVERS },
        };
        static const char *const paths[] = { "/test.Peer/Count", "/test.Peer/Keep", "/test.Peer/Chat" };
        struct holding before = { 0 };
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
                for (int k = 0; k < lies[i].times; k++)
                        suffer(lies[i].what, lies[i].serve, paths[(i + (size_t)k) % 3]);
        for (int k = 0; k < 3; k++)
                for (size_t i = 0; i < 8; i++)
                        suffer(lies[i].what, lies[i].serve, paths[k]);
        before = holding(0);
        for (int k = 0; k < 20; k++)
                suffer("messages beyond credit, again", beyond_credit, paths[k % 3]);
        check_back(0, before, 6, 4096, "the client after all of it");
        say("%d servers lied about streams: the client lives", n_lies);
        return 0;
}
