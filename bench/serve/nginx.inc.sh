# Shared by the comparisons in this folder: starts nginx with one worker on one core, answering GET /health
# with a tiny JSON text. Sourced; expects the array `pids` and the folder `work` of its caller, sets
# nginx_worker (a process id).
#   start_nginx PORT CPU BODY
start_nginx() {
  local port=$1 cpu=$2 body=$3 nginx
  nginx=$(command -v nginx || echo /usr/sbin/nginx)
  [[ -x "$nginx" ]] || { echo "nginx is not installed (Debian: nginx-light)" >&2; exit 3; }
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
    location = /health { default_type application/json; return 200 '$body'; }
  }
}
CONF
  taskset -c "$cpu" "$nginx" -e "$work/error.log" -p "$work" -c "$work/nginx.conf" &
  pids+=($!)
  for _ in $(seq 100); do [[ -s "$work/nginx.pid" ]] && break; sleep 0.05; done
  nginx_worker=$(pgrep -P "$(cat "$work/nginx.pid")" | head -n 1)
}
