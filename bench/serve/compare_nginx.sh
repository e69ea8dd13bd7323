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

nginx=$(command -v nginx || echo /usr/sbin/nginx)
[ -x "$nginx" ] || { echo "nginx is not installed (Debian: nginx-light)" >&2; exit 3; }
port=${NGINX_PORT:-18097}
cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600;
  client_body_temp_path $work; proxy_temp_path $work; fastcgi_temp_path $work;
  uwsgi_temp_path $work; scgi_temp_path $work;
  server {
    listen 127.0.0.1:$port;
    location = /health { default_type application/json; return 200 '{"status":"ok"}'; }
  }
}
CONF
taskset -c "$server_cpu" "$nginx" -e "$work/error.log" -p "$work" -c "$work/nginx.conf" &
pids+=($!)
for _ in $(seq 100); do [ -s "$work/nginx.pid" ] && break; sleep 0.05; done
nginx_worker=$(pgrep -P "$(cat "$work/nginx.pid")" | head -1)

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
