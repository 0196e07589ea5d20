#!/usr/bin/env bash
# Start Debian's docker-registry on a loopback port: registry.sh PORT DIR. Prints the process's id once it answers; kill it when done.
set -euo pipefail
port=$1 dir=$2
mkdir -p "$dir"
cat >"$dir/config.yml" <<CONF
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $dir/data}}
http: {addr: "127.0.0.1:$port"}
CONF
docker-registry serve "$dir/config.yml" >"$dir/log" 2>&1 </dev/null &
pid=$!
for _ in $(seq 100); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		echo "$pid"
		exit 0
	fi
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.1
done
echo "registry: it did not start; see $dir/log" >&2
kill "$pid" 2>/dev/null || true
exit 1
