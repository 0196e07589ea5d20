#!/usr/bin/env bash
# Make the OS image of one architecture: out/ARCH/{vmlinuz, vmlinuz.efi, initramfs.cpio.zst, VERSION, ...}.
#
#   build.sh ARCH [FLAVOUR]     ARCH: x86_64 or arm64; FLAVOUR of the kernel: vm or edge (default: $KERNEL, else vm)
#
# out/ARCH/coracle, the static binary, and coracle-early, the initramfs's /init, must be there: `make image` builds it first. The same commit gives the same bytes: the
# version is the commit, all times are the commit's time (or SOURCE_DATE_EPOCH).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
arch=$1 flavour=${2:-${KERNEL:-vm}}
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
out=${CORACLE_OUT:-$root/out}/$arch
binary=$out/coracle early=$out/coracle-early

case $arch in
x86_64) machine=x86_64 debian=amd64 ;;
arm64) machine=aarch64 debian=arm64 ;;
*) echo "image: unknown architecture $arch (x86_64 or arm64)" >&2; exit 2 ;;
esac
[ -x "$binary" ] && [ -x "$early" ] || { echo "image: $binary or $early is missing; \`make image ARCH=$arch\` builds it" >&2; exit 1; }

# 0.1.0-gabcdef123456: no `+`, which in a UKI's name starts the boot counter. A dirty tree says so.
version() {
	local base commit
	base=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
	if commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null); then
		git -C "$root" diff --quiet HEAD -- || commit=$commit.dirty
		echo "$base-g$commit"
	else
		echo "$base"
	fi
}

epoch=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1735689600)}
version=${CORACLE_VERSION:-$(version)}

run() {
	if [ "$(uname -m)" = "$machine" ]; then "$@"; else "qemu-$machine-static" "$@"; fi
}

# The stub and systemd-boot, from one suite for both architectures, whatever the host is. Prints their folder.
systemd_boot() {
	local dir=$cache/systemd-boot/$debian deb
	if [ ! -e "$dir/version" ]; then
		rm -rf "$dir.part"
		mkdir -p "$dir.part"
		deb=$("$root/setup/apt-suite.sh" bookworm "$debian" systemd-boot-efi "$dir.part")
		dpkg -x "$deb" "$dir.part/x"
		cp "$dir.part"/x/usr/lib/systemd/boot/efi/*.efi* "$dir.part/"
		dpkg-deb -f "$deb" Version >"$dir.part/version"
		rm -rf "$deb" "$dir.part/x" "$dir"
		mv "$dir.part" "$dir"
	fi
	echo "$dir"
}

umask 022
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run "$binary" --list >"$scratch/applets"

kernel=$("$root/kernel/build.sh" build "$arch" "$flavour")
boot=$(systemd_boot)
install -m 644 "$kernel/vmlinuz" "$kernel/vmlinuz.efi" "$out/"

(cd "$root" && cargo metadata --quiet --locked --format-version 1 --filter-platform "$machine-unknown-linux-musl") >"$scratch/metadata"
(cd "$root" && cargo build --quiet --locked -p coracle-image-os --features pack --bin coracle-pack)
pack=${CARGO_TARGET_DIR:-$root/target}/debug/coracle-pack
"$pack" --arch "$arch" --binary "$binary" --init "$early" --applets "$scratch/applets" --skeleton "$here/os/skeleton" \
	--kernel "$kernel" --systemd-boot "$boot" --metadata "$scratch/metadata" --lock "$root/Cargo.lock" \
	--version-id "$version" --epoch "$epoch" --out "$out"
echo "$version" >"$out/VERSION"
echo "image: coracle $version for $arch is in $out"
