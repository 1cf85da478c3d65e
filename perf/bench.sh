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

programs="unary wake payload throughput idle codec"
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

# System calls of both processes, start and end included: the difference of two runs is that of the calls.
count_system_calls() {
        strace -f -c -o "$out/strace" "$build/perf/bench_steady" "$1" &&
                awk -v calls="$1" '$NF == "total" { print "{\"calls\": " calls ", \"syscalls\": " $4 "}" }' \
                        "$out/strace" >"$out/syscalls.$1.$round.json"
}

steady() {
        progress steady
        run steady "$build/perf/bench_steady" 100000
        mv "$out/log" "$out/steady.$round.json"
        if command -v strace >/dev/null; then
                run strace count_system_calls 10000
                run strace count_system_calls 110000
        else
                echo "bench.sh: strace is not installed: system calls are not counted" >&2
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
