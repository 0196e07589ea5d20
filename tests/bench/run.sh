#!/usr/bin/env bash
# Measure a built image against its peers and print the table of budgets: run.sh ARCH (x86_64 or arm64; `make bench` builds first).
#
# Raw samples go to out/bench/ARCH.raw, one line `KEY VALUES` each, the table's numbers to out/bench/ARCH.json. What is compared is measured in the same
# run, on the same machine and kernel. Virtual machines use KVM where a guest really runs with it. Settings: BENCH_PARTS (which parts),
# BENCH_BOOTS, BENCH_RUNS, BENCH_EXECS, BENCH_PULLS (how often), BENCH_ICOUNT=0 (emulate in real time).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
arch=$1
image=$top/out/$arch
out=$top/out/bench
work=$out/$arch.work
raw=$out/$arch.raw
boots=${BENCH_BOOTS:-5} runs=${BENCH_RUNS:-10} execs=${BENCH_EXECS:-500} pulls=${BENCH_PULLS:-3}
native=$(uname -m | sed s/aarch64/arm64/)
say() { echo "bench: $*" >&2; }
sample() { echo "$*" >>"$raw"; }

[ -e "$image/coracle.efi" ] || {
	say "no image in $image; run: make image ARCH=$arch"
	exit 1
}
. "$top/image/kvm.sh"
case $arch in
x86_64) qemu=(qemu-system-x86_64 -M q35) cpu=(-cpu max) console=ttyS0 ;;
arm64) qemu=(qemu-system-aarch64 -M virt) cpu=(-cpu max,pauth-impdef=on) console=ttyAMA0 ;;
esac
# Emulation translates code when it first runs, which costs more than running it, and takes its time from a host that does other
# things: so the guest's clock is made to count instructions, one a nanosecond, on one processor; when it idles, time passes as it does. Each
# step of a string instruction counts as one: without ERMS and FSRM the kernel clears and copies by words instead of bytes.
accelerator=icount clock=(-icount shift=0)
[ "$arch" != x86_64 ] || cpu=(-cpu max,-erms,-fsrm)
if kvm_works "$arch" "$image/vmlinuz"; then
	accelerator=kvm cpu=(-accel kvm -cpu host) clock=()
elif [ "${BENCH_ICOUNT:-1}" = 0 ]; then
	accelerator=tcg clock=()
fi
rm -rf "$work"
mkdir -p "$work"
: >"$raw"
sample meta.arch "$arch"
sample meta.version "$(cat "$image/VERSION")"
sample meta.accelerator $accelerator
sample meta.host "$native"

say "peers"
"$here/peers.sh" "$arch" "$work"

# boot NAME INITRAMFS ARGUMENTS [QEMU OPTIONS]: the console goes to $work/NAME.log, its samples to the raw file
boot() {
	local name=$1 initramfs=$2 arguments=$3
	shift 3
	timeout 400 "${qemu[@]}" "${cpu[@]}" "${clock[@]}" -nodefaults -display none -serial stdio -no-reboot -kernel "$image/vmlinuz" \
		-initrd "$initramfs" -append "console=$console $arguments" "$@" 2>&1 </dev/null | tr -d '\r' >"$work/$name.log" || true
	sed -n 's/^bench \([-a-z0-9.]*\.[a-zA-Z]* .*\)/\1/p' "$work/$name.log" >>"$raw"
}
disk=(-drive "if=none,id=peers,format=raw,readonly=on,file=$work/peers.ext4" -device virtio-blk-pci,drive=peers)
nic=(-netdev user,id=net,restrict=on -device virtio-net-pci,netdev=net,romfile=)
guest() { echo "coracle.run=\"mount -o ro -t ext4 /dev/vda /mnt && /mnt/bin/busybox sh /mnt/bench/guest.sh $*\""; }

sizes() {
	local each
	for each in x86_64 arm64; do
		[ -e "$top/out/$each/coracle.efi" ] || continue
		sample size.uki.$each "$(stat -c %s "$top/out/$each/coracle.efi")"
		sample size.binary.$each "$(stat -c %s "$top/out/$each/coracle")"
	done
}

