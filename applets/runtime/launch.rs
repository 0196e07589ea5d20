//! From a specification to a created process.
//!
//! All that can be understood before there is a process is understood in the parent ([`Plan`]); the child then makes system calls,
//! and says over its [`Channel`] which one failed.

use coracle_abi::clone::{Child, spawn, spawn_sibling};
use coracle_abi::mount::Propagation;
use coracle_abi::netdev::NetDevice;
use coracle_abi::process::{block_signals, close_on_exec_from};
use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Process, Spec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, WaitId, WaitIdOptions, waitid};

use super::attributes::{Affinity, OnCpus};
use super::channel::{Channel, Doing, Heard, Step};
use super::device_cgroup::{DeviceRules, check_attached};
use super::hooks::{self, HookPoint};
use super::mapped_root::{self, Layers};
use super::mounts::{MountPlan, propagation};
use super::namespaces::{ChildrenInPidNamespace, Namespaces, OfContainer, UserNamespace};
use super::payload::{Payload, Stage, session};
use super::process::Questions;
use super::procfs::{PrivateProc, serves, sysctls};
use super::rootfs::{Links, Rootfs, Target, is_clean};
use super::userns::become_root_if_there_is_one;
use super::{Created, Error, Exec, Identity, Launch, Root, copy_up, devices, is_rootless, masks, user};

/// Status of a child that has told its parent what went wrong.
const FAILED: i32 = 125;

pub(super) fn create(launch: &Launch<'_>) -> Result<Created, Error> {
    let mut plan = Plan::new(launch.spec, launch.caller.identity)?;
    plan.payload.connect_agent(launch.spec, launch.caller.identity, None)?;
    plan.mounts.iter_mut().try_for_each(MountPlan::map_ids)?;
    plan.device_rules.attach(launch.cgroup)?;
    plan.map_overlay(launch)?;
    let namespaces = &plan.namespaces;
    let pid = namespaces.pid()?;
    let enter = || namespaces.enter_as_midwife();
    let birth = Birth {
        namespaces: namespaces.born,
        cgroup: launch.cgroup,
        midwife: namespaces.needs_midwife().then_some(&enter as &dyn Fn() -> Step),
    };
    let mut created = start(&birth, &plan.payload, |channel| plan.run(launch, channel))?;
    drop(pid);
    if plan.asks_parent() {
        let identity = launch.caller.identity.filter(|_| plan.hooks_outside);
        created.set_questions(
            identity.map_or_else(Questions::default, |identity| Questions::hooks(launch.spec, identity)),
        );
    }
    if namespaces.has_users() {
        if let UserNamespace::New(maps) = &namespaces.user {
            maps.install(created.pid())?;
        }
        plan.payload.privilege(created.pid())?;
        created.send_go()?;
    }
    Ok(created)
}

pub(super) fn check(spec: &Spec, identity: Option<Identity<'_>>) -> Result<(), Error> {
    Plan::new(spec, identity).map(drop)
}

pub(super) fn exec(exec: &Exec<'_>) -> Result<Created, Error> {
    let linux = exec.spec.linux().as_ref();
    let namespaces = OfContainer::plan(linux);
    let has_users = namespaces.has_users();
    let mut payload = Payload::new(exec.process, linux, has_users)?;
    payload.connect_agent(exec.spec, exec.caller.identity, Some(exec.target))?;
    if !has_users {
        check_attached(exec.cgroup, exec.process)?;
    }
    let affinity = Affinity::plan(exec.process)?;
    // In a user namespace a midwife is born and not the child: it needs no privilege out here.
    let pid = if has_users { None } else { Some(ChildrenInPidNamespace::of(exec.target)?) };
    let enter = || namespaces.enter_as_midwife(exec.target);
    let birth = Birth { namespaces: 0, cgroup: exec.cgroup, midwife: has_users.then_some(&enter as &dyn Fn() -> Step) };
    let on_cpus = affinity.initial.as_ref().map(OnCpus::new).transpose()?;
    let mut created = start(&birth, &payload, |channel| {
        if has_users {
            wait_for_ids(channel)?;
        } else {
            namespaces.enter(exec.target)?;
        }
        hide()?;
        affinity.apply_last()?;
        rustix::process::umask(Mode::empty());
        session(&exec.caller)?;
        let rootfs = Rootfs::current()?;
        if has_users {
            become_root_if_there_is_one()?;
        } else if let Some(value) = exec.process.oom_score_adj() {
            PrivateProc::new()?.set_oom_score_adj(value)?;
        }
        let terminal = payload.terminal(exec.io, &rootfs)?;
        let mut ids = payload.ids(exec.user, exec.process, &rootfs)?;
        user::add_groups(&rootfs, exec.caller.groups, &mut ids)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let cwd = rootfs.open(exec.process.cwd(), flags, Links::Follow);
        let cwd = cwd.doing(|| format!("enter {} in the container", exec.process.cwd().display()))?;
        let pid =
            if payload.has_agent() { channel.ask_parent().doing(|| "learn the own process id".into())? } else { 0 };
        let Exec { io, caller, .. } = exec;
        payload.run(Stage { channel, io: *io, terminal, ids, cwd, caller, hooks: None, pid })
    })?;
    if payload.has_agent() {
        created.set_questions(Questions::default());
    }
    drop((pid, on_cpus));
    if has_users {
        payload.privilege(created.pid())?;
        created.send_go()?;
    }
    Ok(created)
}

