# shellcheck shell=bash
# What the measurements share: programs, a folder and children that end with the script, and the gate that is measured.
# To be sourced, at the repository's root.

profile=${PROFILE:-release}

# Needs these programs; the packages that bring them are said.
need() { # packages, programs
    local tool
    for tool in "${@:2}"; do
        command -v "$tool" >/dev/null || { echo "$(basename "$0" .sh): $tool is missing (apt-get install $1)" >&2; exit 1; }
    done
}

# Builds a bench, and says where it is.
bench() { # name
    cargo build --locked --profile "$profile" --bench "$1" --message-format=json |
        sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p'
}

# Builds the gate, unless GATE names one that is built already. Where it is: $gate.
build_gate() {
    gate=${GATE-}
    if [[ -z $gate ]]; then
        cargo build --locked --profile "$profile" --bin resetgate
        gate=${CARGO_TARGET_DIR:-target}/$([[ $profile == dev ]] && echo debug || echo "$profile")/resetgate
    fi
}

dir=$(mktemp -d)
children=()
end() {
    # Pingora's own server would take five minutes to end on anything less.
    kill -KILL "${children[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap end EXIT

# Writes its configuration: $dir/resetgate.toml.
configure_gate() { # the upstream's port; more addresses, each after a comma; more of [listen]
    cat >"$dir/resetgate.toml" <<TOML
[listen]
addresses = ["127.0.0.1:0"${2-}]
${3-}
[admin]
address = "127.0.0.1:0"
[upstream]
url = "http://127.0.0.1:$1"
[identity]
kind = "crest"
url = "http://127.0.0.1:$1/openidm"
auth = { kind = "openidm", username = "resetgate", password = "env:BENCH_PASSWORD" }
[reset]
process = "selfservice-reset.json"
[token]
ephemeral = true
[limits]
client = "1000000/1s" # counted as usual, and never refused
TOML
    cp conf/selfservice-reset.json "$dir/"
}

# Runs it on processor 0. Its port: $gate_port, all its addresses: $addresses, that of operators: $admin, its process:
# $gate_pid.
run_gate() { # as configure_gate
    configure_gate "$@"
    mkfifo "$dir/log.gate"
    BENCH_PASSWORD=x taskset -c 0 "$gate" run --config "$dir/resetgate.toml" 2>"$dir/log.gate" &
    gate_pid=$!
    children+=("$gate_pid")
    exec 9<"$dir/log.gate"
    local line
    while read -r line <&9; do
        addresses=$(sed -n 's/.*"addresses":"\([^"]*\)".*/\1/p' <<<"$line")
        gate_port=$(sed -n 's/.*"addresses":"127.0.0.1:\([0-9]*\)[",].*/\1/p' <<<"$line")
        admin=$(sed -n 's/.*"admin":"\([^"]*\)".*/\1/p' <<<"$line")
        [[ -z $gate_port ]] || break
    done
    cat <&9 >/dev/null &
}
