#include "harness.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fstream>
#include <map>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace perf
{

void die(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        std::fputs("perf: ", stderr);
        std::vfprintf(stderr, format, arguments);
        std::fputc('\n', stderr);
        va_end(arguments);
        std::exit(1);
}

/* ---- cores and time --------------------------------------------------------------------------------------- */

static Cores find_cores()
{
        Cores found;
        if (const char *named = std::getenv("BATON_BENCH_CORES")) {
                if (std::sscanf(named, "%d,%d", &found.client, &found.server) != 2 || found.client == found.server)
                        die("BATON_BENCH_CORES is \"%s\": set it to two different CPU numbers, as in \"0,2\"", named);
                return found;
        }
        cpu_set_t allowed;
        if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
                die("cannot tell which CPUs may be used: %s", std::strerror(errno));
        std::vector<int> usable;
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &allowed))
                        usable.push_back(cpu);
        if (usable.size() < 2)
                die("only one CPU may be used; the benchmarks need two: run them on a machine, or in a cpuset, with "
                    "two");
        /* Children inherit the affinity of whoever starts them, which is pinned to one CPU by then. */
        setenv("BATON_BENCH_CORES", (std::to_string(usable[0]) + "," + std::to_string(usable[1])).c_str(), 1);
        return { usable[0], usable[1] };
}

const Cores &cores()
{
        static const Cores found = find_cores();
        return found;
}

static void set_affinity(pid_t thread, std::initializer_list<int> cpus)
{
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int cpu : cpus)
                CPU_SET(cpu, &set);
        if (sched_setaffinity(thread, sizeof set, &set) < 0)
                die("cannot run on CPU %d: %s", *cpus.begin(), std::strerror(errno));
}

void pin(int core)
{
        set_affinity(0, { core });
}

Pinned::Pinned(int core)
{
        pin(core);
}

Pinned::~Pinned()
{
        set_affinity(0, { cores().client, cores().server });
}

static std::vector<pid_t> threads_of(pid_t pid)
{
        const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
        DIR *directory = opendir(tasks.c_str());
        if (!directory)
                die("cannot read %s: %s", tasks.c_str(), std::strerror(errno));
        std::vector<pid_t> threads;
        while (const dirent *entry = readdir(directory))
                if (entry->d_name[0] != '.')
                        threads.push_back(std::atoi(entry->d_name));
        closedir(directory);
        return threads;
}

void pin_process(pid_t pid, int core)
{
        for (pid_t thread : threads_of(pid))
                set_affinity(thread, { core });
}

std::uint64_t now_ns()
{
        timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return static_cast<std::uint64_t>(time.tv_sec) * 1000000000 + static_cast<std::uint64_t>(time.tv_nsec);
}

double median(std::vector<double> values)
{
        if (values.empty())
                return 0;
        const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
        std::nth_element(values.begin(), middle, values.end());
        return *middle;
}

static thread_local std::string last_failure = "no reason given";

bool fail_with(const std::string &reason)
{
        last_failure = reason;
        return false;
}

const std::string &failure()
{
        return last_failure;
}

/* ---- shared memory ---------------------------------------------------------------------------------------- */

static int new_memfd(std::size_t size)
{
        const int fd = memfd_create("perf", 0); /* not CLOEXEC: children inherit it */
        if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) < 0)
                die("cannot create %zu bytes of shared memory: %s", size, std::strerror(errno));
        return fd;
}

Shared::Shared(std::size_t size) : Shared(new_memfd(size), size)
{
}

Shared::Shared(int fd, std::size_t size) : fd_(fd), size_(size)
{
        void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (memory == MAP_FAILED)
                die("cannot map %zu bytes of shared memory: %s", size, std::strerror(errno));
        memory_ = static_cast<char *>(memory);
}

Shared Shared::inherit(const std::string &fd)
{
        struct stat status;
        const int number = std::atoi(fd.c_str());
        if (fstat(number, &status) < 0)
                die("fd %d is no shared memory: %s", number, std::strerror(errno));
        return Shared(number, static_cast<std::size_t>(status.st_size));
}

Shared::Shared(Shared &&other) noexcept : fd_(other.fd_), size_(other.size_), memory_(other.memory_)
{
        other.memory_ = nullptr;
}

Shared::~Shared()
{
        if (!memory_)
                return;
        munmap(memory_, size_);
        close(fd_);
}

std::string Shared::fd() const
{
        return std::to_string(fd_);
}

/* ---- roles and processes ---------------------------------------------------------------------------------- */

static std::map<std::string, Role::Function> &roles()
{
        static std::map<std::string, Role::Function> all;
        return all;
}

Role::Role(const char *name, Function function)
{
        roles()[name] = function;
}

void run_role(int argc, char **argv)
{
        static const char option[] = "--role=";
        if (argc < 2 || std::strncmp(argv[1], option, sizeof option - 1) != 0)
                return;
        const auto role = roles().find(argv[1] + sizeof option - 1);
        if (role == roles().end())
                die("this program has no role \"%s\"", argv[1] + sizeof option - 1);
        set_affinity(0, { cores().client, cores().server }); /* whoever started this may be pinned */
        std::exit(role->second(std::vector<std::string>(argv + 2, argv + argc)));
}

Process::Process(const std::string &role, const std::vector<std::string> &arguments) : role_(role)
{
        std::string option = "--role=" + role;
        std::vector<char *> argv = { program_invocation_name, option.data() };
        for (const std::string &argument : arguments)
                argv.push_back(const_cast<char *>(argument.c_str()));
        argv.push_back(nullptr);
        const pid_t parent = getpid();
        pid_ = fork();
        if (pid_ < 0)
                die("cannot start the %s process: %s", role.c_str(), std::strerror(errno));
        if (pid_ > 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
                execv("/proc/self/exe", argv.data());
        _exit(127);
}

Process::~Process()
{
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
}

void Process::await(const std::atomic<std::uint32_t> &ready) const
{
        for (const std::uint64_t end = now_ns() + 20ULL * 1000000000; now_ns() < end; usleep(200)) {
                if (ready.load(std::memory_order_acquire))
                        return;
                siginfo_t info = {};
                if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
                        die("the %s process ended (%d) before it was ready", role_.c_str(), info.si_status);
        }
        die("the %s process is not ready after 20 seconds", role_.c_str());
}

/* ---- what a process uses ---------------------------------------------------------------------------------- */

std::uint64_t cpu_ns(pid_t pid)
{
        clockid_t clock;
        timespec time;
        if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) < 0)
                die("cannot read the CPU time of process %d", pid);
        return static_cast<std::uint64_t>(time.tv_sec) * 1000000000 + static_cast<std::uint64_t>(time.tv_nsec);
}

/* The number behind "name:" in a file of the form of /proc/PID/status. */
static std::uint64_t number_of(const std::string &path, const std::string &name)
{
        std::ifstream file(path);
        for (std::string line; std::getline(file, line);)
                if (line.compare(0, name.size() + 1, name + ":") == 0)
                        return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10);
        return 0;
}

std::uint64_t sleeps(pid_t pid)
{
        std::uint64_t total = 0;
        const std::string tasks = "/proc/" + std::to_string(pid) + "/task/";
        for (pid_t thread : threads_of(pid))
                total += number_of(tasks + std::to_string(thread) + "/status", "voluntary_ctxt_switches");
        return total;
}

std::uint64_t rss_bytes(pid_t pid)
{
        return number_of("/proc/" + std::to_string(pid) + "/status", "VmRSS") * 1024;
}

std::uint64_t shmem_bytes()
{
        return number_of("/proc/meminfo", "Shmem") * 1024;
}

} // namespace perf
