#!/usr/bin/env python3
"""report.py DIR: reads what bench.sh left in DIR, writes DIR/results.json, prints a Markdown table.

A ratio is taken within each round, of figures of one program's run, and the median over the rounds is reported: what
disturbs a round disturbs both sides of it.
"""
import datetime
import glob
import json
import os
import platform
import statistics
import sys


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):  # a program that failed; bench.sh has said so
        return None


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


class Round:
    """The figures of one round, by program, benchmark and counter."""

    def __init__(self, directory, number):
        self.programs = {}
        self.contexts = []
        for path in glob.glob(f"{directory}/*.{number}.json"):
            content = load(path)
            name = os.path.basename(path)[: -len(f".{number}.json")]
            if content and "benchmarks" in content:
                self.contexts.append(content["context"])
                self.programs[name] = {bare_name(b): b for b in content["benchmarks"] if not b.get("error_occurred")}
            elif content:
                self.programs[name] = {"": content}

    def get(self, program, benchmark="", counter="median_ns"):
        return self.programs.get(program, {}).get(benchmark, {}).get(counter)

    def ratio(self, program, subject, floor, counter="median_ns"):
        over, under = self.get(program, subject, counter), self.get(program, floor, counter)
        return over / under if over is not None and under else None

    def mallocs_per_call(self):
        mallocs = self.get("steady", counter="mallocs")
        return mallocs / self.get("steady", counter="calls") if mallocs is not None else None

    def syscalls_per_call(self):
        few, many = "syscalls.few", "syscalls.many"
        if self.get(few, counter="syscalls") is None or self.get(many, counter="syscalls") is None:
            return None
        calls = self.get(many, counter="calls") - self.get(few, counter="calls")
        return max(0, self.get(many, counter="syscalls") - self.get(few, counter="syscalls")) / calls


def bare_name(benchmark):
    return benchmark["name"].replace("/real_time", "").split("/iterations:")[0]


def at_most(limit):
    return f"≤ {limit:g}", lambda value, _: value <= limit


def rate_or_share(rate, per_second, share, part):
    """Either will do: so many a second, or that part of what a bare ring carries."""
    def met(_, ratios):
        return (ratios[rate] or 0) >= per_second or (ratios[share] or 0) >= 1 / part

    return (f"≥ {per_second:,.0f}, or the next", met), (f"≥ 1/{part} ({1 / part:.3f}), or the last", met)


THROUGHPUT = rate_or_share("throughput_64_calls_per_s", 5e6, "throughput_64_over_spsc_floor", 12)
STREAM_UP = rate_or_share("stream_up_per_s", 1e7, "stream_up_over_spsc_floor", 7)
STREAM_DOWN = rate_or_share("stream_down_per_s", 1e7, "stream_down_over_spsc_floor", 7)


def fairness(flood, work_ns):
    name = f"fairness/{flood}/work_ns:{work_ns}"
    return lambda r: r.get("fairness", name, "ratio")


