#include "base/clock.h"
#include "shm/watch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MS = 1000000, PATIENCE_MS = 5000, MANY = 40 };

struct seen {
        struct watch watch;
        int peer;
        atomic_int n_attended, n_hung_up;
        _Atomic uint64_t again_ns; /* due after so long */
        atomic_bool remove;        /* inside attend */
        atomic_bool reads;
        struct seen *_Atomic pokes; /* another one, inside attend */
        struct seen *_Atomic removes;
};

static uint64_t attend(struct watch *watch, bool hung_up)
{
        struct seen *seen = container_of(watch, struct seen, watch);
        char byte;
        while (atomic_load(&seen->reads) && recv(watch->fd, &byte, 1, MSG_DONTWAIT) > 0)
                ;
        if (atomic_load(&seen->remove))
                watch_remove(watch);
        if (atomic_load(&seen->pokes))
                watch_poke(&atomic_load(&seen->pokes)->watch);
        if (atomic_load(&seen->removes))
                watch_remove(&atomic_load(&seen->removes)->watch);
        atomic_fetch_add(hung_up ? &seen->n_hung_up : &seen->n_attended, 1);
        uint64_t again_ns = atomic_load(&seen->again_ns);
        return again_ns ? clock_now_ns() + again_ns : 0;
}

static void begin(struct seen *seen)
{
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        *seen = (struct seen){ .watch = { .fd = pair[0], .attend = attend }, .peer = pair[1] };
        atomic_store(&seen->reads, true);
}

static void end(struct seen *seen)
{
        watch_remove(&seen->watch);
        close(seen->watch.fd);
        close(seen->peer);
}

static bool reaches(atomic_int *n, int least)
{
        for (int i = 0; i < PATIENCE_MS && atomic_load(n) < least; i++)
                usleep(1000);
        return atomic_load(n) >= least;
}

static int n_threads(void)
{
        int n = 0;
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *entry; (entry = readdir(tasks));)
                n += entry->d_name[0] != '.';
        closedir(tasks);
        return n;
}

static void something_came(void **state)
{
        (void)state;
        struct seen seen;
        begin(&seen);
        assert_int_equal(send(seen.peer, "x", 1, 0), 1); /* before it is watched: counts too */
        assert_int_equal(watch_add(&seen.watch), 0);
        assert_true(reaches(&seen.n_attended, 1));
        for (int i = 0; i < 3; i++) {
                int before = atomic_load(&seen.n_attended);
                assert_int_equal(send(seen.peer, "x", 1, 0), 1);
                assert_true(reaches(&seen.n_attended, before + 1));
        }
        end(&seen);
}

/* What is left unread is others' to read: it is told of once. */
static void told_once(void **state)
{
        (void)state;
        struct seen seen;
        begin(&seen);
        atomic_store(&seen.reads, false);
        assert_int_equal(watch_add(&seen.watch), 0);
        assert_int_equal(send(seen.peer, "x", 1, 0), 1);
        assert_true(reaches(&seen.n_attended, 1));
        usleep(50000);
        assert_true(atomic_load(&seen.n_attended) <= 2);
        end(&seen);
}

static void hang_up(void **state)
{
        (void)state;
        struct seen seen;
        begin(&seen);
        assert_int_equal(watch_add(&seen.watch), 0);
        shutdown(seen.peer, SHUT_RDWR);
        assert_true(reaches(&seen.n_hung_up, 1));
        watch_poke(&seen.watch); /* harmless */
        usleep(20000);
        assert_int_equal(atomic_load(&seen.n_hung_up), 1);
        end(&seen);
}

static void poked(void **state)
{
        (void)state;
        struct seen seen;
        begin(&seen);
        list_init(&seen.watch.link);
        watch_remove(&seen.watch); /* never watched: harmless, as is the next */
        watch_poke(&seen.watch);
        assert_int_equal(watch_add(&seen.watch), 0);
        for (int i = 0; i < 3; i++) {
                int before = atomic_load(&seen.n_attended);
                watch_poke(&seen.watch);
                assert_true(reaches(&seen.n_attended, before + 1));
        }
        end(&seen);
}

