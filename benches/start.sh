#!/usr/bin/env bash
# How long a start takes, from the command to the line that says ready, and what the gate weighs then, with a listener of
# TLS that has answered a request. Medians of twenty starts, in about ten seconds. Fails where a target is missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly STARTS=${STARTS:-20} MOST_MS=200 MOST_MB=30

. benches/gate.sh
need "openssl curl" openssl curl

# GATE names a program that is built already; PROFILE=dev measures without optimisation.
build_gate

# Nobody listens on port 1: a start needs nobody.
configure_gate 1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=id.example.com \
    -addext subjectAltName=DNS:id.example.com -keyout "$dir/key.pem" -out "$dir/chain.pem" 2>/dev/null
chmod 600 "$dir/key.pem"
sed -i 's|^addresses = .*|addresses = ["127.0.0.1:0", "tls:127.0.0.1:0"]|' "$dir/resetgate.toml"
cat >>"$dir/resetgate.toml" <<TOML
[listen.tls]
certificate = "chain.pem"
key = "file:key.pem"
TOML

export BENCH_PASSWORD=x
mkfifo "$dir/log"
for ((run = 0; run < STARTS; run++)); do
    begun=${EPOCHREALTIME/./}
    "$gate" run --config "$dir/resetgate.toml" 2>"$dir/log" &
    pid=$!
    children+=("$pid")
    exec 8<"$dir/log"
    port=
    while [[ -z $port ]] && read -r line <&8; do
        port=$(sed -n 's/.*"message":"ready".*tls:127.0.0.1:\([0-9]*\).*/\1/p' <<<"$line")
        ended=${EPOCHREALTIME/./}
    done
    [[ -n $port ]] || { echo "start: it is not ready: $line" >&2; exit 1; }
    curl -sSf --noproxy '*' --cacert "$dir/chain.pem" --resolve "id.example.com:$port:127.0.0.1" -o /dev/null \
        "https://id.example.com:$port/openidm/selfservice/reset"
    awk -v took="$((ended - begun))" '/^VmRSS/ { print took / 1000, $2 / 1024 }' "/proc/$pid/status" >>"$dir/starts"
    kill -INT "$pid"
    wait "$pid"
    exec 8<&-
done

median() { sort -n -k "$1,$1" "$dir/starts" | awk -v column="$1" '{ all[NR] = $column } END { print all[int((NR + 1) / 2)] }'; }
awk -v ms="$(median 1)" -v mb="$(median 2)" -v most_ms="$MOST_MS" -v most_mb="$MOST_MB" -v starts="$STARTS" 'BEGIN {
    printf "%d starts, medians: ready after %.0f ms (target %d: %s), %.1f MB resident with TLS (target %d: %s)\n",
        starts, ms, most_ms, (ms <= most_ms ? "met" : "MISSED"), mb, most_mb, (mb <= most_mb ? "met" : "MISSED")
    exit ms > most_ms || mb > most_mb
}'
