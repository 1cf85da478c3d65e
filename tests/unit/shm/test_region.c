#include "shm/region.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <baton/status.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 64 * 1024 };

/* Each way to write to a peer's region, or to take its memory away: 0 when it worked. */
static int map_writable(int fd)
{
        return mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -errno : 0;
}

static int map_then_protect(int fd)
{
        const void *memory;
        if (region_map(fd, SIZE, NULL, &memory) < 0)
                return 0;
        return mprotect((void *)memory, SIZE, PROT_READ | PROT_WRITE) < 0 ? -errno : 0;
}

static int reopen(int fd)
{
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int again = open(path, O_RDWR);
        if (again < 0)
                return -errno;
        return mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED ? -errno : 0;
}

static int write_fd(int fd)
{
        return write(fd, "x", 1) < 0 ? -errno : 0;
}

static int pwrite_fd(int fd)
{
        return pwrite(fd, "x", 1, 100) < 0 ? -errno : 0;
}

static int shrink(int fd)
{
        return ftruncate(fd, SIZE / 2) < 0 ? -errno : 0;
}

static int grow(int fd)
{
        return ftruncate(fd, 2 * SIZE) < 0 ? -errno : 0;
}

static int punch(int fd)
{
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 ? -errno : 0;
}

static int zero(int fd)
{
        return fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096) < 0 ? -errno : 0;
}

static int seal_more(int fd)
{
        return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 ? -errno : 0;
}

static int remove_pages(int fd)
{
        const void *memory;
        if (region_map(fd, SIZE, NULL, &memory) < 0)
                return 0;
        return madvise((void *)memory, SIZE, MADV_REMOVE) < 0 ? -errno : 0;
}

static const struct {
        const char *name;
        int (*attempt)(int fd);
} attempts[] = {
        { "mmap writable", map_writable },
        { "mprotect", map_then_protect },
        { "reopen", reopen },
        { "write", write_fd },
        { "pwrite", pwrite_fd },
        { "shrink", shrink },
        { "grow", grow },
        { "punch a hole", punch },
        { "zero", zero },
        { "seal more", seal_more },
        { "madvise remove", remove_pages },
};

/* Runs in another process, which has nothing but the fd. Its exit status: 1 + the first attempt that worked, or 0. */
static int attack(int fd, void *owners)
{
        munmap(owners, SIZE); /* not inherited anyway */
        for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
                if (attempts[i].attempt(fd) == 0)
                        return 1 + (int)i;
        return 0;
}

static void seals_hold(void **state)
{
        (void)state;
        void *memory;
        int fd = region_create(SIZE, NULL, &memory);
        assert_true(fd >= 0);
        memset(memory, 7, SIZE);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child)
                _exit(attack(fd, memory));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status))
                fail_msg("%s works", attempts[WEXITSTATUS(status) - 1].name);
        for (int i = 0; i < SIZE; i++)
                assert_int_equal(((uint8_t *)memory)[i], 7);
        close(fd);
        region_unmap(memory, SIZE);
}

/* The owner cannot pull the pages from under a reader either, not even through its writable mapping. */
static void owner_is_bound(void **state)
{
        (void)state;
        void *memory;
        int fd = region_create(SIZE, NULL, &memory);
        assert_true(fd >= 0);
        assert_true(shrink(fd) < 0);
        assert_true(punch(fd) < 0);
        assert_true(madvise(memory, SIZE, MADV_REMOVE) < 0);
        close(fd);
        region_unmap(memory, SIZE);
}

static void not_inherited(void **state)
{
        (void)state;
        void *memory;
        int fd = region_create(SIZE, NULL, &memory);
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
                unsigned char resident;
                _exit(mincore(memory, 4096, &resident) < 0 && errno == ENOMEM ? 0 : 1);
        }
        int status;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
        close(fd);
        region_unmap(memory, SIZE);
}

static void reads_what_is_written(void **state)
{
        (void)state;
        void *memory;
        const void *view;
        int fd = region_create(SIZE - 100, NULL, &memory); /* rounded up to pages */
        assert_true(fd >= 0);
        assert_int_equal(region_map(fd, SIZE, NULL, &view), 0);
        for (int i = 0; i < SIZE; i++)
                assert_int_equal(((const uint8_t *)view)[i], 0);
        strcpy((char *)memory + SIZE - 10, "hello");
        assert_string_equal((const char *)view + SIZE - 10, "hello");
        region_unmap(view, SIZE);
        region_unmap(memory, SIZE);
        region_unmap(NULL, SIZE);
        close(fd);
}

