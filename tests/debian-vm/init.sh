#!/bin/sh
# PID 1 of the Debian virtual machine: its root is read-only, what must be written lies in RAM; then the agent of tests/vm runs
# until the machine is ended from outside.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mountpoint -q /dev || mount -t devtmpfs -o nosuid,mode=755 dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o nosuid,noexec,mode=620,gid=5,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
for place in /run /tmp; do mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs $place; done
mount -t tmpfs tmpfs /overlay
for place in etc var root home; do
	mkdir -p "/overlay/$place/upper" "/overlay/$place/work"
	mount -t overlay -o "lowerdir=/$place,upperdir=/overlay/$place/upper,workdir=/overlay/$place/work" overlay "/$place"
done
# Overlays of containers lie on a file system that overlayfs accepts as an upper layer.
for place in /var/lib/containers /var/lib/containerd /var/tmp; do
	mkdir -p $place
	mount -t tmpfs -o mode=1777 tmpfs $place
done
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo $$ >/sys/fs/cgroup/init/cgroup.procs
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
	echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
# As systemd has it; runtimes and podman rely on it.
mount --make-rshared /
echo debian >/proc/sys/kernel/hostname
ip link set lo up
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /mnt/share
echo "debian-vm: ready"
# It ends when nobody is connected to the port yet.
while :; do
	busybox sh /mnt/share/agent.sh
	sleep 0.2
done
