#!/usr/bin/env bash
# Build the one static binary for an architecture into out/ARCH/coracle, and the first stage of its boot into out/ARCH/coracle-early.
#
#   static-build.sh ARCH [PROFILE]     ARCH: x86_64 | arm64; PROFILE: release (default) | quick
#
# zig is the C compiler and linker for both targets. Where the targets' standard library is not installed it is
# compiled from its source, which setup/rust.sh has put where cargo looks for it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/.." && pwd)
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
arch=$1 profile=${2:-release}
case $arch in
x86_64) target=x86_64-unknown-linux-musl ;;
arm64) target=aarch64-unknown-linux-musl ;;
*) echo "static-build: unknown architecture $arch (x86_64 or arm64)" >&2; exit 2 ;;
esac
cd "$top"
. "$here/reproducible.sh"
sysroot=$(rustc --print sysroot)
# Where the code was built must not show in what was built. Cargo names the workspace's own files relative to its top; naming that
# here would make the flags, and so all dependencies, another build in each clone.
flags="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$sysroot=/rust"
extra=()
if [ ! -d "$sysroot/lib/rustlib/$target/lib" ]; then
	export RUSTC_BOOTSTRAP=1
	extra=(-Zbuild-std=std,panic_abort)
	flags+=" -C link-self-contained=no"
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
PATH=$cache/venv/bin:$PATH RUSTFLAGS="$flags" cargo-zigbuild zigbuild -q --locked --profile "$profile" --target "$target" -p coracle -p coracle-init --bin coracle --bin coracle-early "${extra[@]}"
mkdir -p "out/$arch"
for name in coracle coracle-early; do
	cp "$CARGO_TARGET_DIR/$target/$profile/$name" "out/$arch/$name.part"
	mv "out/$arch/$name.part" "out/$arch/$name"
done
