//! What a container gets unless it is told otherwise: Docker's defaults (moby daemon/pkg/oci/defaults.go), with
//! no_new_privs on.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use oci_spec::runtime::{
    Capability, Linux, LinuxCapabilities, LinuxDeviceCgroupBuilder, LinuxNamespace, LinuxNamespaceType, LinuxResources,
    Mount, Process, Root, Spec, User,
};

/// Search path of a container whose image sets none.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's.
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::SysChroot,
    Capability::Mknod,
    Capability::AuditWrite,
    Capability::Setfcap,
];

const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Cgroup,
];

/// Destination, type, source, options.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
];

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Unprivileged processes may use low ports and ping: both are harmless in a network namespace of one's own.
const SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// A complete specification with Docker's defaults, for root running `sh`. The caller changes what its user and image ask for
/// (`process`, `hostname`, `root.readonly`, `mounts`, `linux.resources`) and may store it as config.json of a bundle that any OCI
/// runtime accepts. Who shares a host namespace removes it from `linux.namespaces` (for the network: also the `net.` sysctls).
pub fn default_spec() -> Spec {
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(false));
    let mut spec = Spec::default();
    spec.set_version("1.2.0".into())
        .set_root(Some(root))
        .set_hostname(None)
        .set_mounts(Some(MOUNTS.iter().map(mount).collect()))
        .set_process(Some(process()))
        .set_linux(Some(linux()));
    spec
}

/// The description of a further process in a container: user, capabilities, environment, working directory and rlimits of its
/// first one, other arguments.
pub fn exec_process(spec: &Spec, args: Vec<String>) -> Process {
    let mut process = spec.process().clone().unwrap_or_else(process);
    process.set_args(Some(args)).set_terminal(Some(false));
    process
}

fn mount((destination, kind, source, options): &(&str, &str, &str, &[&str])) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some((*kind).into()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&option| option.into()).collect()));
    mount
}

fn process() -> Process {
    let set: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    let mut capabilities = LinuxCapabilities::default();
    // Inheritable and ambient stay empty: a program with file capabilities or another user gains nothing (CVE-2022-29162).
    capabilities
        .set_bounding(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_effective(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(User::default())
        .set_args(Some(vec!["sh".into()]))
        .set_env(Some(vec![PATH.into()]))
        .set_cwd("/".into())
        .set_no_new_privileges(Some(true))
        .set_capabilities(Some(capabilities))
        .set_rlimits(None);
    process
}

fn linux() -> Linux {
    let deny_all = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().into_iter().collect();
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(deny_all));
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(NAMESPACES.into_iter().map(namespace).collect()))
        .set_masked_paths(Some(MASKED.iter().map(|&path| path.into()).collect()))
        .set_readonly_paths(Some(READONLY.iter().map(|&path| path.into()).collect()))
        .set_sysctl(Some(SYSCTLS.iter().map(|&(key, value)| (key.into(), value.into())).collect::<HashMap<_, _>>()))
        .set_resources(Some(resources))
        .set_devices(None);
    linux
}

fn namespace(typ: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(typ);
    namespace
}
