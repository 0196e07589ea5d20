//! What this runtime can do, found by asking the code that would do it: it refuses by name what it cannot.

use std::path::Path;

use oci_spec::runtime::{
    Arch, Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, LinuxSeccomp, LinuxSeccompAction,
    LinuxSeccompFilterFlag, Mount, Spec,
};
use serde_json::{Value, json};

use super::{Identity, check, compile_seccomp as compile};

use super::mounts::MountPlan;
use super::namespaces::Namespaces;

use super::userns::IdMaps;

/// Options of mount(8), and those that OCI runtimes have added (runtime-spec config.md, "Linux mount options").
const MOUNT_OPTIONS: [&str; 65] = [
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
    "copy-symlink",
];

const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

const NAMESPACES: [LinuxNamespaceType; 8] = [
    LinuxNamespaceType::Cgroup,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Time,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Uts,
];

const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
];

const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const ARCHITECTURES: [&str; 6] =
    ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_NATIVE", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];

const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The parts of the features document (runtime-spec features.md) that depend on this code; names are sorted where the document's are.
pub struct Features {
    /// `hooks`.
    pub hooks: Vec<&'static str>,
    /// `mountOptions`.
    pub mount_options: Vec<&'static str>,
    /// `linux.namespaces`.
    pub namespaces: Vec<LinuxNamespaceType>,
    /// `linux.seccomp.actions`.
    pub seccomp_actions: Vec<&'static str>,
    /// `linux.seccomp.operators`.
    pub seccomp_operators: Vec<&'static str>,
    /// `linux.seccomp.archs`.
    pub seccomp_architectures: Vec<&'static str>,
    /// `linux.seccomp.supportedFlags`.
    pub seccomp_flags: Vec<&'static str>,
    /// `linux.apparmor.enabled`.
    pub apparmor: bool,
    /// `linux.selinux.enabled`.
    pub selinux: bool,
    /// `linux.mountExtensions.idmap.enabled`.
    pub idmapped_mounts: bool,
}

/// Ask.
pub fn features() -> Features {
    let mut mount_options: Vec<_> = MOUNT_OPTIONS.into_iter().filter(|option| has_mount_option(option)).collect();
    mount_options.sort_unstable();
    let mapping = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    Features {
        hooks: HOOKS.into_iter().filter(|hook| accepts(&json!({"hooks": {*hook: [{"path": "/bin/true"}]}}))).collect(),
        mount_options,
        namespaces: NAMESPACES.into_iter().filter(|kind| has_namespace(*kind)).collect(),
        seccomp_actions: ACTIONS.into_iter().filter(|name| has_action(name)).collect(),
        seccomp_operators: OPERATORS.into_iter().filter(|name| has_operator(name)).collect(),
        seccomp_architectures: ARCHITECTURES.into_iter().filter(|name| has_architecture(name)).collect(),
        seccomp_flags: FLAGS.into_iter().filter(|name| has_flag(name)).collect(),
        // Whether the kernel runs it does not matter here.
        apparmor: true,
        // A process has its label, but mounts do not (linux.mountLabel).
        selinux: false,
        idmapped_mounts: mount(&json!({
            "destination": "/x", "type": "bind", "source": "/x", "options": ["bind"],
            "uidMappings": mapping, "gidMappings": mapping,
        }))
        .is_some(),
    }
}

/// Whether a specification with this property is not refused.
fn accepts(part: &Value) -> bool {
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}]},
    });
    if let (Some(spec), Some(part)) = (spec.as_object_mut(), part.as_object()) {
        spec.extend(part.clone());
    }
    let identity = Identity { id: "x", bundle: Path::new("/") };
    serde_json::from_value::<Spec>(spec).is_ok_and(|spec| check(&spec, Some(identity)).is_ok())
}

fn one_user() -> Vec<LinuxIdMapping> {
    serde_json::from_value(json!([{"containerID": 0, "hostID": 0, "size": 1}])).unwrap_or_default()
}

fn mount(mount: &Value) -> Option<MountPlan> {
    let users = IdMaps::plan("linux", &one_user(), &one_user()).ok()?;
    MountPlan::new(&serde_json::from_value::<Mount>(mount.clone()).ok()?, None, Some(&users)).ok()
}

/// An option that is not understood is one of the file system's, and passed on to it.
fn has_mount_option(option: &str) -> bool {
    let with = |typ: &str| {
        let plan = mount(&json!({"destination": "/x", "type": typ, "source": "/x", "options": [option]}));
        plan.is_some_and(|plan| plan.understands_all())
    };
    with("tmpfs") || with("bind")
}

fn has_namespace(kind: LinuxNamespaceType) -> bool {
    let kinds = [LinuxNamespaceType::Mount, kind];
    let count = if kind == LinuxNamespaceType::Mount { 1 } else { 2 };
    let list = kinds.into_iter().take(count).map(|kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    });
    let mut linux = Linux::default();
    linux.set_namespaces(Some(list.collect()));
    let users = (kind == LinuxNamespaceType::User).then(one_user);
    linux.set_uid_mappings(users.clone()).set_gid_mappings(users);
    Namespaces::plan(&linux).is_ok()
}

fn compiles(profile: &Value) -> bool {
    serde_json::from_value::<LinuxSeccomp>(profile.clone()).is_ok_and(|profile| compile(&profile).is_ok())
}

fn has_action(name: &str) -> bool {
    let known = serde_json::from_value::<LinuxSeccompAction>(name.into()).is_ok();
    known
        && compiles(&json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": [{"names": ["mkdirat"], "action": name}],
        }))
}

fn has_operator(name: &str) -> bool {
    compiles(&json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": name}],
        }],
    }))
}

fn has_architecture(name: &str) -> bool {
    let known = serde_json::from_value::<Arch>(name.into()).is_ok();
    known && compiles(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [name]}))
}

fn has_flag(name: &str) -> bool {
    let known = serde_json::from_value::<LinuxSeccompFilterFlag>(name.into()).is_ok();
    known && compiles(&json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [name]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let features = features();
        for option in ["ro", "rro", "rbind", "rslave", "nosuid", "idmap", "tmpcopyup", "remount", "sync"] {
            assert!(features.mount_options.contains(&option), "{option}");
        }
        assert_eq!(features.namespaces, NAMESPACES);
        assert_eq!(features.hooks, HOOKS);
        assert!(features.seccomp_actions.contains(&"SCMP_ACT_ERRNO"));
        assert_eq!(features.seccomp_operators.len(), 7);
        assert!(features.seccomp_architectures.contains(&"SCMP_ARCH_NATIVE"));
    }
}
