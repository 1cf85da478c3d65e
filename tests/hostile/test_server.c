/*
 * Servers that lie, against an honest client of this process. Each scenario is a thread that plays the server by hand; the
 * client's call must end with a status by its deadline, and the client must live.
 */
#include "liar.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { DEADLINE_MS = 150, LATE_MS = 100, RANDOM_SERVERS = 100 };

static uint32_t seed;

/* ---- the client's side --------------------------------------------------------------------------------------- */

static int n_lies;

static void suffer(const struct lie *scenario)
{
        pthread_t thread;
        lie = scenario;
        listen_at_address();
        pthread_create(&thread, NULL, play_server, NULL);
        baton_channel *channel = open_channel(&(baton_channel_options){ .max_message_bytes = 1 << 20 });
        Test__Blob request = TEST__BLOB__INIT;
        const Test__Blob *reply = NULL;
        uint64_t start = now_ns();
        baton_status status = peer_echo(channel, &request, &reply, &(baton_call_options){ .timeout_ms = DEADLINE_MS });
        double took = (double)(now_ns() - start) / 1e6;
        if (getenv("VERBOSE"))
                say("%s: %s after %.1f ms: %s", lie->what, baton_code_name(status.code), took, status.message);
        check(took < DEADLINE_MS + LATE_MS, "%s: the call ended after %.0f ms", lie->what, took);
        check(status.code != BATON_OK || lie->serve, "%s: the call succeeded", lie->what);
        check((status.code == BATON_OK) == !status.message[0], "%s: %s without a text", lie->what,
              baton_code_name(status.code));
        /* Whatever came can be read. */
        volatile uint8_t sum = 0;
        for (size_t i = 0; status.code == BATON_OK && i < reply->data.len; i++)
                sum += reply->data.data[i];
        baton_release(reply);
        baton_channel_close(channel);
        pthread_join(thread, NULL);
        n_lies++;
}

static bool ended;

static void on_end(const baton_status *status, const Test__Blob *reply, void *context)
{
        (void)reply;
        check(!ended, "%s: a call ended twice", lie->what);
        check((status->code == BATON_OK) == !status->message[0], "%s: %s without a text", lie->what,
              baton_code_name(status->code));
        *(double *)context = (double)now_ns() / 1e6;
        ended = true;
}

/* The same on a loop; and the next call, which finds no server, ends as well. */
static void suffer_async(const struct lie *scenario)
{
        pthread_t thread;
        lie = scenario;
        async = true;
        listen_at_address();
        pthread_create(&thread, NULL, play_server, NULL);
        baton_channel *channel = open_channel(NULL);
        baton_loop *loop = baton_loop_new();
        for (int i = 0; i < 2; i++) {
                Test__Blob request = TEST__BLOB__INIT;
                double start = (double)now_ns() / 1e6, end = 0;
                ended = false;
                check(peer_echo_async(channel, loop, &request, &(baton_call_options){ .timeout_ms = DEADLINE_MS },
                                      on_end, &end) == 0,
                      "%s: %s", lie->what, baton_error());
                while (!ended && (double)now_ns() / 1e6 < start + 5000)
                        baton_loop_wait(loop, 100);
                check(ended && end - start < DEADLINE_MS + LATE_MS, "%s: the asynchronous call ended after %.0f ms",
                      lie->what, end - start);
        }
        baton_channel_close(channel);
        baton_loop_free(loop);
        pthread_join(thread, NULL);
        async = false;
        n_lies++;
}

/* ---- lies of the handshake ------------------------------------------------------------------------------------ */

static void wrong_kind(struct shm_hello *welcome)
{
        welcome->kind = SHM_LANE;
}
static void no_kind(struct shm_hello *welcome)
{
        welcome->kind = 0;
}
static void wrong_magic(struct shm_hello *welcome)
{
        welcome->magic ^= 1;
}
static void wrong_version(struct shm_hello *welcome)
{
        welcome->version = 99;
}
static void vast_heap(struct shm_hello *welcome)
{
        welcome->heap_max = UINT64_MAX;
}
static void no_heap(struct shm_hello *welcome)
{
        welcome->heap_max = 0;
}
static void million_methods(struct shm_hello *welcome)
{
        welcome->n_methods = 1 << 20;
}
static void billion_methods(struct shm_hello *welcome)
{
        welcome->n_methods = UINT32_MAX;
}

static void wrong_layouts(struct shm_method *methods, uint32_t *n)
{
        methods[0].input_layout++;
        *n = 1;
}

