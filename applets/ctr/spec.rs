//! From a record to an OCI runtime specification.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Context;
use oci_spec::runtime::{
    Capability, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxIdMapping, LinuxNamespace,
    LinuxNamespaceType, Mount, Process, Spec,
};

use super::options_limits::rlimit;
use super::options_security::{Security, device_rule};
use super::options_spaces::{check_ipc, other};
use super::record::{Device, Record};
use super::{spec_mounts, spec_security};
use crate::runtime;

/// The specification of a container, but for the devices, which [`add_devices`] adds when it is started.
pub fn build(record: &Record) -> anyhow::Result<Spec> {
    let host = &record.host_config;
    let security = Security::of(&host.security_opt).map_err(anyhow::Error::msg)?;
    let mut spec = runtime::default_spec();
    set_process(&mut spec, record, &security)?;
    if let Some(root) = spec.root_mut() {
        root.set_readonly(Some(host.readonly_rootfs));
    }
    let bounding = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let bounding = bounding.and_then(|sets| sets.bounding().clone()).unwrap_or_default();
    let seccomp = spec_security::seccomp(record, &security, &bounding)?;
    if let Some(linux) = spec.linux_mut() {
        set_namespaces(linux, record)?;
        set_sysctls(linux, record);
        linux
            .set_seccomp(seccomp)
            .set_masked_paths(Some(host.masked_paths.clone()))
            .set_readonly_paths(Some(host.readonly_paths.clone()))
            .set_rootfs_propagation(spec_mounts::root_propagation(record));
    }
    if host.uts_mode.is_empty() {
        spec.set_hostname(Some(record.config.hostname.clone()));
        spec.set_domainname(Some(record.config.domainname.clone()).filter(|name| !name.is_empty()));
    }
    if !host.annotations.is_empty() {
        spec.set_annotations(Some(host.annotations.clone().into_iter().collect()));
    }
    spec_mounts::set(&mut spec, record, &security)?;
    if host.userns_mode == "auto" {
        set_users(&mut spec, record)?;
    }
    Ok(spec)
}

/// Ids that a container with users of its own has.
const USERS: u32 = 65_536;
/// The first host id that any of them is, and how many ranges there are from it on: beyond what a host gives to people, below 2^32.
const FIRST_USER: u32 = 0x2000_0000;
const RANGES: u32 = 50_000;

/// Give a container users of its own (`--userns auto`), by a range of ids that follows from its id. On the disk its files and its volumes'
/// have the ids that they have inside.
fn set_users(spec: &mut Spec, record: &Record) -> anyhow::Result<()> {
    let digits = record.id.get(..8).unwrap_or(&record.id);
    let range = u32::from_str_radix(digits, 16).context("the container's id is none")? % RANGES;
    let mapping = serde_json::json!([{"containerID": 0, "hostID": FIRST_USER + range * USERS, "size": USERS}]);
    let mapping: Vec<LinuxIdMapping> = serde_json::from_value(mapping)?;
    if let Some(linux) = spec.linux_mut() {
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        let mut users = LinuxNamespace::default();
        users.set_typ(LinuxNamespaceType::User);
        namespaces.push(users);
        let mut sysctls = linux.sysctl().clone().unwrap_or_default();
        // The range must be of groups that there are.
        if let Some(groups) = sysctls.get_mut("net.ipv4.ping_group_range") {
            *groups = format!("0 {}", USERS - 1);
        }
        linux.set_namespaces(Some(namespaces)).set_sysctl(Some(sysctls));
        linux.set_uid_mappings(Some(mapping.clone())).set_gid_mappings(Some(mapping));
    }
    let is_volume = |mount: &Mount| {
        let at = mount.destination();
        record.mounts.iter().any(|known| super::volumes::is_volume(known) && Path::new(&known.destination) == at)
    };
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in mounts.iter_mut().filter(|mount| is_volume(mount)) {
        let options = mount.options().iter().flatten().cloned().chain(["idmap".into()]).collect();
        mount.set_options(Some(options));
    }
    spec.set_mounts(Some(mounts));
    Ok(())
}

