#!/usr/bin/env bash
# Build the shipped kernel, or take it from the cache.
#
#   build.sh build  ARCH [vm|edge]   print the cache directory that holds {vmlinuz, vmlinuz.efi, config, version}
#   build.sh config ARCH [vm|edge]   only make and check the final .config; print its path
#
# ARCH is x86_64 or arm64. The cache key is a hash of the version, the fragments and this script, so nothing is
# rebuilt that did not change. vmlinuz is what `-kernel` boots; vmlinuz.efi is the EFI binary that goes into the UKI.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/version.sh"
action=$1 arch=$2 flavour=${3:-vm}
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
jobs=$(nproc)

fragments=("$here/config/base.config" "$here/config/$arch.config")
[ "$flavour" = vm ] || fragments+=("$here/config/$flavour.config")
[ "$flavour" = vm ] || [ ! -e "$here/config/$flavour-$arch.config" ] || fragments+=("$here/config/$flavour-$arch.config")
case $arch in
x86_64) karch=x86 cross='' targets=bzImage ;;
arm64) karch=arm64 cross=aarch64-linux-gnu- targets='Image.gz vmlinuz.efi' ;;
*) echo "kernel: unknown architecture $arch (x86_64 or arm64)" >&2; exit 2 ;;
esac
[ "$(uname -m)" != aarch64 ] || [ "$arch" != arm64 ] || cross=''
[ "$(uname -m)" != aarch64 ] || [ "$arch" != x86_64 ] || cross=x86_64-linux-gnu-

key=$(cat "$here/version.sh" "$here/build.sh" "${fragments[@]}" | sha256sum | cut -c1-16)
out=$cache/kernel/$arch-$flavour-$key
if [ "$action" = build ] && [ -e "$out/done" ]; then
	echo "$out"
	exit 0
fi

source_tree() {
	local tree=$cache/src/linux-$KERNEL_DEBIAN_VERSION
	if [ ! -e "$tree/.unpacked" ]; then
		echo "kernel: fetching linux-source-$KERNEL_SERIES $KERNEL_DEBIAN_VERSION" >&2
		local dir=$cache/src/download deb sum
		deb=$("$here/../setup/apt-suite.sh" "$KERNEL_SUITE" amd64 "linux-source-$KERNEL_SERIES=$KERNEL_DEBIAN_VERSION" "$dir")
		rm -rf "$dir/x" "$tree" "$tree.part"
		dpkg -x "$deb" "$dir/x"
		sum=$(sha256sum "$dir/x/usr/src/linux-source-$KERNEL_SERIES.tar.xz" | cut -d' ' -f1)
		[ "$sum" = "$KERNEL_SHA256" ] || {
			echo "kernel: source has SHA-256 $sum, kernel/version.sh pins $KERNEL_SHA256" >&2
			exit 1
		}
		mkdir -p "$tree.part"
		tar -xf "$dir/x/usr/src/linux-source-$KERNEL_SERIES.tar.xz" -C "$tree.part" --strip-components=1
		mv "$tree.part" "$tree"
		touch "$tree/.unpacked"
		rm -rf "$dir"
	fi
	echo "$tree"
}

# One build at a time: two callers with the same key must not share an object directory.
mkdir -p "$cache/kernel"
exec 9>"$cache/kernel/lock"
flock 9
if [ "$action" = build ] && [ -e "$out/done" ]; then
	echo "$out"
	exit 0
fi

tree=$(source_tree)
objects=$cache/kernel/obj-$arch-$flavour
mkdir -p "$objects"
# What would make two builds differ: user, host, time.
export KBUILD_BUILD_USER=coracle KBUILD_BUILD_HOST=coracle KBUILD_BUILD_TIMESTAMP=@${SOURCE_DATE_EPOCH:-1735689600} KBUILD_BUILD_VERSION=1
kmake() { make -s -C "$tree" O="$objects" ARCH=$karch CROSS_COMPILE="$cross" "$@"; }

(cd "$objects" && kmake tinyconfig && ARCH=$karch "$tree/scripts/kconfig/merge_config.sh" -m -O "$objects" "$objects/.config" "${fragments[@]}" && kmake olddefconfig) >"$objects/config.log" 2>&1 || {
	tail -n 20 "$objects/config.log" >&2
	exit 1
}
"$here/check.sh" "$objects/.config" "${fragments[@]}" >&2
if [ "$action" = config ]; then
	echo "$objects/.config"
	exit 0
fi

echo "kernel: building $KERNEL_DEBIAN_VERSION for $arch ($flavour), 5 to 9 minutes on two cores (edge: 20 and more)" >&2
started=$SECONDS
# shellcheck disable=SC2086
kmake -j"$jobs" $targets >"$objects/build.log" 2>&1 || {
	grep -nE 'error|Error' "$objects/build.log" | head -n 20 >&2
	exit 1
}
mkdir -p "$out.part"
case $arch in
x86_64)
	cp "$objects/arch/x86/boot/bzImage" "$out.part/vmlinuz"
	cp "$out.part/vmlinuz" "$out.part/vmlinuz.efi"
	;;
arm64)
	cp "$objects/arch/arm64/boot/Image.gz" "$out.part/vmlinuz"
	cp "$objects/arch/arm64/boot/vmlinuz.efi" "$out.part/vmlinuz.efi"
	;;
esac
cp "$objects/.config" "$out.part/config"
echo "$KERNEL_DEBIAN_VERSION" >"$out.part/version"
rm -rf "$out"
mv "$out.part" "$out"
touch "$out/done"
rm -rf "$objects"
echo "kernel: built in $((SECONDS - started)) s, $(stat -c %s "$out/vmlinuz") bytes" >&2
echo "$out"
