//! From a specification to a created process.
//!
//! All that can be understood before there is a process is understood in the parent ([`Plan`]); the child then makes system calls,
//! and says over its [`Channel`] which one failed.

use std::ffi::CString;

use coracle_abi::clone::spawn;
use coracle_abi::process::{block_signals, close_on_exec_from, new_session_keyring, reset_signals};
use nix::sched::CloneFlags;
use oci_spec::runtime::{Linux, Process, Spec};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{Attributes, OnCpus, cpu_list};
use super::capabilities::Capabilities;
use super::channel::{Channel, Doing, Failure, FailureKind, Step};
use super::device_cgroup::{DeviceRules, check_attached};
use super::mounts::{MountPlan, propagation};
use super::namespaces::{ChildrenInPidNamespace, Namespaces, enter_those_of};
use super::procfs::{PrivateProc, serves, sysctls};
use super::rootfs::{Links, Rootfs, Target, is_clean};
use super::seccomp::{Filter, compile};
use super::terminal::Terminal;
use super::user::{self, Ids};
use super::{Caller, Created, Error, Exec, Io, Launch, copy_up, devices, masks, rlimits};

/// Status of a child that has told its parent what went wrong.
const FAILED: i32 = 125;
/// What a program's files are made with, unless the specification says otherwise.
const UMASK: u32 = 0o022;

pub(super) fn create(launch: &Launch<'_>) -> Result<Created, Error> {
    let plan = Plan::new(launch)?;
    plan.device_rules.attach(launch.cgroup)?;
    let pid = plan.namespaces.pid()?;
    let created = start(plan.namespaces.born, launch.cgroup, &plan.payload, |channel| plan.run(launch, channel));
    drop(pid);
    created
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
        payload.run(channel, exec.io, terminal, &ids, cwd.as_fd(), &exec.caller)
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
}