/// Leave out the namespaces that are the host's, and name those that are another container's.
fn set_namespaces(linux: &mut Linux, record: &Record) -> anyhow::Result<()> {
    use LinuxNamespaceType as Kind;
    let host = &record.host_config;
    let shared = [
        (Kind::Network, host.network_mode == "host"),
        (Kind::Ipc, host.ipc_mode == "host"),
        (Kind::Pid, host.pid_mode == "host"),
        (Kind::Uts, host.uts_mode == "host"),
        (Kind::Cgroup, host.cgroupns_mode == "host"),
    ];
    let mut kept = linux.namespaces().clone().unwrap_or_default();
    kept.retain(|space| !shared.contains(&(space.typ(), true)));
    let mut join = |kind: Kind, name: &str, pid: i32| {
        for space in kept.iter_mut().filter(|space| space.typ() == kind) {
            space.set_path(Some(format!("/proc/{pid}/ns/{name}").into()));
        }
    };
    if let Some((other, pid)) = other(&host.ipc_mode)? {
        check_ipc(&other)?;
        join(Kind::Ipc, "ipc", pid);
    }
    if let Some((_, pid)) = other(&host.network_mode)? {
        join(Kind::Network, "net", pid);
    }
    if let Some((_, pid)) = other(&host.uts_mode)? {
        join(Kind::Uts, "uts", pid);
    }
    if let Some((_, pid)) = other(&host.pid_mode)? {
        join(Kind::Pid, "pid", pid);
    }
    linux.set_namespaces(Some(kept));
    Ok(())
}

/// The defaults' as far as the container has the namespace for itself, then the given ones.
fn set_sysctls(linux: &mut Linux, record: &Record) {
    let host = &record.host_config;
    let mut all: HashMap<_, _> = linux.sysctl().clone().unwrap_or_default();
    let has_network = host.network_mode != "host" && !host.network_mode.starts_with("container:");
    all.retain(|key, _| has_network || !key.starts_with("net."));
    all.extend(host.sysctls.clone());
    linux.set_sysctl(Some(all));
}

fn set_process(spec: &mut Spec, record: &Record, security: &Security) -> anyhow::Result<()> {
    let host = &record.host_config;
    let process = spec.process_mut().as_mut().context("the default specification has no process")?;
    let mut env = record.config.env.clone();
    let mut default = |key: &str, entry: String| {
        if !env.iter().any(|other| other.split('=').next() == Some(key)) {
            env.push(entry);
        }
    };
    default("PATH", runtime::PATH.into());
    default("HOSTNAME", format!("HOSTNAME={}", record.config.hostname));
    if record.config.tty {
        default("TERM", "TERM=xterm".into());
    }
    let args = std::iter::once(&record.path).chain(&record.args).cloned().collect();
    let cwd = if record.config.working_dir.is_empty() { "/" } else { &record.config.working_dir };
    process.set_args(Some(args)).set_env(Some(env)).set_cwd(cwd.into()).set_terminal(Some(record.config.tty));
    if let Some(mut capabilities) = process.capabilities().clone() {
        let default = capabilities.bounding().clone().unwrap_or_default();
        let set = if host.privileged { all_capabilities() } else { adjust(default, &host.cap_add, &host.cap_drop)? };
        capabilities.set_bounding(Some(set.clone())).set_permitted(Some(set.clone())).set_effective(Some(set));
        process.set_capabilities(Some(capabilities));
    }
    process.set_no_new_privileges(Some(security.no_new_privileges.unwrap_or(!host.privileged)));
    if host.oom_score_adj != 0 {
        process.set_oom_score_adj(Some(host.oom_score_adj));
    }
    let limits = host.ulimits.iter().map(rlimit).collect::<Option<Vec<_>>>();
    process.set_rlimits(Some(limits.context("the record has a wrong ulimit")?));
    Ok(())
}

/// Put the devices of `--device` into the specification, each as the host has it now.
pub fn add_devices(spec: &mut Spec, record: &Record) -> anyhow::Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut nodes = linux.devices().clone().unwrap_or_default();
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    if record.host_config.privileged {
        rules.extend(device_rule("a *:* rwm"));
        nodes.extend(spec_security::host_devices()?);
    }
    for rule in &record.host_config.device_cgroup_rules {
        rules.push(device_rule(rule).with_context(|| format!("the record has a wrong device rule {rule:?}"))?);
    }
    for wanted in &record.host_config.devices {
        let device = device(wanted)?;
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(device.typ()))
            .set_major(Some(device.major()))
            .set_minor(Some(device.minor()))
            .set_access(Some(wanted.cgroup_permissions.clone()));
        rules.push(rule);
        nodes.push(device);
    }
    resources.set_devices(Some(rules));
    linux.set_devices(Some(nodes)).set_resources(Some(resources));
    Ok(())
}

fn device(wanted: &Device) -> anyhow::Result<LinuxDevice> {
    let path = &wanted.path_on_host;
    let meta = std::fs::metadata(path).with_context(|| {
        format!("error gathering device information while adding custom device \"{}\"", path.display())
    })?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => LinuxDeviceType::C,
        kind if kind.is_block_device() => LinuxDeviceType::B,
        _ => anyhow::bail!("{} is no device", path.display()),
    };
    Ok(device_node(&wanted.path_in_container, kind, &meta))
}

