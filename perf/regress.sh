#!/bin/sh
# regress.sh BUILDDIR COMMIT [--rounds N]: has an earlier commit become faster or slower? Builds it with its own benchmarks, in
# BUILDDIR/regress, and runs unary, throughput and payload of both in turns, N times (9). Prints the medians of each benchmark
# that both have, and their ratio. The older one's sources come from git archive: the work tree is left alone.
set -eu

usage() {
        echo "usage: perf/regress.sh BUILDDIR COMMIT [--rounds N]" >&2
        exit 2
}

[ $# -eq 2 ] || { [ $# -eq 4 ] && [ "$3" = --rounds ]; } || usage
build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/.." && pwd)
rounds=${4:-9}
[ "$rounds" -ge 1 ] 2>/dev/null || usage
commit=$(git -C "$source" rev-parse --verify --quiet "$2^{commit}") || {
        echo "regress.sh: there is no commit $2" >&2
        exit 1
}
programs="unary throughput payload"
filter='^(unary|throughput/in_flight)|^payload/.*/(64|1048576)$'
old=$build/regress/$commit

build_old() {
        rm -rf "$old"
        mkdir -p "$old/source"
        git -C "$source" archive "$commit" | tar -x -C "$old/source"
        type=$(sed -n 's/^CMAKE_BUILD_TYPE:[^=]*=//p' "$build/CMakeCache.txt")
        cmake -G Ninja -S "$old/source" -B "$old/build" -DCMAKE_BUILD_TYPE="$type" -DBUILD_TESTING=OFF \
                -DBATON_BUILD_EXAMPLES=OFF -DBATON_BUILD_PERF=ON
        for program in $programs; do
                cmake --build "$old/build" --target "bench_$program"
        done
}

if [ ! -x "$old/build/perf/bench_payload" ]; then
        echo "regress: building $commit" >&2
        build_old >"$build/regress.log" 2>&1 || {
                echo "regress.sh: cannot build $commit: see $build/regress.log" >&2
                exit 1
        }
fi

# run BUILD NAME: one run of each program.
run() {
        for program in $programs; do
                "$1/perf/bench_$program" --benchmark_filter="$filter" --benchmark_min_time=0.1 \
                        --benchmark_out="$out/$2.$program.$round.json" --benchmark_out_format=json >/dev/null 2>"$out/log" || {
                        echo "regress.sh: $1/perf/bench_$program failed: $(tail -n 1 "$out/log")" >&2
                        exit 1
                }
        done
}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
round=1
while [ "$round" -le "$rounds" ]; do
        echo "regress: round $round of $rounds" >&2
        run "$old/build" old
        run "$build" new
        round=$((round + 1))
done

python3 - "$out" "$commit" <<'EOF'
import collections, glob, json, os, statistics, sys

times = collections.defaultdict(lambda: collections.defaultdict(list))
for path in glob.glob(f"{sys.argv[1]}/*.json"):
    version, program = os.path.basename(path).split(".")[:2]
    with open(path, encoding="utf-8") as file:
        for benchmark in json.load(file)["benchmarks"]:
            if "median_ns" in benchmark:
                times[f"{program}: {benchmark['name']}"][version].append(benchmark["median_ns"])
print(f"\n| benchmark | {sys.argv[2][:7]} (ns) | now (ns) | ratio | least ÷ least |\n|---|---|---|---|---|")
for name, of in sorted(times.items()):
    if of["old"] and of["new"]:
        old, new = statistics.median(of["old"]), statistics.median(of["new"])
        print(f"| {name} | {old:,.0f} | {new:,.0f} | {new / old:.3f} | {min(of['new']) / min(of['old']):.3f} |")
EOF
