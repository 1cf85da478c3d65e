/* Clients that misbehave on the control socket, before and after the handshake. */
#include "attacker.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MUTE = 200, HANDSHAKE_MS = 300 /* as the server is told */, DROPPED_MS = 3000 };

static int n_attacks;

static void survived(const char *what)
{
        check_canary(what);
        n_attacks++;
}

/* ---- before the greeting ------------------------------------------------------------------------------------ */

static void mute_clients(const struct process *server)
{
        int fds[MUTE];
        struct holding before = holding(server->pid);
        for (int i = 0; i < MUTE; i++)
                fds[i] = dial();
        survived("200 clients that say nothing");
        uint64_t start = now_ns();
        for (int i = 0; i < MUTE; i++) {
                check(hung_up(fds[i], DROPPED_MS), "a client that says nothing is not dropped");
                close(fds[i]);
        }
        say("%d clients that said nothing were dropped within %.0f ms", MUTE, (double)(now_ns() - start) / 1e6);
        check_back(server->pid, before, 4, 1024, "the server after them");
}

/* Sends one message as the first, and expects to be dropped. */
static void first_message(const char *what, const void *message, size_t size, const int *fds, int n_fds)
{
        int socket = dial();
        post(socket, message, size, fds, n_fds);
        check(hung_up(socket, HANDSHAKE_MS / 2), "%s: the client is not dropped at once", what);
        close(socket);
        survived(what);
}

static void garbage_greetings(int good_fd)
{
        static uint8_t noise[65536];
        struct shm_hello hello;
        for (size_t i = 0; i < sizeof noise; i++)
                noise[i] = (uint8_t)(i * 151 + 7);
        for (size_t size = 1; size < 128; size = size * 3 / 2 + 1)
                first_message("noise", noise, size, &good_fd, 1);
        first_message("a message of 64 KiB", noise, sizeof noise, &good_fd, 1);
        first_message("a message of 64 KiB without fds", noise, sizeof noise, NULL, 0);
        first_message("an empty message", "", 0, NULL, 0);
        first_message("an empty message with an fd", "", 0, &good_fd, 1);
        for (uint32_t kind = 0; kind < 9; kind++) {
                memset(&hello, 0, sizeof hello);
                hello.kind = kind;
                first_message("a bare kind", &hello, 4, NULL, 0);
                first_message("a kind and nothing", &hello, sizeof hello, &good_fd, 1);
        }
        hello = greeting();
        hello.magic++;
        first_message("wrong magic", &hello, sizeof hello, &good_fd, 1);
        hello = greeting();
        hello.version = UINT32_MAX;
        first_message("a version to come", &hello, sizeof hello, &good_fd, 1);
        first_message("a longer greeting of a version to come", &hello, 16, &good_fd, 1);
        static const uint32_t rings[] = { 0, 1, 2048, 4095, 4097, 12288, 32 << 20, 1u << 31, UINT32_MAX };
        for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
                hello = greeting();
                hello.ring_bytes = rings[i];
                first_message("an impossible ring", &hello, sizeof hello, &good_fd, 1);
        }
        static const uint64_t heaps[] = { SHM_HEAP_MOST + 1, UINT64_C(1) << 63, UINT64_MAX };
        for (size_t i = 0; i < sizeof heaps / sizeof *heaps; i++) {
                hello = greeting();
                hello.heap_max = heaps[i];
                first_message("an impossible heap", &hello, sizeof hello, &good_fd, 1);
        }
}

static void greet_with(const char *what, int fd)
{
        struct shm_hello hello = greeting();
        first_message(what, &hello, sizeof hello, &fd, 1);
        close(fd);
}

