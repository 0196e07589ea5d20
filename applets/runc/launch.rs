//! From a bundle to a process that is set up: what `create` and `run` have in common.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use coracle_abi::atomic_write::{self, Durability};
use coracle_cgroups::Cgroup;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};

use super::log::Log;
use super::options::Global;
use super::state::{GATE, Record, StateDir, check_id};
use super::{cgroup, console, create, process, start, words};
use crate::runtime::{self, Caller, Created, HookPoint, Io, Launch, Root};

/// A container whose first process is set up and waits. Dropped before [`Prepared::keep`], all of it is removed again.
pub struct Prepared {
    /// Where its state is; locked.
    state: StateDir,
    record: Record,
    created: Option<Created>,
    /// The end of its terminal that is ours.
    console: Option<OwnedFd>,
    gate: Option<OwnedFd>,
    /// The specification, once its hooks may have run.
    hooked: Option<Spec>,
    kept: bool,
}

/// The specification of a bundle, checked as far as its form goes, and the absolute paths of bundle and root.
pub fn read_bundle(bundle: &Path) -> anyhow::Result<(Spec, PathBuf, PathBuf)> {
    let dir = std::fs::canonicalize(bundle)
        .map_err(|error| anyhow::anyhow!("chdir {}: {}", bundle.display(), words::reason(&error)))?;
    let spec = read_spec(&dir.join("config.json"))?;
    let root = spec.root().as_ref().context("root must be specified")?;
    let rootfs = dir.join(root.path());
    let rootfs = std::fs::canonicalize(&rootfs)
        .map_err(|error| anyhow::anyhow!("invalid rootfs: stat {}: {}", rootfs.display(), words::reason(&error)))?;
    ensure!(rootfs.is_dir(), "invalid rootfs: {} is not a directory", rootfs.display());
    ensure!(rootfs != Path::new("/"), "invalid rootfs: the host's root cannot be a container's");
    Ok((spec, dir, rootfs))
}

/// Read a document, and warn of what is left out.
pub fn understand<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    let (document, warnings) = runtime::from_json(bytes)?;
    warnings.into_iter().for_each(|warning| Log::stderr().warn(&anyhow::anyhow!(warning)));
    Ok(document)
}

fn read_spec(path: &Path) -> anyhow::Result<Spec> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("JSON specification file config.json not found")
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let spec: Spec = understand(&bytes).with_context(|| format!("cannot understand {}", path.display()))?;
    let version = spec.version();
    ensure!(version.is_empty() || version.starts_with("1."), "unknown version specified: ociVersion {version:?}");
    check_process(spec.process().as_ref().context("process property must not be empty")?)?;
    Ok(spec)
}

/// What a process must have, in runc's words.
pub fn check_process(process: &Process) -> anyhow::Result<()> {
    ensure!(!process.cwd().as_os_str().is_empty(), "Cwd property must not be empty");
    ensure!(process.cwd().is_absolute(), "Cwd must be an absolute path");
    ensure!(process.args().as_ref().is_some_and(|args| !args.is_empty()), "args must not be empty");
    Ok(())
}

/// Only in a user namespace may an ordinary user make the others.
fn check_user(spec: &Spec) -> anyhow::Result<()> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let has_users = namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::User);
    ensure!(has_users || nix::unistd::geteuid().is_root(), "rootless container requires user namespaces");
    Ok(())
}

/// Whether standard streams are a terminal of the container's, and whether that is possible.
pub fn wants_terminal(process: &Process, detached: bool, socket: Option<&Path>) -> anyhow::Result<bool> {
    let terminal = process.terminal().unwrap_or(false);
    match (terminal, detached, socket) {
        (true, true, None) => bail!("cannot allocate tty if runc will detach without setting console socket"),
        (true, false, Some(_)) | (false, _, Some(_)) => {
            bail!("cannot use console socket if runc will not detach or allocate tty")
        }
        _ => Ok(terminal),
    }
}