impl Plan {
    fn new(launch: &Launch<'_>) -> Result<Self, Error> {
        let spec = launch.spec;
        refuse_unsupported(spec)?;
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
        rootfs.make_current(launch.caller.no_pivot, linux.rootfs_propagation().as_deref().and_then(propagation))?;
        self.payload.run(channel, launch.io, terminal, &ids, cwd.as_fd(), &launch.caller)
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
fn refuse_unsupported(spec: &Spec) -> Result<(), Error> {
    let hooks =
        spec.hooks().as_ref().is_some_and(|hooks| serde_json::to_value(hooks).is_ok_and(|value| !is_empty(&value)));
    let linux = spec.linux().as_ref();
    let wanted = [
        ("hooks", hooks),
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

fn is_empty(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// A program and what it runs with.
struct Payload {
    program: String,
    args: Vec<CString>,
    env: Vec<CString>,
    /// `PATH` of the environment.
    path: Option<String>,
    has_home: bool,
    capabilities: Capabilities,
    filter: Option<Filter>,
    no_new_privs: bool,
    rlimits: Vec<oci_spec::runtime::PosixRlimit>,
    attributes: Attributes,
    /// Rows and columns of a terminal whose size the caller does not know.
    console_size: Option<(u16, u16)>,
    umask: u32,
}

impl Payload {
    fn new(process: &Process, linux: Option<&Linux>) -> Result<Self, Error> {
        let args = process.args().as_deref().unwrap_or_default();
        let program = args.first().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| Error::spec("process.args", "there is no program to run"))?.clone();
        let env = process.env().as_deref().unwrap_or_default();
        let value = |name: &str| env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        let limits = process.rlimits().clone().unwrap_or_default();
        rlimits::check(&limits)?;
        Ok(Self {
            program,
            args: c_strings("process.args", args)?,
            env: c_strings("process.env", env)?,
            path: value("PATH").map(str::to_owned),
            has_home: value("HOME").is_some(),
            capabilities: Capabilities::plan(process.capabilities().as_ref()),
            filter: linux.and_then(|linux| linux.seccomp().as_ref()).map(compile).transpose()?,
            no_new_privs: process.no_new_privileges().unwrap_or(false),
            rlimits: limits,
            attributes: Attributes::plan(process, linux)?,
            console_size: console_size(process)?,
            umask: process.user().umask().unwrap_or(UMASK),
        })
    }

    fn terminal(&self, io: Io<'_>, rootfs: &Rootfs) -> Step<Option<Terminal>> {
        match io {
            Io::Terminal(size) => Terminal::open(rootfs, size.or(self.console_size)).map(Some),
            Io::Inherit | Io::Fds { .. } => Ok(None),
        }
    }

    fn ids(&self, wanted: Option<&str>, process: &Process, rootfs: &Rootfs) -> Step<Ids> {
        if let Some(text) = wanted {
            return user::find(rootfs, text);
        }
        let user = process.user();
        let home = if self.has_home { None } else { user::home(rootfs, user.uid())? };
        let groups = user.additional_gids().clone().unwrap_or_default();
        Ok(Ids { uid: user.uid(), gid: user.gid(), groups, home })
    }

    /// Say that all is set up, wait for the word, and become the program.
    fn run(
        &self,
        channel: &mut Channel,
        io: Io<'_>,
        terminal: Option<Terminal>,
        ids: &Ids,
        cwd: rustix::fd::BorrowedFd<'_>,
        caller: &Caller<'_>,
    ) -> Step {
        rustix::process::fchdir(cwd).doing(|| "enter the working directory".into())?;
        streams(io, terminal.as_ref())?;
        // What can fail is done before the report. A filter that needs privileges to be loaded may forbid what the rest needs.
        let is_early = self.no_new_privs || self.filter.is_none();
        if is_early {
            self.drop_privileges(ids)?;
        }
        if caller.gate.is_some() {
            // Who opens the gate could no longer report it as a failed creation.
            self.check_program()?;
        }
        channel
            .send_ready(terminal.as_ref().map(|terminal| &terminal.master))
            .doing(|| "report to the parent".into())?;
        drop(terminal);
        if !channel.wait_go(caller.gate) {
            // The parent is gone and with it who would want this container.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .doing(|| "end without a parent".into())?;
        }
        if !is_early {
            self.drop_privileges(ids)?;
        }
        let env = self.environment(ids)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask & 0o777));
        close_on_exec_from(3 + caller.preserve_fds).doing(|| "close the runtime's descriptors".into())?;
        reset_signals();
        if let (true, Some(filter)) = (self.no_new_privs, &self.filter) {
            filter.load().doing(|| "load the seccomp filter".into())?;
        }
        Err(self.execute(&env))
    }

    fn drop_privileges(&self, ids: &Ids) -> Step {
        rlimits::apply(&self.rlimits)?;
        self.attributes.apply()?;
        self.capabilities.bound()?;
        // Without no_new_privs only a privileged process may load a filter.
        if let (false, Some(filter)) = (self.no_new_privs, &self.filter) {
            filter.load().doing(|| "load the seccomp filter".into())?;
        }
        rustix::thread::set_keep_capabilities(true).doing(|| "keep capabilities over the change of user".into())?;
        let groups: Vec<nix::unistd::Gid> = ids.groups.iter().map(|&gid| nix::unistd::Gid::from_raw(gid)).collect();
        nix::unistd::setgroups(&groups).doing(|| "set the supplementary groups".into())?;
        let gid = nix::unistd::Gid::from_raw(ids.gid);
        nix::unistd::setresgid(gid, gid, gid).doing(|| format!("set the group id {gid}"))?;
        let uid = nix::unistd::Uid::from_raw(ids.uid);
        nix::unistd::setresuid(uid, uid, uid).doing(|| format!("set the user id {uid}"))?;
        rustix::thread::set_keep_capabilities(false).doing(|| "let capabilities go at exec".into())?;
        self.capabilities.apply()?;
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).doing(|| "set no_new_privs".into())?;
        }
        Ok(())
    }

    fn environment(&self, ids: &Ids) -> Step<Vec<CString>> {
        let mut env = self.env.clone();
        if !self.has_home {
            let home = ids.home.as_deref().filter(|home| !home.is_empty()).unwrap_or("/");
            env.push(CString::new(format!("HOME={home}")).map_err(|_| Errno::INVAL).doing(|| "set HOME".into())?);
        }
        Ok(env)
    }