static int end_of_pipe(void)
{
        int ends[2];
        check(pipe2(ends, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
        close(ends[1]);
        return ends[0];
}

/* Sealed against nothing but one thing, each in turn. */
static void missing_seals(void)
{
        static const int seals[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL };
        for (int missing = 0; missing < 4; missing++) {
                int fd = make_memory(base_bytes(RING_BYTES), true, UNSEALED, NULL);
                for (int i = 0; i < 4; i++)
                        if (i != missing)
                                fcntl(fd, F_ADD_SEALS, seals[i]);
                greet_with("a memfd without one of the seals", fd);
        }
}

static void wrong_fds(int good_fd)
{
        struct shm_hello hello = greeting();
        int many[MOST_FDS];
        for (int i = 0; i < MOST_FDS; i++)
                many[i] = good_fd;
        first_message("a greeting without memory", &hello, sizeof hello, NULL, 0);
        static const int counts[] = { 2, 3, 4, 5, 10, 64, MOST_FDS };
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
                first_message("too many fds", &hello, sizeof hello, many, counts[i]);
        greet_with("a directory", open("/", O_RDONLY | O_CLOEXEC));
        greet_with("a file", open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        greet_with("/dev/zero", open("/dev/zero", O_RDWR | O_CLOEXEC));
        greet_with("an O_PATH fd", open("/", O_PATH | O_CLOEXEC));
        greet_with("a pipe", end_of_pipe());
        greet_with("an eventfd", eventfd(0, EFD_CLOEXEC));
        greet_with("a socket", dial());
        greet_with("an unsealed memfd", make_memory(base_bytes(RING_BYTES), true, UNSEALED, NULL));
        greet_with("a memfd of no size", make_memory(0, false, SEALED, NULL));
        greet_with("a memfd one page short", make_memory(base_bytes(RING_BYTES) - 4096, true, SEALED, NULL));
        greet_with("a sparse memfd", make_memory(base_bytes(RING_BYTES), false, SEALED, NULL));
        greet_with("a huge sparse memfd", make_memory((size_t)1 << 40, false, SEALED, NULL));
        missing_seals();
}

/* ---- after the greeting ------------------------------------------------------------------------------------- */

/* Shakes hands, sends one message, and expects to be dropped. */
static void later_message(const char *what, const void *message, size_t size, const int *fds, int n_fds)
{
        struct attacker self = attack();
        post(self.socket, message, size, fds, n_fds);
        check(hung_up(self.socket, DROPPED_MS), "%s: the client is not dropped", what);
        retreat(&self);
        survived(what);
}

static void lanes(void)
{
        int half = make_memory(half_bytes(RING_BYTES), true, SEALED, NULL),
            file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        struct shm_new_lane lane = { .kind = SHM_LANE, .lane = 1, .ring_bytes = RING_BYTES };
        static const uint32_t numbers[] = { 0, SHM_LANES, SHM_LANES + 1, 1u << 31, UINT32_MAX };
        static const uint32_t rings[] = { 0, 1, 4095, 16384, 32 << 20, UINT32_MAX };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                lane.lane = numbers[i];
                later_message("an impossible lane", &lane, sizeof lane, &half, 1);
        }
        lane.lane = 1;
        for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
                lane.ring_bytes = rings[i];
                later_message("a lane of impossible size", &lane, sizeof lane, &half, 1);
        }
        lane.ring_bytes = RING_BYTES;
        later_message("a lane without memory", &lane, sizeof lane, NULL, 0);
        later_message("a lane that is a file", &lane, sizeof lane, &file, 1);
        later_message("a lane cut short", &lane, sizeof lane - 4, &half, 1);
        lane.has_bell = 1;
        later_message("a bell that is missing", &lane, sizeof lane, &half, 1);
        later_message("a bell that is a file", &lane, sizeof lane, (int[]){ half, file }, 2);
        later_message("a bell that is memory", &lane, sizeof lane, (int[]){ half, half }, 2);
        lane.has_bell = UINT32_MAX;
        later_message("a doubtful bell", &lane, sizeof lane, (int[]){ half, end_of_pipe() }, 2);
        lane.has_bell = 0;
        later_message("a bell that was not announced", &lane, sizeof lane, (int[]){ half, half }, 2);
        struct attacker self = attack();
        post(self.socket, &lane, sizeof lane, &half, 1);
        post(self.socket, &lane, sizeof lane, &half, 1);
        check(hung_up(self.socket, DROPPED_MS), "the same lane twice: not dropped");
        retreat(&self);
        survived("the same lane twice");
        close(half);
        close(file);
}

static void bells(void)
{
        static const uint32_t numbers[] = { 1, SHM_LANES - 1, SHM_LANES, 1u << 31, UINT32_MAX };
        struct shm_bell bell = { .kind = SHM_BELL };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                bell.lane = numbers[i];
                later_message("a bell for no lane", &bell, sizeof bell, NULL, 0);
        }
        struct attacker self = attack();
        for (int i = 0; i < 20000; i++)
                ring_bell(&self);
        survived("20,000 bells");
        retreat(&self);
}

