/*
 * What does the size of a payload cost, handed over by reference and by copy? Beside it, memcpy of the same size.
 *
 * Nobody reads the payloads but for a byte, on either side of a ratio: this is the price of the hand-over alone.
 */
#include "floors.h"
#include "service.h"

namespace perf
{

static const Server &server()
{
        static const Server server([] {
                baton_server_options options = {};
                options.max_message_bytes = max_message_bytes;
                return options;
        }());
        return server;
}

static baton_channel *channel()
{
        static const Channel channel(server().address(), [] {
                baton_channel_options options = {};
                options.max_message_bytes = max_message_bytes;
                return options;
        }());
        return channel;
}

template <typename Call> static void measure(benchmark::State &state, int batch, Call call)
{
        warm_up([] { return call_null(channel()); });
        const Pinned pinned = server().pin_apart();
        warm_up(call);
        sample(state, batch, call);
}

static void echo_64(benchmark::State &state)
{
        Perf__Small request = small_request();
        measure(state, 100, [&] { return call_echo(channel(), request); });
}

using Stub = baton_status (*)(baton_channel *, const Perf__Blob *, const Perf__Blob **, const baton_call_options *);

static bool exchange(Stub stub, const char *method, std::size_t size, std::uint8_t *data)
{
        Perf__Blob request = PERF__BLOB__INIT;
        request.data = { size, data };
        data[0]++;
        const Perf__Blob *reply = nullptr;
        const baton_status status = stub(channel(), &request, &reply, nullptr);
        const bool good = (status.code == BATON_OK && reply->data.len == size && reply->data.data[0] == data[0]) ||
                          fail(method, status);
        baton_release(reply);
        return good;
}

static int batch_for(std::size_t size)
{
        return size <= 65536 ? 10 : 1;
}

/* From ordinary memory on both sides: copied into shared memory once on each way. */
static void by_copy(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        std::vector<std::uint8_t> data(size, 1);
        measure(state, batch_for(size), [&] { return exchange(bench_copy, "Copy", size, data.data()); });
}

/* One block of the channel's memory, sent again and again; the replies lie in memory taken for each call. */
static void by_reference(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        auto *data = static_cast<std::uint8_t *>(baton_channel_alloc(channel(), size));
        if (!data)
                return state.SkipWithError(baton_error());
        measure(state, 100, [&] { return exchange(bench_hand_over, "HandOver", size, data); });
        baton_channel_free(channel(), data);
}

/* The same with a block taken and freed around each call. */
static void by_reference_fresh(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        measure(state, 100, [&] {
                auto *data = static_cast<std::uint8_t *>(baton_channel_alloc(channel(), size));
                if (!data)
                        return fail_with(baton_error());
                const bool good = exchange(bench_hand_over, "HandOver", size, data);
                baton_channel_free(channel(), data);
                return good;
        });
}

/* All of one size together, so that they meet the machine in the same mood. */
static const bool registered = [] {
        for (const std::int64_t size : { 64, 1 << 10, 16 << 10, 256 << 10, 1 << 20, 16 << 20, 64 << 20 }) {
                if (size == 1 << 20)
                        benchmark::RegisterBenchmark("unary/64B", echo_64);
                benchmark::RegisterBenchmark("payload/reference", by_reference)->Arg(size);
                benchmark::RegisterBenchmark("payload/reference_fresh", by_reference_fresh)->Arg(size);
                benchmark::RegisterBenchmark("floor/two_memcpys", floor_two_memcpys)->Arg(size);
                benchmark::RegisterBenchmark("payload/copy", by_copy)->Arg(size);
                benchmark::RegisterBenchmark("floor/memcpy", floor_memcpy)->Arg(size);
        }
        return true;
}();

} // namespace perf