# name: (what it is, how a round yields it, (target, whether it is met))
RATIOS = {
    "unary_64B_over_cacheline_floor": (
        "64 B unary, both spinning ÷ cache-line ping-pong",
        lambda r: r.ratio("unary", "unary/64B", "floor/cacheline"), at_most(4)),
    "unary_sleeping_over_futex_floor": (
        "64 B unary, both asleep ÷ futex ping-pong, two cores",
        lambda r: r.ratio("wake", "wake/64B", "floor/futex_two_cores"), at_most(1.2)),
    "unary_1MiB_ref_over_64B": (
        "1 MiB by reference ÷ 64 B unary",
        lambda r: r.ratio("payload", "payload/reference/1048576", "unary/64B"), at_most(2)),
    "copy_1MiB_over_two_memcpys": (
        "1 MiB by copy ÷ two memcpys",
        lambda r: r.ratio("payload", "payload/copy/1048576", "floor/two_memcpys/1048576"), at_most(1.3)),
    "throughput_64_calls_per_s": (
        "calls/s, 64 in flight, 64 B, one client",
        lambda r: r.get("throughput", "throughput/in_flight/64", "per_second"), THROUGHPUT[0]),
    "throughput_64_over_spsc_floor": (
        "the same ÷ records/s of a bare SPSC ring",
        lambda r: r.ratio("throughput", "throughput/in_flight/64", "floor/spsc", "per_second"), THROUGHPUT[1]),
    "clients_8_over_1": (
        "calls/s of 8 clients ÷ of 1",
        lambda r: r.ratio("throughput", "throughput/clients/8", "throughput/clients/1", "per_second"),
        ("≥ 0.5", lambda value, _: value >= 0.5)),
    "stream_up_per_s": (
        "64 B messages/s in a stream to the server",
        lambda r: r.get("stream", "stream/up", "per_second"), STREAM_UP[0]),
    "stream_up_over_spsc_floor": (
        "the same ÷ records/s of a bare SPSC ring",
        lambda r: r.ratio("stream", "stream/up", "floor/spsc", "per_second"), STREAM_UP[1]),
    "stream_down_per_s": (
        "64 B messages/s in a stream from the server",
        lambda r: r.get("stream", "stream/down", "per_second"), STREAM_DOWN[0]),
    "stream_down_over_spsc_floor": (
        "the same ÷ records/s of a bare SPSC ring",
        lambda r: r.ratio("stream", "stream/down", "floor/spsc", "per_second"), STREAM_DOWN[1]),
    "stream_up_1MiB_over_4KiB": (
        "1 MiB by reference ÷ 4 KiB, in a stream to the server",
        lambda r: r.ratio("stream", "stream/up_reference/1048576", "stream/up_reference/4096"), at_most(1.2)),
    "stream_down_1MiB_over_4KiB": (
        "the same from the server",
        lambda r: r.ratio("stream", "stream/down_reference/1048576", "stream/down_reference/4096"), at_most(1.2)),
    "stream_ping_pong_over_unary": (
        "a message there and one back in a stream ÷ 64 B unary",
        lambda r: r.ratio("stream", "stream/ping_pong", "unary/64B"), None),
    "stream_open_and_end_ns": (
        "opening a stream and ending it (ns)",
        lambda r: r.get("stream", "stream/open_and_end"), None),
    "async_1_over_blocking": (
        "asynchronous 64 B unary, one in flight ÷ blocking",
        lambda r: r.get("async", "async/1", "ratio"), at_most(1.3)),
    "async_64_over_blocking": (
        "time a call, 64 in flight on a loop ÷ 64 blocking threads",
        lambda r: r.get("async", "async/64", "ratio"), at_most(1)),
    "oneway_calls_per_s": (
        "one-way 64 B calls/s",
        lambda r: r.get("oneway", "oneway/64B", "per_second"), None),
    "fairness_loop": (
        "a quiet client's p99 beside 64 in flight of another ÷ alone",
        fairness("in_flight:64/threads:0", 0), at_most(2)),
    "fairness_loop_20us": (
        "the same, calls of 20 µs",
        fairness("in_flight:64/threads:0", 20000), at_most(2)),
    "fairness_threads": (
        "a quiet client's p99 beside 16 threads of another ÷ alone",
        fairness("in_flight:0/threads:16", 0), at_most(2)),
    "fairness_threads_20us": (
        "the same, calls of 20 µs",
        fairness("in_flight:0/threads:16", 20000), at_most(2)),
    "counters_ratio": (
        "64 B unary with counters ÷ without",
        lambda r: r.get("observe", "observe/64B", "counters_ratio"), at_most(1.05)),
    "interceptors_ratio": (
        "64 B unary with an interceptor on each side ÷ without",
        lambda r: r.get("observe", "observe/64B", "interceptors_ratio"), at_most(1.05)),
    "idle_1000_p50_ratio": (
        "active p50 beside 1,000 idle connections ÷ alone",
        lambda r: r.get("idle", "idle/neighbours", "ratio"), at_most(1.1)),
    "idle_cpu_percent": (
        "CPU when idle: server, 1,000 connections, blocked caller (%)",
        lambda r: r.get("idle", "idle/cost", "cpu_percent"),
        ("0 (< 0.1)", lambda value, _: value < 0.1)),
    "rss_1000_idle_connections_mb": (
        "server's RSS for 1,000 idle connections (MiB)",
        lambda r: r.get("idle", "idle/cost", "rss_mb"), None),
    "shmem_1000_idle_connections_mb": (
        "shared memory for 1,000 idle connections, both sides (MiB)",
        lambda r: r.get("idle", "idle/cost", "shmem_mb"), None),
    "mallocs_per_call": (
        "mallocs per spinning 64 B call, both sides",
        Round.mallocs_per_call, ("0", lambda value, _: value == 0)),
    "syscalls_per_call": (
        "system calls per spinning 64 B call, both sides",
        Round.syscalls_per_call, ("0 (< 0.001)", lambda value, _: value < 0.001)),
}


