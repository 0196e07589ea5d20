#!/usr/bin/env bash
# make lint: format, clippy with warnings as errors, licences and advisories, shell scripts, direction of dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo clippy -q --locked --workspace --all-targets --features coracle-image-os/pack -- -D warnings
if command -v cargo-deny >/dev/null; then
	# The advisory database is a git repository that a machine behind a package mirror cannot fetch.
	cargo deny -L error --locked check bans licenses sources
else
	echo "lint: cargo-deny is not installed (setup/setup.sh test installs it)" >&2
	exit 1
fi
setup/dependency-direction.py
for script in setup/*.sh kernel/*.sh image/*.sh fuzz/*.sh tests/*.sh tests/*/*.sh; do
	bash -n "$script"
done
echo "lint: clean"
