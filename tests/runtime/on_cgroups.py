"""config-linux.md, control groups: path, resources as cgroup v2 has them, device rules; update, pause and resume."""

import json
import os
import time

from harness import CAPABILITIES, CGROUP, case, equal, expect, read, until

MIB = 1 << 20


def values(box, resources, *files):
    """What files of the cgroup say for these resources."""
    c = box.container(linux={"resources": resources}).running()
    return [read(c.cgroup / file) for file in files]


def allow_nothing():
    """The rule that denies all devices."""
    return {"allow": False, "access": "rwm"}


@case("an absolute cgroupsPath is below the mount point, and the process is in it")
def path(box):
    c = box.container().running()
    expect(str(c.pid) in read(c.cgroup / "cgroup.procs").split(), "the process is elsewhere")


@case("without cgroupsPath there is a cgroup of its own all the same")
def no_path(box):
    c = box.container(linux={"cgroupsPath": None}).running()
    group = read(f"/proc/{c.pid}/cgroup")
    expect(group != read("/proc/self/cgroup"), f"{group}")
    c.delete("--force").ok()
    expect(not (CGROUP / group.removeprefix("0::/")).exists(), "the cgroup is left")


@case("a relative cgroupsPath leads to the same place each time")
def relative_path(box):
    places = []
    for _ in range(2):
        c = box.container(linux={"cgroupsPath": f"conformance-relative/{box.scratch.name}"}).running()
        places.append(read(f"/proc/{c.pid}/cgroup"))
        c.delete("--force").ok()
    equal(places[0], places[1])


@case("a cgroupsPath with .. does not lead out of the hierarchy", crun="makes the folder outside")
def path_dots(box):
    outside = box.scratch / "outside"
    box.container(linux={"cgroupsPath": f"/conformance/../../../..{outside}"}).create()
    expect(not outside.exists(), "a folder was made outside")


@case("memory: limit, reservation, swap (of memory and swap together)")
def memory(box):
    got = values(box, {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB}}, "memory.max", "memory.low", "memory.swap.max")
    equal(got, [str(64 * MIB), str(32 * MIB), str(32 * MIB)])


@case("memory: swap equal to the limit means none")
def memory_no_swap(box):
    equal(values(box, {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}, "memory.swap.max"), ["0"])


@case("memory: -1 is no limit")
def memory_unlimited(box):
    equal(values(box, {"memory": {"limit": -1, "swap": -1}}, "memory.max", "memory.swap.max"), ["max", "max"])


