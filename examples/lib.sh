# What demo.sh and the tests share: a private place for sockets, servers that are surely stopped, messages.
# shellcheck shell=bash
# Sourced with BUILDDIR as the first argument.
set -euo pipefail

if [[ $# -ne 1 || ! -d ${1:-} ]]; then
        echo "usage: $0 BUILDDIR" >&2
        exit 2
fi
bin=$1/examples
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/baton-examples.XXXXXX")
export XDG_RUNTIME_DIR=$scratch
export bin examples
declare -A servers=() # process id by program

fail() {
        printf '%s: FAILED: %s\n' "$0" "$*" >&2
        local log
        for log in $(find "$scratch" -name '*.log' | sort); do
                tail -n 5 "$log" | sed "s|^|  $(basename "$log"): |" >&2
        done
        exit 1
}

# Runs at every exit; kill -9 only reaches servers that stop_server did not.
clean_up() {
        local pid
        for pid in "${servers[@]}"; do
                kill -9 "$pid" 2>/dev/null || true
        done
        rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# start_server PAIR [ARGUMENTS…]: returns once the server listens. What it says goes to ${logs[PAIR]}.
# shellcheck disable=SC2034  # for those that source this
declare -A logs=()
started=0
start_server() {
        local name=$1-server log=$scratch/$1-server-$((++started)).log
        [[ -x $bin/$1/$name ]] || fail "$bin/$1/$name is not built"
        "$bin/$1/$name" "${@:2}" 2>"$log" &
        servers[$name]=$!
        # shellcheck disable=SC2034
        logs[$1]=$log
        for _ in {1..500}; do
                grep -qs ': serving ' "$log" && return
                kill -0 "${servers[$name]}" 2>/dev/null || fail "$name ended at its start"
                sleep 0.01
        done
        fail "$name did not begin to serve within 5 s"
}

# restart_server PAIR [ARGUMENTS…]: a new one takes over from the running one, which ends when its clients have left it.
restart_server() {
        local pid=${servers[$1-server]} status=0
        start_server "$1" --takeover "${@:2}"
        wait "$pid" || status=$?
        [[ $status -eq 0 ]] || fail "the former $1-server ended with status $status"
}

# stop_server PAIR: asks the server to end, and expects that it does so with status 0.
stop_server() {
        local name=$1-server pid=${servers[$1-server]} status=0
        kill -TERM "$pid"
        for _ in {1..500}; do
                kill -0 "$pid" 2>/dev/null || break
                sleep 0.01
        done
        ! kill -0 "$pid" 2>/dev/null || fail "$name still runs 5 s after SIGTERM"
        wait "$pid" || status=$?
        unset "servers[$name]"
        [[ $status -eq 0 ]] || fail "$name ended with status $status"
}

# expect_error TEXT COMMAND…: the command must fail with status 1 and name TEXT on stderr.
expect_error() {
        local text=$1 status=0 output
        shift
        output=$("$@" 2>&1 >/dev/null) || status=$?
        [[ $status -eq 1 ]] || fail "'$*' ended with status $status instead of 1"
        [[ $output == *"$text"* ]] || fail "'$*' said '$output' instead of '$text'"
}

# wait_for TEXT FILE: until the file, a new one, has the text.
wait_for() {
        local _
        for _ in {1..500}; do
                grep -qs -- "$1" "$2" && return
                sleep 0.01
        done
        fail "no '$1' in $2 within 5 s"
}
