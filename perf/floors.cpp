#include "floors.h"

#include <cstring>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace perf
{

using Word = std::atomic<std::uint32_t>;
using Index = std::atomic<std::uint64_t>;

/* The first page of a floor's shared memory; what follows are payloads. */
struct Page {
        alignas(64) Word ready;
        alignas(64) Word ping; /* written by the measuring side */
        alignas(64) Word pong; /* written by the peer */
        alignas(64) Index produced;
        alignas(64) Index consumed;
};
static constexpr std::size_t page_size = 4096;

static int core_of(const std::string &argument)
{
        return std::atoi(argument.c_str());
}

/* ---- cache line ------------------------------------------------------------------------------------------- */

static void spin_until(const Word &word, std::uint32_t value)
{
        while (word.load(std::memory_order_acquire) != value)
                ;
}

static int echo_by_spinning(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        Page *page = shared.as<Page>();
        pin(cores().server);
        page->ready = 1;
        for (std::uint32_t i = 1;; i++) {
                spin_until(page->ping, i);
                page->pong.store(i, std::memory_order_release);
        }
}
static const Role echo_by_spinning_role("echo-by-spinning", echo_by_spinning);

void floor_cacheline(benchmark::State &state)
{
        const Shared shared(page_size);
        Page *page = shared.as<Page>();
        const Process peer("echo-by-spinning", { shared.fd() });
        peer.await(page->ready);
        const Pinned pinned(cores().client);
        std::uint32_t i = 0;
        const auto round_trip = [&] {
                page->ping.store(++i, std::memory_order_release);
                spin_until(page->pong, i);
                return true;
        };
        warm_up(round_trip);
        sample(state, 100, round_trip);
}

/* ---- futex ------------------------------------------------------------------------------------------------ */

static long futex(Word *word, int operation, std::uint32_t value)
{
        return syscall(SYS_futex, word, operation, value, nullptr, nullptr, 0);
}

static void sleep_until(Word *word, std::uint32_t value)
{
        while (word->load(std::memory_order_acquire) != value)
                futex(word, FUTEX_WAIT, value - 1);
}

static void set_and_wake(Word *word, std::uint32_t value)
{
        word->store(value, std::memory_order_release);
        futex(word, FUTEX_WAKE, 1);
}

static int echo_by_sleeping(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        Page *page = shared.as<Page>();
        pin(core_of(arguments[1]));
        page->ready = 1;
        for (std::uint32_t i = 1;; i++) {
                sleep_until(&page->ping, i);
                set_and_wake(&page->pong, i);
        }
}
static const Role echo_by_sleeping_role("echo-by-sleeping", echo_by_sleeping);

static void floor_futex(benchmark::State &state, int peer_core)
{
        const Shared shared(page_size);
        Page *page = shared.as<Page>();
        const Process peer("echo-by-sleeping", { shared.fd(), std::to_string(peer_core) });
        peer.await(page->ready);
        const Pinned pinned(cores().client);
        std::uint32_t i = 0;
        const auto round_trip = [&] {
                set_and_wake(&page->ping, ++i);
                sleep_until(&page->pong, i);
                return true;
        };
        warm_up(round_trip);
        sample(state, 1, round_trip);
}

void floor_futex_two_cores(benchmark::State &state)
{
        floor_futex(state, cores().server);
}

void floor_futex_one_core(benchmark::State &state)
{
        floor_futex(state, cores().client);
}

/* ---- memcpy ----------------------------------------------------------------------------------------------- */

static int batch_for(std::size_t size)
{
        return size <= 4096 ? 100 : size <= 65536 ? 10 : 1;
}

void floor_memcpy(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        const Shared shared(page_size + size);
        const std::vector<char> source(size, 1);
        const Pinned pinned(cores().client);
        const auto copy = [&] {
                std::memcpy(shared.as<char>(page_size), source.data(), size);
                benchmark::ClobberMemory();
                return true;
        };
        warm_up(copy);
        sample(state, batch_for(size), copy);
}

static int echo_by_copying(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        const std::size_t size = std::stoul(arguments[1]);
        const std::vector<char> source(size, 2);
        Page *page = shared.as<Page>();
        pin(cores().server);
        page->ready = 1;
        for (std::uint32_t i = 1;; i++) {
                spin_until(page->ping, i);
                std::memcpy(shared.as<char>(page_size + size), source.data(), size);
                page->pong.store(i, std::memory_order_release);
        }
}
static const Role echo_by_copying_role("echo-by-copying", echo_by_copying);

void floor_two_memcpys(benchmark::State &state)
{
        const auto size = static_cast<std::size_t>(state.range(0));
        const Shared shared(page_size + 2 * size);
        Page *page = shared.as<Page>();
        const std::vector<char> source(size, 1);
        const Process peer("echo-by-copying", { shared.fd(), std::to_string(size) });
        peer.await(page->ready);
        const Pinned pinned(cores().client);
        std::uint32_t i = 0;
        const auto round_trip = [&] {
                std::memcpy(shared.as<char>(page_size), source.data(), size);
                page->ping.store(++i, std::memory_order_release);
                spin_until(page->pong, i);
                return true;
        };
        warm_up(round_trip);
        sample(state, batch_for(size), round_trip);
}

/* ---- ring ------------------------------------------------------------------------------------------------- */

struct alignas(64) Record {
        std::uint64_t words[8];
};
static constexpr std::uint64_t ring_records = 512; /* 32 KiB, as Baton's rings */

static int consume(const std::vector<std::string> &arguments)
{
        const Shared shared = Shared::inherit(arguments[0]);
        Page *page = shared.as<Page>();
        const Record *ring = shared.as<Record>(page_size);
        pin(cores().server);
        page->ready = 1;
        std::uint64_t produced = 0; /* as last seen: its line is only fetched when this side has caught up */
        for (std::uint64_t i = 0;; i++) {
                while (produced == i)
                        produced = page->produced.load(std::memory_order_acquire);
                Record record = ring[i % ring_records];
                benchmark::DoNotOptimize(record);
                if (record.words[0] != i || record.words[7] != i)
                        die("record %llu of the bare ring is damaged", static_cast<unsigned long long>(i));
                page->consumed.store(i + 1, std::memory_order_release);
        }
}
static const Role consume_role("consume", consume);

void floor_spsc(benchmark::State &state)
{
        const Shared shared(page_size + ring_records * sizeof(Record));
        Page *page = shared.as<Page>();
        Record *ring = shared.as<Record>(page_size);
        const Process peer("consume", { shared.fd() });
        peer.await(page->ready);
        const Pinned pinned(cores().client);
        std::uint64_t i = 0;
        std::uint64_t consumed = 0;
        const auto produce = [&] {
                while (i - consumed == ring_records)
                        consumed = page->consumed.load(std::memory_order_acquire);
                ring[i % ring_records] = Record{ { i, i, i, i, i, i, i, i } };
                page->produced.store(++i, std::memory_order_release);
                return true;
        };
        warm_up(produce);
        sample(state, 100000, produce); /* many laps of the ring: the pace comes in bursts */
        state.counters["per_second"] = 1e9 / state.counters["median_ns"];
}

} // namespace perf
