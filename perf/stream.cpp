/*
 * How many messages a second does a stream carry, each way, and does their size matter where they go by reference? How long
 * does one take there and back, and what does it cost to open a stream and to end it? Beside that, a bare ring and a unary call.
 */
#include "floors.h"
#include "service.h"

#include <cerrno>

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

/* A stream, which is closed with this object. */
class Stream
{
      public:
        explicit Stream(baton_stream *stream) : stream_(stream)
        {
                if (!stream_)
                        die("cannot open a stream: %s", baton_error());
        }
        Stream(const Stream &) = delete;
        Stream &operator=(const Stream &) = delete;
        ~Stream()
        {
                baton_stream_close(stream_);
        }
        operator baton_stream *() const
        {
                return stream_;
        }

      private:
        baton_stream *stream_;
};

static bool broken(baton_stream *stream)
{
        baton_stream_cancel(stream);
        return fail("the stream", baton_stream_finish(stream, nullptr));
}

/* Pins both sides apart, and times `move`, which moves so many messages and returns whether it could. */
template <typename Move> static void measure_rate(benchmark::State &state, int messages, Move move)
{
        warm_up([] { return call_null(channel()); });
        warm_up(move);
        const Pinned pinned = server().pin_apart();
        warm_up(move);
        sample(state, 1, move);
        state.counters["median_ns"] = state.counters["median_ns"] / messages;
        state.counters["per_second"] = 1e9 / state.counters["median_ns"];
}

constexpr int small_batch = 10000, blob_batch = 2000;

/* ---- client to server ------------------------------------------------------------------------------------- */

/* Half-closes, and holds the server's count against `sent`. */
template <typename Finish>
static void check_count(benchmark::State &state, Stream &stream, Finish finish, std::uint64_t sent)
{
        const Perf__Small *reply = nullptr;
        const baton_status status = finish(stream, &reply);
        if (status.code != BATON_OK)
                state.SkipWithError(status.message);
        else if (reply->a != sent)
                state.SkipWithError("the server has not read as many messages as were sent");
}

static void up_blocking(benchmark::State &state)
{
        Stream stream(flow_sink_open(channel(), nullptr));
        Perf__Small message = small_request();
        measure_rate(state, small_batch, [&] {
                for (int i = 0; i < small_batch; i++, message.f++)
                        if (flow_sink_write(stream, &message) < 0)
                                return broken(stream);
                return true;
        });
        check_count(state, stream, flow_sink_finish, message.f);
}

static void up_by_reference(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        Stream stream(flow_blob_sink_open(channel(), nullptr));
        Perf__Blob message = PERF__BLOB__INIT;
        std::uint64_t sent = 0;
        message.data = { size, static_cast<std::uint8_t *>(baton_channel_alloc(channel(), size)) };
        if (!message.data.data)
                return state.SkipWithError(baton_error());
        measure_rate(state, blob_batch, [&] {
                for (int i = 0; i < blob_batch; i++, sent++)
                        if (flow_blob_sink_write(stream, &message) < 0)
                                return broken(stream);
                return true;
        });
        check_count(state, stream, flow_blob_sink_finish, sent);
        baton_channel_free(channel(), message.data.data);
}

/* ---- server to client ------------------------------------------------------------------------------------- */

static void down_blocking(benchmark::State &state)
{
        const Perf__Small request = small_request();
        Stream stream(flow_source_open(channel(), &request, nullptr));
        std::uint64_t expected = 0;
        measure_rate(state, small_batch, [&] {
                const Perf__Small *message = nullptr;
                for (int i = 0; i < small_batch; i++)
                        if (flow_source_read(stream, &message) <= 0 || message->f != expected++)
                                return broken(stream);
                return true;
        });
}

static void down_by_reference(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        std::vector<std::uint8_t> bytes(size);
        Perf__Blob request = PERF__BLOB__INIT;
        request.data = { size, bytes.data() };
        Stream stream(flow_blob_source_open(channel(), &request, nullptr));
        measure_rate(state, blob_batch, [&] {
                const Perf__Blob *message = nullptr;
                for (int i = 0; i < blob_batch; i++)
                        if (flow_blob_source_read(stream, &message) <= 0 || message->data.len != size)
                                return broken(stream);
                return true;
        });
}