/// In the child: processes that share a PID or user namespace with this one must not look into it (/proc/PID/fd, ptrace(2)) while
/// it has descriptors of the host. Executing the program ends that.
fn hide() -> Step {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "hide the set-up from other processes".into())
}

/// In a child whose users are not the caller's: wait until its ids are mapped, and it has what only the caller can give.
fn wait_for_ids(channel: &mut Channel) -> Step {
    if channel.wait_go(None) { Ok(()) } else { Err(Errno::CANCELED).doing(|| "go on without a parent".into()) }
}

/// How a child comes into being.
struct Birth<'a> {
    /// `CLONE_NEW*` that it is born with.
    namespaces: u64,
    cgroup: Option<BorrowedFd<'a>>,
    /// What another process does before it forks the child, so that it is born in namespaces that this process stays out of.
    midwife: Option<&'a dyn Fn() -> Step>,
}

/// Fork, with the channel of parent and child between them.
fn start(birth: &Birth<'_>, payload: &Payload, child: impl FnOnce(&mut Channel) -> Step) -> Result<Created, Error> {
    let (ours, mut theirs) = Channel::pair().map_err(|source| Error::setup("make a socket pair", source))?;
    // No handler of the caller's may run in the child.
    let blocked = block_signals();
    let mut ours = Some(ours);
    let run = || {
        // The parent's end must be the parent's alone: its end tells of the parent's.
        drop(ours.take());
        if let Err(failure) = child(&mut theirs) {
            theirs.send_failure(&failure);
        }
        FAILED
    };
    let spawned = match birth.midwife {
        None => spawn(birth.namespaces, birth.cgroup, run).map_err(cannot_clone),
        Some(enter) => start_by_midwife(birth, enter, run),
    };
    drop(blocked);
    let (child, ours) = (spawned?, ours.ok_or(Error::Vanished)?);
    Ok(Created::new(child, ours, payload.program.clone()))
}

fn cannot_clone(source: std::io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EDEADLK) => Error::setup("fork a process with threads", source),
        _ => Error::setup("clone a process into its namespaces and cgroup", source),
    }
}

/// Have a process that enters namespaces fork the child as our own.
fn start_by_midwife(birth: &Birth<'_>, enter: &dyn Fn() -> Step, run: impl FnOnce() -> i32) -> Result<Child, Error> {
    let (ours, theirs) = Channel::pair().map_err(|source| Error::setup("make a socket pair", source))?;
    let midwife = spawn(0, None, || {
        let words = || "clone a process into its namespaces and cgroup".into();
        let made = enter()
            .and_then(|()| spawn_sibling(birth.namespaces, birth.cgroup, run).doing(words))
            .and_then(|child| theirs.send_born(&child).doing(words));
        made.map_or_else(
            |failure| {
                theirs.send_failure(&failure);
                FAILED
            },
            |()| 0,
        )
    });
    let midwife = midwife.map_err(cannot_clone)?;
    drop(theirs);
    let heard = ours.hear("");
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(midwife.pidfd.as_fd()), WaitIdOptions::EXITED) {}
    match heard.map_err(|source| Error::setup("hear of the container's first process", source))? {
        Heard::Born(child) => Ok(child),
        Heard::Failed(error) => Err(error),
        _ => Err(Error::Vanished),
    }
}

