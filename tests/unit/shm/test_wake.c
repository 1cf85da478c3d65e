#include "base/clock.h"
#include "base/futex.h"
#include "shm/wake.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

enum {
        ROUNDS = 20000,
        FALLBACK_ROUNDS = 2000,
        WATCHDOG_SECONDS = 60,
        MS = 1000000,
        LATE_NS = 50 * MS,
};

/* Both halves, in memory of both processes; `value` of each side is what the other waits for. */
struct shared {
        struct side {
                struct shm_half half;
                _Alignas(SHM_LINE) _Atomic uint32_t value;
        } sides[2];
};

static struct shared *new_shared(void)
{
        struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(shared != MAP_FAILED);
        return shared;
}

static struct waker waker_of(struct shared *shared, int side)
{
        return (struct waker){ .mine = &shared->sides[side].half, .peer = &shared->sides[!side].half };
}

static uint32_t value_of(struct shared *shared, int side)
{
        return atomic_load_explicit(&shared->sides[side].value, memory_order_acquire);
}

/* Sets the own value and tells the other side. */
static void advance(struct shared *shared, struct waker *waker, int side, uint32_t value)
{
        atomic_store_explicit(&shared->sides[side].value, value, memory_order_release);
        if (wake_wanted(waker))
                wake_ring(waker);
}

/* Waits for the other side's value, without polling. How often a wait lasted until its bound: a lost wake-up. */
static uint32_t await(struct shared *shared, struct waker *waker, int side, uint32_t value, uint64_t longest_ns)
{
        _Atomic uint32_t never = 0;
        uint32_t lost = 0;
        while (value_of(shared, !side) < value) {
                wake_arm(waker, false);
                if (value_of(shared, !side) < value) {
                        uint64_t before = clock_now_ns();
                        wake_sleep(waker, &never, 0, 0);
                        /* There since long, and yet the sleep went on to its bound. */
                        lost += clock_now_ns() - before >= longest_ns && value_of(shared, !side) >= value;
                }
                wake_disarm(waker);
        }
        return lost;
}

/* Each side waits for the other's turn, at times late, so that all of armed, asleep and awake are met. */
static uint32_t take_turns(struct shared *shared, int side, uint32_t rounds, uint64_t longest_ns)
{
        struct waker waker = waker_of(shared, side);
        uint32_t lost = 0, pause = 1;
        for (uint32_t i = 1; i <= rounds; i++) {
                if (side)
                        lost += await(shared, &waker, side, i, longest_ns);
                pause = pause * 1103515245 + 12345;
                for (volatile uint32_t spin = pause >> 16 & 0x3ff; spin; spin--) {
                }
                advance(shared, &waker, side, i);
                if (!side)
                        lost += await(shared, &waker, side, i, longest_ns);
        }
        return lost;
}

static void run_turns(uint32_t rounds, uint64_t longest_ns)
{
        struct shared *shared = new_shared();
        alarm(WATCHDOG_SECONDS);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
                alarm(WATCHDOG_SECONDS);
                _exit(take_turns(shared, 1, rounds, longest_ns) ? 1 : 0);
        }
        uint32_t lost = take_turns(shared, 0, rounds, longest_ns);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        alarm(0);
        assert_int_equal(lost, 0);
        assert_int_equal(status, 0);
        munmap(shared, sizeof *shared);
}

static void never_lost(void **state)
{
        (void)state;
        run_turns(ROUNDS, 450 * (uint64_t)MS);
}

/* ---- rings ------------------------------------------------------------------------------------------------ */

static void rings_once_a_sleep(void **state)
{
        (void)state;
        struct shared *shared = new_shared();
        struct waker sleeper = waker_of(shared, 0), waker = waker_of(shared, 1);
        assert_false(wake_wanted(&waker)); /* nobody sleeps */
        for (int i = 0; i < 3; i++) {
                wake_arm(&sleeper, false);
                assert_true(wake_wanted(&waker));
                assert_false(wake_wanted(&waker));
                wake_disarm(&sleeper);
                assert_false(wake_wanted(&waker));
        }
        sleeper.sleep = UINT32_MAX; /* the number after it is not 0, which means awake */
        wake_arm(&sleeper, false);
        assert_int_equal(sleeper.sleep, 2);
        assert_true(wake_wanted(&waker));
        munmap(shared, sizeof *shared);
}