# From /init to the end of what each init does before somebody can log in. Both start with stamp.c, which notes the time and executes
# /init. Coracle ends with its line `ready` (its own clock, which starts at CORACLE_INIT_START), before it starts the console's shell; busybox
# when it has started what its inittab has for the console, which is stamp.c in getty's place. Without a network card neither has
# to wait for anything; with one, both take a lease by DHCP, the time of which is QEMU's as much as theirs.
init() {
	local n variant with clock=("${clock[@]}")
	cat "$work/stamp.cpio" "$image/initramfs.cpio.zst" >"$work/stamped"
	for ((n = 0; n < boots; n++)); do
		for variant in '' -dhcp; do
			with=()
			[ -z "$variant" ] || with=("${nic[@]}")
			# Nothing comes from outside: what the guest waits for are its own timers, and time can jump to them.
			[ $accelerator != icount ] || clock=(-icount "shift=0,sleep=$([ -n "$variant" ] && echo on || echo off)")
			boot "init-coracle$variant" "$work/stamped" 'rdinit=/stamp coracle.run="tr \\0 \\n </proc/1/environ"' -m 256 "${with[@]}"
			awk -v key="init$variant.coracle_us" '
				/^BENCH_START=/ { split($0, a, "="); start = a[2] }
				/^CORACLE_INIT_START=/ { split($0, a, "="); main = a[2] }
				/^coracle: ready in/ { ready = $4 }
				/^coracle: \[/ { phase = substr($2, 2, length($2) - 2); print "phase" substr(key, 5, index(key, ".") - 5) "." phase, $3 }
				END { if (start && main && ready) print key, int((main - start) / 1000) + ready * 1000 }' \
				"$work/init-coracle$variant.log" >>"$raw"
			boot "init-busybox$variant" "$work/busybox$variant.cpio" rdinit=/stamp -m 256 "${with[@]}"
			awk -v key="init$variant.busybox_us" '/^bench getty_us/ { print key, $3 }' "$work/init-busybox$variant.log" >>"$raw"
		done
	done
}

# What is in use when the machine has been up for some seconds, has a lease, and somebody is logged in: init, the DHCP client, a shell.
idle() {
	boot idle "$image/initramfs.cpio.zst" 'coracle.run="sleep 5; ip addr; cat /proc/meminfo; true"' -m 256 "${nic[@]}"
	grep -q 'inet 10\.0\.2\.' "$work/idle.log" || say "the idle machine had no address"
	awk '/^(MemTotal|MemAvailable|MemFree):/ { sub(":", "", $1); print "idle." $1, $2 }' "$work/idle.log" >>"$raw"
}

# With its disk, whose STATE the image is imported to: in live mode that would have to be kept in the 96 MiB.
small() {
	sample small.tried 1
	boot small "$image/initramfs.cpio.zst" "$(guest small 1)" -m 96 "${nic[@]}" "${disk[@]}" \
		-drive "if=none,id=state,format=qcow2,snapshot=on,file=$image/coracle.qcow2" -device virtio-blk-pci,drive=state
}

containers() { boot containers "$image/initramfs.cpio.zst" "$(guest containers "$runs")" -m 1024 "${disk[@]}"; }

# Starting a program is measured in the VM, and on this machine where it can run the binary.
applets() {
	local round applet arguments who
	boot applets "$image/initramfs.cpio.zst" "$(guest applets $((execs / 5)))" -m 512 "${disk[@]}"
	[ "$arch" = "$native" ] || return 0
	mkdir -p "$work/coracle" "$work/busybox"
	for applet in true ls; do
		ln -sf "$image/coracle" "$work/coracle/$applet"
		ln -sf "$work/bin-busybox" "$work/busybox/$applet"
	done
	for round in 1 2 3; do
		for applet in true ls; do
			arguments=()
			[ $applet = true ] || arguments=(/)
			for who in coracle busybox; do
				measure host.applet.$applet.$who -n "$execs" -w 5 "$work/$who/$applet" "${arguments[@]}"
			done
		done
	done
}

# measure KEY SPAWN-ARGUMENTS...
measure() {
	local key=$1
	shift
	"$work/spawn" "$@" | while read -r what values; do sample "$key.$what $values"; done
}

# A real image from a registry on this machine's loopback, into a cold store each time. The peers' two steps are added up.
pulls() {
	[ "$arch" = "$native" ] || return 0
	local port=$((20000 + RANDOM % 20000)) registry reference n
	local cached=${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}/bench/redis-$arch
	[ -e "$cached/index.json" ] || {
		rm -rf "$cached.part"
		"$top/tests/peers/redis-image.sh" "$(sed 's/x86_64/amd64/' <<<"$arch")" "$cached.part" >"$work/redis.log" 2>&1
		mv "$cached.part" "$cached"
	}
	registry=$("$top/tests/peers/registry.sh" $port "$work/registry")
	trap 'kill "$registry" 2>/dev/null' RETURN
	reference=127.0.0.1:$port/redis:latest
	skopeo copy -q --dest-tls-verify=false "oci:$cached:redis" "docker://$reference"
	for ((n = 0; n < pulls; n++)); do
		rm -rf "$work/pull"
		mkdir -p "$work/pull"
		CORACLE_STATE=$work/pull/state CORACLE_RUN=$work/pull/run measure pull.coracle -w 0 "$image/coracle" ctr pull --tls-verify=false $reference 2>>"$work/pull.log"
		measure pull.skopeo -w 0 skopeo copy -q --src-tls-verify=false docker://$reference "oci:$work/pull/oci:redis"
		measure pull.umoci -w 0 umoci unpack --image "$work/pull/oci:redis" "$work/pull/bundle"
	done
	rm -rf "$work/pull"
}

for part in ${BENCH_PARTS:-sizes init idle small containers applets pulls}; do
	say "$part"
	$part
done
python3 "$here/report.py" "$raw" "$out/$arch.json"
