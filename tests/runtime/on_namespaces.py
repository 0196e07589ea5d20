"""config-linux.md: namespaces, new and joined, user mappings, sysctl, time offsets."""

import os

from harness import NAMESPACES, case, equal, expect, namespace, read

KINDS = {"mount": "mnt", "pid": "pid", "uts": "uts", "ipc": "ipc", "network": "net", "cgroup": "cgroup", "user": "user", "time": "time"}
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USER = {"namespaces": [{"type": kind} for kind in [*NAMESPACES, "user"]], "uidMappings": MAPPING, "gidMappings": MAPPING}


def only(*kinds, **paths):
    """The namespaces of these kinds, `mount` always; a path joins."""
    return {"namespaces": [{"type": kind} for kind in ("mount", *kinds)] + [{"type": kind, "path": path} for kind, path in paths.items()]}


@case("each namespace that is asked for is new")
def new(box):
    c = box.container().running()
    for kind in NAMESPACES:
        expect(namespace(c.pid, KINDS[kind]) != namespace("self", KINDS[kind]), f"the {kind} namespace is the host's")


@case("a namespace that is not asked for is the runtime's")
def inherited(box):
    c = box.container(hostname=None, linux=only("pid")).running()
    for kind in ("uts", "ipc", "net", "cgroup", "user", "time"):
        equal(namespace(c.pid, kind), namespace("self", kind), kind)


@case("a namespace with a path is joined: network, ipc and uts")
def joined(box):
    first = box.container().running()
    paths = {kind: f"/proc/{first.pid}/ns/{KINDS[kind]}" for kind in ("network", "ipc", "uts")}
    c = box.container(hostname=None, linux=only("pid", **paths)).running()
    for kind in paths:
        equal(namespace(c.pid, KINDS[kind]), namespace(first.pid, KINDS[kind]), kind)


@case("a PID namespace with a path is joined")
def joined_pid(box):
    first = box.container().running()
    c = box.container(hostname=None, linux=only(pid=f"/proc/{first.pid}/ns/pid")).running()
    equal(namespace(c.pid, "pid"), namespace(first.pid, "pid"))
    expect(c.status() == "running", "does not run")
    c.kill("KILL").ok()
    c.wait("stopped")
    equal(first.status(), "running", "the first container's status")


@case("a user namespace with a path is joined, with its mappings")
def joined_user(box):
    first = box.container(linux=USER).running()
    paths = {kind: f"/proc/{first.pid}/ns/{KINDS[kind]}" for kind in ("user", "network", "ipc", "uts")}
    c = box.container(hostname=None, linux=only("pid", **paths)).running()
    equal(namespace(c.pid, "user"), namespace(first.pid, "user"))
    equal(read(f"/proc/{c.pid}/uid_map").split(), ["0", "100000", "65536"])


@case("a path that does not exist is refused")
def joined_missing(box):
    box.refuses(hostname=None, linux=only("pid", network="/nowhere"))


@case("a path of another kind of namespace is refused")
def joined_wrong_kind(box):
    box.refuses(hostname=None, linux=only("pid", network="/proc/self/ns/ipc"))


@case("an unknown kind of namespace is refused")
def unknown(box):
    box.refuses(linux=only("nonsense"))


@case("the same kind of namespace twice is refused")
def twice(box):
    box.refuses(hostname=None, linux=only("pid", "pid"))


@case("a new network has loopback, and it is up")
def loopback(box):
    expect("LOOPBACK,UP" in box.output("ip addr show lo"), "loopback is down")


@case("a new cgroup namespace shows the container's cgroup as /")
def cgroup_root(box):
    equal(box.output("cat /proc/self/cgroup"), "0::/")


@case("a user namespace: ids in and outside, root may write its own files")
def user_namespace(box):
    c = box.container("id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; sleep 1000", linux=USER).running()
    c.printed("65536\n")
    equal(c.out.split()[:2], ["0", "0"])
    equal(c.out.split()[2:8], ["0", "100000", "65536"] * 2)
    equal(os.stat(f"/proc/{c.pid}").st_uid, 100000, "the process's uid on the host")


@case("a user namespace: another user of it")
def user_in_user_namespace(box):
    equal(box.output("id -u; id -g", linux=USER, process={"user": {"uid": 1000, "gid": 1000}}), "1000\n1000")


@case("a user namespace: devices are there, and work")
def devices_in_user_namespace(box):
    equal(box.output("head -c 3 /dev/zero | wc -c; echo x >/dev/null && echo written; ls /dev/full /dev/random /dev/urandom /dev/tty", linux=USER).split()[:2], ["3", "written"])


@case("a user namespace without mappings is refused", crun="maps something of its own choice")
def user_without_mappings(box):
    box.refuses(linux={"namespaces": USER["namespaces"]})


@case("mappings without a user namespace do not map", coracle="refuses them, as newer versions of runc do")
def mappings_without_namespace(box):
    box.container("true", linux={"uidMappings": MAPPING, "gidMappings": MAPPING}).run().ok()


@case("several mappings")
def several_mappings(box):
    maps = [{"containerID": 0, "hostID": 100000, "size": 10}, {"containerID": 10, "hostID": 200000, "size": 100}]
    got = box.output("cat /proc/self/uid_map", linux={**USER, "uidMappings": maps, "gidMappings": maps}).split()
    equal(got, ["0", "100000", "10", "10", "200000", "100"])


@case("setgroups stays possible if root makes the mapping")
def setgroups(box):
    equal(box.output("cat /proc/self/setgroups", linux=USER), "allow")


@case("time offsets", runc="1.1 has no time namespaces")
def time_offsets(box):
    linux = only(*[kind for kind in NAMESPACES if kind != "mount"], "time")
    linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}, "monotonic": {"secs": 5000, "nanosecs": 0}}
    uptime = float(box.output("cat /proc/uptime", linux=linux).split()[0])
    expect(uptime > 1000000, f"uptime {uptime}")


@case("sysctl of the container's own namespaces, written in it only")
def sysctl(box):
    before = read("/proc/sys/net/ipv4/ip_forward"), read("/proc/sys/kernel/shmmni")
    got = box.output(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni",
        linux={"sysctl": {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "256", "kernel.shmmni": "1234"}},
    )
    equal(got.split(), ["1", "256", "1234"])
    equal((read("/proc/sys/net/ipv4/ip_forward"), read("/proc/sys/kernel/shmmni")), before, "the host's")


@case("a sysctl of no namespace is refused")
def sysctl_of_host(box):
    before = read("/proc/sys/vm/swappiness")
    box.refuses(linux={"sysctl": {"vm.swappiness": "1"}})
    equal(read("/proc/sys/vm/swappiness"), before)


@case("a sysctl of the network without an own one is refused")
def sysctl_without_namespace(box):
    before = read("/proc/sys/net/ipv4/ip_forward")
    box.refuses(hostname=None, linux={**only("pid"), "sysctl": {"net.ipv4.ip_forward": "1"}})
    equal(read("/proc/sys/net/ipv4/ip_forward"), before)


@case("the container sees only its own processes")
def processes(box):
    got = box.output("ls /proc | grep -c '^[0-9]'")
    expect(int(got) < 6, f"{got} processes")
