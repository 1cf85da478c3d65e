/* All floors by themselves: how quiet, and how fast, is this machine? Not part of bench.sh. */
#include "floors.h"

namespace perf
{

BENCHMARK(floor_cacheline)->Name("floor/cacheline");
BENCHMARK(floor_futex_two_cores)->Name("floor/futex_two_cores");
BENCHMARK(floor_futex_one_core)->Name("floor/futex_one_core");
BENCHMARK(floor_memcpy)->Name("floor/memcpy")->RangeMultiplier(16)->Range(64, 64 << 20);
BENCHMARK(floor_two_memcpys)->Name("floor/two_memcpys")->RangeMultiplier(16)->Range(64, 64 << 20);
BENCHMARK(floor_spsc)->Name("floor/spsc");

} // namespace perf
