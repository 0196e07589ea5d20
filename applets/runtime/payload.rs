//! What is executed in a container: a program, and what it has when it begins.

use std::ffi::CString;

use coracle_abi::process::{close_on_exec_from, new_session_keyring, reset_signals};
use nix::fcntl::AtFlags;
use oci_spec::runtime::{Linux, Process, Spec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::capabilities::Capabilities;
use super::channel::{Channel, Doing, Failure, FailureKind, Step};
use super::hooks::{self, HookPoint};
use super::rootfs::Rootfs;
use super::seccomp::notify::Agent;
use super::seccomp::{Filter, compile};
use super::terminal::Terminal;
use super::user::{self, Ids};
use super::{Caller, Error, Identity, Io, rlimits, userns};

/// What a program's files are made with, unless the specification says otherwise.
const UMASK: u32 = 0o022;

/// A program and what it runs with.
pub(super) struct Payload {
    pub program: String,
    args: Vec<CString>,
    env: Vec<CString>,
    /// `PATH` of the environment.
    path: Option<String>,
    has_home: bool,
    capabilities: Capabilities,
    filter: Option<Filter>,
    agent: Option<Agent>,
    no_new_privs: bool,
    rlimits: Vec<oci_spec::runtime::PosixRlimit>,
    attributes: Attributes,
    /// Rows and columns of a terminal whose size the caller does not know.
    console_size: Option<(u16, u16)>,
    umask: u32,
    oom_score_adj: Option<i32>,
    /// Whether it runs in a user namespace that is not the caller's.
    has_users: bool,
    /// Whether its groups may not be its own to choose.
    keeps_groups: bool,
}

/// What the child has made for its payload.
pub(super) struct Stage<'a> {
    pub channel: &'a mut Channel,
    pub io: Io<'a>,
    pub terminal: Option<Terminal>,
    pub ids: Ids,
    pub cwd: OwnedFd,
    pub caller: &'a Caller<'a>,
    /// The specification whose startContainer hooks are to be run.
    pub hooks: Option<&'a Spec>,
    /// The process' id as its parent sees it, if an agent is to be told.
    pub pid: u32,
}

