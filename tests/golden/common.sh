# shellcheck shell=bash disable=SC2034 # the variables are for the scripts that source this
# Sourced by the scripts beside it, with the path of idlc as their first argument. Leaves a scratch directory in $scratch.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
idlc=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# fail MESSAGE: notes a failure and goes on.
fail()
{
        echo "FAIL: $*" >&2
        failures=$((failures + 1))
}

# The exit status of a script that ends with this.
finish()
{
        [ "$failures" -eq 0 ] || { echo "$failures failures" >&2; exit 1; }
}
