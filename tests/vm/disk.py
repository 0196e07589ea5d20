"""The machine with a disk: booted by firmware and directly, grown, and everything still there after a reboot."""

import shutil
import subprocess

from machine import READY, Machine, run_agent
from peers import redis_layout
from report import Failed, expect, expect_equal

SIZE = "3G"
# What STATE must come to: the disk less the ESP (512 MiB), alignment, and what ext4 takes for itself.
LEAST_KIB = 2_300_000
# In bytes: behind alignment and ESP, as image/os/src/layout.rs has it.
STATE_START = 513 << 20
IMAGE = "localhost/loaded:redis"


def run(image, report):
    """Three boots of one disk: by the firmware, again after `reboot`, and by `-kernel`."""
    disk = image.disk("disk", SIZE)
    with report.case("disk-image"):
        layout = redis_layout(image.arch)
        with Machine(image, "disk-firmware", None, memory=512, disk=disk, reboots=True) as vm:
            by_firmware(vm, report, layout)
    with report.case("disk-is-clean"):
        check_file_system(disk)
    with report.case("disk-has-its-own-identifiers"):
        own_identifiers(image, disk)
    with report.case("disk-direct-boot"), Machine(image, "disk-direct", run_agent(), memory=512, disk=disk) as vm:
        vm.wait(READY)
        grown(vm)
        survived(vm)
    with report.case("disk-large"):
        large(image)
    with report.case("disk-damaged-state"):
        damaged(image)


def by_firmware(vm, report, layout):
    """The first boot and the second."""
    with report.case("disk-boots-by-firmware"):
        vm.log_in()
        if "live mode" in vm.console.text():
            raise Failed("STATE was not used")
        vm.start_agent()
    with report.case("disk-clock-by-firmware"):
        # Not every firmware lends its clock to the kernel: then it is at least the time at which the image was made.
        result = vm.sh("echo $(($(date +%s) >= $(stat -c %Y /usr/bin/coracle)))")
        expect_equal("whether the clock is past the image", result.output, "1\n")
    with report.case("disk-state-grows"):
        grown(vm)
    with report.case("disk-first-use"):
        shutil.copytree(layout, vm.share / "layout")
        first_use(vm)
    with report.case("disk-reboot"):
        vm.console.type("reboot\n")
        vm.wait(r"coracle: going down: reboot$")
        vm.wait(r"coracle: stopping 3 containers$")
        vm.log_in()
        vm.start_agent()
    with report.case("disk-survives-reboot"):
        survived(vm)
    with report.case("disk-poweroff"):
        vm.console.type("poweroff\n")
        vm.wait_end()


def grown(vm):
    """STATE has the rest of the disk."""
    size = int(vm.sh("df -k /var").output.splitlines()[1].split()[1])
    if not LEAST_KIB <= size <= 3 << 20:
        raise Failed(f"/var has {size} KiB")


def first_use(vm):
    """An image, a container that has stopped, and some that run: they stop on SIGTERM, on a signal of their own, and on none."""
    script = f"""
	ctr load -qi /mnt/share/layout
	ctr run --name stopped --network none {IMAGE} sh -c 'echo kept >/kept; exit 3'
	ctr run -d --name polite --network none {IMAGE} sh -c 'trap "echo told; exit 9" TERM; while :; do sleep 1; done'
	quit='trap "exit 7" QUIT; trap "exit 8" TERM; while :; do sleep 1; done'
	ctr run -d --name own --stop-signal QUIT --network none {IMAGE} sh -c "$quit"
	ctr run -d --name deaf --network none {IMAGE} sleep 1000
	ctr ps
	"""
    vm.sh(script).expect(r"Loaded image: .*redis", r" Up .* polite$")


def survived(vm):
    """What `first_use` made is there, as it was left."""
    vm.sh("ctr images").expect(r"^localhost/loaded +redis ")
    listed = vm.sh("ctr ps -a")
    listed.expect(r"Exited \(3\) .* stopped$", r"Exited \(9\) .* polite$", r"Exited \(7\) .* own$", r"Exited \(137\) .* deaf$")
    vm.sh("ctr logs polite").expect(r"^told$")
    vm.sh("ctr start stopped; ctr wait stopped").expect(r"^3$")
    vm.sh(f"ctr run --rm --network none {IMAGE} sh -c 'echo it runs'").expect(r"^it runs$")


def large(image):
    """A disk of more than 1024 times the file system's first size grows while the machine is in use, and can be stopped."""
    disk = image.disk("disk-large", "300G")
    for name in ["disk-large-stopped", "disk-large-again"]:
        with Machine(image, name, run_agent(), memory=512, disk=disk) as vm:
            vm.wait(READY)
            if name == "disk-large-again":
                vm.sh("while [ $(df -k --output=size /var | tail -n1) -lt 300000000 ]; do sleep 1; done")
            vm.end_by("poweroff")
            expect(vm.console.text(), r"^coracle: power off$")
        check_file_system(disk)


def own_identifiers(image, disk):
    """Two disks of one image are told apart, but firmware finds the ESP by what it knew."""
    names = ["disk", "ESP", "STATE", "file system"]
    made, own = identifiers(image.out / "coracle.qcow2", image.logs), identifiers(disk, image.logs)
    changed = [name for name, one, other in zip(names, made, own) if one != other]
    expect_equal("what has changed", changed, ["disk", "STATE", "file system"])


def identifiers(disk, logs):
    """Identifiers of the disk, its two partitions (UEFI 2.10, 5.3), and the ext4 (s_uuid)."""
    raw = logs / "identifiers.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    with open(raw, "rb") as file:
        found = [read_at(file, at, 16) for at in [512 + 56, 1024 + 16, 1024 + 128 + 16, STATE_START + 1024 + 0x68]]
    raw.unlink()
    return found


def read_at(file, at, count):
    """Some bytes of a file."""
    file.seek(at)
    return file.read(count)


def damaged(image):
    """A STATE that cannot be mounted is said so, and left alone; the machine is up without it."""
    disk = image.disk("disk-damaged", SIZE)
    superblock = f"write -P 0x55 {STATE_START + 1024} 1024"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", superblock, disk], check=True, stdout=subprocess.DEVNULL)
    with Machine(image, "disk-damaged", 'coracle.run="mount"', disk=disk) as vm:
        vm.wait_end()
        said = vm.console.text()
    expect(said, r"^coracle: cannot mount /dev/vda2 \(STATE\) on /var: ", r"STATE is left untouched", r"^coracle: live mode: ")
    unchanged = superblock.replace("write", "read")
    read = subprocess.run(["qemu-io", "-f", "qcow2", "-c", unchanged, disk], capture_output=True, text=True, check=True)
    if "verification failed" in read.stdout:
        raise Failed(f"the damaged superblock was written to: {read.stdout}")


def check_file_system(disk):
    """STATE after the machine went down: e2fsck has nothing to mend."""
    raw = disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    checked = subprocess.run(["e2fsck", "-fn", f"{raw}?offset={STATE_START}"], capture_output=True, text=True, check=False)
    raw.unlink()
    if checked.returncode != 0:
        raise Failed(f"e2fsck -fn: status {checked.returncode}:\n{checked.stdout}{checked.stderr}")