def aggregate(rounds):
    """The median of every counter of every benchmark."""
    counters = {}
    for one in rounds:
        for program, benchmarks in one.programs.items():
            for benchmark, values in benchmarks.items():
                name = f"{program}: {benchmark}" if benchmark else program
                for counter, value in values.items():
                    if isinstance(value, (int, float)) and counter not in GOOGLE_BENCHMARKS_OWN:
                        counters.setdefault(name, {}).setdefault(counter, []).append(value)
    return {name: {c: median(v) for c, v in sorted(all.items())} for name, all in sorted(counters.items())}


GOOGLE_BENCHMARKS_OWN = {
    "family_index", "per_family_instance_index", "repetitions", "repetition_index", "threads", "iterations",
    "real_time", "cpu_time",
}


def machine(rounds):
    context = next((c for one in rounds for c in one.contexts), {})
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "cores_used": context.get("cores"),
        "build": context.get("build"),
        "kernel": platform.release(),
        "load_before": context.get("load_avg"),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "rounds": len(rounds),
    }


def show(value):
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def print_table(results):
    about = results["machine"]
    print(f"\n{about['cpu']}, {about['cpus']} CPUs (used: {about['cores_used']}), Linux {about['kernel']}, "
          f"{about['build']} build, {about['date']}, medians of {about['rounds']} rounds\n")
    if about["build"] not in ("Release", "RelWithDebInfo"):
        print("**Not an optimised build: these figures mean nothing.**\n")
    print("| what | measured | min–max | target | verdict |\n|---|---|---|---|---|")
    for name, (what, _, target) in RATIOS.items():
        value, spread = results["ratios"][name], results["spread"][name]
        verdict = "" if target is None else "not measured" if value is None else \
            "met" if target[1](value, results["ratios"]) else "**missed**"
        print(f"| {what} | {show(value)} | {'–'.join(map(show, spread))} | {target[0] if target else ''} | {verdict} |")
    print("\n| benchmark | median ns | per second |\n|---|---|---|")
    for name, counters in results["medians"].items():
        if "median_ns" in counters:
            rate = counters.get("per_second")
            print(f"| {name} | {show(counters['median_ns'])} | {show(rate) if rate else ''} |")


def main():
    directory = sys.argv[1]
    numbers = sorted({path.split(".")[-2] for path in glob.glob(f"{directory}/*.json") if path.count(".")
                      and path.split(".")[-2].isdigit()}, key=int)
    rounds = [Round(directory, number) for number in numbers]
    values = {name: [how(one) for one in rounds] for name, (_, how, _) in RATIOS.items()}
    known = {name: [v for v in all if v is not None] for name, all in values.items()}
    results = {
        "machine": machine(rounds),
        "ratios": {name: median(all) for name, all in values.items()},
        "spread": {name: [min(all), max(all)] if all else [] for name, all in known.items()},
        "medians": aggregate(rounds),
    }
    with open(f"{directory}/results.json", "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1, ensure_ascii=False)
        file.write("\n")
    print_table(results)


if __name__ == "__main__":
    main()
