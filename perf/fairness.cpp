/*
 * Does a client that floods the server hold up a quiet one, which calls now and then? The quiet one's latency alone and beside the
 * flood, in turns; and, free of what else the machine does, how many of the flood's calls are begun before one of the quiet
 * client's that is on its way.
 *
 * With two CPUs, the server has one and the clients share the other. So that the quiet client does not wait for its CPU, the flood
 * runs with SCHED_IDLE: it uses the pauses, and leaves its calls in the server's rings when the quiet client wakes up.
 */
#include "service.h"

#include <algorithm>
#include <csignal>
#include <sched.h>
#include <thread>
#include <unistd.h>

namespace perf
{

constexpr unsigned pause_us = 300;
constexpr int calls_a_turn = 100;

/* ---- the flood -------------------------------------------------------------------------------------------- */

struct FloodControl {
        std::atomic<std::uint32_t> ready;
};

struct Flood {
        baton_channel *channel;
        baton_loop *loop;
        Perf__Small request;
        FloodControl *control;
};

static void start(Flood &flood);

static void on_reply(const baton_status *status, const Perf__Small *, void *context)
{
        Flood &flood = *static_cast<Flood *>(context);
        if (status->code != BATON_OK)
                die("the flood: %s: %s", baton_code_name(status->code), status->message);
        flood.control->ready.store(1, std::memory_order_release);
        start(flood);
}

static void start(Flood &flood)
{
        if (bench_work_async(flood.channel, flood.loop, &flood.request, nullptr, on_reply, &flood) < 0)
                die("the flood: %s", baton_error());
}

static void flood_from_loop(Flood flood, int in_flight)
{
        for (int i = 0; i < in_flight; i++)
                start(flood);
        while (baton_loop_wait(flood.loop, -1) >= 0)
                ;
}

static void flood_from_thread(Flood flood)
{
        const Perf__Small *reply = nullptr;
        for (;;) {
                const baton_status status = bench_work(flood.channel, &flood.request, &reply, nullptr);
                baton_release(reply);
                if (status.code != BATON_OK)
                        die("the flood: %s: %s", baton_code_name(status.code), status.message);
                flood.control->ready.store(1, std::memory_order_release);
        }
}

/* Arguments: shared memory, address, calls in flight, threads, nanoseconds of each call. */
static int flood(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        const Channel channel(arguments[1].c_str());
        Flood flood = { channel, baton_loop_new(), small_request(), shared.as<FloodControl>() };
        flood.request.a = std::stoul(arguments[4]);
        pin(cores().client);
        const sched_param none = {};
        if (sched_setscheduler(0, SCHED_IDLE, &none) < 0)
                die("the flood cannot have the lowest priority");
        const int n_threads = std::stoi(arguments[3]);
        std::vector<std::thread> threads;
        for (int i = 0; i < n_threads; i++)
                threads.emplace_back(flood_from_thread, flood);
        if (!n_threads)
                flood_from_loop(flood, std::stoi(arguments[2]));
        for (std::thread &thread : threads)
                thread.join();
        return 0;
}
static const Role flood_role("flood", flood);

/* ---- the quiet client ------------------------------------------------------------------------------------- */

struct Samples {
        std::vector<double> ns;
        std::vector<double> before; /* calls of the flood that were begun while one was on its way */
};

static bool call(const Server &server, baton_channel *channel, const Perf__Small &request, Samples &samples)
{
        const Perf__Small *reply = nullptr;
        const std::uint64_t begun = server.begun();
        const std::uint64_t start_ns = now_ns();
        const baton_status status = bench_work(channel, &request, &reply, nullptr);
        samples.ns.push_back(static_cast<double>(now_ns() - start_ns));
        const bool good = status.code == BATON_OK || fail("Work", status);
        samples.before.push_back(static_cast<double>(good ? reply->b - begun : 0));
        baton_release(reply);
        return good;
}

static double at(std::vector<double> values, double share)
{
        const auto place = values.begin() + static_cast<std::ptrdiff_t>(static_cast<double>(values.size()) * share);
        std::nth_element(values.begin(), place, values.end());
        return *place;
}

/* Arguments: in flight, threads, nanoseconds of each call. */
static void fairness(benchmark::State &state)
{
        const Server server;
        const Channel channel(server.address());
        Perf__Small request = small_request();
        request.a = static_cast<std::uint64_t>(state.range(2));
        const Shared shared(sizeof(FloodControl));
        const Process flood("flood", { shared.fd(), server.address(), std::to_string(state.range(0)),
                                       std::to_string(state.range(1)), std::to_string(state.range(2)) });
        flood.await(shared.as<FloodControl>()->ready);
        const Pinned pinned = server.pin_apart();
        Samples alone, beside;
        bool good = true;
        std::uint64_t flooded = 0;
        for (auto _ : state) {
                for (Samples *samples : { &alone, &beside }) {
                        kill(flood.pid(), samples == &alone ? SIGSTOP : SIGCONT);
                        usleep(20 * 1000);
                        const std::uint64_t begun = server.begun();
                        for (int i = 0; i < calls_a_turn && good; i++) {
                                usleep(pause_us);
                                good = call(server, channel, request, *samples);
                        }
                        if (samples == &beside)
                                flooded += server.begun() - begun - calls_a_turn;
                }
        }
        if (!good)
                return state.SkipWithError(failure().c_str());
        state.counters["alone_p99_ns"] = at(alone.ns, 0.99);
        state.counters["beside_p99_ns"] = at(beside.ns, 0.99);
        state.counters["alone_p50_ns"] = at(alone.ns, 0.5);
        state.counters["median_ns"] = at(beside.ns, 0.5);
        state.counters["ratio"] = at(beside.ns, 0.99) / at(alone.ns, 0.99);
        state.counters["before_p99"] = at(beside.before, 0.99);
        state.counters["flood_per_call"] =
                static_cast<double>(flooded) / (static_cast<double>(state.iterations()) * calls_a_turn);
}

BENCHMARK(fairness)
        ->Name("fairness")
        ->ArgNames({ "in_flight", "threads", "work_ns" })
        ->Args({ 64, 0, 0 })
        ->Args({ 64, 0, 20000 })
        ->Args({ 0, 16, 0 })
        ->Args({ 0, 16, 20000 })
        ->Iterations(20)
        ->UseRealTime();

} // namespace perf