/// A container, understood.
struct Plan {
    namespaces: Namespaces,
    mounts: Vec<MountPlan>,
    /// Index in `mounts` of the procfs that serves for writes before it is attached.
    proc: Option<usize>,
    sysctls: Vec<(String, String)>,
    device_rules: DeviceRules,
    payload: Payload,
    /// The root's overlay, if the container's users need it to be made outside.
    overlay: Option<OwnedFd>,
    /// Whether the parent has hooks to run before the root becomes `/`.
    hooks_outside: bool,
    /// Whether devices are the host's, mounted, as nobody here makes nodes of them.
    shows_devices: bool,
}

impl Plan {
    fn new(spec: &Spec, identity: Option<Identity<'_>>) -> Result<Self, Error> {
        refuse_unsupported(spec)?;
        hooks::check(spec, identity)?;
        let linux = spec.linux().as_ref().ok_or_else(|| Error::spec("linux", "it is missing"))?;
        let process = spec.process().as_ref().ok_or_else(|| Error::spec("process", "it is missing"))?;
        let namespaces = Namespaces::plan(linux)?;
        let mounts = spec.mounts().as_deref().unwrap_or_default();
        let empty = std::collections::HashMap::new();
        let sysctls = sysctls(linux.sysctl().as_ref().unwrap_or(&empty), &namespaces)?;
        devices::check(linux.devices().as_deref().unwrap_or_default())?;
        for (what, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
            if name.is_some() && !namespaces.has(CloneFlags::CLONE_NEWUTS) {
                return Err(Error::spec(what, "the container shares the host's UTS namespace"));
            }
        }
        if let Some(wrong) =
            linux.rootfs_propagation().as_ref().filter(|text| !text.is_empty() && propagation(text).is_none())
        {
            return Err(Error::spec(
                "linux.rootfsPropagation",
                format!("{wrong:?} is none of shared, slave, private, unbindable"),
            ));
        }
        if !is_clean(process.cwd()) {
            return Err(Error::spec("process.cwd", "a working directory is an absolute path without \"..\""));
        }
        let bundle = identity.map(|identity| identity.bundle);
        let maps = match &namespaces.user {
            UserNamespace::New(maps) => Some(maps),
            _ => None,
        };
        Ok(Self {
            proc: mounts.iter().position(serves),
            mounts: mounts.iter().map(|mount| MountPlan::new(mount, bundle, maps)).collect::<Result<_, _>>()?,
            payload: Payload::new(process, Some(linux), namespaces.has_users())?,
            shows_devices: namespaces.has_users() || is_rootless(),
            device_rules: DeviceRules::plan(linux, process, namespaces.has_users())?,
            namespaces,
            sysctls,
            overlay: None,
            hooks_outside: hooks::has_hooks(spec, &[HookPoint::Prestart, HookPoint::CreateRuntime]),
        })
    }

    /// In the parent: an overlay whose layers belong to the container's users.
    fn map_overlay(&mut self, launch: &Launch<'_>) -> Result<(), Error> {
        let Root::Overlay { lower, upper, work, target } = launch.root else { return Ok(()) };
        if let Some(users) = self.namespaces.carrier()? {
            let layers = Layers { lower, upper, work, target };
            self.overlay = Some(mapped_root::mount(&layers, users.as_fd(), launch.copy_up)?);
        }
        Ok(())
    }

    fn asks_parent(&self) -> bool {
        self.hooks_outside || self.payload.has_agent()
    }

