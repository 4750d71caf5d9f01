#!/usr/bin/env bash
# What a thousand slow clients cost the honest, in about three minutes: heads, bodies and answers at a byte a second, and
# connections that ask nothing, all from the address of one of the honest, so that its limit is reached as well. Fails if
# an honest p99 more than doubles. Needs taskset and two processors; the gate has one of them to itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly COUNT=${COUNT:-1000} ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-8}

for tool in taskset curl; do
    command -v "$tool" >/dev/null || { echo "slow_clients: $tool is missing (apt-get install util-linux curl)" >&2; exit 1; }
done
ulimit -n "$(ulimit -Hn)"

# GATE names a program that is built already; PROFILE=dev measures without optimisation.
profile=${PROFILE:-release}
bench() { # name
    cargo build --locked --profile "$profile" --bench "$1" --message-format=json |
        sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p'
}
peer=$(bench peer) slow=$(bench slow_clients) gate=${GATE-}
if [[ -z $gate ]]; then
    cargo build --locked --profile "$profile" --bin resetgate
    gate=${CARGO_TARGET_DIR:-target}/$([[ $profile == dev ]] && echo debug || echo "$profile")/resetgate
fi

dir=$(mktemp -d)
children=()
end() {
    kill -KILL "${children[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap end EXIT

mkfifo "$dir/out" "$dir/log"
taskset -c 1 "$peer" upstream >"$dir/out" &
children+=("$!")
read -r upstream <"$dir/out"

cat >"$dir/resetgate.toml" <<TOML
[listen]
addresses = ["127.0.0.1:0"]
[admin]
address = "127.0.0.1:0"
[upstream]
url = "http://127.0.0.1:$upstream"
[identity]
kind = "crest"
url = "http://127.0.0.1:$upstream/openidm"
auth = { kind = "openidm", username = "resetgate", password = "env:BENCH_PASSWORD" }
[reset]
process = "selfservice-reset.json"
[token]
ephemeral = true
[limits]
client = "1000000/1s" # counted as usual, and never refused
TOML
cp conf/selfservice-reset.json "$dir/"
BENCH_PASSWORD=x taskset -c 0 "$gate" run --config "$dir/resetgate.toml" 2>"$dir/log" &
gate_pid=$!
children+=("$gate_pid")
exec 9<"$dir/log"
while read -r line <&9; do
    port=$(sed -n 's/.*"addresses":"127.0.0.1:\([0-9]*\)".*/\1/p' <<<"$line")
    admin=$(sed -n 's/.*"admin":"\([^"]*\)".*/\1/p' <<<"$line")
    [[ -z $port ]] || break
done
cat <&9 >/dev/null &

met=yes
taskset -c 1 "$slow" "127.0.0.1:$port" "$COUNT" "$ROUNDS" "$SECONDS_EACH" || met=no
curl -sS --noproxy '*' "http://$admin/metrics" | grep -E '^resetgate_(open|evicted|refused|slow)_connections'
awk '/^VmHWM/ { printf "resident memory at most %.1f MB\n", $2 / 1024 }' "/proc/$gate_pid/status"
[[ $met == yes ]]
