#!/usr/bin/env bash
# Make the root of the Debian virtual machine: root.sh FILE. FILE is an EROFS image of Debian's podman, containerd, buildah, runc and crun
# with what they depend on. Needs erofs-utils and the network of setup/apt-suite.sh, but not to be root; nothing of the packages is run.
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
packages="podman conmon netavark aardvark-dns buildah containerd runc crun busybox-static nftables iproute2 python3 uidmap
	base-files base-passwd libc-bin coreutils dash grep sed findutils mount util-linux procps"
# shellcheck disable=SC2086
"$here/../../setup/apt-suite.sh" --closure trixie amd64 "$work/debs" $packages
mkdir -p "$root"
# base-files first: it has the links /bin, /lib and /sbin that the others' files go through.
for deb in "$work"/debs/base-files_*.deb "$work"/debs/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --keep-directory-symlink
done
rm -rf "$root"/usr/share/{doc,man,locale,lintian,info,bash-completion,zsh,fish,zoneinfo} "$root"/usr/lib/x86_64-linux-gnu/{perl,gconv}
# What the packages' scripts would have made.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
sed -i 's/^\([^:]*:\)\*:/\1x:/' "$root/etc/passwd" "$root/etc/group"
echo 'user:x:1000:1000::/home/user:/bin/sh' >>"$root/etc/passwd"
echo 'user:x:1000:' >>"$root/etc/group"
echo 'user:100000:65536' | tee "$root/etc/subuid" >"$root/etc/subgid"
echo 'root:200000:65536' | tee -a "$root/etc/subuid" >>"$root/etc/subgid"
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost debian\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
ln -sf mawk "$root/usr/bin/awk"
ln -sf /proc/self/mounts "$root/etc/mtab"
mkdir -p "$root"/{mnt/share,home/user,dev,proc,sys,run,tmp,root,overlay,usr/local/bin} "$root/etc/containers"
# A machine without systemd, journal or registries.
cat >"$root/etc/containers/containers.conf" <<'CONF'
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
[network]
firewall_driver = "nftables"
CONF
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$root/etc/containers/policy.json"
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' \
	>"$root/etc/containers/storage.conf"
# What the tests put into containers: a root of busybox alone.
mkdir -p "$root/rootfs"/{bin,dev,proc,sys,run,tmp,etc,root}
cp "$root/bin/busybox" "$root/rootfs/bin/"
"$root/bin/busybox" --list | grep -vx busybox | while read -r tool; do ln -s busybox "$root/rootfs/bin/$tool"; done
chmod 1777 "$root/rootfs/tmp" "$root/tmp"
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >"$root/rootfs/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\nmore:x:2000:user\n' >"$root/rootfs/etc/group"
install -m 755 "$here/init.sh" "$root/sbin/init"
mkfs.erofs --quiet --all-root -T 0 "$out.part" "$root" >&2
mv "$out.part" "$out"
