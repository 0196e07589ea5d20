# Sourced: does hardware virtualisation work here? kvm_works ARCH VMLINUZ
#
# A /dev/kvm that opens is no proof: boot the kernel without a root file system and see that it gets to its panic.
kvm_works() {
	[ "$(uname -m | sed s/aarch64/arm64/)" = "$1" ] && [ -w /dev/kvm ] || return 1
	local machine=(qemu-system-x86_64 -M q35) console=ttyS0
	[ "$1" = x86_64 ] || machine=(qemu-system-aarch64 -M virt) console=ttyAMA0
	timeout 10 "${machine[@]}" -accel kvm -cpu host -m 128 -nodefaults -display none -serial stdio -no-reboot \
		-kernel "$2" -append "console=$console panic=-1" </dev/null 2>/dev/null | grep -q 'Kernel panic'
}
