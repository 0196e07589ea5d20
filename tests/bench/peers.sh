#!/usr/bin/env bash
# Make what the benchmark's virtual machines need besides the image: peers.sh ARCH DIR (ARCH: x86_64 or arm64). Into DIR:
#
#   peers.ext4            /bin/busybox, /bench/{spawn,bare,guest.sh}, /rootfs (what every container sees), /rootfs.tar,
#                         /peer: a root with Debian's crun, runc and conmon, its /bundle to be mounted over
#   busybox.cpio          an initramfs of Debian's busybox-static alone, with stamp.c as its first program and as its getty
#   stamp.cpio            stamp.c alone, to be appended to coracle's initramfs
#   spawn                 spawn.c for this machine
#
# Debian packages of one release for both architectures; downloads are kept in the cache, and nothing is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}
arch=$1 out=$2
case $arch in
x86_64) debian=amd64 zig=x86_64-linux-musl console=ttyS0 ;;
arm64) debian=arm64 zig=aarch64-linux-musl console=ttyAMA0 ;;
*) echo "peers: unknown architecture $arch (x86_64 or arm64)" >&2; exit 2 ;;
esac
suite=bookworm
packages="crun runc conmon libc6 libcap2 libseccomp2 libsystemd0 libyajl2 libglib2.0-0 libpcre2-8-0 libgcrypt20 libgpg-error0
	liblz4-1 liblzma5 libzstd1 libgcc-s1 busybox-static golang-github-containers-common"

root=$cache/bench/$suite-$debian
if [ "$(cat "$root/packages" 2>/dev/null)" != "$packages" ]; then
	rm -rf "$root"
	mkdir -p "$root/debs" "$root/root"
	for package in $packages; do
		dpkg -x "$("$top/setup/apt-suite.sh" $suite $debian "$package" "$root/debs")" "$root/root"
	done
	rm -rf "$root/debs" "$root/root/usr/share/"{doc,man,locale,lintian,bash-completion}
	echo "$packages" >"$root/packages"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile() { "$cache/venv/bin/python" -m ziglang cc -target "$1" -O2 -static -s -Wall -Wextra -o "$3" "$here/$2.c"; }
mkdir -p "$out" "$work/disk"/{bin,bench,peer,rootfs}
busybox=$root/root/bin/busybox
for program in spawn bare stamp; do compile $zig $program "$work/disk/bench/$program"; done
compile "$(uname -m)-linux-musl" spawn "$out/spawn"
cp "$busybox" "$out/bin-busybox"

# What every container sees: one static program, and the folders that runtimes mount on.
mkdir -p "$work/disk/rootfs"/{bin,dev,etc,proc,sys,tmp,root}
cp "$busybox" "$work/disk/rootfs/bin/"
for name in true sh sleep; do ln -s busybox "$work/disk/rootfs/bin/$name"; done
echo 'root:x:0:0:root:/root:/bin/sh' >"$work/disk/rootfs/etc/passwd"
touch "$work/disk/rootfs/etc/"{hosts,hostname,resolv.conf}
tar -C "$work/disk/rootfs" --owner=0 --group=0 -cf "$work/disk/rootfs.tar" .

cp "$busybox" "$work/disk/bin/"
cp "$here/guest.sh" "$work/disk/bench/"
mkdir "$work/disk/bench/busybox"
for name in true ls; do ln -s /mnt/bin/busybox "$work/disk/bench/busybox/$name"; done
cp -a "$root/root/." "$work/disk/peer/"
mkdir -p "$work/disk/peer"/{proc,sys,dev,run,tmp,bundle}
python3 "$here/bundle.py" $debian "$root/root/usr/share/containers/seccomp.json" >"$work/disk/bench/config.json"
python3 "$here/bundle.py" $debian >"$work/disk/bench/plain.json"
size=$(($(du -sm "$work/disk" | cut -f1) + 32))
rm -f "$out/peers.ext4"
mke2fs -q -F -t ext4 -O ^has_journal -E root_owner=0:0 -d "$work/disk" "$out/peers.ext4" "${size}M" >/dev/null

# The least that busybox init needs to come to a getty: three mounts and one line for the console.
mkdir -p "$work/busybox"/{bin,etc,proc,sys,dev} "$work/stamp"
cp "$busybox" "$work/busybox/bin/"
cp "$work/disk/bench/stamp" "$work/busybox/stamp"
cp "$work/disk/bench/stamp" "$work/stamp/"
for name in mount poweroff sh ip udhcpc true; do ln -s busybox "$work/busybox/bin/$name"; done
ln -s bin/busybox "$work/busybox/init"
cat >"$work/busybox/etc/inittab" <<TAB
::sysinit:/bin/mount -t proc proc /proc
::sysinit:/bin/mount -t sysfs sysfs /sys
::sysinit:/bin/mount -t devtmpfs devtmpfs /dev
$console::respawn:/stamp /bin/poweroff -f
TAB
archive() { (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0); }
archive "$work/busybox" >"$out/busybox.cpio"
sed -i '/devtmpfs/a ::sysinit:/bin/ip link set eth0 up\n::sysinit:/bin/udhcpc -i eth0 -f -n -q -s /bin/true' "$work/busybox/etc/inittab"
archive "$work/busybox" >"$out/busybox-dhcp.cpio"
archive "$work/stamp" >"$out/stamp.cpio"
