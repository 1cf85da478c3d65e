/*
 * bench_steady CALLS: makes small blocking calls, both sides polling, and prints how often either process allocated
 * memory or went to sleep meanwhile: once everything is warm, never. System calls are counted from outside: bench.sh runs
 * this under perf with few and with many calls and compares.
 */
#include "service.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

/* Shared by both processes, which each count into it; its fd travels in the environment. */
static std::atomic<std::uint64_t> *allocations;
static constexpr const char *variable = "PERF_ALLOCATIONS_FD";

static void count()
{
        if (allocations)
                allocations->fetch_add(1, std::memory_order_relaxed);
}

/* These stand before libc's own, for the libraries' calls as well. */
extern "C" {
void *__libc_malloc(std::size_t size);
void *__libc_calloc(std::size_t n, std::size_t size);
void *__libc_realloc(void *memory, std::size_t size);
void *__libc_memalign(std::size_t alignment, std::size_t size);

void *malloc(std::size_t size)
{
        count();
        return __libc_malloc(size);
}

void *calloc(std::size_t n, std::size_t size)
{
        count();
        return __libc_calloc(n, size);
}

void *realloc(void *memory, std::size_t size)
{
        count();
        return __libc_realloc(memory, size);
}

void *aligned_alloc(std::size_t alignment, std::size_t size)
{
        count();
        return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, std::size_t alignment, std::size_t size)
{
        count();
        *memory = __libc_memalign(alignment, size);
        return *memory ? 0 : 12; /* ENOMEM */
}
}

using namespace perf;

static void measure(std::uint64_t calls)
{
        constexpr int warm_up_calls = 5000;
        const Server server;
        const Channel channel(server.address());
        Perf__Small request = small_request();
        bool good = true;
        for (int i = 0; i < warm_up_calls && good; i++)
                good = call_echo(channel, request);
        const Pinned pinned = server.pin_apart();
        for (int i = 0; i < warm_up_calls && good; i++)
                good = call_echo(channel, request);
        const std::uint64_t sleeps_before = sleeps(getpid()) + sleeps(server.pid());
        const std::uint64_t allocations_before = *allocations;
        for (std::uint64_t i = 0; i < calls && good; i++)
                good = call_echo(channel, request);
        const std::uint64_t allocated = *allocations - allocations_before;
        const std::uint64_t slept = sleeps(getpid()) + sleeps(server.pid()) - sleeps_before;
        if (!good)
                die("%s", failure().c_str());
        std::printf("{\"calls\": %llu, \"mallocs\": %llu, \"sleeps\": %llu}\n", static_cast<unsigned long long>(calls),
                    static_cast<unsigned long long>(allocated), static_cast<unsigned long long>(slept));
}

int main(int argc, char **argv)
{
        cores();
        if (const char *fd = std::getenv(variable)) {
                static const Shared inherited = Shared::inherit(fd);
                allocations = inherited.as<std::atomic<std::uint64_t>>();
        }
        run_role(argc, argv);
        if (argc != 2 || std::strtoull(argv[1], nullptr, 10) == 0)
                die("usage: bench_steady CALLS");
        static const Shared shared(sizeof *allocations);
        setenv(variable, shared.fd().c_str(), 1);
        allocations = shared.as<std::atomic<std::uint64_t>>();
        measure(std::strtoull(argv[1], nullptr, 10));
        return 0;
}
