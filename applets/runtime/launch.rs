//! From a specification to a created process.
//!
//! All that can be understood before there is a process is understood in the parent ([`Plan`]); the child then makes system calls,
//! and says over its [`Channel`] which one failed.

use coracle_abi::clone::spawn;
use coracle_abi::process::{block_signals, close_on_exec_from};
use nix::sched::CloneFlags;
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{OnCpus, cpu_list};
use super::channel::{Channel, Doing, Step};
use super::device_cgroup::{DeviceRules, check_attached};
use super::hooks::{self, HookPoint};
use super::mounts::{MountPlan, propagation};
use super::namespaces::{ChildrenInPidNamespace, Namespaces, enter_those_of};
use super::payload::{Payload, Stage, session};
use super::process::Questions;
use super::procfs::{PrivateProc, serves, sysctls};
use super::rootfs::{Links, Rootfs, Target, is_clean};
use super::{Created, Error, Exec, Launch, copy_up, devices, masks};

/// Status of a child that has told its parent what went wrong.
const FAILED: i32 = 125;

pub(super) fn create(launch: &Launch<'_>) -> Result<Created, Error> {
    let plan = Plan::new(launch)?;
    plan.device_rules.attach(launch.cgroup)?;
    let pid = plan.namespaces.pid()?;
    let mut created = start(plan.namespaces.born, launch.cgroup, &plan.payload, |channel| plan.run(launch, channel))?;
    drop(pid);
    if let (true, Some(identity)) = (plan.asks_parent, launch.caller.identity) {
        created.set_questions(Questions::new(launch.spec, identity));
    }
    Ok(created)
}

pub(super) fn exec(exec: &Exec<'_>) -> Result<Created, Error> {
    let linux = exec.spec.linux().as_ref();
    let payload = Payload::new(exec.process, linux)?;
    check_attached(exec.cgroup, exec.process)?;
    let affinity = exec.process.exec_cpu_affinity().as_ref();
    let list = |text: Option<&String>, which: &str| {
        let text = text.filter(|text| !text.is_empty());
        text.map(|text| cpu_list(&format!("process.execCPUAffinity.{which}"), text)).transpose()
    };
    let initial = list(affinity.and_then(|cpus| cpus.initial().as_ref()), "initial")?;
    let last = list(affinity.and_then(|cpus| cpus.cpu_affinity_final().as_ref()), "final")?;
    let pid = ChildrenInPidNamespace::of(exec.target)?;
    let on_cpus = initial.as_ref().map(OnCpus::new).transpose()?;
    let created = start(0, exec.cgroup, &payload, |channel| {
        if let Some(cpus) = &last {
            let words = || "use the CPUs of process.execCPUAffinity.final".into();
            rustix::thread::sched_setaffinity(None, cpus).doing(words)?;
        }
        enter_those_of(exec.target)?;
        rustix::process::umask(Mode::empty());
        session(&exec.caller)?;
        let rootfs = Rootfs::current()?;
        if let Some(value) = exec.process.oom_score_adj() {
            PrivateProc::new()?.set_oom_score_adj(value)?;
        }
        let terminal = payload.terminal(exec.io, &rootfs)?;
        let ids = payload.ids(exec.user, exec.process, &rootfs)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let cwd = rootfs.open(exec.process.cwd(), flags, Links::Follow);
        let cwd = cwd.doing(|| format!("enter {} in the container", exec.process.cwd().display()))?;
        let Exec { io, caller, .. } = exec;
        payload.run(Stage { channel, io: *io, terminal, ids, cwd, caller, hooks: None })
    });
    drop((pid, on_cpus));
    created
}

/// Fork, with the channel of parent and child between them.
fn start(
    namespaces: u64,
    cgroup: Option<rustix::fd::BorrowedFd<'_>>,
    payload: &Payload,
    child: impl FnOnce(&mut Channel) -> Step,
) -> Result<Created, Error> {
    let (ours, mut theirs) = Channel::pair().map_err(|source| Error::setup("make a socket pair", source))?;
    // No handler of the caller's may run in the child.
    let blocked = block_signals();
    let spawned = spawn(namespaces, cgroup, || {
        if let Err(failure) = child(&mut theirs) {
            theirs.send_failure(&failure);
        }
        FAILED
    });
    drop(blocked);
    let spawned = spawned.map_err(|source| match source.raw_os_error() {
        Some(libc::EDEADLK) => Error::setup("fork a process with threads", source),
        _ => Error::setup("clone a process into its namespaces and cgroup", source),
    })?;
    Ok(Created::new(spawned, ours, payload.program.clone()))
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
    /// Whether the parent has something to do before the root becomes `/`.
    asks_parent: bool,
}

