#!/usr/bin/env bash
# CPU, rate and latency of the real node beside nginx, taking turns on one core in one run: a tiny GET on
# both, then a whole completion and a streamed one of 16 tokens on the engine-less model bench:null.
#   bench/serve/node.sh [BUILD_DIR] [ROUNDS] [SECONDS]
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
nginx_port=${NGINX_PORT:-18098}
start_nginx "$nginx_port" "$server_cpu" '{"status":"ok","providers":1}'

export DARKBLOOM_OWNER_KEY=sk-db-bench-key-0123456789abcdef
taskset -c "$server_cpu" "$build/darkbloom" serve --listen 127.0.0.1:0 --data-dir "$work/data" --model bench:null \
  --log-level warn >"$work/ready" &
node=$!
pids+=("$node")
for _ in $(seq 100); do grep -q ready "$work/ready" && break; sleep 0.05; done
port=$(sed 's/.*:\([0-9]*\)$/\1/' "$work/ready")

load() { # pid port name options...: one line of JSON, its CPU per request kept under the name
  local pid=$1 to=$2 name=$3
  shift 3
  taskset -c "$client_cpu" "$build/bench/serve/bloom_loadgen" --pid "$pid" --port "$to" --connections 16 \
    --seconds "$seconds" "$@" | tee -a "$work/$name.json" >/dev/null
}
chat='"messages":[{"role":"user","content":"What is Darkbloom?"}],"max_tokens":16'
for _ in $(seq "$rounds"); do
  load "$nginx_worker" "$nginx_port" nginx
  load "$node" "$port" health
  load "$node" "$port" completion --path /v1/chat/completions --key "$DARKBLOOM_OWNER_KEY" \
    --body "{\"model\":\"bench:null\",$chat}"
  load "$node" "$port" stream --path /v1/chat/completions --key "$DARKBLOOM_OWNER_KEY" \
    --body "{\"model\":\"bench:null\",\"stream\":true,$chat}"
done

python3 - "$work" <<'PY'
import json, pathlib, statistics, sys

def rows(name):
    return [json.loads(line) for line in (pathlib.Path(sys.argv[1]) / f"{name}.json").read_text().splitlines()]

base = statistics.median(r["cpu_us_per_request"] for r in rows("nginx"))
print(f"{'medians of ' + str(len(rows('nginx'))) + ' rounds':24} {'req/s':>9} {'CPU us':>8} {'/ nginx':>8} {'p50 us':>8} {'p99 us':>8}")
for name in ("nginx", "health", "completion", "stream"):
    r = rows(name)
    m = lambda key: statistics.median(row[key] for row in r)
    print(f"{name:24} {m('per_s'):9.0f} {m('cpu_us_per_request'):8.2f} {m('cpu_us_per_request') / base:8.2f} "
          f"{m('p50_us'):8.0f} {m('p99_us'):8.0f}")
PY
