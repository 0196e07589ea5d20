#!/usr/bin/env bash
# Make an OCI image of Debian's redis-server and a static busybox: redis-image.sh ARCH DIR. ARCH is amd64 or arm64, DIR the OCI
# layout to make, with the tag `redis`. Needs umoci and the network of setup/apt-suite.sh; nothing of the packages is run.
set -euo pipefail
arch=$1 out=$2
here=$(cd "$(dirname "$0")/../.." && pwd)
case $arch in amd64 | arm64) ;; *)
	echo "redis-image: ARCH is amd64 or arm64" >&2
	exit 2
	;;
esac
[ ! -e "$out" ] || {
	echo "redis-image: $out exists" >&2
	exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages="redis-server redis-tools libc6 libssl3 libjemalloc2 liblua5.1-0 liblzf1 libatomic1 libhiredis0.14
	libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libzstd1 libgcc-s1 libstdc++6 lua-bitop lua-cjson busybox-static"
mkdir -p "$work/debs" "$work/root"/{dev,proc,sys,run,tmp,data,etc,root}
chmod 1777 "$work/root/tmp"
for package in $packages; do
	deb=$("$here/setup/apt-suite.sh" bookworm "$arch" "$package" "$work/debs")
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/root" --no-same-owner
done
# A library that is missing would show only as a server that does not start.
libraries=$(find "$work/root/usr/bin/redis-server" "$work/root/lib" "$work/root/usr/lib" -type f \( -name 'redis-*' -o -name '*.so.*' \))
# shellcheck disable=SC2086
{ readelf -d $libraries 2>/dev/null || true; } | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u | while read -r library; do
	[ -n "$(find "$work/root" -name "$library")" ] || {
		echo "redis-image: no package has $library" >&2
		exit 1
	}
done
rm -rf "$work/root/usr/share/"{doc,man,locale,lintian}
printf 'root:x:0:0:root:/root:/bin/sh\nredis:x:999:999:redis:/data:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$work/root/etc/passwd"
printf 'root:x:0:\nredis:x:999:\nnogroup:x:65534:\n' >"$work/root/etc/group"
chown 999:999 "$work/root/data"
for tool in sh ls cat ps id sleep wget nc ping ip mount dd head yes stat; do
	[ -e "$work/root/bin/$tool" ] || ln -s busybox "$work/root/bin/$tool"
done
umoci init --layout "$out"
umoci new --image "$out:redis"
umoci unpack --image "$out:redis" "$work/bundle"
cp -a "$work/root/." "$work/bundle/rootfs/"
umoci repack --image "$out:redis" "$work/bundle"
umoci config --image "$out:redis" --os linux --architecture "$arch" --config.workingdir /data \
	--config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.exposedports 6379/tcp \
	--config.cmd redis-server --config.cmd --bind --config.cmd 0.0.0.0 --config.cmd --protected-mode --config.cmd no
umoci gc --layout "$out"