/* ---- on a loop -------------------------------------------------------------------------------------------- */

/* What a stream's callback works on. */
struct Flow {
        baton_loop *loop;
        Perf__Small message;
        std::uint64_t moved;
        std::uint64_t goal;
        int error;
};

static void write_more(baton_stream *stream, void *context)
{
        Flow &flow = *static_cast<Flow *>(context);
        while ((flow.error = flow_sink_write(stream, &flow.message)) == 0)
                flow.moved++;
}

static void read_more(baton_stream *stream, void *context)
{
        Flow &flow = *static_cast<Flow *>(context);
        const Perf__Small *message = nullptr;
        while ((flow.error = flow_source_read(stream, &message)) > 0)
                flow.moved++;
}

static bool turn(Flow &flow, baton_stream *stream)
{
        flow.goal += small_batch; /* what moved beyond it counts for the next batch */
        while (flow.moved < flow.goal)
                if (baton_loop_wait(flow.loop, 1000) <= 0 || flow.error != -EAGAIN)
                        return broken(stream);
        return true;
}

static baton_loop *loop()
{
        static baton_loop *const loop = baton_loop_new();
        return loop;
}

/* Streams that were closed before may have left the ring full: then there is room once the server has read on. */
template <typename Open> static baton_stream *open_with_room(Open open)
{
        baton_stream *stream = nullptr;
        for (int i = 0; i < 100 && !(stream = open()); i++)
                baton_loop_wait(loop(), 10);
        return stream;
}

static void up_async(benchmark::State &state)
{
        Flow flow = { loop(), small_request(), 0, 0, -EAGAIN };
        Stream stream(
                open_with_room([&] { return flow_sink_open_async(channel(), loop(), nullptr, write_more, &flow); }));
        write_more(stream, &flow);
        measure_rate(state, small_batch, [&] { return turn(flow, stream); });
}

static void down_async(benchmark::State &state)
{
        Flow flow = { loop(), small_request(), 0, 0, -EAGAIN };
        Stream stream(open_with_room(
                [&] { return flow_source_open_async(channel(), loop(), &flow.message, nullptr, read_more, &flow); }));
        measure_rate(state, small_batch, [&] { return turn(flow, stream); });
}

/* ---- there and back, open and end ------------------------------------------------------------------------- */

template <typename Call> static void measure_latency(benchmark::State &state, int batch, Call call)
{
        warm_up([] { return call_null(channel()); });
        warm_up(call);
        const Pinned pinned = server().pin_apart();
        warm_up(call);
        sample(state, batch, call);
}

static void echo_64(benchmark::State &state)
{
        Perf__Small request = small_request();
        measure_latency(state, 100, [&] { return call_echo(channel(), request); });
}

static void ping_pong(benchmark::State &state)
{
        Stream stream(flow_chat_open(channel(), nullptr));
        Perf__Small message = small_request();
        measure_latency(state, 100, [&] {
                const Perf__Small *answer = nullptr;
                message.f++;
                return (flow_chat_write(stream, &message) == 0 && flow_chat_read(stream, &answer) > 0 &&
                        answer->f == message.f) ||
                       broken(stream);
        });
}

static void open_and_end(benchmark::State &state)
{
        measure_latency(state, 10, [] {
                const Stream stream(flow_chat_open(channel(), nullptr));
                const baton_status status = flow_chat_finish(stream);
                return status.code == BATON_OK || fail("Chat", status);
        });
}

BENCHMARK(floor_spsc)->Name("floor/spsc");
BENCHMARK(up_blocking)->Name("stream/up");
BENCHMARK(up_async)->Name("stream/up_async");
BENCHMARK(down_blocking)->Name("stream/down");
BENCHMARK(down_async)->Name("stream/down_async");
BENCHMARK(up_by_reference)->Name("stream/up_reference")->Arg(4 << 10)->Arg(1 << 20);
BENCHMARK(down_by_reference)->Name("stream/down_reference")->Arg(4 << 10)->Arg(1 << 20);
BENCHMARK(echo_64)->Name("unary/64B");
BENCHMARK(ping_pong)->Name("stream/ping_pong");
BENCHMARK(open_and_end)->Name("stream/open_and_end");

} // namespace perf
