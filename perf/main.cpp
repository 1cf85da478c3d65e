/* The main of all benchmark programs: a role where one is asked for, else the registered benchmarks. */
#include "harness.h"

int main(int argc, char **argv)
{
        perf::run_role(argc, argv);
        benchmark::AddCustomContext("cores",
                                    std::to_string(perf::cores().client) + "," + std::to_string(perf::cores().server));
        benchmark::AddCustomContext("build", PERF_BUILD_TYPE);
        benchmark::Initialize(&argc, argv);
        if (benchmark::ReportUnrecognizedArguments(argc, argv))
                return 1;
        benchmark::RunSpecifiedBenchmarks();
        return 0;
}
