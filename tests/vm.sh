#!/usr/bin/env bash
# Black-box tests of a built image: boots out/ARCH under QEMU (software emulation) and looks at what its console says.
#
#   vm.sh ARCH
#
# Each case is one boot. No case depends on how long it takes; a boot that hangs is ended after five minutes.
set -uo pipefail
cd "$(dirname "$0")/.."
arch=$1
out=${CORACLE_OUT:-out}/$arch
logs=out/test-logs/vm-$arch
mkdir -p "$logs"
passed=0 failed=0

case $arch in
x86_64)
	qemu=qemu-system-x86_64 console=ttyS0
	machines=(q35 microvm)
	;;
arm64)
	qemu=qemu-system-aarch64 console=ttyAMA0
	machines=(virt)
	;;
esac

machine_options() {
	case $1 in
	q35) echo "-M q35 -cpu max -nodefaults" ;;
	microvm) echo "-M microvm,rtc=on -cpu max -nodefaults -no-user-config" ;;
	virt) echo "-M virt -cpu max,pauth-impdef=on -nodefaults" ;;
	esac
}

# boot NAME MACHINE APPEND [QEMU OPTIONS]: the console goes to $logs/NAME.log
boot() {
	local name=$1 machine=$2 append=$3
	shift 3
	# Without this QEMU's emulated microvm sometimes hangs in the calibration of its clock on a busy host.
	[ "$machine" != microvm ] || append="tsc_early_khz=2000000 $append"
	# shellcheck disable=SC2046
	timeout 300 "$qemu" $(machine_options "$machine") -m "${MEMORY:-256}" -display none -serial stdio -no-reboot \
		-kernel "$out/vmlinuz" -initrd "$out/initramfs.cpio.zst" -append "console=$console $append" "$@" \
		2>&1 </dev/null | tr -d '\r' >"$logs/$name.log"
}

# check NAME PATTERN...: every extended regular expression stands on the console
check() {
	local name=$1 pattern
	shift
	for pattern in "$@"; do
		if ! grep -qE -- "$pattern" "$logs/$name.log"; then
			failed=$((failed + 1))
			echo "FAIL $name: no line matches /$pattern/; the console's end:"
			tail -n 25 "$logs/$name.log"
			return
		fi
	done
	passed=$((passed + 1))
	echo "ok $name"
}

for machine in "${machines[@]}"; do
	boot "kernel-$machine" "$machine" 'coracle.run="uname -m; exit 7"'
	check "kernel-$machine" '^coracle: \[mounts\] [0-9]+ ms' '^coracle: ready in [0-9]+ ms' '^coracle\.run: exit 7$' 'reboot: Power down|Power down'
done
machine=${machines[-1]}

boot live "$machine" 'coracle.run="mount; ls -l /bin/ls"'
check live 'live mode: /var is in RAM' ' on / type erofs \(ro' 'ls -> coracle'

boot root-is-immutable "$machine" 'coracle.run="touch /x; echo touch=$?; echo x > /usr/bin/ls; rm -f /usr/bin/ls; echo rm=$?; mount -o remount,rw /; touch /x; echo again=$?"'
check root-is-immutable 'Read-only file system' '^touch=1$' '^rm=1$' '^again=1$'

boot signals-to-init "$machine" 'coracle.run="kill -9 1; echo kill=$?; kill -SEGV 1; echo segv=$?; kill -KILL 1; sleep 1; echo still here"'
check signals-to-init '^kill=0$' '^segv=0$' '^still here$' '^coracle\.run: exit 0$'

boot signals-of-units "$machine" 'coracle.run="grep SigBlk /proc/self/status; mkdir /mnt/folder; echo mkdir=$?"'
check signals-of-units '^SigBlk:[[:space:]]0000000000000000$' '^mkdir=0$'

boot applets "$machine" 'coracle.run="coracle --list | while read a; do [ -L /usr/bin/$a ] || echo missing=$a; done; for l in /usr/bin/*; do n=${l##*/}; coracle --list | grep -qxF -- $n || echo extra=$n; done; echo counted"'
check applets '^counted$' '^extra=coracle$'
if grep -E '^missing=|^extra=' "$logs/applets.log" | grep -vx 'extra=coracle'; then
	failed=$((failed + 1))
	echo "FAIL applets: links and applets differ"
fi

boot cgroups "$machine" 'coracle.run="cat /sys/fs/cgroup/cgroup.controllers; cat /proc/self/cgroup; cat /proc/pressure/memory"'
check cgroups 'cpuset.*cpu.*io.*memory.*pids' '^some avg10='

# A container's root of the binary itself: the same on both architectures, and nothing foreign in it.
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
mkdir -p "$share/root/bin" "$share/root/etc"
cp "$out/coracle" "$share/root/bin/coracle"
for name in sh sleep id dd true cat echo; do ln -s coracle "$share/root/bin/$name"; done
echo 'root:x:0:0::/root:/bin/sh' >"$share/root/etc/passwd"
tar -C "$share/root" -cf "$share/root.tar" .
cat >"$share/containers.sh" <<'SCRIPT'
ctr import -c sh /mnt/root.tar self
ctr run --rm --network none self sh -c 'exit 5'; echo exit=$?
id=$(ctr run -d --name limited --memory 64m --cpus 0.5 --pids-limit 20 --network none self sleep 1000)
group=/sys/fs/cgroup/coracle/containers/$id
echo memory.max=$(cat $group/memory.max) cpu.max=$(cat $group/cpu.max) pids.max=$(cat $group/pids.max)
ctr exec limited sh -c 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do sleep 100 & done' 2>&1
echo pids.current=$(cat $group/pids.current)
ctr run --name hog --memory 32m --network none self dd if=/dev/zero of=/dev/shm/x bs=1M count=64; echo hog=$?
ctr inspect hog
ctr run -d --name web -p 8080:80 self sleep 1000
ctr inspect web
ctr stop -t 0 limited web
ctr rm limited web hog
echo left=$(ctr ps -aq)
echo groups=$(ls -d $group 2>&1)
echo done
SCRIPT
boot containers "${machines[0]}" 'coracle.mount=share:/mnt coracle.run="sh /mnt/containers.sh"' \
	-fsdev "local,id=share,path=$share,security_model=none" -device virtio-9p-pci,fsdev=share,mount_tag=share
check containers '^exit=5$' '^memory\.max=67108864 cpu\.max=50000 100000 pids\.max=20$' 'Resource temporarily unavailable' '^pids\.current=([0-9]|1[0-9]|20)$' \
	'^hog=137$' '"OOMKilled": true' '"IPAddress": "10\.88\.' '^left=$' 'No such file' '^done$'

MEMORY=96 boot small-memory "$machine" 'coracle.run="free -m; echo small"'
check small-memory '^small$' '^coracle\.run: exit 0$'

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
