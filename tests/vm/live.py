"""What the live system is, what nobody can do to it, and containers of the binary itself: one machine without a disk."""

import subprocess

import manage
from machine import READY, Machine, run_agent
from report import expect, expect_equal

# The names of which the container's root has links.
SELF = ["sh", "sleep", "id", "dd", "true", "cat", "echo", "touch"]


def run(image, report):
    """All cases; each leaves the machine as it found it."""
    with Machine(image, "live", run_agent(), memory=512) as vm:
        with report.case("live"):
            vm.wait(READY)
            expect(vm.console.text(), r"^coracle: live mode: /var is in RAM$")
            vm.sh("mount").expect(r" on / type erofs \(ro")
        with report.case("root-is-immutable"):
            immutable(vm)
        with report.case("signals-to-init"):
            result = vm.sh("kill -9 1; echo kill=$?; kill -SEGV 1; echo segv=$?; kill -KILL 1; sleep 1; echo still here")
            result.expect(r"^kill=0$", r"^segv=0$", r"^still here$")
        with report.case("signals-of-units"):
            result = vm.sh("grep SigBlk /proc/self/status; mkdir /mnt/folder; echo mkdir=$?")
            result.expect(r"^SigBlk:\s0000000000000000$", r"^mkdir=0$")
        with report.case("applets-have-links"):
            expect_equal("difference of links and applets", vm.sh(LINKS).output, "extra=coracle\n")
        with report.case("applets-have-help"):
            expect_equal("applets without --help", vm.sh(HELP).output, "")
        with report.case("cgroup-controllers"):
            vm.sh("cat /sys/fs/cgroup/cgroup.controllers").expect(r"cpuset.*cpu.*io.*memory.*pids")
            vm.sh("cat /proc/pressure/memory").expect(r"^some avg10=")
        containers(vm, report, image)
        with report.case("live-machine-is-intact"):
            vm.sh("ps; ctr ps -a").expect(r"\binit\b")


def immutable(vm):
    """Root tries every way."""
    script = """
	touch /x; echo touch=$?
	echo x >/usr/bin/ls; rm -f /usr/bin/ls; echo rm=$?
	mount -o remount,rw /; touch /x; echo again=$?
	"""
    result = vm.sh(script)
    result.expect(r"Read-only file system", r"^touch=1$", r"^rm=1$", r"^again=1$")


LINKS = """
coracle --list | while read -r name; do [ -L "/usr/bin/$name" ] || echo "missing=$name"; done
coracle --list >/tmp/list
for link in /usr/bin/*; do grep -qxF -- "${link##*/}" /tmp/list || echo "extra=${link##*/}"; done
"""

# By `coracle NAME`, because the shell has built-in commands of the same names. To `test` the word is an operand, by POSIX.
HELP = """
coracle --list | while read -r name; do
	coracle "$name" --help >/tmp/help 2>&1 || echo "$name: exit $?"
	[ -s /tmp/help ] || [ "$name" = test ] || echo "$name: no text"
done
"""


def containers(vm, report, image):
    """A root of the binary itself: the same on both architectures, and nothing foreign in it."""
    root = vm.scratch / "root"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "bin/coracle").write_bytes((image.out / "coracle").read_bytes())
    (root / "bin/coracle").chmod(0o755)
    for name in SELF:
        (root / "bin" / name).symlink_to("coracle")
    subprocess.run(["tar", "-C", root, "-cf", vm.share / "root.tar", "."], check=True)
    with report.case("container-import"):
        result = vm.sh("ctr import -c sh /mnt/share/root.tar self && ctr run --rm --network none self sh -c 'exit 5'")
        expect_equal("exit status", result.status, 5)
    with report.case("container-limits"):
        limits(vm)
    with report.case("container-read-only"):
        script = "ctr run --rm --network none --read-only self sh -c 'id; touch /x; echo touch=$?; echo x >/bin/sh'"
        vm.sh(script).expect(r"^uid=0", r"/x.*Read-only file system", r"^touch=1$")
    with report.case("container-oom"):
        hog = "dd if=/dev/zero of=/dev/shm/x bs=1M count=64"
        expect_equal("exit status", vm.sh(f"ctr run --name hog --memory 32m --network none self {hog}").status, 137)
        vm.sh("ctr inspect hog").expect(r'"OOMKilled": true')
        vm.sh("ctr ps -a").expect(r"Exited \(137, OOMKilled\).* hog$")
    with report.case("container-address"):
        vm.sh("ctr run -d --name web -p 8080:80 self sleep 1000; ctr inspect web").expect(r'"IPAddress": "10\.88\.')
    manage.cases(vm, report)
    with report.case("containers-leave-nothing"):
        vm.sh("ctr stop -t 0 limited web; ctr rm limited web hog")
        expect_equal("what ctr ps -aq lists", vm.sh("ctr ps -aq").output, "")
        expect_equal("cgroups", vm.sh("find /sys/fs/cgroup/coracle/containers -mindepth 1 -type d").output, "")


def limits(vm):
    """The cgroup holds what was asked for."""
    script = """
	id=$(ctr run -d --name limited --memory 64m --cpus 0.5 --pids-limit 20 --network none self sleep 1000)
	cd /sys/fs/cgroup/coracle/containers/$id
	echo memory.max=$(cat memory.max) cpu.max=$(cat cpu.max) pids.max=$(cat pids.max)
	ctr exec limited sh -c 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do sleep 100 & done'
	echo pids.current=$(cat pids.current)
	"""
    result = vm.sh(script)
    result.expect(r"^memory\.max=67108864 cpu\.max=50000 100000 pids\.max=20$", r"Resource temporarily unavailable")
    result.expect(r"^pids\.current=([0-9]|1[0-9]|20)$")
