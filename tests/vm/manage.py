"""Limits of running containers, what they use, pausing and pods, with the controllers of cgroup v2. Needs the image `self`."""

from report import expect_equal

GROUP = "cd /sys/fs/cgroup/coracle/containers/$(ctr inspect -f '{{.Id}}' managed)"


def cases(vm, report):
    """One container throughout; it is gone in the end."""
    with report.case("update-changes-a-running-container"):
        start = "ctr run -d --name managed --memory 64m --pids-limit 20 --network none self sleep 1000 >/dev/null"
        change = "ctr update --memory 96m --cpus 0.25 --pids-limit -1 --cpu-shares 512 managed"
        look = "echo memory=$(cat memory.max) cpu=$(cat cpu.max) pids=$(cat pids.max) weight=$(cat cpu.weight)"
        result = vm.sh(f"{start}; {change}; {GROUP}; {look}")
        result.expect(r"^managed$", r"^memory=100663296 cpu=25000 100000 pids=max weight=20$")
        template = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"
        expect_equal("what is on record", vm.sh(f"ctr inspect -f '{template}' managed").output, "100663296 250000000 0\n")
    with report.case("update-is-all-or-nothing"):
        # The kernel refuses a CPU that is not there: then the memory stays as it was, too.
        change = "ctr update --memory 80m --cpuset-cpus 4000 managed; echo update=$?"
        result = vm.sh(f"{change}; {GROUP}; echo memory=$(cat memory.max)")
        result.expect(r"^update=1$", r"^memory=100663296$")
        expect_equal("record", vm.sh("ctr inspect -f '{{.HostConfig.Memory}}' managed").output, "100663296\n")
    with report.case("stats-of-a-container"):
        template = "{{.Name}} {{.MemUsage}} {{.MemPerc}} {{.PIDs}} {{.BlockIO}}"
        result = vm.sh(f"ctr stats --no-stream --format '{template}'")
        result.expect(r"^managed [0-9.]+[KM]iB / 96MiB [0-9.]+% 1 [0-9.]+[kMG]?B / [0-9.]+[kMG]?B$")
    with report.case("pause-and-top"):
        script = """
	ctr pause managed; ctr ps --format '{{.State}}'; ctr stats --no-stream --format '{{.CPUPerc}}' managed
	ctr unpause managed; ctr ps --format '{{.State}}'; ctr top managed
	"""
        vm.sh(script).expect(r"^paused$", r"^0\.00%$", r"^running$", r"^UID +PID +PPID", r"sleep 1000$")
    with report.case("events-of-an-oom-kill"):
        hog = "ctr run --rm --memory 16m --network none self dd if=/dev/zero of=/dev/shm/x bs=1M count=40"
        look = "ctr events --since 1m --until 0s --filter event=oom --filter event=die --format '{{.Action}}'"
        vm.sh(f"{hog} >/dev/null 2>&1; {look}").expect(r"^oom\ndie$")
    with report.case("a-pod-has-one-address"):
        script = """
	ctr pod create --name group >/dev/null
	ctr run -d --name member --pod group self sleep 1000 >/dev/null
	ctr exec member cat /proc/net/fib_trie | grep -q "$(ctr pod inspect -f '{{.NetworkSettings.IPAddress}}' group)"; echo address=$?
	ctr pod rm -f group; ctr pod ls -q | wc -l
	"""
        vm.sh(script).expect(r"^address=0$", r"^group$", r"^0$")
    vm.sh("ctr rm -f managed")
