//! Start a container: fork its monitor, which forks the launcher, which makes the payload and is gone.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, bail};
use coracle_abi::clone::{Child, spawn};
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::lock::Lock;
use super::monitor::{self, Ends, Monitor};
use super::record::{Health, Healthcheck, Live, MountPoint, Record};
use super::spec::{self, drop_mknod};
use super::volumes::is_volume;
use super::wire::{CHUNK, Kind, Packet, Wire, number};
use super::{ENGINE_FAILED, events, limits, network, paths, reaper, restart, spec_mounts};
use crate::runtime::{self, Caller, CopyUp, Io, Launch, Root};

/// What became of a start.
pub enum Started {
    /// It runs; with `attached`, its output comes over the wire.
    Running(Wire),
    /// It does not, for a reason that has been printed: exit status.
    Failed(i32),
}

/// Start a container that does not run, as who holds its lock knows, and that is on record as running: whoever finds it without a
/// monitor cleans up.
pub fn start(record: &Record, lock: Lock, attached: bool, size: Option<(u16, u16)>) -> anyhow::Result<Started> {
    restart::release(&record.id)?;
    let streams = Streams::new(record)?;
    let (ours, theirs) = Wire::pair()?;
    let mut monitor = Some((lock, theirs, streams));
    let child = spawn(0, None, || match monitor.take() {
        Some((lock, wire, streams)) => run_monitor(record, lock, wire, attached, streams, size),
        None => ENGINE_FAILED,
    })
    .context("cannot fork the monitor")?;
    // The monitor's ends must be closed here for its death to be seen. Its lock stays with it.
    drop(monitor);
    drop(child);
    let mut buffer = [0; CHUNK];
    match ours.receive(&mut buffer)? {
        Packet::Body(Kind::Started, _) => Ok(Started::Running(ours)),
        Packet::Body(Kind::Failed, _) => Ok(Started::Failed(number(&buffer).unwrap_or(ENGINE_FAILED))),
        _ => bail!("the container's monitor ended before the start (killed, or out of memory?)"),
    }
}

/// The payload's standard streams and the monitor's ends of them.
struct Streams {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    ends: Ends,
}

impl Streams {
    fn new(record: &Record) -> anyhow::Result<Self> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let null = null.context("cannot open /dev/null")?;
        if record.config.tty {
            // The terminal is made in the container; these are never used.
            let (stdout, stderr) = (null.try_clone()?, null.try_clone()?);
            return Ok(Streams { stdin: null, stdout, stderr, ends: Ends::default() });
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let (from_stdout, stdout) = pipe()?;
        let (from_stderr, stderr) = pipe()?;
        let (stdin, to_stdin) = if record.config.open_stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (null, None)
        };
        let ends = Ends { stdin: to_stdin, stdout: Some(from_stdout), stderr: Some(from_stderr), console: None };
        for end in [&ends.stdin, &ends.stdout, &ends.stderr].into_iter().flatten() {
            non_blocking(end)?;
        }
        Ok(Streams { stdin, stdout, stderr, ends })
    }
}

fn non_blocking(fd: &OwnedFd) -> anyhow::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).context("cannot make a descriptor non-blocking")
}

fn run_monitor(
    record: &Record,
    lock: Lock,
    client: Wire,
    attached: bool,
    streams: Streams,
    size: Option<(u16, u16)>,
) -> i32 {
    let launched = monitor::detach().and_then(|()| {
        let launched = fork_launcher(record, streams, size)?;
        monitor::release_streams()?;
        Ok(launched)
    });
    match launched {
        Ok((launcher, from_launcher, ends)) => {
            Monitor { id: record.id.clone(), lock, client, attached }.run(launcher, from_launcher, ends)
        }
        Err(error) => {
            eprintln!("ctr: {error:#}");
            let _ = client.send(Kind::Failed, &ENGINE_FAILED.to_le_bytes());
            ENGINE_FAILED
        }
    }
}

/// Fork what makes the payload: it, the monitor's connection to it, and the monitor's ends of the payload's streams.
fn fork_launcher(record: &Record, streams: Streams, size: Option<(u16, u16)>) -> anyhow::Result<(Child, Wire, Ends)> {
    let Streams { stdin, stdout, stderr, ends } = streams;
    let (ours, theirs) = Wire::pair()?;
    let io = if record.config.tty {
        Io::Terminal(size)
    } else {
        Io::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() }
    };
    let launcher = spawn(0, None, || launcher(record, io, &theirs)).context("cannot fork the launcher")?;
    Ok((launcher, ours, ends))
}

