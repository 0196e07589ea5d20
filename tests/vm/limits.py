"""Limits of `ctr run` as the kernel has them, and containers that come back with the machine."""

from machine import READY, Machine, run_agent
from report import expect_equal

RUN = "ctr run --rm --network none self"
# The container's own cgroup is the root of its cgroup namespace.
SHOW = "sh -c 'cd /sys/fs/cgroup; for file; do printf \"%s=\" $file; cat $file; done' sh"

# Options, and what the container's cgroup says then.
CASES = {
    "memory": ("--memory 64m --memory-swap 96m --memory-reservation 32m",
               {"memory.max": "67108864", "memory.swap.max": "33554432", "memory.low": "33554432"}),
    "cpu": ("--cpu-shares 512 --cpu-quota 20000 --cpu-period 50000",
            {"cpu.weight": "20", "cpu.max": "20000 50000"}),
    "cpus": ("--cpus 0.5", {"cpu.max": "50000 100000"}),
    "cpuset": ("--cpuset-cpus 0 --cpuset-mems 0", {"cpuset.cpus": "0", "cpuset.mems": "0"}),
    "pids": ("--pids-limit 20", {"pids.max": "20"}),
}


def run(image, report):
    """One machine for all."""
    with Machine(image, "limits", run_agent(), memory=384) as vm:
        vm.wait(READY)
        with report.case("limits-image"):
            made = "tar -C / -cf - usr etc bin sbin | ctr import -c sh - self"
            expect_equal("exit status", vm.sh(made).status, 0)
        for name, (options, wanted) in CASES.items():
            with report.case(f"limits-{name}"):
                result = vm.sh(RUN.replace("self", f"{options} self {SHOW} {' '.join(wanted)}"))
                expect_equal("the cgroup", result.output, "".join(f"{file}={value}\n" for file, value in wanted.items()))
        others(vm, report)


def others(vm, report):
    """What is no number in a file."""
    with report.case("limits-cgroup-parent"):
        started = "ctr run -d --name below --cgroup-parent /mine/deep --memory 32m --network none self sleep 100"
        expect_equal("exit status", vm.sh(started).status, 0)
        vm.sh("cat /sys/fs/cgroup/mine/deep/*/memory.max").expect(r"^33554432$")
        expect_equal("exit status", vm.sh("ctr rm -f below").status, 0)
        expect_equal("what is left", vm.sh("find /sys/fs/cgroup/mine/deep -mindepth 1 -type d").output, "")
    with report.case("limits-privileged"):
        script = "grep CapEff /proc/self/status; ls /dev/kmsg; mkdir /mnt; mount -t tmpfs x /mnt && echo mounted"
        result = vm.sh(f"ctr run --rm --privileged --network none self sh -c '{script}'")
        result.expect(r"CapEff:\s000001ffffffffff", r"^/dev/kmsg$", r"^mounted$")
    with report.case("limits-oom-restarts"):
        hog = "dd if=/dev/zero of=/dev/null bs=100M count=1"
        vm.sh(f"ctr run -d --name hog --memory 16m --restart on-failure:2 --network none self {hog}")
        vm.until("ctr inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.OOMKilled}}' hog", r"^2 exited true$")
    with report.case("limits-init"):
        result = vm.sh("ctr run --rm --init --network none self sh -c 'tr \"\\0\" \" \" </proc/1/cmdline; exit 3'")
        result.expect(r"^docker-init -- sh ")
        expect_equal("exit status", result.status, 3)
    with report.case("limits-health"):
        vm.sh("ctr run -d --name well --health-cmd 'true' --health-interval 200ms --network none self sleep 100")
        vm.until("ctr ps", r"\(healthy\).* well$")
