#define _GNU_SOURCE
#include "shm/region.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL };

static size_t whole_pages(size_t size)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        return (size + page - 1) & ~(page - 1);
}

static int fail(const char *what, size_t size)
{
        int error = errno;
        return error_set(-error, "cannot %s %zu bytes of shared memory: %s%s", what, size, strerror(error),
                         error == ENOSPC || error == ENOMEM ? "; free memory or raise the limit of the cgroup" : "");
}

static void *map(int fd, size_t size, int protection, void *at)
{
        void *memory = mmap(at, size, protection, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
        if (memory == MAP_FAILED)
                return NULL;
        madvise(memory, size, MADV_DONTFORK);
        return memory;
}

int region_create(size_t size, void *at, void **memory)
{
        size = whole_pages(size);
        int fd = memfd_create("baton", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return fail("create", size);
        /* All pages now: a full system refuses here, instead of killing a process by SIGBUS later. */
        *memory = NULL;
        if (ftruncate(fd, (off_t)size) == 0 && fallocate(fd, 0, 0, (off_t)size) == 0 &&
            (*memory = map(fd, size, PROT_READ | PROT_WRITE, at)) && fcntl(fd, F_ADD_SEALS, SEALS) == 0)
                return fd;
        int error = fail("allocate", size);
        if (!at) /* inside a reservation the caller puts the reservation back */
                region_unmap(*memory, size);
        close(fd);
        return error;
}

int region_map(int fd, size_t size, void *at, const void **memory)
{
        size = whole_pages(size);
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat status;
        struct statfs system;
        if (seals < 0 || (seals & SEALS) != SEALS)
                return error_set(-EPROTO, "the peer sent a region that is not a sealed memfd");
        /* Huge pages have seals as well, but cannot be mapped and unmapped by the page. */
        if (fstatfs(fd, &system) < 0 || system.f_type != TMPFS_MAGIC)
                return error_set(-EPROTO, "the peer sent a region that is no ordinary memfd");
        if (fstat(fd, &status) < 0 || (uint64_t)status.st_size < size)
                return error_set(-EPROTO, "the peer sent a region smaller than it said");
        /* Reading a hole would allocate a page at our expense, or kill us where none is left. The seals keep the owner from
         * punching one later. */
        if ((uint64_t)status.st_blocks * 512 < size)
                return error_set(-EPROTO, "the peer sent a region whose memory is not allocated");
        if (!(*memory = map(fd, size, PROT_READ, at)))
                return fail("map", size);
        return 0;
}

void region_unmap(const void *memory, size_t size)
{
        if (memory)
                munmap((void *)memory, whole_pages(size));
}

void *region_reserve(size_t size)
{
        void *memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
                fail("reserve addresses for", size);
                return NULL;
        }
        return memory;
}

int region_constant(const void *data, size_t size)
{
        int fd = memfd_create("baton-methods", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return fail("create", size);
        const uint8_t *at = data;
        for (size_t left = size; left;) {
                ssize_t n = write(fd, at, left);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        goto failed;
                at += n;
                left -= (size_t)n;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
                return fd;
failed:;
        int error = fail("write", size);
        close(fd);
        return error;
}