impl Payload {
    pub(super) fn new(process: &Process, linux: Option<&Linux>, has_users: bool) -> Result<Self, Error> {
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
            agent: None,
            no_new_privs: process.no_new_privileges().unwrap_or(false),
            rlimits: limits,
            attributes: Attributes::plan(process, linux)?,
            console_size: console_size(process)?,
            oom_score_adj: process.oom_score_adj(),
            has_users,
            keeps_groups: has_users || userns::is_rootless(),
            umask: process.user().umask().unwrap_or(UMASK),
        })
    }

    /// In the parent: connect to the agent that the seccomp profile notifies. `container`: pidfd of the first process of the
    /// container that this is a further process of.
    pub(super) fn connect_agent(
        &mut self,
        spec: &Spec,
        identity: Option<Identity<'_>>,
        container: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(()) };
        let container = container.map(|pidfd| pid_of(pidfd).ok_or(Error::Vanished)).transpose()?;
        self.agent = Agent::connect(spec, profile, identity, container)?;
        Ok(())
    }

    pub(super) fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    fn load(&self, filter: &Filter, pid: u32) -> Step {
        match &self.agent {
            Some(agent) => agent.load(filter, pid),
            None => filter.load().doing(|| "load the seccomp filter".into()),
        }
    }

    /// In the parent of a process with other users: give it what it cannot take.
    pub(super) fn privilege(&self, pid: u32) -> Result<(), Error> {
        userns::privilege(pid, self.oom_score_adj, &self.rlimits)
    }

    pub(super) fn terminal(&self, io: Io<'_>, rootfs: &Rootfs) -> Step<Option<Terminal>> {
        match io {
            Io::Terminal(size) => Terminal::open(rootfs, size.or(self.console_size)).map(Some),
            Io::Inherit | Io::Fds { .. } => Ok(None),
        }
    }

    pub(super) fn ids(&self, wanted: Option<&str>, process: &Process, rootfs: &Rootfs) -> Step<Ids> {
        if let Some(text) = wanted {
            let mut ids = user::find(rootfs, text)?;
            // A group that may do less than others must not be shaken off by one that does not name it (CVE-2022-36109).
            if !ids.groups.contains(&ids.gid) {
                ids.groups.insert(0, ids.gid);
            }
            return Ok(ids);
        }
        let user = process.user();
        let home = if self.has_home { None } else { user::home(rootfs, user.uid())? };
        let groups = user.additional_gids().clone().unwrap_or_default();
        Ok(Ids { uid: user.uid(), gid: user.gid(), groups, home })
    }

    /// Say that all is set up, wait for the word, and become the program.
    pub(super) fn run(&self, stage: Stage<'_>) -> Step {
        let Stage { channel, io, terminal, ids, cwd, caller, hooks, pid } = stage;
        rustix::process::fchdir(cwd).doing(|| "enter the working directory".into())?;
        streams(io, terminal.as_ref())?;
        own_streams(ids.uid)?;
        if !self.has_users {
            rlimits::apply(&self.rlimits)?;
        }
        // What can fail is done before the report. A filter that needs privileges to be loaded may forbid what the rest needs.
        let is_early = self.no_new_privs || self.filter.is_none();
        if is_early {
            self.drop_privileges(&ids, pid)?;
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
            // The first process of a PID namespace cannot be killed from within, not even by itself (pid_namespaces(7)).
            return Err(Errno::CANCELED).doing(|| "go on without a parent".into());
        }
        if !is_early {
            self.drop_privileges(&ids, pid)?;
        }
        close_on_exec_from(3 + caller.preserve_fds).doing(|| "close the runtime's descriptors".into())?;
        if let Some(spec) = hooks {
            hooks::run_in_child(spec, HookPoint::StartContainer, caller.identity)?;
        }
        let env = self.environment(&ids)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask & 0o777));
        reset_signals();
        if let (true, Some(filter)) = (self.no_new_privs, &self.filter) {
            self.load(filter, pid)?;
        }
        if let Some(init) = caller.init {
            return Err(self.execute_below(init, &env));
        }
        Err(self.execute(&env))
    }

    fn drop_privileges(&self, ids: &Ids, pid: u32) -> Step {
        self.attributes.apply()?;
        self.capabilities.bound()?;
        // Without no_new_privs only a privileged process may load a filter.
        if let (false, Some(filter)) = (self.no_new_privs, &self.filter) {
            self.load(filter, pid)?;
        }
        rustix::thread::set_keep_capabilities(true).doing(|| "keep capabilities over the change of user".into())?;
        let groups: Vec<nix::unistd::Gid> = ids.groups.iter().map(|&gid| nix::unistd::Gid::from_raw(gid)).collect();
        match nix::unistd::setgroups(&groups) {
            // A user without privileges who made the namespace keeps the groups; there they are nobody's.
            Err(nix::errno::Errno::EPERM) if self.keeps_groups && groups.is_empty() => {}
            set => set.doing(|| "set the supplementary groups".into())?,
        }
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

    /// Execute this program as the container's init, which executes the payload's.
    fn execute_below(&self, init: BorrowedFd<'_>, env: &[CString]) -> Failure {
        let args: Vec<CString> = [c"docker-init", c"--"].map(Into::into).into_iter().chain(self.args.clone()).collect();
        let Err(errno) = nix::unistd::execveat(init, c"", &args, env, AtFlags::AT_EMPTY_PATH);
        Failure {
            kind: FailureKind::Setup,
            doing: "execute this program as the container's init".into(),
            errno: Errno::from_raw_os_error(errno as i32),
        }
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

/// The process id behind a pidfd, by its fdinfo (pidfd_open(2)).
fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|&pid| pid > 0)
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
pub(super) fn session(caller: &Caller<'_>) -> Step {
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

/// Let the payload's user own its standard streams, or it could not open them anew by /dev/stdout and the like.
fn own_streams(uid: u32) -> Step {
    let words = || "make the standard streams the user's".into();
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = match rustix::fs::fstat(stream) {
            // One that the caller has closed.
            Err(Errno::BADF) => continue,
            stat => stat.doing(words)?,
        };
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if stat.st_uid == uid || is_device && !rustix::termios::isatty(stream) {
            continue;
        }
        match rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None) {
            // Not ours to give, of a user namespace without that owner, or of a file system that has none.
            Err(Errno::PERM | Errno::INVAL | Errno::ROFS | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            given => given.doing(words)?,
        }
    }
    Ok(())
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
