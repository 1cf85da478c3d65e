/*
 * What does Baton cost while nothing happens? CPU time and memory of a server with 1,000 idle connections and a blocked
 * caller, and whether those slow down a connection that is active.
 */
#include "floors.h"
#include "service.h"

#include <thread>
#include <unistd.h>

namespace perf
{

constexpr std::uint32_t idle_connections = 1000;

struct IdlersControl {
        std::atomic<std::uint32_t> ready;
};

/* ---- the process that holds the idle connections ---------------------------------------------------------- */

/* A caller whom nobody answers. */
static void block(const char *address)
{
        const Channel channel(address);
        const Perf__Empty request = PERF__EMPTY__INIT;
        const Perf__Empty *reply = nullptr;
        bench_hold(channel, &request, &reply, nullptr);
}

static int idle(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        const std::string &address = arguments[1];
        std::vector<Channel> channels;
        for (std::uint32_t i = 0; i < idle_connections; i++) {
                channels.emplace_back(address.c_str());
                if (!call_null(channels.back())) /* each has been used: nothing of it is still to be made */
                        die("idle connection %u: %s", i, failure().c_str());
        }
        std::thread blocked(block, address.c_str());
        usleep(100 * 1000);
        shared.as<IdlersControl>()->ready.store(1, std::memory_order_release);
        blocked.join();
        die("the call that nobody answers has ended");
}
static const Role idle_role("idle", idle);

/* A server with idle connections, and the process that holds them. */
class Idlers
{
      public:
        explicit Idlers(const Server &server)
            : shared_(sizeof(IdlersControl)), process_("idle", { shared_.fd(), server.address() })
        {
                process_.await(shared_.as<IdlersControl>()->ready);
        }
        pid_t pid() const
        {
                return process_.pid();
        }

      private:
        Shared shared_;
        Process process_;
};

/* ---- CPU and memory --------------------------------------------------------------------------------------- */

static double growth_mb(std::uint64_t before, std::uint64_t after)
{
        return (static_cast<double>(after) - static_cast<double>(before)) / (1 << 20);
}

static void idle_cost(benchmark::State &state)
{
        const Server server;
        const Channel active(server.address());
        call_null(active);
        const std::uint64_t rss_before = rss_bytes(server.pid());
        const std::uint64_t shmem_before = shmem_bytes();
        const Idlers idlers(server);
        usleep(200 * 1000);
        state.counters["rss_mb"] = growth_mb(rss_before, rss_bytes(server.pid()));
        state.counters["shmem_mb"] = growth_mb(shmem_before, shmem_bytes());
        for (auto _ : state) {
                const std::uint64_t start = now_ns();
                const std::uint64_t before = cpu_ns(server.pid()) + cpu_ns(idlers.pid());
                sleep(3);
                const std::uint64_t used = cpu_ns(server.pid()) + cpu_ns(idlers.pid()) - before;
                state.counters["cpu_percent"] = static_cast<double>(used) * 100 / static_cast<double>(now_ns() - start);
        }
}

/* ---- an active connection among idle ones ----------------------------------------------------------------- */

/* Adds the times of some calls, after others that woke the server and filled the caches. */
static bool look(baton_channel *channel, Perf__Small &request, std::vector<double> &times)
{
        constexpr int batch = 16;
        bool good = true;
        warm_up([&] { return call_echo(channel, request); }, 2 * 1000 * 1000);
        for (int i = 0; i < 50 && good; i++) {
                const std::uint64_t start = now_ns();
                for (int j = 0; j < batch && good; j++)
                        good = call_echo(channel, request);
                times.push_back(static_cast<double>(now_ns() - start) / batch);
        }
        return good;
}

/* Many short looks at either server in turn, so that whatever else the machine does meets both. */
static void idle_neighbours(benchmark::State &state)
{
        const Server alone;
        const Server crowded;
        const Channel channels[2] = { Channel(alone.address()), Channel(crowded.address()) };
        const Idlers idlers(crowded);
        Perf__Small request = small_request();
        for (const Channel &channel : channels)
                warm_up([&] { return call_echo(channel, request); });
        pin_process(alone.pid(), cores().server);
        const Pinned pinned = crowded.pin_apart();
        std::vector<double> times[2];
        bool good = true;
        for (auto _ : state)
                for (int i = 0; i < 2 && good; i++)
                        good = look(channels[i], request, times[i]);
        if (!good)
                return state.SkipWithError(failure().c_str());
        state.counters["alone_ns"] = median(times[0]);
        state.counters["crowded_ns"] = median(times[1]);
        state.counters["ratio"] = median(times[1]) / median(times[0]);
}

BENCHMARK(idle_cost)->Name("idle/cost")->Iterations(1)->UseRealTime();
BENCHMARK(idle_neighbours)->Name("idle/neighbours")->Iterations(100)->UseRealTime();

} // namespace perf
