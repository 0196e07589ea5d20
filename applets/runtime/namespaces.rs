//! The namespaces of a specification: which are new, which are joined (namespaces(7)).

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::io::Errno;

use super::Error;
use super::channel::{Doing, Step};
use super::userns::{IdMaps, become_first_of_current};

/// linux/sched.h; nix lacks it.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// The namespaces of a container.
pub(super) struct Namespaces {
    /// `CLONE_NEW*` that the process is born with.
    pub born: u64,
    /// Its user namespace.
    pub user: UserNamespace,
    /// Whether the child makes itself a cgroup namespace: one made by clone3 would have the caller's cgroup as its root, as the
    /// child enters its own cgroup only afterwards.
    new_cgroup: bool,
    /// Whether the child makes itself a time namespace, and what is written to its timens_offsets before it enters: nobody may
    /// be in it then.
    new_time: Option<String>,
    join: Vec<Join>,
    /// A PID namespace to be born in, which only the parent can choose.
    pid: Option<File>,
}

/// Whose users a container has.
pub(super) enum UserNamespace {
    /// Those of the caller.
    Caller,
    /// Its own.
    New(IdMaps),
    /// Those of another container.
    Joined(Join),
}

/// A namespace that exists.
pub(super) struct Join {
    flag: CloneFlags,
    file: File,
    path: String,
    /// Whether the midwife has joined it: the child is born in it.
    done: Cell<bool>,
}

impl Join {
    fn enter(&self) -> Result<(), Errno> {
        setns(&self.file, self.flag).map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
        self.done.set(true);
        Ok(())
    }

    fn words(&self) -> String {
        format!("join the namespace {}", self.path)
    }
}

impl Namespaces {
    /// Read the specification and open what is to be joined.
    pub(super) fn plan(linux: &Linux) -> Result<Self, Error> {
        let mut plan = Self {
            born: 0,
            user: UserNamespace::Caller,
            new_cgroup: false,
            new_time: None,
            join: Vec::new(),
            pid: None,
        };
        let mut seen = CloneFlags::empty();
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            let flag = clone_flag(kind);
            if seen.contains(flag) {
                return Err(Error::spec("linux.namespaces", format!("{kind} is there twice")));
            }
            seen |= flag;
            let Some(path) = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) else {
                match kind {
                    LinuxNamespaceType::Cgroup => plan.new_cgroup = true,
                    LinuxNamespaceType::Time => plan.new_time = Some(time_offsets(linux)?),
                    LinuxNamespaceType::User => plan.user = UserNamespace::New(own_maps(linux)?),
                    _ => {}
                }
                if !matches!(kind, LinuxNamespaceType::Cgroup | LinuxNamespaceType::Time) {
                    plan.born |= u64::from(flag.bits().cast_unsigned());
                }
                continue;
            };
            let file = File::open(path)
                .map_err(|source| Error::setup(format!("open the {kind} namespace {}", path.display()), source))?;
            let join = Join { flag, file, path: path.display().to_string(), done: Cell::new(false) };
            match kind {
                LinuxNamespaceType::Pid => plan.pid = Some(join.file),
                LinuxNamespaceType::User => plan.user = UserNamespace::Joined(join),
                _ => plan.join.push(join),
            }
        }
        // Paths that are opened afterwards are those of the namespace.
        plan.join.sort_by_key(|join| join.flag == CloneFlags::CLONE_NEWNS);
        plan.check(linux, seen)?;
        Ok(plan)
    }

    fn check(&self, linux: &Linux, seen: CloneFlags) -> Result<(), Error> {
        if !seen.contains(CloneFlags::CLONE_NEWNS) {
            return Err(Error::spec(
                "linux.namespaces",
                "a container needs a mount namespace: add {\"type\": \"mount\"}",
            ));
        }
        let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let mapped = some(linux.uid_mappings()) || some(linux.gid_mappings());
        if mapped && matches!(self.user, UserNamespace::Caller) {
            return Err(Error::spec(
                "linux.uidMappings",
                "User namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        let offsets = linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty());
        if offsets && self.new_time.is_none() {
            return Err(Error::spec(
                "linux.timeOffsets",
                "the container has no new time namespace that they could be set in",
            ));
        }
        Ok(())
    }

    /// Whether the container has this namespace for itself or with other containers, and not the host's.
    pub(super) fn has(&self, flag: CloneFlags) -> bool {
        self.born & u64::from(flag.bits().cast_unsigned()) != 0 || self.join.iter().any(|join| join.flag == flag)
    }

    /// Whether the container's users are not the caller's.
    pub(super) fn has_users(&self) -> bool {
        !matches!(self.user, UserNamespace::Caller)
    }

    /// A user namespace with the container's mapping, for mounts; `None` if its users are the caller's.
    pub(super) fn carrier(&self) -> Result<Option<OwnedFd>, Error> {
        match &self.user {
            UserNamespace::Caller => Ok(None),
            UserNamespace::New(maps) => maps.carrier().map(Some),
            UserNamespace::Joined(join) => {
                let file = join.file.try_clone().map_err(|source| Error::setup(join.words(), source))?;
                Ok(Some(file.into()))
            }
        }
    }

    /// Whether the process must be born by another one that goes into namespaces first: those that the caller may join are closed
    /// to a process in a user namespace of its own, and one in a user namespace that is joined makes the others in it.
    pub(super) fn needs_midwife(&self) -> bool {
        match self.user {
            UserNamespace::Caller => false,
            UserNamespace::New(_) => !self.join.is_empty(),
            UserNamespace::Joined(_) => true,
        }
    }

    /// In the midwife: join all that can be joined from here, and the user namespace last. What remains is for the child.
    pub(super) fn enter_as_midwife(&self) -> Step {
        for join in &self.join {
            match join.enter() {
                // One of the user namespace to be joined.
                Err(Errno::PERM) => {}
                entered => entered.doing(|| join.words())?,
            }
        }
        let enter_pid = |pid: &File| setns(pid, CloneFlags::CLONE_NEWPID);
        let mut pid = self.pid.as_ref().filter(|pid| enter_pid(pid).is_err());
        if let UserNamespace::Joined(join) = &self.user {
            join.enter().doing(|| join.words())?;
        }
        match pid.take() {
            Some(pid) => enter_pid(pid).doing(|| "join the PID namespace".into()),
            None => Ok(()),
        }
    }

    /// In the child: join what remains to be joined, and make what is not born.
    pub(super) fn enter(&self) -> Step {
        for join in self.join.iter().filter(|join| !join.done.get()) {
            join.enter().doing(|| join.words())?;
        }
        if self.new_cgroup {
            unshare(CloneFlags::CLONE_NEWCGROUP).doing(|| "make a cgroup namespace".into())?;
        }
        if let Some(offsets) = &self.new_time {
            enter_new_time(offsets)?;
        }
        Ok(())
    }

    /// In the child: become the first user of its user namespace.
    pub(super) fn become_first_user(&self) -> Step {
        match &self.user {
            UserNamespace::Caller => Ok(()),
            UserNamespace::New(maps) => maps.become_first(),
            UserNamespace::Joined(_) => become_first_of_current(),
        }
    }

    /// In the parent, around the clone: have the child born in the PID namespace to be joined. A midwife does that by itself.
    pub(super) fn pid(&self) -> Result<Option<ChildrenInPidNamespace>, Error> {
        let pid = self.pid.as_ref().filter(|_| !self.needs_midwife());
        pid.map(|file| ChildrenInPidNamespace::of(file.as_fd())).transpose()
    }
}

/// `linux.uidMappings` and `linux.gidMappings`.
fn own_maps(linux: &Linux) -> Result<IdMaps, Error> {
    let uid = linux.uid_mappings().as_deref().unwrap_or_default();
    IdMaps::plan("linux", uid, linux.gid_mappings().as_deref().unwrap_or_default())
}

/// `linux.timeOffsets` as lines of /proc/PID/timens_offsets (time_namespaces(7)).
fn time_offsets(linux: &Linux) -> Result<String, Error> {
    let mut lines = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::spec("linux.timeOffsets", format!("{clock:?} is neither monotonic nor boottime")));
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            return Err(Error::spec("linux.timeOffsets", "nanosecs is less than a second"));
        }
        lines.push(format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0)));
    }
    lines.sort_unstable();
    Ok(lines.concat())
}

