/*
 * How many one-way calls a second does a client make, and what does it pay until the server has taken one? Beside them the
 * records that pass a bare ring.
 */
#include "floors.h"
#include "service.h"

namespace perf
{

static const Server &server()
{
        static const Server server;
        return server;
}

static baton_channel *channel()
{
        static const Channel channel(server().address());
        return channel;
}

static bool send(Perf__Small &request)
{
        request.f++;
        return bench_work_oneway(channel(), &request, nullptr) == 0 ||
               fail_with(std::string("cannot make a one-way call: ") + baton_error());
}

static bool flush()
{
        return baton_channel_flush(channel(), 1000) == 0 ||
               fail_with(std::string("the server has not taken one-way calls: ") + baton_error());
}

/* Full rings hold the client back, so that this is the server's pace. */
static void oneway(benchmark::State &state)
{
        Perf__Small request = small_request();
        warm_up([] { return call_null(channel()); });
        const Pinned pinned = server().pin_apart();
        warm_up([&] { return send(request); });
        const std::uint64_t before = flush() ? server().begun() : 0;
        const std::uint64_t sent_before = request.f;
        sample(state, 10000, [&] { return send(request); });
        if (!flush())
                return state.SkipWithError(failure().c_str());
        if (server().begun() - before != request.f - sent_before)
                return state.SkipWithError("the server has not begun as many calls as were made");
        state.counters["per_second"] = 1e9 / state.counters["median_ns"];
}

static void oneway_and_flush(benchmark::State &state)
{
        Perf__Small request = small_request();
        warm_up([] { return call_null(channel()); });
        const Pinned pinned = server().pin_apart();
        const auto one = [&] { return send(request) && flush(); };
        warm_up(one);
        sample(state, 100, one);
}

BENCHMARK(floor_spsc)->Name("floor/spsc");
BENCHMARK(oneway)->Name("oneway/64B");
BENCHMARK(oneway_and_flush)->Name("oneway/flushed");

} // namespace perf
