"""What a machine holds, counted: printed before and after, and compared."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from peers import DEBIAN_ARCH
from report import Failed

SETUP = Path(__file__).resolve().parents[2] / "setup"
making = threading.Lock()

# Lines `NAME VALUE`. What the kernel tears down by and by has had its time; caches are dropped, so that what is left is held by something.
COUNT = r"""
sync; echo 3 >/proc/sys/vm/drop_caches
count() { read -r value; echo "$1 $((value))"; }
wc -l </proc/self/mountinfo | count mounts
ls /sys/class/net | wc -l | count interfaces
find /sys/fs/cgroup -type d | wc -l | count cgroups
grep nr_dying_descendants /sys/fs/cgroup/cgroup.stat | cut -d' ' -f2 | count dying-cgroups
chroot /mnt/share/nft /usr/sbin/nft list ruleset | wc -l | count nft-lines
find /run/coracle/networks -name '*@*' | wc -l | count addresses
find /var/lib/coracle ! -type d | wc -l | count state-files
find /var/lib/coracle -type d | wc -l | count state-folders
find /run /tmp ! -type d ! -path '/run/coracle/events/*' | wc -l | count volatile-files
find /run/coracle/events -type f | wc -l | count event-logs
find /run /tmp -type d | wc -l | count volatile-folders
grep -l '^VmSize' /proc/[0-9]*/status 2>/dev/null | wc -l | count processes
grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l | count zombies
ls -l /proc/[0-9]*/ns/ 2>/dev/null | grep -o '[a-z_]*:\[[0-9]*\]' | sort -u | wc -l | count namespaces
wc -l </proc/locks | count locks
wc -l </proc/keys | count keys
cut -f1 /proc/sys/fs/file-nr | count open-files
for field in MemFree Slab SUnreclaim Percpu KernelStack PageTables Shmem; do grep "^$field:" /proc/meminfo | tr -s ' ' | cut -d' ' -f2 | count "$field-KiB"; done
"""

# What must be as it was, to the last one.
EXACT = """mounts interfaces cgroups nft-lines addresses state-files state-folders volatile-files volatile-folders processes
    zombies namespaces locks keys""".split()

# KiB. What may be more, as its caches grow with what was at once there.
MEMORY = ["Slab-KiB", "SUnreclaim-KiB", "Percpu-KiB", "KernelStack-KiB", "PageTables-KiB", "Shmem-KiB"]
SLACK_KIB = 16 << 10
# Cgroups that are kept by pages of files that others use too, descriptors of whatever runs just now, and the one old log of events.
SLACK = {"dying-cgroups": 8, "open-files": 64, "event-logs": 1}
# Seconds: namespaces and cgroups are freed by and by.
PATIENCE = 60


def counts(vm):
    """All counts, by name."""
    lines = vm.sh(COUNT).check().splitlines()
    return {name: int(value) for name, value in (line.split(" ") for line in lines)}


def nft_root(arch, share):
    """Debian's nft, to ask the kernel for its rules: a root of it on the share."""
    cache = Path(os.environ.get("CORACLE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coracle")
    root = cache / "peers" / f"nft-{DEBIAN_ARCH[arch]}"
    with making:
        if not root.exists():
            part = root.with_name(f"{root.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            debs = part / "debs"
            debs.mkdir(parents=True)
            command = [SETUP / "apt-suite.sh", "--closure", "bookworm", DEBIAN_ARCH[arch], debs, "nftables"]
            subprocess.run(command, check=True, capture_output=True)
            for deb in debs.glob("*.deb"):
                subprocess.run(["dpkg", "-x", deb, part], check=True)
            for folder in [debs, part / "usr/share"]:
                shutil.rmtree(folder)
            part.rename(root)
    shutil.copytree(root, share / "nft", symlinks=True)


def compare(what, vm, before, cycles):
    """Print all counts, before and after; what must be as it was is, and what may not grow with the number of containers has not."""
    for _ in range(PATIENCE):
        after = counts(vm)
        grown = differences(before, after, cycles)
        if not grown:
            break
        time.sleep(1)
    lines = [f"     {name:20} {before[name]:>9} {after[name]:>9}" for name in before]
    print("\n".join([f"     {what + ':':20} {'before':>9} {'after':>9}", *lines]), flush=True)
    if grown:
        raise Failed(f"after {what} there are more {', '.join(grown)}")


def differences(before, after, cycles):
    """What is not as it was. Of memory no container may keep more than 128 bytes, beside what caches do."""
    more = {name: after[name] - before[name] for name in before}
    more["MemFree-KiB"] *= -1
    slack = SLACK | {name: SLACK_KIB + cycles // 8 for name in [*MEMORY, "MemFree-KiB"]}
    return [name for name in EXACT if more[name] != 0] + [name for name, most in slack.items() if more[name] > most]
