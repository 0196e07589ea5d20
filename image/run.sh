#!/usr/bin/env bash
# Boot out/ARCH (or $CORACLE_OUT/ARCH) in QEMU with its serial console on this terminal.
#
#   image/run.sh [ARCH]
#
# The disk is a copy-on-write layer over the built image in out/ARCH/run.qcow2: it is kept between runs, and made anew when the image
# was. Ports: host 6379 -> guest 6379, 8080 -> 8080 and 2222 -> 22 on loopback only (CORACLE_PORTS="HOST:GUEST ..." replaces them).
# From the guest, 10.0.2.2 is this machine's loopback: `ctr pull --tls-verify=false 10.0.2.2:5000/redis` reaches a local registry.
# Hardware virtualisation is used when a guest really runs with it; otherwise QEMU emulates, slower but alike.
# MEMORY (MiB, default 1024), CPUS (default 2) and APPEND (kernel arguments; boots by -kernel instead of the firmware) are settings.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
arch=${1:-$(uname -m | sed s/aarch64/arm64/)}
out=${CORACLE_OUT:-$top/out}/$arch
disk=$out/run.qcow2
say() { echo "run: $*" >&2; }

[ -e "$out/coracle.qcow2" ] || {
	say "no image in $out; run: make image ARCH=$arch"
	exit 1
}
if [ ! -e "$disk" ] || [ "$out/coracle.qcow2" -nt "$disk" ]; then
	rm -f "$disk"
	qemu-img create -q -f qcow2 -F qcow2 -b "$out/coracle.qcow2" "$disk" 8G
fi

. "$top/image/kvm.sh"

# Debian and Ubuntu name the firmware images alike, but for the 4 MB variant of OVMF.
first() { for file in "$@"; do [ ! -e "$file" ] || { echo "$file"; return; }; done; say "no firmware found: $*"; exit 1; }
case $arch in
x86_64)
	qemu=qemu-system-x86_64
	machine=(-M q35 -cpu max)
	code=$(first /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd)
	vars=$(first /usr/share/OVMF/OVMF_VARS_4M.fd /usr/share/OVMF/OVMF_VARS.fd)
	console=ttyS0
	;;
arm64)
	qemu=qemu-system-aarch64
	machine=(-M virt -cpu "max,pauth-impdef=on")
	code=$(first /usr/share/AAVMF/AAVMF_CODE.fd)
	vars=$(first /usr/share/AAVMF/AAVMF_VARS.fd)
	console=ttyAMA0
	;;
*) say "unknown architecture $arch"; exit 2 ;;
esac
if kvm_works "$arch" "$out/vmlinuz"; then
	machine+=(-accel kvm -cpu host)
	say "hardware virtualisation (KVM)"
else
	machine+=(-accel "tcg,thread=multi")
	say "no usable KVM: QEMU emulates the processor"
fi
boot=()
if [ -n "${APPEND:-}" ]; then
	boot=(-kernel "$out/vmlinuz" -initrd "$out/initramfs.cpio.zst" -append "console=$console $APPEND")
else
	[ -e "$out/run.vars" ] || cp "$vars" "$out/run.vars"
	boot=(-drive "if=pflash,format=raw,readonly=on,file=$code" -drive "if=pflash,format=raw,file=$out/run.vars")
fi
forwards=''
for pair in ${CORACLE_PORTS:-6379:6379 8080:8080 2222:22}; do
	forwards+=",hostfwd=tcp:127.0.0.1:${pair%%:*}-:${pair##*:}"
done
say "console of the machine follows; \`poweroff\` ends it, Ctrl-A X kills it"
exec "$qemu" "${machine[@]}" -m "${MEMORY:-1024}" -smp "${CPUS:-2}" -nodefaults -display none -no-reboot \
	-chardev stdio,mux=on,id=console,signal=off -serial chardev:console -mon chardev=console \
	-drive "if=none,id=disk,format=qcow2,file=$disk" -device virtio-blk-pci,drive=disk,bootindex=1 \
	-netdev "user,id=net$forwards" -device virtio-net-pci,netdev=net,romfile= \
	-device virtio-rng-pci "${boot[@]}"