@case("memory: swap below the limit is refused")
def memory_swap_below(box):
    box.refuses(linux={"resources": {"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}})


@case("memory: what wants more than the limit is killed")
def memory_is_limited(box):
    c = box.container("head -c 60000000 /dev/zero | tail -c 50000000 >/dev/null; echo survived $?", linux={"resources": {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}})
    c.run()
    expect("survived 0" not in c.out, "nothing was killed")


@case("cpu: quota and period")
def cpu_quota(box):
    equal(values(box, {"cpu": {"quota": 50000, "period": 200000}}, "cpu.max"), ["50000 200000"])


@case("cpu: quota alone has the kernel's period")
def cpu_quota_alone(box):
    equal(values(box, {"cpu": {"quota": 50000}}, "cpu.max"), ["50000 100000"])


@case("cpu: quota -1 is none")
def cpu_quota_none(box):
    equal(values(box, {"cpu": {"quota": -1, "period": 100000}}, "cpu.max"), ["max 100000"])


@case("cpu: burst", runc="1.1 does not have it")
def cpu_burst(box):
    equal(values(box, {"cpu": {"quota": 50000, "period": 100000, "burst": 20000}}, "cpu.max.burst"), ["20000"])


@case("cpu: shares become a weight, monotonic")
def cpu_shares(box):
    weights = [int(values(box, {"cpu": {"shares": shares}}, "cpu.weight")[0]) for shares in (2, 1024, 262144)]
    equal((weights[0], weights[2]), (1, 10000))
    expect(1 < weights[1] < 10000, f"{weights}")


@case("cpu: shares 1024 are a weight of 39, as the field has converted for years")
def cpu_shares_default(box):
    equal(values(box, {"cpu": {"shares": 1024}}, "cpu.weight"), ["39"])


@case("cpu: idle", runc="1.1 does not have it")
def cpu_idle(box):
    equal(values(box, {"cpu": {"idle": 1}}, "cpu.idle"), ["1"])


@case("cpuset: cpus and mems")
def cpuset(box):
    equal(values(box, {"cpu": {"cpus": "0", "mems": "0"}}, "cpuset.cpus", "cpuset.mems", "cpuset.cpus.effective"), ["0", "0", "0"])


@case("cpuset: a processor that does not exist, or nonsense, is refused")
def cpuset_bad(box):
    box.refuses(linux={"resources": {"cpu": {"cpus": "nonsense"}}})


@case("pids: limit")
def pids(box):
    equal(values(box, {"pids": {"limit": 20}}, "pids.max"), ["20"])


@case("pids: the limit holds")
def pids_hold(box):
    c = box.container("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; echo all", linux={"resources": {"pids": {"limit": 4}}})
    done = c.run()
    expect("all" not in c.out or "fork" in done.err, f"{c.out} {done.err}")


@case("pids: -1 is no limit")
def pids_unlimited(box):
    equal(values(box, {"pids": {"limit": -1}}, "pids.max"), ["max"])


@case("blockIO: weight")
def io_weight(box):
    c = box.container(linux={"resources": {"blockIO": {"weight": 500}}}).running()
    got = "".join(read(c.cgroup / name) for name in ("io.weight", "io.bfq.weight") if (c.cgroup / name).exists())
    expect("default 100\n" not in got + "\n" or "500" in got, got)


@case("blockIO: throttling by bytes and operations")
def io_max(box):
    major, minor = read("/sys/block/vda/dev").split(":")
    rate = [{"major": int(major), "minor": int(minor), "rate": 1000000}]
    got = values(box, {"blockIO": {"throttleReadBpsDevice": rate, "throttleWriteIOPSDevice": rate}}, "io.max")[0]
    expect("rbps=1000000" in got and "wiops=1000000" in got, got)


@case("hugepageLimits")
def hugepages(box):
    equal(values(box, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb.2MB.max"), [str(4 * MIB)])


@case("unified: files of cgroup v2 as they are")
def unified(box):
    got = values(box, {"unified": {"memory.high": "33554432", "pids.max": "33", "memory.oom.group": "1"}}, "memory.high", "pids.max", "memory.oom.group")
    equal(got, ["33554432", "33", "1"])


@case("unified: a file that does not exist is refused")
def unified_unknown(box):
    box.refuses(linux={"resources": {"unified": {"memory.nonsense": "1"}}})


@case("unified: a name with / is refused, and never written")
def unified_slash(box):
    before = read(CGROUP / "conformance/pids.max")
    box.refuses(linux={"resources": {"unified": {"../pids.max": "77"}}})
    equal(read(CGROUP / "conformance/pids.max"), before)


@case("devices: what was denied cannot be read, the default devices can")
def devices_denied(box):
    devices = [{"path": "/dev/thing", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]
    c = box.container("head -c 1 /dev/zero | wc -c; cat </dev/thing", linux={"devices": devices, "resources": {"devices": [allow_nothing(), {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]}})
    done = c.run()
    equal(c.out, "1\n")
    expect("not permitted" in done.err, done.err)


@case("devices: what is allowed can be used, in the way that is allowed")
def devices_allowed(box):
    rules = [allow_nothing(), {"allow": True, "type": "b", "major": 254, "minor": None, "access": "r"}]
    major = int(read("/sys/block/vda/dev").split(":")[0])
    rules[1] = {"allow": True, "type": "b", "major": major, "access": "rm"}
    c = box.container(f"mknod /disk b {major} 0 && head -c 4 /disk | wc -c; : >>/disk", linux={"resources": {"devices": rules}})
    done = c.run()
    equal(c.out, "4\n")
    expect("not permitted" in done.err or "denied" in done.err, f"writing: {done.err}")


@case("devices: later rules win")
def devices_order(box):
    major = int(read("/sys/block/vda/dev").split(":")[0])
    rules = [allow_nothing(), {"allow": True, "type": "b", "major": major, "access": "rwm"}, {"allow": False, "type": "b", "major": major, "access": "r"}]
    c = box.container(f"mknod /disk b {major} 0 && echo made; head -c 1 /disk", linux={"resources": {"devices": rules}})
    done = c.run()
    equal(c.out, "made\n")
    expect("not permitted" in done.err, done.err)


@case("devices: without any rule, only the default devices can be used (GO-2022-0396)", crun="denies nothing without a rule")
def go_2022_0396_no_device_rules(box):
    major = int(read("/sys/block/vda/dev").split(":")[0])
    script = f"mknod /disk b {major} 0; head -c 1 /disk; mknod /mem c 1 1; head -c 1 /mem; head -c 1 /dev/zero | wc -c"
    for devices in ([], None):
        c = box.container(script, linux={"resources": {"devices": devices}})
        done = c.run()
        equal(c.out, "1\n")
        equal(done.err.count("not permitted"), 2, done.err)


@case("who may mount sees no cgroup but the own one")
def cgroup_escape(box):
    kinds = ("bounding", "effective", "permitted")
    process = {"capabilities": {kind: [*CAPABILITIES, "CAP_SYS_ADMIN"] for kind in kinds}}
    # The root of all cgroups has no type.
    script = "mkdir /again; mount -t cgroup2 cgroup2 /again; cat /again/cgroup.type; ls -d /again/conformance; cat /proc/self/cgroup"
    c = box.container(script, process=process)
    c.run()
    equal(c.out, "domain\n0::/\n")


@case("the cgroup belongs to root, if its mount is read-only")
def owner(box):
    c = box.container().running()
    equal((os.stat(c.cgroup).st_uid, os.stat(c.cgroup / "cgroup.procs").st_uid), (0, 0))


@case("pause freezes, resume thaws; the status says so")
def pause(box):
    c = box.container("while :; do echo tick; sleep 0.05; done").running()
    c.printed("tick")
    c.call("pause").ok()
    equal(c.status(), "paused")
    expect("frozen 1" in read(c.cgroup / "cgroup.events"), "not frozen")
    before = len(c.out)
    time.sleep(0.5)
    equal(len(c.out), before, "output while paused")
    c.call("resume").ok()
    equal(c.status(), "running")
    until(lambda: len(c.out) > before, "output after resume")


@case("pause and resume of what is not running is an error")
def pause_stopped(box):
    c = box.container("true").running()
    c.wait("stopped")
    c.call("pause").refused()
    c.call("resume").refused()
    box.call("pause", "nobody-here").refused()


@case("a paused container may be killed; it ends when it resumes at the latest")
def pause_kill(box):
    c = box.container().running()
    c.call("pause").ok()
    c.kill("KILL").ok()
    c.call("resume")
    c.wait("stopped")


@case("delete --force of a paused container")
def pause_delete(box):
    c = box.container().running()
    c.call("pause").ok()
    c.delete("--force").ok()
    expect(not c.cgroup.exists(), "the cgroup is left")


@case("exec in a paused container is an error")
def pause_exec(box):
    c = box.container().running()
    c.call("pause").ok()
    done = box.call("exec", c.id, "true", timeout=20)
    c.call("resume")
    done.refused()


@case("update by JSON on standard input")
def update_stdin(box):
    c = box.container().running()
    resources = {"memory": {"limit": 48 * MIB}, "cpu": {"quota": 30000, "period": 100000}, "pids": {"limit": 12}}
    c.call("update", options=("--resources", "-"), stdin=json.dumps(resources)).ok()
    equal([read(c.cgroup / name) for name in ("memory.max", "cpu.max", "pids.max")], [str(48 * MIB), "30000 100000", "12"])


@case("update by a file")
def update_file(box):
    c = box.container().running()
    (c.bundle / "new.json").write_text(json.dumps({"pids": {"limit": 13}}))
    c.call("update", options=("-r", str(c.bundle / "new.json"))).ok()
    equal(read(c.cgroup / "pids.max"), "13")


@case("update by options")
def update_options(box):
    c = box.container().running()
    options = ["--memory", str(40 * MIB), "--memory-reservation", str(20 * MIB), "--cpu-quota", "20000", "--cpu-period", "100000", "--pids-limit", "14", "--cpuset-cpus", "0"]
    c.call("update", options=options).ok()
    names = ("memory.max", "memory.low", "cpu.max", "pids.max", "cpuset.cpus")
    equal([read(c.cgroup / name) for name in names], [str(40 * MIB), str(20 * MIB), "20000 100000", "14", "0"])


@case("update leaves alone what was not named")
def update_partly(box):
    c = box.container(linux={"resources": {"memory": {"limit": 64 * MIB}, "pids": {"limit": 30}}}).running()
    c.call("update", options=("--pids-limit", "15")).ok()
    equal([read(c.cgroup / name) for name in ("memory.max", "pids.max")], [str(64 * MIB), "15"])


@case("update of a container that does not exist is an error")
def update_unknown(box):
    box.call("update", "--pids-limit", "10", "nobody-here").refused()


@case("a cgroup that was there before is used, and what else is in it stays alive")
def existing_cgroup(box):
    c = box.container("true")
    c.cgroup.mkdir()
    c.run().ok()


@case("processes of exec are in the container's cgroup")
def exec_cgroup(box):
    c = box.container().running()
    box.spawn(*box.command, "exec", c.id, "sleep", "1000")
    until(lambda: len(read(c.cgroup / "cgroup.procs").split()) == 2, "a second process in the cgroup")


@case("events --stats prints the cgroup's numbers", crun="has no events")
def stats(box):
    c = box.container(linux={"resources": {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}}).running()
    got = c.call("events", options=("--stats",)).json()
    equal((got["type"], got["id"]), ("stats", c.id))
    equal(got["data"]["pids"]["limit"], 20)
    equal(got["data"]["memory"]["usage"]["limit"], 64 * MIB)
    expect(got["data"]["cpu"]["usage"]["total"] > 0, "no CPU time")
