#!/usr/bin/env bash
# What a thousand slow clients cost the honest, in about three minutes: heads, bodies and answers at a byte a second, and
# connections that ask nothing, all from the address of one of the honest, so that its limit is reached as well. Fails if
# an honest p99 more than doubles. Needs taskset and two processors; the gate has one of them to itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly COUNT=${COUNT:-1000} ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-8}

. benches/gate.sh
need "util-linux curl" taskset curl
ulimit -n "$(ulimit -Hn)"

# GATE names a program that is built already; PROFILE=dev measures without optimisation.
peer=$(bench peer) slow=$(bench slow_clients)
build_gate

mkfifo "$dir/out"
taskset -c 1 "$peer" upstream >"$dir/out" &
children+=("$!")
read -r upstream <"$dir/out"
run_gate "$upstream"

met=yes
taskset -c 1 "$slow" "127.0.0.1:$gate_port" "$COUNT" "$ROUNDS" "$SECONDS_EACH" || met=no
curl -sS --noproxy '*' "http://$admin/metrics" | grep -E '^resetgate_(open|evicted|refused|slow)_connections'
awk '/^VmHWM/ { printf "resident memory at most %.1f MB\n", $2 / 1024 }' "/proc/$gate_pid/status"
[[ $met == yes ]]