static void unsorted(struct shm_method *methods, uint32_t *n)
{
        for (*n = 0; *n < 64; ++*n)
                methods[*n] = (struct shm_method){ .path_hash = UINT64_MAX - *n };
}

static void no_methods(struct shm_method *methods, uint32_t *n)
{
        (void)methods;
        *n = 0;
}

static int unsealed(void)
{
        return make_memory(base_bytes(CLIENT_RING), true, UNSEALED, NULL);
}
static int small(void)
{
        return make_memory(4096, true, SEALED, NULL);
}
static int sparse(void)
{
        return make_memory(base_bytes(CLIENT_RING), false, SEALED, NULL);
}
static int a_file(void)
{
        return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

/* ---- lies in replies ------------------------------------------------------------------------------------------ */

static struct shm_record reply_to(const struct shm_record *request, uint8_t flags, uint32_t size)
{
        return (struct shm_record){ .kind = SHM_REPLY, .call = request->call, .flags = flags, .size = size };
}

static void silence(struct attacker *self, const struct shm_record *request)
{
        (void)self;
        (void)request;
}

static void others_replies(struct attacker *self, const struct shm_record *request)
{
        for (uint64_t i = 1; i < 100; i++) {
                struct shm_record header = reply_to(request, 0, 0);
                header.call += i;
                put(self, header, "", 0);
        }
}

static void a_request(struct attacker *self, const struct shm_record *request)
{
        struct shm_record header = reply_to(request, 0, 0);
        header.kind = SHM_REQUEST;
        put(self, header, "", 0);
}

static void impossible_size(struct attacker *self, const struct shm_record *request)
{
        put(self, reply_to(request, 0, UINT32_MAX), "", 0);
}

static void over_the_end(struct attacker *self, const struct shm_record *request)
{
        put(self, reply_to(request, 0, CLIENT_RING), "", 0);
}

static void cut_short(struct attacker *self, const struct shm_record *request)
{
        put(self, reply_to(request, SHM_GRAPH, 16), (uint64_t[]){ 0, 0 }, 16);
}

static void no_loan(struct attacker *self, const struct shm_record *request)
{
        announce_heap(self);
        put(self, reply_to(request, SHM_GRAPH, 24), (uint64_t[]){ 65536, 2, 1 }, 24);
}

static void wild_loan(struct attacker *self, const struct shm_record *request)
{
        put(self, reply_to(request, SHM_GRAPH | SHM_LOAN, 40), (uint64_t[]){ 0, 0, 1, SHM_LOANS, 0 }, 40);
}

static void unsent_segment(struct attacker *self, const struct shm_record *request)
{
        put(self, reply_to(request, SHM_GRAPH | SHM_LOAN, 40), (uint64_t[]){ 64, 2, 1, 0, SHM_SEGMENT_LEAST }, 40);
}

static void beyond_the_heap(struct attacker *self, const struct shm_record *request)
{
        announce_heap(self);
        put(self, reply_to(request, SHM_GRAPH | SHM_LOAN, 40),
            (uint64_t[]){ 64, (uint64_t)(SHM_SEGMENT_LEAST - 63) << 2 | 2, 1, 0, SHM_SEGMENT_LEAST }, 40);
}

static void outline_beyond(struct attacker *self, const struct shm_record *request)
{
        announce_heap(self);
        put(self, reply_to(request, SHM_GRAPH | SHM_OUTLINE | SHM_LOAN, 32),
            (uint64_t[]){ 0, UINT64_MAX, 0, SHM_SEGMENT_LEAST }, 32);
}

static void wild_code(struct attacker *self, const struct shm_record *request)
{
        struct shm_record header = reply_to(request, 0, 8);
        header.method = 0xffff;
        put(self, header, "\xff\xfe\xfd\0abc", 8);
}

static void bad_segment(struct attacker *self, const struct shm_record *request)
{
        struct shm_new_segment segment = { .kind = SHM_SEGMENT, .offset = 4096, .size = SHM_SEGMENT_LEAST };
        int fd = make_memory(SHM_SEGMENT_LEAST, true, SEALED, NULL);
        post(self->socket, &segment, sizeof segment, &fd, 1);
        close(fd);
        unsent_segment(self, request);
}

static void unasked_lanes(struct attacker *self, const struct shm_record *request)
{
        struct shm_new_lane lane = { .kind = SHM_LANE, .ring_bytes = CLIENT_RING };
        int fd = make_memory(half_bytes(CLIENT_RING), true, SEALED, NULL);
        for (uint32_t i = 0; i < 70; i++) {
                lane.lane = i;
                post(self->socket, &lane, sizeof lane, &fd, 1);
        }
        close(fd);
        unsent_segment(self, request); /* so that the client reads its socket */
}

static void stale_marks(struct attacker *self, const struct shm_record *request)
{
        put(self, reply_to(request, 0, 0), "", 0);
        ((struct shm_record *)self->half->ring[0].bytes)->mark = CLIENT_RING / SHM_LINE + 1;
}

static void wild_consumed(struct attacker *self, const struct shm_record *request)
{
        atomic_store(&self->half->consumed, UINT64_MAX);
        for (int i = 0; i < SHM_LOANS; i++)
                atomic_store(&self->mine->returned[i], UINT64_MAX);
        others_replies(self, request);
}

static void hang_up(struct attacker *self, const struct shm_record *request)
{
        (void)request;
        shutdown(self->socket, SHUT_RDWR);
}

/* Random replies to the call, until one of them ends it. */
static void random_replies(struct attacker *self, const struct shm_record *request)
{
        announce_heap(self);
        while (self->tail + 8 < CLIENT_RING / SHM_LINE) {
                uint64_t body[10];
                for (size_t i = 0; i < 10; i++) {
                        seed = seed * 1664525 + 1013904223;
                        body[i] = seed >> 24 < 128 ? seed >> 28 : (uint64_t)seed << (seed >> 27);
                }
                struct shm_record header = reply_to(request, seed >> 12 & 15, 8 * (seed >> 8) % 81);
                header.method = seed >> 16 & 1 ? 0 : seed & 31;
                put(self, header, body, sizeof body);
        }
}

static const struct lie lies[] = {
        { .what = "no welcome but a lane", .welcome = wrong_kind },
        { .what = "no kind", .welcome = no_kind },
        { .what = "wrong magic", .welcome = wrong_magic },
        { .what = "a version to come", .welcome = wrong_version },
        { .what = "a vast heap", .welcome = vast_heap },
        { .what = "a million methods that are not there", .welcome = million_methods },
        { .what = "billions of methods", .welcome = billion_methods },
        { .what = "no fds", .n_fds = 1 },
        { .what = "one fd", .n_fds = 2 },
        { .what = "an unsealed region", .memory = unsealed },
        { .what = "a small region", .memory = small },
        { .what = "a sparse region", .memory = sparse },
        { .what = "a file for a region", .memory = a_file },
        { .what = "an unsorted table", .methods = unsorted },
        { .what = "an empty table", .methods = no_methods },
        { .what = "wrong layouts, graph replies", .methods = wrong_layouts, .serve = cut_short },
        { .what = "silence", .serve = silence },
        { .what = "replies to others' calls", .serve = others_replies },
        { .what = "a request for a reply", .serve = a_request },
        { .what = "an impossible size", .serve = impossible_size },
        { .what = "a record over the ring's end", .serve = over_the_end },
        { .what = "a stream cut short", .serve = cut_short },
        { .what = "a reference without a loan", .serve = no_loan },
        { .what = "an impossible loan", .serve = wild_loan },
        { .what = "a segment that was not sent", .serve = unsent_segment },
        { .what = "no heap, but references", .welcome = no_heap, .serve = unsent_segment },
        { .what = "a reference beyond the heap", .serve = beyond_the_heap },
        { .what = "an outline beyond the heap", .serve = outline_beyond },
        { .what = "an impossible code, garbage for text", .serve = wild_code },
        { .what = "a segment with a gap", .serve = bad_segment },
        { .what = "lanes that nobody asked for", .serve = unasked_lanes },
        { .what = "a stream cut short, no wake-up", .serve = cut_short, .mute = true },
        { .what = "a stale mark", .serve = stale_marks },
        { .what = "impossible positions", .serve = wild_consumed },
        { .what = "hanging up", .serve = hang_up },
};

int main(void)
{
        signal(SIGPIPE, SIG_IGN);
        suffer(&lies[0]);
        struct holding before = holding(0);
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
                suffer(&lies[i]);
        const struct lie random = { .what = "random replies", .serve = random_replies };
        seed = 1;
        for (int i = 0; i < RANDOM_SERVERS; i++)
                suffer(&random);
        for (int i = 0; i < RANDOM_SERVERS; i++)
                suffer_async(&random);
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
                if (lies[i].serve)
                        suffer_async(&lies[i]);
        check_back(0, before, 6, 4096, "the client after all of it");
        say("%d hostile servers: every call ended with a status by its deadline", n_lies);
        return 0;
}