    /// Execute the program, looked for in `PATH` as a shell does; comes back only when it cannot.
    fn execute(&self, env: &[CString]) -> Failure {
        let mut worst = Errno::NOENT;
        for path in self.candidates() {
            let Err(errno) = nix::unistd::execve(&path, &self.args, env);
            note(&mut worst, Errno::from_raw_os_error(errno as i32));
        }
        no_program(worst)
    }

    /// Say early that there is no such program, or that it is not executable.
    fn check_program(&self) -> Step {
        let mut worst = Errno::NOENT;
        for path in self.candidates() {
            let found = rustix::fs::stat(&path).and_then(|stat| {
                let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                if is_file && stat.st_mode & 0o111 != 0 { Ok(()) } else { Err(Errno::ACCESS) }
            });
            match found {
                Ok(()) => return Ok(()),
                Err(errno) => note(&mut worst, errno),
            }
        }
        Err(no_program(worst))
    }

    /// Where the program may be.
    fn candidates(&self) -> Vec<CString> {
        if self.program.contains('/') {
            return self.args.first().cloned().into_iter().collect();
        }
        let path = self.path.as_deref().unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let folders = path.split(':').filter(|folder| !folder.is_empty());
        folders.filter_map(|folder| CString::new(format!("{folder}/{}", self.program)).ok()).collect()
    }
}

/// Of several reasons, one that says more than "not here" counts.
fn note(worst: &mut Errno, errno: Errno) {
    if !matches!(errno, Errno::NOENT | Errno::NOTDIR) {
        *worst = errno;
    }
}

fn no_program(errno: Errno) -> Failure {
    let kind = if errno == Errno::NOENT { FailureKind::NotFound } else { FailureKind::NotExecutable };
    Failure { kind, doing: String::new(), errno }
}

/// A session and a keyring of its own.
fn session(caller: &Caller<'_>) -> Step {
    rustix::process::setsid().doing(|| "make a session".into())?;
    if caller.keep_keyring {
        return Ok(());
    }
    match new_session_keyring() {
        // A kernel without keyrings has none to share.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        made => made.doing(|| "make a session keyring".into()),
    }
}

/// Put the payload's standard streams on descriptors 0 to 2.
fn streams(io: Io<'_>, terminal: Option<&Terminal>) -> Step {
    let words = || "set up standard input, output and error".into();
    let (stdin, stdout, stderr) = match (io, terminal) {
        (_, Some(terminal)) => {
            rustix::process::ioctl_tiocsctty(&terminal.slave)
                .doing(|| "make the terminal the controlling one".into())?;
            (terminal.slave.as_fd(), terminal.slave.as_fd(), terminal.slave.as_fd())
        }
        (Io::Fds { stdin, stdout, stderr }, None) => (stdin, stdout, stderr),
        (Io::Inherit | Io::Terminal(_), None) => return Ok(()),
    };
    // Copies above 2 first: one of the three may be another's number.
    let copies = [stdin, stdout, stderr].map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3));
    let [stdin, stdout, stderr] = copies;
    rustix::stdio::dup2_stdin(&stdin.doing(words)?).doing(words)?;
    rustix::stdio::dup2_stdout(&stdout.doing(words)?).doing(words)?;
    rustix::stdio::dup2_stderr(&stderr.doing(words)?).doing(words)
}

/// `process.consoleSize`, which counts only for a terminal.
fn console_size(process: &Process) -> Result<Option<(u16, u16)>, Error> {
    let Some(size) = process.console_size().filter(|_| process.terminal().unwrap_or(false)) else { return Ok(None) };
    match (u16::try_from(size.height()), u16::try_from(size.width())) {
        (Ok(rows), Ok(columns)) => Ok(Some((rows, columns))),
        _ => Err(Error::spec("process.consoleSize", "height and width are at most 65535")),
    }
}

fn c_strings(what: &str, values: &[String]) -> Result<Vec<CString>, Error> {
    let convert = |value: &String| CString::new(value.as_bytes());
    values.iter().map(convert).collect::<Result<_, _>>().map_err(|_| Error::spec(what, "a string with a NUL byte"))
}