/* Who has read rings only those who wait for room; who has published rings all. */
static void rings_for_room(void **state)
{
        (void)state;
        struct shared *shared = new_shared();
        struct waker sleeper = waker_of(shared, 0), waker = waker_of(shared, 1);
        assert_false(wake_room_wanted(&waker)); /* nobody sleeps */
        wake_arm(&sleeper, false);
        assert_false(wake_room_wanted(&waker));
        assert_true(wake_wanted(&waker));
        wake_arm(&sleeper, true);
        assert_true(wake_room_wanted(&waker));
        assert_false(wake_room_wanted(&waker)); /* once a sleep */
        assert_false(wake_wanted(&waker));
        wake_arm(&sleeper, true);
        assert_true(wake_wanted(&waker));
        wake_disarm(&sleeper);
        assert_false(wake_room_wanted(&waker));
        munmap(shared, sizeof *shared);
}

static void rung_before_the_wait(void **state)
{
        (void)state;
        struct shared *shared = new_shared();
        struct waker sleeper = waker_of(shared, 0), waker = waker_of(shared, 1);
        _Atomic uint32_t never = 0;
        wake_arm(&sleeper, false);
        wake_ring(&waker);
        uint64_t before = clock_now_ns();
        wake_sleep(&sleeper, &never, 0, 0);
        assert_true(clock_now_ns() - before < 400 * (uint64_t)MS);
        munmap(shared, sizeof *shared);
}

/* ---- bounds ----------------------------------------------------------------------------------------------- */

/* How long a sleep that nobody ends takes. */
static uint64_t lonely_sleep(uint64_t deadline_after_ns)
{
        struct shared *shared = new_shared();
        struct waker sleeper = waker_of(shared, 0);
        _Atomic uint32_t never = 0;
        wake_arm(&sleeper, false);
        uint64_t before = clock_now_ns();
        wake_sleep(&sleeper, &never, 0, deadline_after_ns ? before + deadline_after_ns : 0);
        uint64_t took = clock_now_ns() - before;
        munmap(shared, sizeof *shared);
        return took;
}

static void deadlines(void **state)
{
        (void)state;
        static const uint64_t after[] = { 1, 1 * MS, 20 * MS, 100 * MS };
        for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
                uint64_t took = lonely_sleep(after[i]);
                assert_true(took >= after[i] && took < after[i] + LATE_NS);
        }
        uint64_t took = lonely_sleep(0); /* the bound of any sleep */
        assert_true(took >= 500 * (uint64_t)MS && took < 500 * (uint64_t)MS + LATE_NS);
}

/* ---- the word of this process ----------------------------------------------------------------------------- */

static void *set_later(void *context)
{
        _Atomic uint32_t *also = context;
        nanosleep(&(struct timespec){ .tv_nsec = 30 * MS }, NULL);
        atomic_store(also, 1);
        futex_wake_all(also);
        return NULL;
}

/* How long a sleep lasts that `also` ends after 30 ms. */
static uint64_t sleep_on_also(void)
{
        static _Atomic uint32_t also;
        struct shared *shared = new_shared();
        struct waker sleeper = waker_of(shared, 0);
        atomic_store(&also, 0);
        pthread_t thread;
        wake_arm(&sleeper, false);
        uint64_t before = clock_now_ns();
        if (pthread_create(&thread, NULL, set_later, &also))
                return UINT64_MAX;
        while (!atomic_load(&also))
                wake_sleep(&sleeper, &also, 0, 0);
        uint64_t took = clock_now_ns() - before;
        wake_sleep(&sleeper, &also, 0, 0); /* it differs already: at once */
        pthread_join(thread, NULL);
        munmap(shared, sizeof *shared);
        return clock_now_ns() - before < 2 * took + LATE_NS ? took : UINT64_MAX;
}

