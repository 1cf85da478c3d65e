/*
 * How many small calls a second, with 1, 8 and 64 of one client in flight, and from 1, 2 and 8 client processes at once?
 * Beside it, the records that pass a bare ring.
 */
#include "floors.h"
#include "service.h"

#include <memory>
#include <unistd.h>

namespace perf
{

/* ---- one client, pipelined -------------------------------------------------------------------------------- */

/* A number of calls that start again as they complete. */
struct Pipeline {
        baton_channel *channel;
        baton_loop *loop;
        Perf__Small request;
        std::int64_t to_start; /* before it winds down; negative: none */
        std::int64_t in_flight;
        std::int64_t completed;
        bool good;
};

static void on_reply(const baton_status *status, const Perf__Small *reply, void *context);

static void start(Pipeline &pipeline)
{
        pipeline.request.f++;
        if (bench_echo_async(pipeline.channel, pipeline.loop, &pipeline.request, nullptr, on_reply, &pipeline) < 0) {
                pipeline.good = fail_with(std::string("cannot start a call: ") + baton_error());
                return;
        }
        pipeline.in_flight++;
}

static void on_reply(const baton_status *status, const Perf__Small *reply, void *context)
{
        Pipeline &pipeline = *static_cast<Pipeline *>(context);
        pipeline.in_flight--;
        pipeline.completed++;
        if (status->code != BATON_OK || reply->a != 7)
                pipeline.good = fail("Echo", *status);
        if (pipeline.good && pipeline.to_start-- > 0)
                start(pipeline);
}

/* Completes `calls` more calls; as many as ever stay in flight. */
static bool run(Pipeline &pipeline, std::int64_t calls)
{
        const std::int64_t goal = pipeline.completed + calls;
        pipeline.to_start = INT64_MAX;
        while (pipeline.good && pipeline.completed < goal)
                if (baton_loop_wait(pipeline.loop, 1000) <= 0)
                        return fail_with("no reply within a second");
        return pipeline.good;
}

static void drain(Pipeline &pipeline)
{
        pipeline.to_start = 0;
        while (pipeline.in_flight > 0 && baton_loop_wait(pipeline.loop, 1000) > 0)
                ;
}

static void pipelined(benchmark::State &state)
{
        constexpr std::int64_t batch = 20000;
        static const Server server;
        static const Channel channel(server.address());
        static baton_loop *const loop = baton_loop_new();
        Pipeline pipeline = { channel, loop, small_request(), 0, 0, 0, true };
        pipeline.request.a = 7;
        while (pipeline.good && pipeline.in_flight < state.range(0))
                start(pipeline);
        run(pipeline, batch);
        const Pinned pinned = server.pin_apart();
        warm_up([&] { return run(pipeline, 1000); });
        sample(state, 1, [&] { return run(pipeline, batch); });
        drain(pipeline);
        state.counters["median_ns"] = state.counters["median_ns"] / batch;
        state.counters["per_second"] = 1e9 / state.counters["median_ns"];
}

/* ---- many clients, blocking ------------------------------------------------------------------------------- */

struct alignas(64) Client {
        std::atomic<std::uint64_t> calls;
        std::atomic<std::uint32_t> ready;
};

static int call_for_ever(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        Client *client = shared.as<Client>(std::stoul(arguments[1]) * sizeof(Client));
        const Channel channel(arguments[2].c_str());
        Perf__Small request = small_request();
        while (call_echo(channel, request)) {
                client->calls.store(client->calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
                client->ready.store(1, std::memory_order_release);
        }
        die("client %s: %s", arguments[1].c_str(), failure().c_str());
}
static const Role client_role("client", call_for_ever);

/* Server and clients share the two cores as the kernel sees fit: nobody is pinned. */
static void clients(benchmark::State &state)
{
        const auto n = static_cast<std::size_t>(state.range(0));
        const Server server;
        const Shared shared(n * sizeof(Client));
        const Client *client = shared.as<Client>();
        std::vector<std::unique_ptr<Process>> processes;
        for (std::size_t i = 0; i < n; i++)
                processes.push_back(std::make_unique<Process>(
                        "client", std::vector<std::string>{ shared.fd(), std::to_string(i), server.address() }));
        for (std::size_t i = 0; i < n; i++)
                processes[i]->await(client[i].ready);
        const auto calls = [&] {
                std::uint64_t total = 0;
                for (std::size_t i = 0; i < n; i++)
                        total += client[i].calls.load(std::memory_order_relaxed);
                return total;
        };
        usleep(100 * 1000);
        std::vector<double> rates;
        for (auto _ : state) {
                const std::uint64_t before = calls();
                const std::uint64_t start_ns = now_ns();
                usleep(50 * 1000);
                rates.push_back(static_cast<double>(calls() - before) * 1e9 / static_cast<double>(now_ns() - start_ns));
        }
        state.counters["per_second"] = median(rates);
        state.counters["median_ns"] = 1e9 / median(rates);
}

BENCHMARK(floor_spsc)->Name("floor/spsc");
BENCHMARK(pipelined)->Name("throughput/in_flight")->Arg(64)->Arg(8)->Arg(1);
BENCHMARK(clients)->Name("throughput/clients")->Arg(1)->Arg(2)->Arg(8)->Iterations(10)->UseRealTime();

} // namespace perf
