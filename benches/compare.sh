#!/usr/bin/env bash
# resetgate beside bare Pingora, in about 90 s: what it costs to answer the reset's GET and to pass a request, what it
# weighs at rest, and that a large body passes without being kept. Needs wrk, taskset and two processors; what is
# measured has one of them to itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly RUNS=${RUNS:-3} SECONDS_EACH=${SECONDS_EACH:-5} GIB=$((1 << 30))
readonly RESET=/openidm/selfservice/reset

. benches/gate.sh
need "wrk util-linux curl" wrk taskset curl
export no_proxy=127.0.0.1

# GATE and PEER name programs that are built already, such as of another version.
build_gate
peer=${PEER-}
[[ -n $peer ]] || peer=$(bench peer)

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

run_gate "$upstream"
rss() { awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
at_rest=$(rss "$gate_pid")

curl -sS -o "$dir/answer" "http://127.0.0.1:$gate_port$RESET"
start 0 constant "$(stat -c %s "$dir/answer")"
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