static void when_due(void **state)
{
        (void)state;
        struct seen seen;
        begin(&seen);
        uint64_t start_ns = clock_now_ns();
        seen.watch.due_ns = start_ns + 30 * MS;
        atomic_store(&seen.again_ns, 20 * MS);
        assert_int_equal(watch_add(&seen.watch), 0);
        assert_true(reaches(&seen.n_attended, 4));
        assert_true(clock_now_ns() - start_ns >= 90 * MS);
        end(&seen);
        int n = atomic_load(&seen.n_attended);
        usleep(50000);
        assert_int_equal(atomic_load(&seen.n_attended), n); /* not after it was removed */
}

/* Removed by the watching thread itself: the thread ends without anybody to join it, and the next one starts anew. */
static void removed_inside(void **state)
{
        (void)state;
        int before = n_threads();
        for (int round = 0; round < 3; round++) {
                struct seen seen;
                begin(&seen);
                atomic_store(&seen.remove, true);
                assert_int_equal(watch_add(&seen.watch), 0);
                assert_int_equal(n_threads(), before + 1);
                watch_poke(&seen.watch);
                assert_true(reaches(&seen.n_attended, 1));
                if (round != 1)
                        for (int i = 0; i < PATIENCE_MS && n_threads() > before; i++)
                                usleep(1000);
                struct seen other;
                begin(&other);
                assert_int_equal(watch_add(&other.watch), 0);
                assert_int_equal(send(other.peer, "x", 1, 0), 1);
                assert_true(reaches(&other.n_attended, 1));
                end(&other);
                end(&seen);
                assert_int_equal(n_threads(), before);
        }
}

/* What one connection's channel does when told may concern another one. */
static void others_inside(void **state)
{
        (void)state;
        struct seen seen, poked, removed;
        begin(&seen);
        begin(&poked);
        begin(&removed);
        atomic_store(&seen.pokes, &poked);
        atomic_store(&seen.removes, &removed);
        assert_int_equal(watch_add(&seen.watch), 0);
        assert_int_equal(watch_add(&poked.watch), 0);
        assert_int_equal(watch_add(&removed.watch), 0);
        watch_poke(&seen.watch);
        assert_true(reaches(&seen.n_attended, 1));
        assert_true(reaches(&poked.n_attended, 1));
        int before = atomic_load(&removed.n_attended);
        watch_poke(&removed.watch);
        assert_int_equal(send(removed.peer, "x", 1, 0), 1);
        usleep(20000);
        assert_int_equal(atomic_load(&removed.n_attended), before);
        end(&seen);
        end(&poked);
        end(&removed);
}

static void many(void **state)
{
        (void)state;
        static struct seen seen[MANY];
        for (int i = 0; i < MANY; i++) {
                begin(&seen[i]);
                assert_int_equal(watch_add(&seen[i].watch), 0);
        }
        for (int i = 0; i < MANY; i += 2)
                watch_poke(&seen[i].watch);
        for (int i = 0; i < MANY; i++) {
                if (i % 2 == 0)
                        assert_true(reaches(&seen[i].n_attended, 1));
                end(&seen[i]);
        }
}

#ifndef __SANITIZE_THREAD__ /* whose runtime ends a child that starts a thread */
/* A child has no watching thread, and none of its parent's watches. */
static void in_a_child(void **state)
{
        (void)state;
        struct seen seen;
        begin(&seen);
        assert_int_equal(watch_add(&seen.watch), 0);
        pid_t pid = fork();
        if (pid == 0) {
                struct seen own;
                begin(&own);
                watch_remove(&seen.watch);
                bool ok = watch_add(&own.watch) == 0 && send(own.peer, "x", 1, 0) == 1 && reaches(&own.n_attended, 1);
                end(&own);
                _exit(ok && !atomic_load(&seen.n_attended) ? 0 : 1);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        watch_poke(&seen.watch);
        assert_true(reaches(&seen.n_attended, 1));
        end(&seen);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(something_came), cmocka_unit_test(told_once), cmocka_unit_test(hang_up),
                cmocka_unit_test(poked),          cmocka_unit_test(when_due),  cmocka_unit_test(removed_inside),
                cmocka_unit_test(others_inside),  cmocka_unit_test(many),
#ifndef __SANITIZE_THREAD__
                cmocka_unit_test(in_a_child),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
