/*
 * What does watching cost? 64-byte calls with counters and with an empty interceptor on both sides, beside calls without.
 * In turns, for the machine's speed changes more than what is measured.
 */
#include "service.h"

namespace perf
{

struct Variant {
        const char *name;
        Server server;
        Channel channel;
        std::vector<double> medians;
        std::vector<double> ratios; /* to the first one, round by round */

        Variant(const char *the_name, const baton_server_options &serving, const baton_channel_options &calling)
            : name(the_name), server(serving), channel(server.address(), calling)
        {
                warm_up([this] { return call_null(channel); });
        }
};

static Variant make(const char *name, bool counters, bool interceptors)
{
        baton_server_options serving = {};
        baton_channel_options calling = {};
        serving.counters = calling.counters = counters;
        serving.n_interceptors = calling.n_interceptors = interceptors;
        calling.interceptors = &idle_interceptor;
        return { name, serving, calling };
}

/* The median of a slice of calls; 0 where one failed. */
static double slice(Variant &variant, Perf__Small &request)
{
        constexpr int batches = 60, batch = 100;
        const auto one = [&] { return call_echo(variant.channel, request); };
        const Pinned pinned = variant.server.pin_apart();
        warm_up(one, 2 * 1000 * 1000);
        std::vector<double> times;
        for (int n = 0; n < batches; n++) {
                const std::uint64_t start = now_ns();
                for (int i = 0; i < batch; i++)
                        if (!one())
                                return 0;
                times.push_back(static_cast<double>(now_ns() - start) / batch);
        }
        return median(times);
}

static void observe(benchmark::State &state)
{
        Variant variants[] = { make("plain", false, false), make("counters", true, false),
                               make("interceptors", false, true), make("both", true, true) };
        Perf__Small request = small_request();
        for (auto _ : state) {
                for (Variant &variant : variants) {
                        const double ns = slice(variant, request);
                        if (ns == 0) {
                                state.SkipWithError(failure().c_str());
                                return;
                        }
                        variant.medians.push_back(ns);
                        variant.ratios.push_back(ns / variants[0].medians.back());
                }
        }
        for (const Variant &variant : variants) {
                state.counters[std::string(variant.name) + "_ns"] = median(variant.medians);
                state.counters[std::string(variant.name) + "_ratio"] = median(variant.ratios);
        }
}
BENCHMARK(observe)->Name("observe/64B")->Iterations(20)->Unit(benchmark::kMillisecond);

} // namespace perf
