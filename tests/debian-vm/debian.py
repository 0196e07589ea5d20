"""A virtual machine with Debian's userland on our kernel and cgroup v2: its root is made once, all that it writes lies in RAM."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from machine import Image, Machine
from report import Failed

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
READY = r"^debian-vm: ready"


def cache():
    """Where build products are kept."""
    return Path(os.environ.get("CORACLE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coracle")


def kernel():
    """The folder of the kernel that we ship; `make image` has built it."""
    built = subprocess.run([TOP / "kernel/build.sh", "build", "x86_64", "vm"], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Failed(f"kernel/build.sh: {built.stderr}")
    return Path(built.stdout.strip())


def root():
    """The root's image, made once for each version of the scripts that make it. Older ones are removed: each takes 450 MB."""
    scripts = [HERE / "root.sh", HERE / "init.sh"]
    key = hashlib.sha256(b"".join(script.read_bytes() for script in scripts)).hexdigest()[:16]
    image = cache() / "debian-vm" / f"root-{key}.erofs"
    image.parent.mkdir(parents=True, exist_ok=True)
    with open(image.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            make_root(image)
    return image


def make_root(image):
    """Make it in place of those of other versions."""
    for old in image.parent.glob("root-*"):
        old.unlink()
    made = subprocess.run([HERE / "root.sh", image], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Failed(f"root.sh failed:\n{made.stdout}{made.stderr}")


class Debian(Machine):
    """The machine, running: `sh` runs scripts in it. `/usr/local/bin/coracle-runc` in it is the link to our binary by that name.

    binary    our static binary
    """

    def __init__(self, binary, logs, name="debian", memory=2048, processors=2):
        self.processors = processors
        image = Image("x86_64", kernel(), logs)
        self.root = root()
        super().__init__(image, name, append="", memory=memory)
        shutil.copy(binary, self.share / "coracle")
        self.wait(READY)
        # Programs are executed from RAM: the share is read anew by each.
        self.sh("install -m 755 /mnt/share/coracle /usr/local/bin/coracle && ln -s coracle /usr/local/bin/coracle-runc").check()

    def _command(self, append, machine, memory, disk, network, reboots):
        """QEMU's, but for the kernel's root: a disk instead of an initramfs."""
        command = super()._command(append, machine, memory, disk, network, reboots)
        at = command.index("-initrd")
        del command[at : at + 2]
        command[command.index("-append") + 1] += "root=/dev/vda rootfstype=erofs ro init=/usr/sbin/init quiet panic=-1"
        command += ["-smp", str(self.processors)]
        command += ["-drive", f"if=none,id=root,format=raw,readonly=on,file={self.root}", "-device", "virtio-blk-pci,drive=root"]
        return command