/// A new time namespace is that of the children first, and takes offsets as long as nobody is in it.
fn enter_new_time(offsets: &str) -> Step {
    unshare(CLONE_NEWTIME).doing(|| "make a time namespace".into())?;
    if !offsets.is_empty() {
        std::fs::write("/proc/self/timens_offsets", offsets).doing(|| "set linux.timeOffsets".into())?;
    }
    let words = || "enter the new time namespace".into();
    let file = File::open("/proc/self/ns/time_for_children").doing(words)?;
    setns(file, CLONE_NEWTIME).doing(words)
}

fn clone_flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
        LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
        LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
        LinuxNamespaceType::User => CloneFlags::CLONE_NEWUSER,
        LinuxNamespaceType::Time => CLONE_NEWTIME,
    }
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

/// The namespaces that a further process of a container joins.
pub(super) struct OfContainer {
    flags: CloneFlags,
    /// `CLONE_NEWPID`, if the container has one.
    pid: CloneFlags,
}

impl OfContainer {
    /// Those that the specification has; a container that shares the caller's users has all of the kinds that it can have.
    pub(super) fn plan(linux: Option<&Linux>) -> Self {
        let listed = linux.iter().flat_map(|linux| linux.namespaces().iter().flatten());
        let listed = listed.fold(CloneFlags::empty(), |flags, namespace| flags | clone_flag(namespace.typ()));
        let usual = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWCGROUP;
        let all = if listed.contains(CloneFlags::CLONE_NEWUSER) { listed } else { listed | usual };
        let pid = CloneFlags::CLONE_NEWPID;
        Self { flags: all.difference(pid), pid: listed.intersection(pid) }
    }

    pub(super) fn has_users(&self) -> bool {
        self.flags.contains(CloneFlags::CLONE_NEWUSER)
    }

    /// In the child of an exec that was born in the PID namespace of `target`: join its other namespaces.
    pub(super) fn enter(&self, target: BorrowedFd<'_>) -> Step {
        setns(target, self.flags).doing(|| "join the container's namespaces (has it ended?)".into())
    }

    /// In the midwife of an exec: join them all, with the user namespace that they belong to.
    pub(super) fn enter_as_midwife(&self, target: BorrowedFd<'_>) -> Step {
        setns(target, self.flags | self.pid).doing(|| "join the container's namespaces (has it ended?)".into())
    }
}