/// Start the payload once more, in its monitor.
pub fn launch_again(record: &Record) -> anyhow::Result<(Child, Wire, Ends)> {
    fork_launcher(record, Streams::new(record)?, None)
}

/// Make the payload, hand its pidfd to the monitor, and end.
fn launcher(record: &Record, io: Io<'_>, monitor: &Wire) -> i32 {
    match launch(record, io) {
        Ok((pidfd, console)) => {
            // Before the monitor knows of it, so that no end comes first.
            events::of_container(record, "start", &[]);
            let fds: Vec<_> = std::iter::once(pidfd.as_fd()).chain(console.as_ref().map(AsFd::as_fd)).collect();
            i32::from(monitor.send_fds(Kind::Started, &fds).is_err())
        }
        Err(error) => {
            eprintln!("ctr: {error:#}");
            let code = error.downcast_ref::<runtime::Error>().map_or(ENGINE_FAILED, runtime::Error::exit_code);
            reaper::record_loss(&record.id, code, &format!("{error:#}"));
            let _ = monitor.send(Kind::Failed, &code.to_le_bytes());
            0
        }
    }
}

/// Make the payload of a container on record; the caller is its parent.
pub fn launch(record: &Record, io: Io<'_>) -> anyhow::Result<(OwnedFd, Option<OwnedFd>)> {
    let dir = paths::container(&record.id);
    let mut spec = spec::build(record)?;
    spec::add_devices(&mut spec, record)?;
    network::write_files(record)?;
    spec_mounts::make_shared_shm(record)?;
    let cgroup = limits::create(&record.id, &record.host_config)?;
    let copy_up = copy_up(record);
    let init = if record.host_config.init { Some(this_program()?) } else { None };
    let (upper, work, target) = (dir.join("upper"), dir.join("work"), dir.join("rootfs"));
    let create = |spec: &Spec| {
        runtime::create(&Launch {
            spec,
            root: Root::Overlay { lower: &record.layers, upper: &upper, work: &work, target: &target },
            io,
            cgroup: cgroup.as_ref().map(coracle_cgroups::Cgroup::as_fd),
            user: Some(record.user()),
            copy_up: &copy_up,
            caller: Caller {
                init: init.as_ref().map(AsFd::as_fd),
                groups: &record.host_config.group_add,
                ..Caller::default()
            },
        })
    };
    let mut created = match create(&spec) {
        Err(error) if spec.process_mut().as_mut().is_some_and(|process| drop_mknod(&error, process, record)) => {
            create(&spec)?
        }
        created => created?,
    };
    let pid = i32::try_from(created.pid()).context("the kernel gave a strange process id")?;
    let settings = match network::attach(record, pid) {
        Ok(settings) => settings,
        Err(error) => {
            // A payload that failed to set itself up takes its namespace along; then that is the reason to name.
            created.ready()?;
            return Err(error);
        }
    };
    if !settings.networks.is_empty() {
        network::write_hosts(record, &settings)?;
    }
    created.ready()?;
    let console = created.take_console();
    if let Some(console) = &console {
        non_blocking(console)?;
    }
    Live { pid, start_time: start_time(pid), network: settings }.write(&record.id)?;
    if record.config.healthcheck.as_ref().is_some_and(Healthcheck::is_active) {
        Health::starting().write(&record.id)?;
    }
    let running = created.start()?;
    Ok((running.pidfd().try_clone_to_owned()?, console))
}

/// This program, read-only for the container.
fn this_program() -> anyhow::Result<OwnedFd> {
    let program = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    program.context("cannot open /proc/self/exe")
}

/// The volumes that may have to be filled.
fn copy_up(record: &Record) -> Vec<CopyUp> {
    let is_nocopy = |mount: &MountPoint| {
        mount.mode.split(',').chain(mount.options.iter().map(String::as_str)).any(|option| option == "nocopy")
    };
    let copied = |mount: &&MountPoint| is_volume(mount) && !is_nocopy(mount);
    let wanted = record.mounts.iter().filter(copied).map(|mount| {
        Some(CopyUp { destination: mount.destination.clone().into(), volume: mount.source.parent()?.into() })
    });
    wanted.flatten().collect()
}

/// Field 22 of /proc/PID/stat: clock ticks after boot; 0 if the process is gone.
pub fn start_time(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything, parentheses included.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}
