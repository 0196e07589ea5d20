#!/usr/bin/env bash
# Find or install the Rust toolchain that rust-toolchain.toml names, and a standard library for the static targets.
#
# For the standard library, in this order: the musl targets are there; rustup brings them; the library's source in the
# compiler's very version, from rustup or from Debian, is put where `cargo -Zbuild-std` looks for it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/versions.sh"
say() { echo "setup: $*" >&2; }
cd "$here/.."
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

# Not a file that a user made: rustup's own installer, of a pinned version and checksum, and no profile of the user's is changed.
install_rustup() {
	local machine sum name dir
	machine=$(uname -m)
	name=RUSTUP_SHA256_$machine
	sum=${!name:-}
	[ -n "$sum" ] || {
		say "no rustup is pinned for $machine; install Rust $wanted (https://rustup.rs), then run make again"
		exit 1
	}
	say "installing rustup $RUSTUP_VERSION in ${CARGO_HOME:-$HOME/.cargo}"
	dir=$(mktemp -d)
	curl -fsSL --retry 3 "https://static.rust-lang.org/rustup/archive/$RUSTUP_VERSION/$machine-unknown-linux-gnu/rustup-init" -o "$dir/rustup-init"
	echo "$sum  $dir/rustup-init" | sha256sum --quiet -c - || {
		rm -rf "$dir"
		say "rustup-init $RUSTUP_VERSION is not what setup/versions.sh pins; nothing was installed"
		exit 1
	}
	chmod 700 "$dir/rustup-init"
	"$dir/rustup-init" -q -y --no-modify-path --default-toolchain none >"$dir/log" 2>&1 || {
		tail -n 5 "$dir/log" >&2
		rm -rf "$dir"
		say "rustup's installer failed; install Rust $wanted (https://rustup.rs), then run make again"
		exit 1
	}
	rm -rf "$dir"
}

version() { rustc --version 2>/dev/null | cut -d' ' -f2; }
if ! command -v cargo >/dev/null || [ "$(version)" != "$wanted" ]; then
	command -v rustup >/dev/null || install_rustup
	say "installing Rust $wanted by rustup"
	rustup -q toolchain install "$wanted" --no-self-update --profile minimal -c clippy -c rustfmt
fi
have=$(version)
[ "$have" = "$wanted" ] || {
	say "rustc is $have, rust-toolchain.toml asks for $wanted; put rustup's cargo first in PATH"
	exit 1
}

sysroot=$(rustc --print sysroot)
targets=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
missing=()
for target in "${targets[@]}"; do
	[ -d "$sysroot/lib/rustlib/$target/lib" ] || missing+=("$target")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ ! -e "$sysroot/lib/rustlib/src/rust/library/std/Cargo.toml" ] || exit 0
if command -v rustup >/dev/null; then
	if rustup target add "${missing[@]}" >/dev/null 2>&1; then
		say "added the targets ${missing[*]} by rustup"
		exit 0
	fi
	if rustup component add rust-src >/dev/null 2>&1; then
		say "added the standard library's source by rustup"
		exit 0
	fi
fi

say "the targets cannot be fetched by rustup; taking the standard library's source of rustc $have from Debian"
dir=$cache/rust-src-$have
if [ ! -e "$dir/usr/src/rustc-$have/library/std/Cargo.toml" ]; then
	version=$("$here/apt-suite.sh" --versions trixie-backports amd64 rust-src | grep -m1 "^$have+" || true)
	suite=trixie-backports
	if [ -z "$version" ]; then
		suite=sid
		version=$("$here/apt-suite.sh" --versions sid amd64 rust-src | grep -m1 "^$have+" || true)
	fi
	[ -n "$version" ] || {
		say "Debian has no rust-src of $have any more; run: rustup target add ${missing[*]}"
		exit 1
	}
	deb=$("$here/apt-suite.sh" "$suite" amd64 "rust-src=$version" "$cache/download")
	rm -rf "$dir"
	dpkg -x "$deb" "$dir"
	rm -f "$deb"
fi
mkdir -p "$sysroot/lib/rustlib/src"
ln -sfn "$dir/usr/src/rustc-$have" "$sysroot/lib/rustlib/src/rust"
