#!/usr/bin/env bash
# resetgate beside bare Pingora, in about 90 s: what it costs to answer the reset's GET and to pass a request, what it
# weighs at rest, and that a large body passes without being kept. Needs wrk, taskset and two processors; what is
# measured has one of them to itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly RUNS=${RUNS:-3} SECONDS_EACH=${SECONDS_EACH:-5} GIB=$((1 << 30))
readonly RESET=/openidm/selfservice/reset

for tool in wrk taskset curl; do
    command -v "$tool" >/dev/null || { echo "compare: $tool is missing (apt-get install wrk util-linux curl)" >&2; exit 1; }
done
export no_proxy=127.0.0.1

# GATE and PEER name programs that are built already, such as of another version.
gate=${GATE-} peer=${PEER-}
if [[ -z $gate ]]; then
    cargo build --locked --release --bin resetgate
    gate=${CARGO_TARGET_DIR:-target}/release/resetgate
fi
if [[ -z $peer ]]; then
    peer=$(cargo build --locked --release --bench peer --message-format=json |
        sed -n 's/.*"name":"peer".*"executable":"\([^"]*\)".*/\1/p')
fi

dir=$(mktemp -d)
children=()
end() {
    # Pingora's own server would take five minutes to end on anything less.
    kill -KILL "${children[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap end EXIT

# Starts a peer on a processor. Its port: $port, its process: $pid.
start() { # processor, arguments
    mkfifo "$dir/out"
    taskset -c "$1" "$peer" "${@:2}" >"$dir/out" 2>"$dir/log" &
    pid=$!
    children+=("$pid")
    read -r port <"$dir/out"
    rm "$dir/out"
    curl -sS --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null "http://127.0.0.1:$port/"
}

start 1 upstream
upstream=$port

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
mkfifo "$dir/log.gate"
BENCH_PASSWORD=x taskset -c 0 "$gate" run --config "$dir/resetgate.toml" 2>"$dir/log.gate" &
gate_pid=$!
children+=("$gate_pid")
exec 9<"$dir/log.gate"
while read -r line <&9; do
    gate_port=$(sed -n 's/.*"addresses":"127.0.0.1:\([0-9]*\)".*/\1/p' <<<"$line")
    [[ -z $gate_port ]] || break
done
cat <&9 >/dev/null &
rss() { awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
at_rest=$(rss "$gate_pid")

curl -sS -o "$dir/get" "http://127.0.0.1:$gate_port$RESET"
start 0 constant "$(stat -c %s "$dir/get")"
constant_port=$port constant_pid=$pid
start 0 proxy "127.0.0.1:$upstream"
proxy_port=$port proxy_pid=$pid

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; } # 10 ms each
# One run: appends requests per second, and processor microseconds per request, to $dir/NAME.
measure() { # name, port, process, path
    local before out
    before=$(ticks "$3")
    out=$(taskset -c 1 wrk -t1 -c32 "-d${SECONDS_EACH}s" "http://127.0.0.1:$2$4")
    if grep -E "Non-2xx|Socket errors" <<<"$out" >&2; then
        echo "compare: $1 failed" >&2
        exit 1
    fi
    awk -v used="$(($(ticks "$3") - before))" '/requests in/ { n = $1 } /Requests\/sec/ { print $2, used * 10000 / n }' \
        <<<"$out" >>"$dir/$1"
}
for ((run = 0; run < RUNS; run++)); do
    measure constant "$constant_port" "$constant_pid" /
    measure get "$gate_port" "$gate_pid" "$RESET"
    measure proxy "$proxy_port" "$proxy_pid" /openidm/info/ping
    measure passed "$gate_port" "$gate_pid" /openidm/info/ping
done

median() { sort -n -k "$2,$2" "$dir/$1" | awk -v column="$2" '{ all[NR] = $column } END { print all[int((NR + 1) / 2)] }'; }
row() { printf '%-42s %8.0f req/s %7.1f µs of processor a request\n' "$2" "$(median "$1" 1)" "$(median "$1" 2)"; }
ratio() { # ours, theirs, target
    awk -v a="$(median "$1" 1)" -v b="$(median "$2" 1)" -v c="$(median "$1" 2)" -v d="$(median "$2" 2)" -v t="$3" \
        'BEGIN { printf "  ratio %.2f (target %.1f: %s), by processor time %.2f\n", a / b, t, (a / b >= t ? "met" : "MISSED"), d / c }'
}
row constant "bare Pingora, a constant of the same size"
row get "resetgate, the reset's GET"
ratio get constant 0.5
row proxy "bare Pingora proxy"
row passed "resetgate, a passed GET"
ratio passed proxy 0.9
echo "resident memory: $at_rest MB at rest (target 30), $(rss "$gate_pid") MB after the load"

before=$(rss "$gate_pid")
down=$(curl -sS -o /dev/null -w '%{size_download} %{speed_download}' "http://127.0.0.1:$gate_port/zeros/$GIB")
[[ ${down% *} == "$GIB" ]] || { echo "compare: ${down% *} bytes came down" >&2; exit 1; }
between=$(rss "$gate_pid")
truncate -s "$GIB" "$dir/zeros" # a hole: nothing is stored
cat "$dir/zeros" >/dev/null     # and read once, which takes longer than the upload
up=$(curl -sS -T "$dir/zeros" -H 'Expect:' -o /dev/null -w '%{http_code} %{size_upload} %{speed_upload}' "http://127.0.0.1:$gate_port/up")
[[ $up == "200 $GIB "* ]] || { echo "compare: upload: $up" >&2; exit 1; }
awk -v d="${down#* }" -v u="${up##* }" -v a="$before" -v b="$between" -v c="$(rss "$gate_pid")" \
    'BEGIN { printf "1 GiB down %.0f MB/s, up %.0f MB/s: %s MB resident before, %s between, %s after\n", d / 1e6, u / 1e6, a, b, c }'