static void at_a_place(void **state)
{
        (void)state;
        uint8_t *addresses = region_reserve(4 * SIZE);
        assert_non_null(addresses);
        void *memory;
        int fd = region_create(SIZE, addresses + SIZE, &memory);
        assert_true(fd >= 0);
        assert_ptr_equal(memory, addresses + SIZE);
        const void *view;
        assert_int_equal(region_map(fd, SIZE, addresses + 2 * SIZE, &view), 0);
        assert_ptr_equal(view, addresses + 2 * SIZE);
        addresses[SIZE] = 9;
        assert_int_equal(addresses[2 * SIZE], 9);
        close(fd);
        munmap(addresses, 4 * SIZE);
        assert_null(region_reserve((size_t)1 << 60));
        assert_non_null(strstr(baton_error(), "reserve addresses"));
}

/* ---- fds that no peer should send ------------------------------------------------------------------------- */

static int memfd(unsigned flags, off_t size, bool allocated, int seals)
{
        int fd = memfd_create("test", flags);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, size), 0);
        if (allocated)
                assert_int_equal(fallocate(fd, 0, 0, size), 0);
        if (seals)
                assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void refuse(int fd, const char *reason)
{
        const void *memory;
        assert_int_equal(region_map(fd, SIZE, NULL, &memory), -EPROTO);
        assert_non_null(strstr(baton_error(), reason));
        close(fd);
}

static void wrong_fds(void **state)
{
        (void)state;
        const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
        int pipes[2], sockets[2];
        assert_int_equal(pipe(pipes), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
        refuse(-1, "not a sealed memfd");
        refuse(pipes[0], "not a sealed memfd");
        refuse(sockets[0], "not a sealed memfd");
        refuse(open("/dev/zero", O_RDWR), "not a sealed memfd");
        refuse(open("/proc/self/exe", O_RDONLY), "not a sealed memfd");
        refuse(memfd(0, SIZE, true, 0), "not a sealed memfd");
        refuse(memfd(MFD_ALLOW_SEALING, SIZE, true, 0), "not a sealed memfd");
        static const int single[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL };
        for (int i = 0; i < 4; i++)
                refuse(memfd(MFD_ALLOW_SEALING, SIZE, true, all & ~single[i]), "not a sealed memfd");
        refuse(memfd(MFD_ALLOW_SEALING, SIZE - 4096, true, all), "smaller");
        refuse(memfd(MFD_ALLOW_SEALING, 0, false, all), "smaller");
        refuse(memfd(MFD_ALLOW_SEALING, SIZE, false, all), "not allocated");
        close(pipes[1]);
        close(sockets[1]);
        /* And one that is right, made by hand. */
        int fd = memfd(MFD_ALLOW_SEALING, SIZE, true, all);
        const void *memory;
        assert_int_equal(region_map(fd, SIZE, NULL, &memory), 0);
        region_unmap(memory, SIZE);
        close(fd);
}

static void constants(void **state)
{
        (void)state;
        int fd = region_constant("12345", 5);
        assert_true(fd >= 0);
        char text[8] = "";
        assert_int_equal(pread(fd, text, sizeof text, 0), 5);
        assert_string_equal(text, "12345");
        assert_true(pwrite_fd(fd) < 0 && shrink(fd) < 0 && map_writable(fd) < 0 && punch(fd) < 0);
        close(fd);
}

/* No size that memory would be looked for: memfds have no limit but the memory itself. */
static void impossible_size(void **state)
{
        (void)state;
        void *memory;
        int fd = region_create((size_t)1 << 63, NULL, &memory);
        assert_int_equal(fd, -EINVAL);
        assert_non_null(strstr(baton_error(), "cannot allocate"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(seals_hold),    cmocka_unit_test(owner_is_bound),
                cmocka_unit_test(not_inherited), cmocka_unit_test(reads_what_is_written),
                cmocka_unit_test(at_a_place),    cmocka_unit_test(wrong_fds),
                cmocka_unit_test(constants),     cmocka_unit_test(impossible_size),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
