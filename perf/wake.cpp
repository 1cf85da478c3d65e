/*
 * How long does a small call take when both sides sleep, each on a core of its own? Nearly all of it is the kernel's and
 * the hypervisor's way to wake somebody: beside it, the bare futex ping-pong.
 */
#include "floors.h"
#include "service.h"

namespace perf
{

static void echo_asleep(benchmark::State &state)
{
        baton_server_options server_options = {};
        server_options.no_spin = true;
        baton_channel_options channel_options = {};
        channel_options.no_spin = true;
        static const Server server(server_options);
        static const Channel channel(server.address(), channel_options);
        Perf__Small request = small_request();
        const auto call = [&] { return call_echo(channel, request); };
        call();
        const Pinned pinned = server.pin_apart();
        warm_up(call);
        sample(state, 1, call);
}

BENCHMARK(floor_futex_two_cores)->Name("floor/futex_two_cores");
BENCHMARK(echo_asleep)->Name("wake/64B");
BENCHMARK(floor_futex_one_core)->Name("floor/futex_one_core");

} // namespace perf