/// Descriptors beyond the standard streams that the caller hands to the program, and the variables that tell it of those which
/// are listening sockets (sd_listen_fds(3)).
pub fn inherited(preserve: u32) -> anyhow::Result<(u32, Vec<String>)> {
    let value = |name: &str| std::env::var(name).ok();
    let meant = value("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let sockets = value("LISTEN_FDS").filter(|_| meant).and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    let mut variables = Vec::new();
    if sockets > 0 {
        variables.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=1".into()]);
        variables.extend(value("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    let count = sockets.checked_add(preserve).context("--preserve-fds: too many descriptors")?;
    for number in (3..).take(count as usize) {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
        ensure!(info.is_ok_and(|info| !is_close_on_exec(&info)), "--preserve-fds: descriptor {number} is not open");
    }
    Ok((count, variables))
}

/// By the text of /proc/PID/fdinfo/N. A descriptor that is close-on-exec is this program's own.
fn is_close_on_exec(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i64::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
    flags & i64::from(libc::O_CLOEXEC) != 0
}

/// Make a container, up to the point where its program could run.
pub fn prepare(global: &Global, args: &create::Args, detached: bool, gate: bool) -> anyhow::Result<Prepared> {
    let (preserve_fds, variables) = inherited(args.preserve_fds)?;
    check_id(&args.id)?;
    let (spec, bundle, rootfs) = read_bundle(&args.bundle)?;
    let process = spec.process().as_ref().context("process property must not be empty")?;
    let terminal = wants_terminal(process, detached, args.console_socket.as_deref())?;
    check_user(&spec)?;
    let plan = cgroup::plan(global, &spec, &args.id)?;
    let state = StateDir::reserve(global, &args.id)?;
    let record = Record {
        id: args.id.clone(),
        bundle,
        rootfs,
        created: jiff::Timestamp::now().to_string(),
        ..Record::default()
    };
    let mut prepared = Prepared { state, record, created: None, console: None, gate: None, hooked: None, kept: false };
    prepared.state.write_spec(&spec)?;
    let group = prepared.make_cgroup(plan.as_ref())?;
    if gate {
        prepared.gate =
            Some(runtime::gate_socket(prepared.state.as_fd(), GATE).context("cannot make the socket for start")?);
    }
    let mut spec = spec;
    if let Some(process) = spec.process_mut() {
        let env = process.env().iter().flatten().cloned().chain(variables).collect();
        process.set_env(Some(env));
    }
    let caller = Caller {
        preserve_fds,
        keep_keyring: args.no_new_keyring,
        no_pivot: args.no_pivot,
        identity: Some(prepared.record.identity()),
        gate: prepared.gate.as_ref().map(AsFd::as_fd),
        ..Caller::default()
    };
    let launch = Launch {
        spec: &spec,
        root: Root::Path(&prepared.record.rootfs),
        io: if terminal { Io::Terminal(if detached { None } else { console::size() }) } else { Io::Inherit },
        cgroup: group.as_ref().map(Cgroup::as_fd),
        user: None,
        copy_up: &[],
        caller,
    };
    let created = runtime::create(&launch).map_err(words::runtime)?;
    prepared.hooked = Some(spec);
    prepared.set_up(created, args)?;
    Ok(prepared)
}

impl Prepared {
    /// The cgroup is on record before it is there, so that it is found if this program is killed.
    fn make_cgroup(&mut self, plan: Option<&cgroup::Plan>) -> anyhow::Result<Option<Cgroup>> {
        let Some(plan) = plan else { return Ok(None) };
        plan.refuse_foreign()?;
        self.record.cgroup = Some(plan.path().to_owned());
        self.state.write_record(&self.record)?;
        let group = plan.make()?;
        if group.is_none() {
            self.record.cgroup = None;
        }
        Ok(group)
    }

    /// Wait for the process to be set up, and tell the caller and the disk of it.
    fn set_up(&mut self, mut created: Created, args: &create::Args) -> anyhow::Result<()> {
        let pid = i32::try_from(created.pid()).context("the kernel gave a strange process id")?;
        created.ready().map_err(words::runtime)?;
        let console = created.take_console();
        self.created = Some(created);
        match (console, args.console_socket.as_deref()) {
            (Some(console), Some(socket)) => console::send(socket, &console)?,
            (console, _) => self.console = console,
        }
        if let Some(socket) = &args.pidfd_socket {
            console::send_pidfd(socket, pid)?;
        }
        let started = process::start_time(pid).context("the container's first process has ended")?;
        if let Some(path) = &args.pid_file {
            write_pid(path, pid)?;
        }
        self.record = Record { pid, start_time: started, complete: true, ..self.record.clone() };
        self.state.write_record(&self.record)
    }

    /// Leave the process to wait for `start`, as an orphan.
    pub fn hand_over(mut self) -> anyhow::Result<()> {
        let created = self.created.take().context("there is no process")?;
        created.hand_over().map_err(words::runtime)?;
        self.keep();
        Ok(())
    }

    /// Run the program.
    pub fn start(mut self) -> anyhow::Result<Started> {
        let created = self.created.take().context("there is no process")?;
        let running = created.start().map_err(words::runtime)?;
        if let Some(spec) = &self.hooked {
            start::poststart(&self.record, spec)?;
        }
        self.keep();
        let console = self.console.take();
        Ok(Started { running, console, id: self.record.id.clone() })
    }

    fn keep(&mut self) {
        self.kept = true;
        self.state.unlock();
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The process first: it is in the cgroup.
        drop(self.created.take());
        // There is an error on its way to the caller already; what cannot be removed now is when the name is used again.
        let _ = self.state.remove();
        if let Some(spec) = &self.hooked {
            let _ = runtime::run_hooks(spec, HookPoint::Poststop, self.record.identity(), None);
        }
    }
}

/// A container whose program runs as our child.
pub struct Started {
    /// The process.
    pub running: runtime::Running,
    /// Its terminal.
    pub console: Option<OwnedFd>,
    /// The container's name.
    pub id: String,
}

/// Write a process' number for the caller to read.
pub fn write_pid(path: &Path, pid: i32) -> anyhow::Result<()> {
    atomic_write::write(path, pid.to_string().as_bytes(), 0o644, Durability::Volatile)
        .with_context(|| format!("cannot write the process id to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_descriptors_are_not_the_callers() {
        assert!(is_close_on_exec("pos:\t0\nflags:\t02100000\nmnt_id:\t1\n"));
        assert!(!is_close_on_exec("pos:\t0\nflags:\t0100002\nmnt_id:\t1\n"));
    }

    #[test]
    fn terminals_and_sockets() {
        let process = |terminal| {
            let mut process = Process::default();
            process.set_terminal(Some(terminal));
            process
        };
        let socket = Some(Path::new("/s"));
        assert!(wants_terminal(&process(true), true, None).is_err());
        assert!(wants_terminal(&process(false), true, socket).is_err());
        assert!(wants_terminal(&process(true), false, socket).is_err());
        assert!(wants_terminal(&process(true), true, socket).unwrap());
        assert!(wants_terminal(&process(true), false, None).unwrap());
        assert!(!wants_terminal(&process(false), false, None).unwrap());
    }
}
