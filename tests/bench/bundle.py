"""config.json of an OCI bundle that asks crun and runc for what `ctr run --network none` gives: bundle.py ARCH [SECCOMP-PROFILE].

The seccomp profile is Docker's as Debian's golang-github-containers-common has it; its conditions are resolved for ARCH and the
capabilities below. Each runtime adds its own default devices to the
rule that denies all.
"""
import json
import sys

CAPABILITIES = [
    "CAP_" + name
    for name in "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP MKNOD NET_BIND_SERVICE NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP".split()
]
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNTS = [
    ("/proc", "proc", "proc", "nosuid noexec nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev ro"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=67108864"),
    ("/etc/resolv.conf", "bind", "/bundle/files/resolv.conf", "rbind rprivate rw"),
    ("/etc/hostname", "bind", "/bundle/files/hostname", "rbind rprivate rw"),
    ("/etc/hosts", "bind", "/bundle/files/hosts", "rbind rprivate rw"),
]
MASKED = "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats".split()


def seccomp(path, arch):
    """Docker's profile in the form of the OCI specification."""
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)

    def holds(rule):
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        wanted = includes.get("caps") or []
        return (
            all(cap in CAPABILITIES for cap in wanted)
            and (not includes.get("arches") or arch in includes["arches"])
            and not any(cap in CAPABILITIES for cap in excludes.get("caps") or [])
            and arch not in (excludes.get("arches") or [])
        )

    keys = ("names", "action", "args", "errnoRet")
    native = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[arch]
    architectures = [native] + next((m["subArchitectures"] or [] for m in profile["archMap"] if m["architecture"] == native), [])
    return {
        "defaultAction": profile["defaultAction"],
        "architectures": architectures,
        "syscalls": [{key: rule[key] for key in keys if rule.get(key)} for rule in profile["syscalls"] if holds(rule)],
    }


def config(arch, profile):
    """The whole specification."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": [PATH],
            "cwd": "/",
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "/bundle/rootfs", "readonly": False},
        "hostname": "bench",
        "mounts": [
            {"destination": to, "type": kind, "source": source, "options": options.split()}
            for to, kind, source, options in MOUNTS
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in "mount pid uts ipc network cgroup".split()],
            "cgroupsPath": "/coracle/peers/container",
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
            "maskedPaths": ["/proc/" + name for name in MASKED] + ["/sys/devices/virtual/powercap", "/sys/firmware"],
            "readonlyPaths": ["/proc/" + name for name in "bus fs irq sys sysrq-trigger".split()],
        }
        | ({"seccomp": seccomp(profile, arch)} if profile else {}),
    }


json.dump(config(sys.argv[1], "".join(sys.argv[2:3])), sys.stdout, indent=1)
