#!/usr/bin/env bash
# Fuzz what reads foreign bytes: run.sh SECONDS [TARGET...]. Needs cargo-fuzz (`cargo install cargo-fuzz --locked`) and a C++ compiler;
# runs on the pinned compiler, whose unstable options it switches on. What was found is in fuzz/artifacts; the status says if anything
# was.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- $(ls targets | sed 's/\.rs$//')
export RUSTC_BOOTSTRAP=1
# Layers are unpacked: in memory that is a hundred times as fast.
[ ! -d /dev/shm ] || export TMPDIR=${TMPDIR:-/dev/shm}
status=0
for target; do
	mkdir -p "corpus/$target"
	inputs=("corpus/$target")
	[ ! -d "seeds/$target" ] || inputs+=("seeds/$target")
	options=(-max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1)
	[ ! -f "dict/$target.txt" ] || options+=(-dict="dict/$target.txt")
	# It tells of every member that it does not like.
	[ "$target" != untar ] || options+=(-close_fd_mask=2)
	echo "fuzz: $target"
	cargo fuzz run --fuzz-dir . "$target" "${inputs[@]}" -- "${options[@]}" || status=1
done
exit "$status"