impl Plan {
    fn new(launch: &Launch<'_>) -> Result<Self, Error> {
        let spec = launch.spec;
        refuse_unsupported(spec)?;
        hooks::check(spec, launch.caller.identity)?;
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
        if !is_clean(process.cwd()) {
            return Err(Error::spec("process.cwd", "a working directory is an absolute path without \"..\""));
        }
        Ok(Self {
            proc: mounts.iter().position(serves),
            mounts: mounts.iter().map(MountPlan::new).collect::<Result<_, _>>()?,
            payload: Payload::new(process, Some(linux))?,
            device_rules: DeviceRules::plan(linux, process)?,
            namespaces,
            sysctls,
            asks_parent: hooks::has_hooks(spec, &[HookPoint::Prestart, HookPoint::CreateRuntime]),
        })
    }

    /// In the child, up to the exec.
    fn run(&self, launch: &Launch<'_>, channel: &mut Channel) -> Step {
        let (Some(linux), Some(process)) = (launch.spec.linux(), launch.spec.process()) else {
            return Err(Errno::INVAL).doing(|| "read the specification".into());
        };
        self.namespaces.enter()?;
        rustix::process::umask(Mode::empty());
        session(&launch.caller)?;
        if let Some(name) = launch.spec.hostname() {
            rustix::system::sethostname(name.as_bytes()).doing(|| format!("set the host name {name:?}"))?;
        }
        if let Some(name) = launch.spec.domainname() {
            rustix::system::setdomainname(name.as_bytes()).doing(|| format!("set the domain name {name:?}"))?;
        }
        let mut masks = masks::Masks::new()?;
        let rootfs = Rootfs::attach(&launch.root)?;
        launch.copy_up.iter().try_for_each(|volume| copy_up::fill(&rootfs, volume))?;
        self.mount(&rootfs, process)?;
        devices::make(&rootfs, linux.devices().as_deref().unwrap_or_default())?;
        let terminal = self.payload.terminal(launch.io, &rootfs)?;
        if let Some(terminal) = &terminal {
            terminal.bind_console(&rootfs)?;
        }
        let cwd = rootfs.target(process.cwd(), Target::Directory, Links::Follow)?;
        let ids = self.payload.ids(launch.user, process, &rootfs)?;
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
        if self.asks_parent {
            channel.ask_parent().doing(|| "hear from the runtime after its hooks".into())?;
        }
        if hooks::has_hooks(launch.spec, &[HookPoint::CreateContainer]) {
            close_on_exec_from(3).doing(|| "close the runtime's descriptors".into())?;
            hooks::run_in_child(launch.spec, HookPoint::CreateContainer, launch.caller.identity)?;
        }
        rootfs.make_current(launch.caller.no_pivot, linux.rootfs_propagation().as_deref().and_then(propagation))?;
        let Launch { io, caller, .. } = launch;
        self.payload.run(Stage { channel, io: *io, terminal, ids, cwd, caller, hooks: Some(launch.spec) })
    }

    fn mount(&self, rootfs: &Rootfs, process: &Process) -> Step {
        let own = self.proc.and_then(|index| self.mounts.get(index));
        let proc = match own {
            Some(plan) => PrivateProc::from_detached(plan.detached()?),
            None => PrivateProc::new()?,
        };
        self.sysctls.iter().try_for_each(|(path, value)| proc.write(path, value))?;
        if let Some(value) = process.oom_score_adj() {
            proc.set_oom_score_adj(value)?;
        }
        let mut detached = own.map(|_| proc.into_mount());
        for (index, plan) in self.mounts.iter().enumerate() {
            let made = if self.proc == Some(index) { detached.take() } else { None };
            plan.mount(rootfs, made)?;
        }
        Ok(())
    }
}

/// What the specification asks for and this runtime does not do is said by name.
pub(super) fn refuse_unsupported(spec: &Spec) -> Result<(), Error> {
    let linux = spec.linux().as_ref();
    let wanted = [
        ("linux.uidMappings", linux.is_some_and(|linux| linux.uid_mappings().is_some())),
        ("linux.gidMappings", linux.is_some_and(|linux| linux.gid_mappings().is_some())),
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