    /// In the child, up to the exec.
    fn run(&self, launch: &Launch<'_>, channel: &mut Channel) -> Step {
        let (Some(linux), Some(process)) = (launch.spec.linux(), launch.spec.process()) else {
            return Err(Errno::INVAL).doing(|| "read the specification".into());
        };
        let has_users = self.namespaces.has_users();
        if has_users {
            wait_for_ids(channel)?;
        }
        self.namespaces.enter()?;
        hide()?;
        rustix::process::umask(Mode::empty());
        session(&launch.caller)?;
        let is_new_network = |one: &LinuxNamespace| one.typ() == LinuxNamespaceType::Network && one.path().is_none();
        if linux.namespaces().iter().flatten().any(is_new_network) {
            let up = NetDevice::new("lo").and_then(|loopback| loopback.set_up());
            up.doing(|| "set the loopback interface up".into())?;
        }
        if let Some(name) = launch.spec.hostname() {
            rustix::system::sethostname(name.as_bytes()).doing(|| format!("set the host name {name:?}"))?;
        }
        if let Some(name) = launch.spec.domainname() {
            rustix::system::setdomainname(name.as_bytes()).doing(|| format!("set the domain name {name:?}"))?;
        }
        let mut masks = masks::Masks::new()?;
        // As long as this process is the caller's user it finds what is the caller's.
        let propagation = linux.rootfs_propagation().as_deref().and_then(propagation);
        // Without pivot_root(2) the host's mounts are unmounted one by one: nothing of that may reach the host.
        let shared = matches!(propagation, Some((Propagation::Shared, _))) && !launch.caller.no_pivot;
        let rootfs = Rootfs::attach(&launch.root, self.overlay.as_ref().map(AsFd::as_fd), shared)?;
        let trees = self.mounts.iter().map(|plan| plan.early(has_users)).collect::<Step<Vec<_>>>()?;
        self.namespaces.become_first_user()?;
        if self.overlay.is_none() {
            launch.copy_up.iter().try_for_each(|volume| copy_up::fill(&rootfs, volume))?;
        }
        self.mount(&rootfs, process, trees)?;
        devices::make(&rootfs, linux.devices().as_deref().unwrap_or_default(), self.shows_devices)?;
        let terminal = self.payload.terminal(launch.io, &rootfs)?;
        if let Some(terminal) = &terminal {
            terminal.bind_console(&rootfs)?;
        }
        let cwd = rootfs.target(process.cwd(), Target::Directory, Links::Follow)?;
        let mut ids = self.payload.ids(launch.user, process, &rootfs)?;
        user::add_groups(&rootfs, launch.caller.groups, &mut ids)?;
        for path in linux.readonly_paths().iter().flatten() {
            masks::make_readonly(&rootfs, path)?;
        }
        for path in linux.masked_paths().iter().flatten() {
            masks.mask(&rootfs, path)?;
        }
        drop(masks);
        if launch.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
            rootfs.make_readonly()?;
        }
        let pid = if self.asks_parent() {
            channel.ask_parent().doing(|| "hear from the runtime after its hooks".into())?
        } else {
            0
        };
        if hooks::has_hooks(launch.spec, &[HookPoint::CreateContainer]) {
            close_on_exec_from(3).doing(|| "close the runtime's descriptors".into())?;
            hooks::run_in_child(launch.spec, HookPoint::CreateContainer, launch.caller.identity)?;
        }
        rootfs.make_current(launch.caller.no_pivot, propagation)?;
        let Launch { io, caller, .. } = launch;
        self.payload.run(Stage { channel, io: *io, terminal, ids, cwd, caller, hooks: Some(launch.spec), pid })
    }

    fn mount(&self, rootfs: &Rootfs, process: &Process, trees: Vec<Option<OwnedFd>>) -> Step {
        let own = self.proc.and_then(|index| self.mounts.get(index));
        let proc = match own {
            Some(plan) => PrivateProc::from_detached(plan.detached()?),
            None => PrivateProc::new()?,
        };
        self.sysctls.iter().try_for_each(|(path, value)| proc.write(path, value))?;
        if let (Some(value), false) = (process.oom_score_adj(), self.namespaces.has_users()) {
            proc.set_oom_score_adj(value)?;
        }
        let mut detached = own.map(|_| proc.into_mount());
        for (index, (plan, tree)) in std::iter::zip(&self.mounts, trees).enumerate() {
            let made = if self.proc == Some(index) { detached.take() } else { tree };
            plan.mount(rootfs, made)?;
        }
        Ok(())
    }
}

/// What the specification asks for and this runtime does not do is said by name.
fn refuse_unsupported(spec: &Spec) -> Result<(), Error> {
    let linux = spec.linux().as_ref();
    let wanted = [
        ("linux.intelRdt", linux.is_some_and(|linux| linux.intel_rdt().is_some())),
        ("linux.memoryPolicy", linux.is_some_and(|linux| linux.memory_policy().is_some())),
        (
            "linux.netDevices",
            linux.is_some_and(|linux| linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
        ),
        ("vm", spec.vm().is_some()),
        ("windows", spec.windows().is_some()),
        ("solaris", spec.solaris().is_some()),
        (
            "linux.mountLabel",
            linux.is_some_and(|linux| linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
        ),
    ];
    match wanted.into_iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Error::spec(what, "this runtime does not support it; leave it out")),
        None => Ok(()),
    }
}