static void segments(void)
{
        enum { MIB = SHM_SEGMENT_LEAST };
        int fd = make_memory(8 * MIB, true, SEALED, NULL), sparse = make_memory(MIB, false, SEALED, NULL);
        int unsealed = make_memory(MIB, true, UNSEALED, NULL);
        static const struct {
                const char *what;
                uint64_t offset, size;
        } wrong[] = { { "a gap", MIB, MIB },
                      { "a small gap", 4096, MIB },
                      { "a negative place", -MIB, MIB },
                      { "no size", 0, 0 },
                      { "a small segment", 0, 4096 },
                      { "an odd segment", 0, MIB + 4096 },
                      { "over the heap", 0, 8 * MIB },
                      { "2^63", 0, UINT64_C(1) << 63 },
                      { "almost 2^64", 0, -MIB },
                      { "all", UINT64_MAX, UINT64_MAX } };
        struct shm_new_segment segment = { .kind = SHM_SEGMENT };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                segment.offset = wrong[i].offset;
                segment.size = wrong[i].size;
                later_message(wrong[i].what, &segment, sizeof segment, &fd, 1);
        }
        segment.offset = 0;
        segment.size = MIB;
        later_message("a segment without memory", &segment, sizeof segment, NULL, 0);
        later_message("a sparse segment", &segment, sizeof segment, &sparse, 1);
        later_message("an unsealed segment", &segment, sizeof segment, &unsealed, 1);
        segment.size = 2 * MIB;
        later_message("a segment larger than its memory", &segment, sizeof segment, &unsealed, 1);
        struct attacker self = attack();
        announce_heap(&self);
        segment.size = MIB; /* at 0 again */
        post(self.socket, &segment, sizeof segment, &fd, 1);
        check(hung_up(self.socket, DROPPED_MS), "an overlap: not dropped");
        retreat(&self);
        survived("an overlap");
        close(fd);
        close(sparse);
        close(unsealed);
}

static void other_messages(int good_fd)
{
        struct shm_hello hello = greeting();
        struct shm_refusal refusal = { .kind = SHM_REFUSE, .code = 3 };
        later_message("a second greeting", &hello, sizeof hello, &good_fd, 1);
        hello.kind = SHM_WELCOME;
        later_message("a welcome", &hello, sizeof hello, (int[]){ good_fd, good_fd }, 2);
        later_message("a refusal", &refusal, sizeof refusal, NULL, 0);
}

/* Leaves at every point of the handshake. */
static void leaving(int good_fd)
{
        struct shm_hello hello = greeting();
        for (int i = 0; i < 50; i++) {
                int socket = dial();
                if (i % 3)
                        post(socket, &hello, sizeof hello, &good_fd, 1);
                if (i % 3 == 2)
                        shutdown(socket, SHUT_WR);
                close(socket);
        }
        survived("closing halfway");
}

int main(void)
{
        struct process server = start("crash_server", (const char *const[]){ address(), "handshake", "300", NULL });
        int good_fd = make_memory(base_bytes(RING_BYTES), true, SEALED, NULL);
        keep_canary(&server);
        struct holding before = holding(server.pid);
        mute_clients(&server);
        garbage_greetings(good_fd);
        wrong_fds(good_fd);
        lanes();
        bells();
        segments();
        other_messages(good_fd);
        leaving(good_fd);
        check_back(server.pid, before, 4, 2048, "the server after all of it");
        free_canary();
        check(end(&server, SIGTERM) == 0, "the server did not end cleanly");
        say("%d attacks on the control socket: the server lives, the canary was served, the offenders were dropped",
            n_attacks);
        return 0;
}
