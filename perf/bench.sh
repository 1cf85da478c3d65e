#!/bin/sh
# bench.sh BUILDDIR [--quick] [--rounds N]: runs every benchmark N times in turn (5; with --quick 2, and fewer payload
# sizes), writes BUILDDIR/bench/results.json and prints the figures beside their targets. Informational: it fails where a
# benchmark cannot run, never because one is slow.
set -eu

usage() {
        echo "usage: perf/bench.sh BUILDDIR [--quick] [--rounds N]" >&2
        exit 2
}

[ $# -ge 1 ] || usage
build=$1
shift
rounds=
seconds=0.2
sizes='.*'
while [ $# -gt 0 ]; do
        case $1 in
        --quick)
                rounds=${rounds:-2}
                seconds=0.05
                sizes='(/64|/1048576|64B)$'
                ;;
        --rounds)
                [ $# -ge 2 ] || usage
                rounds=$2
                shift
                ;;
        *) usage ;;
        esac
        shift
done
rounds=${rounds:-5}
[ "$rounds" -ge 1 ] 2>/dev/null || usage

programs="unary observe wake payload throughput stream async oneway fairness idle codec"
for program in $programs steady; do
        if [ ! -x "$build/perf/bench_$program" ]; then
                echo "bench.sh: $build/perf/bench_$program is not built: configure with -DBATON_BUILD_PERF=ON" \
                        "(needs libbenchmark-dev), then build" >&2
                exit 1
        fi
done

out=$build/bench
rm -rf "$out"
mkdir -p "$out"
failed=

# run NAME COMMAND…: keeps going where one fails, so that the others' figures are not lost.
run() {
        name=$1
        shift
        if ! "$@" >"$out/log" 2>&1; then
                echo "bench.sh: $name failed: $(tail -n 1 "$out/log")" >&2
                failed="$failed $name (round $round)"
        fi
}

progress() {
        echo "bench: round $round of $rounds: $1" >&2
}

# The floors run inside each program, next to what is compared with them; a round runs every program once.
benchmarks() {
        for program in $programs; do
                progress "$program"
                filter='.*'
                [ "$program" != payload ] || filter=$sizes
                run "$program" "$build/perf/bench_$program" "--benchmark_filter=$filter" \
                        "--benchmark_min_time=$seconds" \
                        "--benchmark_out=$out/$program.$round.json" --benchmark_out_format=json
        done
}

# System calls of both processes, start and end included: the difference of two runs is that of the calls. Counted by
# the kernel's tracepoint, which does not slow them: under strace both sides would sleep all the time.
count_system_calls() {
        perf stat -e raw_syscalls:sys_enter -x, -o "$out/perf" "$build/perf/bench_steady" "$2" >/dev/null &&
                awk -F, -v calls="$2" '/sys_enter/ && $1 + 0 { print "{\"calls\": " calls ", \"syscalls\": " $1 "}" }' \
                        "$out/perf" >"$out/syscalls.$1.$round.json"
}

steady() {
        progress steady
        run steady "$build/perf/bench_steady" 100000
        mv "$out/log" "$out/steady.$round.json"
        if perf stat -e raw_syscalls:sys_enter true >/dev/null 2>&1; then
                run perf count_system_calls few 100000
                run perf count_system_calls many 5100000
        else
                echo "bench.sh: perf cannot count system calls here (linux-perf, and access to tracepoints)" >&2
        fi
}

round=1
while [ "$round" -le "$rounds" ]; do
        benchmarks
        steady
        round=$((round + 1))
done

python3 "$(dirname "$0")/report.py" "$out"
if [ -n "$failed" ]; then
        echo "bench.sh: these failed:$failed" >&2
        exit 1
fi
