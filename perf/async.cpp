/*
 * What do asynchronous calls cost beside blocking ones? One at a time, on a loop that its thread turns, beside one call that
 * blocks; and 64 under way on one loop beside 64 threads that block. In turns, for the machine's speed changes meanwhile.
 */
#include "service.h"

#include <pthread.h>
#include <thread>

namespace perf
{

/* Calls that start again as they complete, until the goal is reached. */
struct Pipeline {
        baton_channel *channel;
        baton_loop *loop;
        Perf__Small request = small_request();
        std::int64_t to_start = 0;
        std::int64_t in_flight = 0;
        bool good = true;
};

static void on_reply(const baton_status *status, const Perf__Small *reply, void *context);

static void start(Pipeline &pipeline)
{
        pipeline.to_start--;
        pipeline.request.f++;
        pipeline.good = bench_echo_async(pipeline.channel, pipeline.loop, &pipeline.request, nullptr, on_reply,
                                         &pipeline) == 0 ||
                        fail_with(std::string("cannot start a call: ") + baton_error());
        pipeline.in_flight += pipeline.good;
}

static void on_reply(const baton_status *status, const Perf__Small *reply, void *context)
{
        Pipeline &pipeline = *static_cast<Pipeline *>(context);
        pipeline.in_flight--;
        if (status->code != BATON_OK || reply->a != pipeline.request.a)
                pipeline.good = fail("Echo", *status);
        if (pipeline.good && pipeline.to_start > 0)
                start(pipeline);
}

/* Makes so many calls, `at_once` of them under way. */
static bool run(Pipeline &pipeline, std::int64_t calls, std::int64_t at_once)
{
        pipeline.to_start = calls;
        while (pipeline.good && pipeline.in_flight < at_once)
                start(pipeline);
        while (pipeline.in_flight > 0)
                if (baton_loop_wait(pipeline.loop, 1000) <= 0)
                        return fail_with("no reply within a second");
        return pipeline.good;
}

/* Nanoseconds for each call of a batch; 0 where one failed. */
template <typename Batch> static double time_of(int calls, Batch batch)
{
        const std::uint64_t start = now_ns();
        return batch(calls) ? static_cast<double>(now_ns() - start) / calls : 0;
}

/* Times both in turns. The counters: the median of each, and their ratio within a turn. */
template <typename Asynchronous, typename Blocking>
static void compare(benchmark::State &state, int calls, Asynchronous asynchronous, Blocking blocking)
{
        std::vector<double> times[2], ratios;
        for (auto _ : state) {
                const double one = time_of(calls, asynchronous), other = time_of(calls, blocking);
                if (one == 0 || other == 0)
                        return state.SkipWithError(failure().c_str());
                times[0].push_back(one);
                times[1].push_back(other);
                ratios.push_back(one / other);
        }
        state.counters["median_ns"] = median(times[0]);
        state.counters["per_second"] = 1e9 / median(times[0]);
        state.counters["blocking_ns"] = median(times[1]);
        state.counters["ratio"] = median(ratios);
}

static void one_at_a_time(benchmark::State &state)
{
        const Server server;
        const Channel channel(server.address());
        Pipeline pipeline = { channel, baton_loop_new() };
        Perf__Small request = small_request();
        const auto asynchronous = [&](int calls) { return run(pipeline, calls, 1); };
        const auto blocking = [&](int calls) {
                for (int i = 0; i < calls; i++)
                        if (!call_echo(channel, request))
                                return false;
                return true;
        };
        warm_up([&] { return asynchronous(100) && blocking(100); });
        const Pinned pinned = server.pin_apart();
        warm_up([&] { return asynchronous(100) && blocking(100); });
        compare(state, 500, asynchronous, blocking);
}

/* So many threads that make blocking calls when they are told to. */
class Callers
{
      public:
        Callers(baton_channel *channel, unsigned n)
        {
                pthread_barrier_init(&turn_, nullptr, n + 1);
                for (unsigned i = 0; i < n; i++)
                        threads_.emplace_back([this, channel] { work(channel); });
        }
        Callers(const Callers &) = delete;
        Callers &operator=(const Callers &) = delete;
        ~Callers()
        {
                over_ = true;
                pthread_barrier_wait(&turn_);
                for (std::thread &thread : threads_)
                        thread.join();
                pthread_barrier_destroy(&turn_);
        }
        /* Makes so many calls together. */
        bool run(int calls)
        {
                left_ = calls;
                pthread_barrier_wait(&turn_);
                pthread_barrier_wait(&turn_);
                return !failed_;
        }

      private:
        void work(baton_channel *channel)
        {
                Perf__Small request = small_request();
                while (pthread_barrier_wait(&turn_), !over_) {
                        while (left_.fetch_sub(1, std::memory_order_relaxed) > 0)
                                if (!call_echo(channel, request))
                                        failed_ = true;
                        pthread_barrier_wait(&turn_);
                }
        }
        std::vector<std::thread> threads_;
        pthread_barrier_t turn_;
        std::atomic<int> left_{ 0 };
        std::atomic<bool> failed_{ false }, over_{ false };
};

/* The threads share the client's CPU, as the loop has it to itself. */
static void sixty_four(benchmark::State &state)
{
        const Server server;
        const Channel channel(server.address());
        Pipeline pipeline = { channel, baton_loop_new() };
        warm_up([&] { return call_null(channel); });
        const Pinned pinned = server.pin_apart();
        Callers callers(channel, 64);
        const auto asynchronous = [&](int calls) { return run(pipeline, calls, 64); };
        const auto blocking = [&](int calls) { return callers.run(calls); };
        warm_up([&] { return asynchronous(1000) && blocking(1000); });
        compare(state, 5000, asynchronous, blocking);
}

BENCHMARK(one_at_a_time)->Name("async/1");
BENCHMARK(sixty_four)->Name("async/64");

} // namespace perf
