#!/usr/bin/env bash
# CPU, rate and latency of the real node beside nginx, taking turns on one core in one run: a tiny GET on
# both, then in each of the four dialects a whole answer of 16 tokens and streams of 16 and of 64 on the
# engine-less model bench:null. A chunk costs what the longer stream costs beyond the shorter, for each of 48 tokens.
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
dialects=(chat completions responses messages)
declare -A paths=([chat]=/v1/chat/completions [completions]=/v1/completions [responses]=/v1/responses
  [messages]=/v1/messages)
talk='"messages":[{"role":"user","content":"What is Darkbloom?"}]'
declare -A asks=([chat]="$talk" [completions]='"prompt":"What is Darkbloom?"'
  [responses]='"input":[{"role":"user","content":"What is Darkbloom?"}]' [messages]="$talk")
ask() { # dialect name tokens stream
  local limit=max_tokens
  [ "$1" = responses ] && limit=max_output_tokens
  load "$node" "$port" "$1-$2" --path "${paths[$1]}" --key "$DARKBLOOM_OWNER_KEY" \
    --body "{\"model\":\"bench:null\",\"stream\":$4,\"$limit\":$3,${asks[$1]}}"
}
for _ in $(seq "$rounds"); do
  load "$nginx_worker" "$nginx_port" nginx
  load "$node" "$port" health
  for dialect in "${dialects[@]}"; do
    ask "$dialect" whole 16 false
    ask "$dialect" stream16 16 true
    ask "$dialect" stream64 64 true
  done
done

python3 - "$work" <<'PY'
import json, pathlib, statistics, sys

def rows(name):
    return [json.loads(line) for line in (pathlib.Path(sys.argv[1]) / f"{name}.json").read_text().splitlines()]

base = statistics.median(r["cpu_us_per_request"] for r in rows("nginx"))
print(f"{'medians of ' + str(len(rows('nginx'))) + ' rounds':24} {'req/s':>9} {'CPU us':>8} {'/ nginx':>8} {'p50 us':>8} {'p99 us':>8}")
def median(name, key):
    return statistics.median(row[key] for row in rows(name))

dialects = ("chat", "completions", "responses", "messages")
answers = ("whole", "stream16", "stream64")
for name in ("nginx", "health", *(f"{d}-{a}" for d in dialects for a in answers)):
    m = lambda key: median(name, key)
    print(f"{name:24} {m('per_s'):9.0f} {m('cpu_us_per_request'):8.2f} {m('cpu_us_per_request') / base:8.2f} "
          f"{m('p50_us'):8.0f} {m('p99_us'):8.0f}")
print(f"\n{'CPU us beyond health':24} {'request':>9} {'stream':>8} {'chunk':>8}")
for d in dialects:
    cpu = {a: median(f"{d}-{a}", "cpu_us_per_request") for a in answers}
    chunk = (cpu["stream64"] - cpu["stream16"]) / 48
    health = median("health", "cpu_us_per_request")
    print(f"{d:24} {cpu['whole'] - health:9.2f} {cpu['stream16'] - 16 * chunk - health:8.2f} {chunk:8.3f}")
PY
