//! Writes to the kernel's settings, through a procfs that no one else can see (CVE-2025-52881: an image could put another file
//! system where the runtime writes).

use std::collections::HashMap;

use oci_spec::runtime::Mount;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::Error;
use super::channel::{Doing, Step};
use super::namespaces::Namespaces;
use nix::sched::CloneFlags;

/// A procfs mount that is attached nowhere.
pub(super) struct PrivateProc(OwnedFd);

impl PrivateProc {
    /// Mount one, of the caller's PID namespace.
    pub(super) fn new() -> Step<Self> {
        let words = || "mount a private procfs".into();
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).doing(words)?;
        fsconfig_create(&context).doing(words)?;
        let flags =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).doing(words).map(Self)
    }

    /// A mount that is still to be attached serves as well, until it is.
    pub(super) fn from_detached(mount: OwnedFd) -> Self {
        Self(mount)
    }

    pub(super) fn into_mount(self) -> OwnedFd {
        self.0
    }

    /// Write a value to a file below its root.
    pub(super) fn write(&self, path: &str, value: &str) -> Step {
        let words = || format!("write {value:?} to /proc/{path}");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file =
            openat2(self.0.as_fd(), path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve).doing(words)?;
        rustix::io::write(&file, value.as_bytes()).doing(words)?;
        Ok(())
    }

    /// `process.oomScoreAdj` of the calling process.
    pub(super) fn set_oom_score_adj(&self, value: i32) -> Step {
        // Not by "self", a link.
        self.write(&format!("{}/oom_score_adj", rustix::process::getpid()), &value.to_string())
    }
}

/// The sysctls of a specification as paths below /proc/sys, each checked to be one of a namespace that the container has for
/// itself.
pub(super) fn sysctls(
    wanted: &HashMap<String, String>,
    namespaces: &Namespaces,
) -> Result<Vec<(String, String)>, Error> {
    let mut all = wanted
        .iter()
        .map(|(key, value)| Ok((sysctl_path(key, namespaces)?, value.clone())))
        .collect::<Result<Vec<_>, Error>>()?;
    all.sort_unstable();
    Ok(all)
}

fn sysctl_path(key: &str, namespaces: &Namespaces) -> Result<String, Error> {
    let what = || format!("linux.sysctl: {key:?}");
    // A key with slashes has dots in its names (net/ipv4/conf/eth0.1/forwarding), as sysctl(8) has it.
    let path = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    let flag = if path.starts_with("net/") {
        CloneFlags::CLONE_NEWNET
    } else if path == "kernel/domainname" || path == "kernel/hostname" {
        CloneFlags::CLONE_NEWUTS
    } else if is_ipc(&path) {
        CloneFlags::CLONE_NEWIPC
    } else {
        return Err(Error::spec(
            what(),
            "it is the host's: only net.*, fs.mqueue.*, kernel.{msg,sem,shm}* belong to a container",
        ));
    };
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::spec(what(), "no name of a sysctl"));
    }
    if !namespaces.has(flag) {
        return Err(Error::spec(what(), "it is the host's, as the container shares that namespace with it"));
    }
    Ok(format!("sys/{path}"))
}

fn is_ipc(path: &str) -> bool {
    const NAMES: [&str; 10] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "kernel/auto_msgmni",
        "kernel/msg_next_id",
    ];
    path.starts_with("fs/mqueue/") || NAMES.contains(&path)
}

/// Whether a mount is the whole procfs of the container, so that it can serve for writes before it is attached.
pub(super) fn serves(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("proc")
        && mount
            .options()
            .iter()
            .flatten()
            .all(|option| !option.starts_with("subset") && option != "ro" && option != "rro")
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType};

    fn namespaces(kinds: &[LinuxNamespaceType]) -> Namespaces {
        let list = kinds.iter().map(|&kind| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind);
            namespace
        });
        let mut linux = Linux::default();
        linux.set_namespaces(Some(list.collect()));
        Namespaces::plan(&linux).unwrap()
    }

    #[test]
    fn only_what_is_the_containers_own() {
        let own = namespaces(&[LinuxNamespaceType::Mount, LinuxNamespaceType::Network, LinuxNamespaceType::Ipc]);
        assert_eq!(sysctl_path("net.ipv4.ip_forward", &own).unwrap(), "sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/conf/a.b/forwarding", &own).unwrap(), "sys/net/ipv4/conf/a.b/forwarding");
        assert_eq!(sysctl_path("kernel.shmmax", &own).unwrap(), "sys/kernel/shmmax");
        for key in
            ["kernel.core_pattern", "vm.overcommit_memory", "net/../kernel/core_pattern", "net.", "kernel.hostname", ""]
        {
            assert!(sysctl_path(key, &own).is_err(), "{key}");
        }
        assert!(sysctl_path("net.ipv4.ip_forward", &namespaces(&[LinuxNamespaceType::Mount])).is_err());
    }
}
