//! The namespaces of a specification: which are new, which are joined.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::Error;
use super::channel::{Doing, Step};

/// The namespaces of a container.
pub(super) struct Namespaces {
    /// `CLONE_NEW*` that the process is born with.
    pub born: u64,
    /// Whether the child makes itself a cgroup namespace: one made by clone3 would have the caller's cgroup as its root, as the
    /// child enters its own cgroup only afterwards.
    new_cgroup: bool,
    join: Vec<(CloneFlags, File, String)>,
    /// A PID namespace to be born in, which only the parent can choose.
    pid: Option<File>,
}

impl Namespaces {
    /// Read the specification and open what is to be joined.
    pub(super) fn plan(linux: &Linux) -> Result<Self, Error> {
        let mut plan = Self { born: 0, new_cgroup: false, join: Vec::new(), pid: None };
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            let flag = clone_flag(kind)?;
            let Some(path) = namespace.path() else {
                match kind {
                    LinuxNamespaceType::Cgroup => plan.new_cgroup = true,
                    _ => plan.born |= u64::from(flag.bits().cast_unsigned()),
                }
                continue;
            };
            let file = File::open(path)
                .map_err(|source| Error::setup(format!("open the {kind} namespace {}", path.display()), source))?;
            match kind {
                LinuxNamespaceType::Mount => {
                    return Err(Error::spec(
                        "linux.namespaces",
                        "a mount namespace cannot be joined: leave out its path",
                    ));
                }
                LinuxNamespaceType::Pid => plan.pid = Some(file),
                _ => plan.join.push((flag, file, path.display().to_string())),
            }
        }
        if plan.born & u64::from(CloneFlags::CLONE_NEWNS.bits().cast_unsigned()) == 0 {
            return Err(Error::spec(
                "linux.namespaces",
                "a container needs a mount namespace: add {\"type\": \"mount\"}",
            ));
        }
        Ok(plan)
    }

    /// Whether the container has this namespace for itself or with other containers, and not the host's.
    pub(super) fn has(&self, flag: CloneFlags) -> bool {
        self.born & u64::from(flag.bits().cast_unsigned()) != 0 || self.join.iter().any(|(joined, ..)| *joined == flag)
    }

    /// In the child: join, and make the cgroup namespace.
    pub(super) fn enter(&self) -> Step {
        for (flag, file, path) in &self.join {
            setns(file, *flag).doing(|| format!("join the namespace {path}"))?;
        }
        if self.new_cgroup {
            unshare(CloneFlags::CLONE_NEWCGROUP).doing(|| "make a cgroup namespace".into())?;
        }
        Ok(())
    }

    /// In the parent, around the clone: have the child born in the PID namespace to be joined.
    pub(super) fn pid(&self) -> Result<Option<ChildrenInPidNamespace>, Error> {
        self.pid.as_ref().map(|file| ChildrenInPidNamespace::of(file.as_fd())).transpose()
    }
}

fn clone_flag(kind: LinuxNamespaceType) -> Result<CloneFlags, Error> {
    Ok(match kind {
        LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
        LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
        LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
        LinuxNamespaceType::User | LinuxNamespaceType::Time => {
            return Err(Error::spec("linux.namespaces", format!("{kind} namespaces are not supported")));
        }
    })
}

/// While this lives, children of this process are born in another PID namespace. The process itself stays where it is, as it
/// always does (pid_namespaces(7)).
pub(super) struct ChildrenInPidNamespace {
    own: File,
}

impl ChildrenInPidNamespace {
    /// `namespace`: a namespace file or the pidfd of a process in it.
    pub(super) fn of(namespace: BorrowedFd<'_>) -> Result<Self, Error> {
        let own = File::open("/proc/self/ns/pid").map_err(|source| Error::setup("open /proc/self/ns/pid", source))?;
        setns(namespace, CloneFlags::CLONE_NEWPID)
            .map_err(|errno| Error::setup("join the container's PID namespace (has it ended?)", errno))?;
        Ok(Self { own })
    }
}

impl Drop for ChildrenInPidNamespace {
    fn drop(&mut self) {
        // One's own namespace is never refused.
        let _ = setns(&self.own, CloneFlags::CLONE_NEWPID);
    }
}

/// In the child of an exec: join all namespaces of a process but its PID namespace, which the child was born in.
pub(super) fn enter_those_of(target: BorrowedFd<'_>) -> Step {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    setns(target, all).doing(|| "join the container's namespaces (has it ended?)".into())
}