static void also_ends_it(void **state)
{
        (void)state;
        assert_true(sleep_on_also() < 30 * MS + 2 * LATE_NS);
}

/* ---- where futex_waitv is refused ------------------------------------------------------------------------- */

static void refuse_waitv(int error)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex_waitv, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                _exit(77);
        if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) != -1 || errno != error)
                _exit(76);
}

/* The sleeper's side of take_turns, and the other promises, under the filter. The exit status names what failed. */
static int refused_child(struct shared *shared)
{
        if (take_turns(shared, 1, FALLBACK_ROUNDS, 450 * (uint64_t)MS))
                return 1;
        if (sleep_on_also() > 30 * MS + 20 * MS + 2 * LATE_NS) /* noticed 20 ms late at most */
                return 2;
        uint64_t took = lonely_sleep(5 * MS);
        return took < 5 * MS || took > 5 * MS + LATE_NS ? 3 : 0;
}

static void fallback(void **state)
{
        (void)state;
        static const int errors[] = { EPERM, ENOSYS };
        for (int i = 0; i < 2; i++) {
                struct shared *shared = new_shared();
                alarm(WATCHDOG_SECONDS);
                pid_t child = fork();
                assert_true(child >= 0);
                if (!child) {
                        alarm(WATCHDOG_SECONDS);
                        refuse_waitv(errors[i]);
                        _exit(refused_child(shared));
                }
                /* Without the child, where it may not have a filter, nobody would answer. */
                int status = 0;
                struct waker waker = waker_of(shared, 0);
                for (uint32_t round = 1; round <= FALLBACK_ROUNDS && waitpid(child, &status, WNOHANG) == 0; round++) {
                        advance(shared, &waker, 0, round);
                        while (value_of(shared, 1) < round && waitpid(child, &status, WNOHANG) == 0)
                                sched_yield();
                }
                if (!WIFEXITED(status) || !WEXITSTATUS(status))
                        waitpid(child, &status, 0);
                alarm(0);
                munmap(shared, sizeof *shared);
                if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                        skip();
                assert_int_equal(status, 0);
        }
}

/* ---- spurious rings --------------------------------------------------------------------------------------- */

static _Atomic bool storm_over;

static void *storm(void *context)
{
        struct waker *waker = context;
        while (!atomic_load(&storm_over))
                wake_ring(waker);
        return NULL;
}

/* A peer that rings all the time costs time, nothing else: the sleeper neither hangs nor misses its deadline. */
static void spurious_rings(void **state)
{
        (void)state;
        struct shared *shared = new_shared();
        struct waker sleeper = waker_of(shared, 0), ringer = waker_of(shared, 1);
        _Atomic uint32_t never = 0;
        pthread_t thread;
        alarm(WATCHDOG_SECONDS);
        atomic_store(&storm_over, false);
        assert_int_equal(pthread_create(&thread, NULL, storm, &ringer), 0);
        uint64_t deadline = clock_now_ns() + 200 * MS;
        while (!deadline_passed(deadline)) {
                wake_arm(&sleeper, false);
                wake_sleep(&sleeper, &never, 0, deadline);
                wake_disarm(&sleeper);
        }
        assert_true(clock_now_ns() < deadline + LATE_NS);
        atomic_store(&storm_over, true);
        pthread_join(thread, NULL);
        alarm(0);
        munmap(shared, sizeof *shared);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(never_lost),     cmocka_unit_test(rings_once_a_sleep),
                cmocka_unit_test(rings_for_room), cmocka_unit_test(rung_before_the_wait),
                cmocka_unit_test(deadlines),      cmocka_unit_test(also_ends_it),
                cmocka_unit_test(fallback),       cmocka_unit_test(spurious_rings),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
