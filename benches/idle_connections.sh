#!/usr/bin/env bash
# What an idle connection weighs in the gate, after one request that passed and one for the reset: plain HTTP/1.1, HTTP/2,
# and both over TLS. Fails above MOST_KB; above MOST_HTTP2_KB for HTTP/2, of which h2 allocates 28 for each connection as
# it begins (16 to write, 8 to read, 4 for heads) and keeps them. Also what the gate is at rest, and when it was ready.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly COUNT=${COUNT:-1000} MOST_KB=${MOST_KB:-20} MOST_HTTP2_KB=${MOST_HTTP2_KB:-64}

. benches/gate.sh
need "util-linux python3 openssl" taskset python3 openssl
ulimit -n "$(ulimit -Hn)"

# GATE names a program that is built already; PROFILE=dev measures without optimisation.
build_gate

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 2 \
    -keyout "$dir/key.pem" -out "$dir/chain.pem" 2>/dev/null
mkfifo "$dir/out"
taskset -c 1 python3 benches/idle_connections.py upstream >"$dir/out" &
children+=("$!")
read -r upstream <"$dir/out"

met=yes
for kind in http1 http2 tls-http1 tls-http2; do
    begin=$(date +%s%N)
    run_gate "$upstream" ', "h2c:127.0.0.1:0", "tls:127.0.0.1:0"' "
        max_connections_per_client = $((COUNT + 10))
        idle_timeout = \"1h\"
        [listen.tls]
        certificate = \"chain.pem\"
        key = \"file:key.pem\""
    ready=$((($(date +%s%N) - begin) / 1000000))
    most=$MOST_KB
    [[ $kind != *http2 ]] || most=$MOST_HTTP2_KB
    taskset -c 1 python3 benches/idle_connections.py "$kind" "$addresses" "$gate_pid" "$COUNT" "$most" "$ready" || met=no
    kill -KILL "$gate_pid"
    rm "$dir/log.gate"
done
[[ $met == yes ]]
