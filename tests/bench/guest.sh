# What is measured inside the virtual machine, by Debian's busybox sh on the booted image: guest.sh PART RUNS. The disk of peers.sh is on
# /mnt. Samples are printed as lines `bench KEY VALUES`; what goes wrong says so on standard error and leaves its keys out.
part=$1 runs=$2
bb=/mnt/bin/busybox
group=/sys/fs/cgroup/coracle

# measure KEY COMMAND...: run by the spawner, whose lines become samples.
measure() {
	key=$1
	shift
	/mnt/bench/spawn "$@" >/run/samples && while read -r what values; do echo "bench $key.$what $values"; done </run/samples
}

# All processes of all contestants live below one cgroup, whose CPU time is what is compared: `ctr`'s in units and containers, the
# others' in units and peers. Kernel threads are in no one's account.
prepare_containers() {
	mkdir -p /var/bench/files /var/bench/idle /var/bench/plain /run/peer
	$bb cp -a /mnt/rootfs /var/bench/rootfs
	$bb cp /mnt/bench/config.json /var/bench/
	$bb cp /mnt/bench/plain.json /var/bench/plain/config.json
	$bb sed 's/"true"/"sleep", "1000"/' /mnt/bench/config.json >/var/bench/idle/config.json
	echo 127.0.0.1 localhost >/var/bench/files/hosts
	echo bench >/var/bench/files/hostname
	: >/var/bench/files/resolv.conf
	mkdir -p $group/peers
	cat $group/containers/cgroup.subtree_control | $bb sed 's/[a-z]*/+&/g' >$group/peers/cgroup.subtree_control
	# pivot_root wants a mount as the root that it leaves.
	$bb mount --bind /mnt/peer /run/peer
	$bb mount -t proc proc /run/peer/proc
	$bb mount --rbind /sys /run/peer/sys
	$bb mount --rbind /dev /run/peer/dev
	$bb mount -t tmpfs tmpfs /run/peer/run
	$bb mount --bind /var/bench /run/peer/bundle
	ctr import -c true /mnt/rootfs.tar self >/dev/null
}

# Three rounds, so that what changes while the machine runs hits all alike.
containers() {
	prepare_containers
	stat="-c $group/cpu.stat -n $runs -w 2"
	for round in 1 2 3; do
		measure container.ctr $stat ctr run --rm --network none self true
		measure container.crun $stat -r /run/peer crun run -b /bundle c@
		measure container.crun-plain $stat -r /run/peer crun run -b /bundle/plain p@
		measure container.runc $stat -r /run/peer runc run -b /bundle c@
		measure container.bare $stat /mnt/bench/bare $group/peers/bare /var/bench/rootfs /bin/true
		measure steps.ctr $stat $bb sh -c 'ctr create --name c@ --network none self && ctr start c@ && ctr rm -f c@'
		for peer in crun runc; do
			measure steps.$peer $stat -r /run/peer /bin/busybox sh -c "$peer create -b /bundle c@ </dev/null && $peer start c@ && $peer delete -f c@"
		done
	done
	monitors
}

# private KEY PID. Clean pages are those of a program's file that no other process has mapped.
private() {
	$bb awk -v key="$1" '/^Private_(Clean|Dirty):/ { sum += $2; print "bench " key "." tolower(substr($1, 9, 5)), $2 }
		END { print "bench " key ".private", sum }' "/proc/$2/smaps_rollup"
}

# The process that stays beside a running payload.
monitors() {
	ctr run -d --name idle --network none self sleep 1000 >/dev/null
	# It is waiting then, as it does for nearly all of its life; conmon has settled by the time it is looked at.
	$bb sleep 1
	payload=$(ctr inspect idle | $bb sed -n 's/.*"Pid": \([1-9][0-9]*\).*/\1/p')
	private monitor.ctr "$($bb sed -n 's/^PPid:\t//p' "/proc/$payload/status")"
	ctr rm -f idle >/dev/null
	# It writes to this descriptor when the container is there.
	_OCI_SYNCPIPE=3 $bb chroot /run/peer conmon --api-version 1 -c idle -u idle -r /usr/bin/crun -b /bundle/idle -p /run/idle.pid \
		-P /run/conmon.pid -l k8s-file:/run/idle.log --exit-dir /run --socket-dir-path /run 3>/run/sync
	while [ ! -s /run/sync ]; do $bb sleep 0.1; done
	private monitor.conmon "$(cat /run/peer/run/conmon.pid)"
	$bb chroot /run/peer crun delete -f idle
}

applets() {
	for round in 1 2 3; do
		for applet in true ls; do
			arguments=''
			[ $applet = true ] || arguments=/
			measure applet.$applet.coracle -n "$runs" -w 5 /usr/bin/$applet $arguments
			measure applet.$applet.busybox -n "$runs" -w 5 /mnt/bench/busybox/$applet $arguments
		done
	done
}

small() {
	ctr import -c true /mnt/rootfs.tar self >/dev/null && ctr run --rm --network none self true && echo "bench small.ran 1"
	$bb awk '/^MemTotal|^MemAvailable/ { sub(":", "", $1); print "bench small." $1, $2 }' /proc/meminfo
}

$part
