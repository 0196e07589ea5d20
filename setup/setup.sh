#!/usr/bin/env bash
# Install what building, running and testing Coracle needs; idempotent, one line per step that does something.
#
#   setup.sh build     compilers, packers, QEMU: what `make run` and `make image` need
#   setup.sh test      the above and the real peers that tests compare with
#   setup.sh bench     what `build` installs and the peers that benchmarks run on this machine; tests/bench/peers.sh fetches the rest
#
# Debian and Ubuntu: packages come from apt, as root or through sudo. Elsewhere it names what is missing and stops.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/versions.sh"
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
level=${1:-build}
say() { echo "setup: $*" >&2; }

build_packages=(
	ca-certificates curl debian-archive-keyring python3-venv     # sources, rustup and the zig venv
	gcc make flex bison bc libelf-dev libssl-dev libc6-dev       # kernel
	cpio xz-utils zstd binutils                                  # kernel, initramfs
	erofs-utils mtools dosfstools e2fsprogs qemu-utils           # root, ESP, STATE, qcow2
	qemu-system-x86 qemu-system-arm qemu-user-static             # virtual machines; the arm64 binary's applet list
	ovmf qemu-efi-aarch64                                        # firmware
)
! grep -qs '^ID=ubuntu' /etc/os-release || build_packages+=(python-apt-common) # tells apt-suite.sh where Debian's packages are
[ "$(uname -m)" = aarch64 ] || build_packages+=(gcc-aarch64-linux-gnu)
[ "$(uname -m)" = x86_64 ] || build_packages+=(gcc-x86-64-linux-gnu)
test_packages=(
	busybox-static docker-registry skopeo umoci                  # tests/peers: images and a registry
	openssl                                                      # tests/oci: certificates
	iproute2 nftables procps util-linux udhcpd dnsmasq-base      # peers of the applets and networks
	sed grep findutils tar gzip diffutils gawk bsdextrautils xxd
)
bench_packages=(docker-registry skopeo umoci)                        # the registry, and who pulls from it
packages=("${build_packages[@]}")
case $level in
test) packages+=("${test_packages[@]}") ;;
bench) packages+=("${bench_packages[@]}") ;;
esac

missing=()
if command -v dpkg-query >/dev/null; then
	for package in "${packages[@]}"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
	done
else
	say "this is neither Debian nor Ubuntu; install what these packages hold, then run make with CORACLE_SETUP=done:"
	say "${packages[*]}"
	exit 1
fi
if [ ${#missing[@]} -gt 0 ]; then
	root=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || {
			say "neither root nor sudo; ask an administrator to install: ${missing[*]}"
			exit 1
		}
		root=(sudo)
	fi
	say "installing Debian packages: ${missing[*]}"
	apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >"$log" 2>&1; }
	log=$(mktemp)
	# A registry, redis or DHCP server that a package brings must not start on the host: the tests start their own.
	policy=''
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		policy=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
		"${root[@]}" chmod 755 $policy
	fi
	ok=1
	{ apt update && apt install --no-install-recommends -y "${missing[@]}"; } || ok=0
	[ -z "$policy" ] || "${root[@]}" rm -f $policy
	[ $ok = 1 ] || {
		tail -n 20 "$log" >&2
		say "apt-get failed; the lines above say why"
		exit 1
	}
	rm -f "$log"
fi

"$here/rust.sh"

venv=$cache/venv
if [ "$(cat "$venv/versions" 2>/dev/null)" != "$ZIG_VERSION $ZIGBUILD_VERSION" ]; then
	say "installing zig $ZIG_VERSION and cargo-zigbuild $ZIGBUILD_VERSION in a venv of the build"
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" -q --disable-pip-version-check install "ziglang==$ZIG_VERSION" "cargo-zigbuild==$ZIGBUILD_VERSION"
	echo "$ZIG_VERSION $ZIGBUILD_VERSION" >"$venv/versions"
fi

if [ "$level" = test ] && [ "$(cargo deny --version 2>/dev/null)" != "cargo-deny $CARGO_DENY_VERSION" ]; then
	say "installing cargo-deny $CARGO_DENY_VERSION"
	cargo install -q --locked "cargo-deny@$CARGO_DENY_VERSION"
fi
