/*
 * What every benchmark here needs: two cores, a second process, shared memory, and medians.
 *
 * A benchmark's peer (a floor's echo, a Baton server) is always another process: this program run again in a role
 * of its own. It is exec'd, never just forked, so it shares no state with the measuring side but a Shared.
 */
#ifndef PERF_HARNESS_H
#define PERF_HARNESS_H

#include <benchmark/benchmark.h>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace perf
{

/* Where the measuring side and its peer run: the first two CPUs this process may use, or those that the
 * environment variable BATON_BENCH_CORES names ("0,2": pick two that share no core where CPUs are hyperthreads). */
struct Cores {
        int client;
        int server;
};
const Cores &cores();

void pin(int core);                    /* the calling thread */
void pin_process(pid_t pid, int core); /* all threads that it has now */

/* Keeps the calling thread on a core while this object lives, and on either of the two afterwards. */
class Pinned
{
      public:
        explicit Pinned(int core);
        Pinned(const Pinned &) = delete;
        Pinned &operator=(const Pinned &) = delete;
        ~Pinned();
};

/* Ends the program with a line on stderr. */
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

std::uint64_t now_ns();
double median(std::vector<double> values);

/* Keeps the reason why a call failed, until a benchmark reports it. Returns false. */
bool fail_with(const std::string &reason);
const std::string &failure();

/* Memory that child processes can map as well: they get its fd's number as an argument. */
class Shared
{
      public:
        explicit Shared(std::size_t size); /* new, zeroed, resident */
        static Shared inherit(const std::string &fd);
        Shared(const Shared &) = delete;
        Shared(Shared &&other) noexcept;
        Shared &operator=(const Shared &) = delete;
        ~Shared();
        template <typename T> T *as(std::size_t offset = 0) const
        {
                return reinterpret_cast<T *>(memory_ + offset);
        }
        std::string fd() const;

      private:
        Shared(int fd, std::size_t size);
        int fd_;
        std::size_t size_;
        char *memory_;
};

/* What a program can be besides a benchmark: `program --role=NAME argument…`. Define one as a static object. */
struct Role {
        using Function = int (*)(const std::vector<std::string> &arguments);
        Role(const char *name, Function function);
};

/* Runs the role that the command line asks for, on either core, and exits; returns where it asks for none. */
void run_role(int argc, char **argv);

/* A child process in a role. It is killed with this object, or with the process that started it. */
class Process
{
      public:
        Process(const std::string &role, const std::vector<std::string> &arguments);
        Process(const Process &) = delete;
        Process &operator=(const Process &) = delete;
        ~Process();
        pid_t pid() const
        {
                return pid_;
        }
        /* Waits until the child has set this flag; ends the program if the child dies before, or takes too long. */
        void await(const std::atomic<std::uint32_t> &ready) const;

      private:
        pid_t pid_;
        std::string role_;
};

/* What a process and all its threads have used. */
std::uint64_t cpu_ns(pid_t pid);
std::uint64_t sleeps(pid_t pid); /* voluntary context switches */
std::uint64_t rss_bytes(pid_t pid);
std::uint64_t shmem_bytes(); /* of the whole machine: memfds count here, mapped or not */

/*
 * Times `call` in batches and reports the median batch as the counter median_ns, per call: unlike the mean, it does
 * not move when other load takes the core away now and then. call returns false, after fail_with, when it has failed.
 */
template <typename Call> void sample(benchmark::State &state, int batch, Call call)
{
        std::vector<double> times;
        times.reserve(state.max_iterations);
        bool good = true;
        for (auto _ : state) {
                const std::uint64_t start = now_ns();
                for (int i = 0; i < batch && good; i++)
                        good = call();
                times.push_back(static_cast<double>(now_ns() - start) / batch);
                if (!good) {
                        state.SkipWithError(failure().c_str());
                        return;
                }
        }
        state.counters["median_ns"] = median(times);
}

/* Calls it for this long, so that caches, branch predictors, heaps and the peer's spinning are as in steady state. */
template <typename Call> void warm_up(Call call, std::uint64_t ns = 30 * 1000 * 1000)
{
        for (const std::uint64_t end = now_ns() + ns; now_ns() < end;)
                if (!call())
                        return;
}

} // namespace perf

#endif
