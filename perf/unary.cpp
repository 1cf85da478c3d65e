/*
 * How long does a small call take when both sides are awake? Beside it, the least that any message can take: one cache
 * line there and one back.
 */
#include "floors.h"
#include "service.h"

#include <unistd.h>

namespace perf
{

/* Polls on both sides, unless the counter sleeps_per_call says otherwise. */
template <typename Call> static void measure(benchmark::State &state, Call call)
{
        constexpr int batch = 100;
        static const Server server;
        static const Channel channel(server.address());
        warm_up([] { return call_null(channel); }); /* the first calls, on either core: everybody starts to poll */
        const Pinned pinned = server.pin_apart();
        const auto one = [&] { return call(channel); };
        warm_up(one);
        const std::uint64_t before = sleeps(getpid()) + sleeps(server.pid());
        sample(state, batch, one);
        const std::uint64_t slept = sleeps(getpid()) + sleeps(server.pid()) - before;
        state.counters["sleeps_per_call"] =
                static_cast<double>(slept) / (static_cast<double>(state.iterations()) * batch);
}

static void null_call(benchmark::State &state)
{
        measure(state, call_null);
}

static void echo_64(benchmark::State &state)
{
        Perf__Small request = small_request();
        measure(state, [&](baton_channel *channel) { return call_echo(channel, request); });
}

BENCHMARK(floor_cacheline)->Name("floor/cacheline");
BENCHMARK(echo_64)->Name("unary/64B");
BENCHMARK(null_call)->Name("unary/null");

} // namespace perf