/// A node like one of the host.
pub fn device_node(path: &str, kind: LinuxDeviceType, meta: &std::fs::Metadata) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(path.into())
        .set_typ(kind)
        .set_major(rustix::fs::major(meta.rdev()).into())
        .set_minor(rustix::fs::minor(meta.rdev()).into())
        .set_file_mode(Some(meta.mode() & 0o777))
        .set_uid(Some(meta.uid()))
        .set_gid(Some(meta.gid()));
    device
}

/// Where no device rules can be kept a container does without CAP_MKNOD, unless that was asked for by name. Says whether `error` is
/// that case and the process has changed.
pub fn drop_mknod(error: &runtime::Error, process: &mut Process, record: &Record) -> bool {
    let asked = record.host_config.cap_add.iter().any(|name| name == "MKNOD" || name == "ALL");
    let asked = asked || record.host_config.privileged;
    let Some(mut sets) =
        process.capabilities().clone().filter(|_| matches!(error, runtime::Error::Devices(_)) && !asked)
    else {
        return false;
    };
    let without = |set: &Option<HashSet<Capability>>| {
        set.as_ref().map(|set| set.iter().copied().filter(|&one| one != Capability::Mknod).collect())
    };
    let (bounding, permitted, effective) =
        (without(sets.bounding()), without(sets.permitted()), without(sets.effective()));
    sets.set_bounding(bounding).set_permitted(permitted).set_effective(effective);
    process.set_capabilities(Some(sets));
    true
}

/// Read a capability's name; `ALL` is one.
pub fn parse_capability(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    if name == "ALL" || name.parse::<Capability>().is_ok() {
        Ok(name.into())
    } else {
        Err(format!("unknown capability {text:?}"))
    }
}

/// Docker's order: ALL dropped starts from nothing, ALL added from everything; then single names are taken and given.
fn adjust(mut set: HashSet<Capability>, add: &[String], drop: &[String]) -> anyhow::Result<HashSet<Capability>> {
    let is_all = |name: &String| name == "ALL";
    let named = |list: &[String]| -> anyhow::Result<Vec<Capability>> {
        let names = list.iter().filter(|name| !is_all(name));
        names.map(|name| name.parse().map_err(|_| anyhow::anyhow!("unknown capability {name:?}"))).collect()
    };
    if drop.iter().any(is_all) {
        set.clear();
    }
    if add.iter().any(is_all) {
        set = all_capabilities();
    }
    for capability in named(drop)? {
        set.remove(&capability);
    }
    set.extend(named(add)?);
    Ok(set)
}

/// All that there are.
pub fn all_capabilities() -> HashSet<Capability> {
    use Capability as C;
    HashSet::from([
        C::AuditControl,
        C::AuditRead,
        C::AuditWrite,
        C::BlockSuspend,
        C::Bpf,
        C::CheckpointRestore,
        C::Chown,
        C::DacOverride,
        C::DacReadSearch,
        C::Fowner,
        C::Fsetid,
        C::IpcLock,
        C::IpcOwner,
        C::Kill,
        C::Lease,
        C::LinuxImmutable,
        C::MacAdmin,
        C::MacOverride,
        C::Mknod,
        C::NetAdmin,
        C::NetBindService,
        C::NetBroadcast,
        C::NetRaw,
        C::Perfmon,
        C::Setfcap,
        C::Setgid,
        C::Setpcap,
        C::Setuid,
        C::SysAdmin,
        C::SysBoot,
        C::SysChroot,
        C::SysModule,
        C::SysNice,
        C::SysPacct,
        C::SysPtrace,
        C::SysRawio,
        C::SysResource,
        C::SysTime,
        C::SysTtyConfig,
        C::Syslog,
        C::WakeAlarm,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_follow_docker() {
        let default = HashSet::from([Capability::Chown, Capability::Kill]);
        let names = |list: &[&str]| list.iter().map(|name| parse_capability(name).unwrap()).collect::<Vec<_>>();
        let with = |add: &[&str], drop: &[&str]| adjust(default.clone(), &names(add), &names(drop)).unwrap();
        assert_eq!(with(&["net_admin"], &["CAP_CHOWN"]), HashSet::from([Capability::Kill, Capability::NetAdmin]));
        assert_eq!(with(&["KILL"], &["all"]), HashSet::from([Capability::Kill]));
        assert!(!with(&["ALL"], &["SYS_ADMIN"]).contains(&Capability::SysAdmin));
        assert_eq!(all_capabilities().len(), 41);
        assert!(parse_capability("MAGIC").is_err());
    }

    #[test]
    fn host_network_has_no_namespace() {
        let mut record = Record { path: "sh".into(), ..Default::default() };
        record.host_config.network_mode = "host".into();
        let spec = build(&record).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert!(linux.namespaces().iter().flatten().all(|space| space.typ() != LinuxNamespaceType::Network));
        assert!(linux.sysctl().iter().flatten().all(|(key, _)| !key.starts_with("net.")));
    }
}
