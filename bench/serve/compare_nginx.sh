#!/bin/bash
# CPU of one tiny GET beside nginx: both servers with one worker pinned to the same core, the client on
# another, taking turns in one run. Prints each round and the ratio of the medians.
#   bench/serve/compare_nginx.sh [BUILD_DIR] [ROUNDS] [SECONDS]
set -euo pipefail
build=${1:-build/release}
rounds=${2:-5}
seconds=${3:-2}
server_cpu=${SERVER_CPU:-0}
client_cpu=${CLIENT_CPU:-1}
work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# shellcheck source=bench/serve/nginx.inc.sh
source "$(dirname "$0")/nginx.inc.sh"
port=${NGINX_PORT:-18097}
start_nginx "$port" "$server_cpu" '{"status":"ok"}'

taskset -c "$server_cpu" "$build/bench/serve/bloom_bench_server" 0 >"$work/ours" &
ours=$!
pids+=("$ours")
for _ in $(seq 100); do grep -q ready "$work/ours" 2>/dev/null && break; sleep 0.05; done
ours_port=$(awk '{print $2}' "$work/ours")

one() { # pid port
    taskset -c "$client_cpu" "$build/bench/serve/bloom_loadgen" --pid "$1" --port "$2" \
        --connections 16 --seconds "$seconds"
}
cpu_of() { sed 's/.*"cpu_us_per_request":\([0-9.]*\).*/\1/'; }
median() { sort -n "$1" | awk '{v[NR]=$1} END {print (NR % 2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }

for round in $(seq "$rounds"); do
    a=$(one "$nginx_worker" "$port"); b=$(one "$ours" "$ours_port")
    echo "$a" | cpu_of >>"$work/nginx.us"
    echo "$b" | cpu_of >>"$work/ours.us"
    echo "round $round: nginx $(tail -1 "$work/nginx.us") us, darkbloom $(tail -1 "$work/ours.us") us"
done
n=$(median "$work/nginx.us"); o=$(median "$work/ours.us")
awk -v n="$n" -v o="$o" 'BEGIN {printf "median CPU per tiny GET: nginx %.2f us, darkbloom %.2f us, ratio %.2f\n", n, o, o / n}'
