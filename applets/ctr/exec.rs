//! `ctr exec`: a further process in a running container.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use oci_spec::runtime::Process;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::keys::{self, Keys, Watch};
use super::record::{self, Record, Status};
use super::{Exit, attach, lifecycle, limits, options_env, spec};
use crate::runtime::{self, Caller, Created, Exec, Io, Running};

/// `exec`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// Do not wait for it; its output is lost
    #[arg(short, long)]
    detach: bool,

    /// Keys that leave its terminal while it runs on
    #[arg(long, value_name = "KEYS", default_value = keys::DEFAULT, value_parser = keys::parse)]
    detach_keys: Keys,

    /// Set an environment variable
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,

    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Give it all capabilities
    #[arg(long)]
    privileged: bool,

    /// User and group
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Container, by name or id
    container: String,

    /// Program and its arguments
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// A process that is wanted in a running container.
#[derive(Default)]
pub struct Wanted {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables over those of the container, as `KEY=VALUE`.
    pub env: Vec<String>,
    /// Working directory, if not the container's.
    pub workdir: Option<String>,
    /// User and group, if not the container's.
    pub user: Option<String>,
    /// With all capabilities and without a filter.
    pub privileged: bool,
}

/// Make a process in the container that the payload `target` is the first of.
pub fn create(record: &Record, target: BorrowedFd<'_>, wanted: &Wanted, io: Io<'_>) -> anyhow::Result<Created> {
    let mut record = record.clone();
    record.host_config.privileged |= wanted.privileged;
    let spec = spec::build(&record)?;
    let mut process = runtime::exec_process(&spec, wanted.command.clone());
    let mut env = process.env().clone().unwrap_or_default();
    wanted.env.iter().try_for_each(|entry| options_env::set_variable(&mut env, entry))?;
    process.set_env(Some(env));
    if let Some(workdir) = &wanted.workdir {
        anyhow::ensure!(workdir.starts_with('/'), "the working directory {workdir:?} must be an absolute path");
        process.set_cwd(workdir.into());
    }
    let cgroup = limits::open(&record.id);
    let user = Some(wanted.user.as_deref().filter(|user| !user.is_empty()).unwrap_or(record.user()));
    let exec = |process: &Process| {
        runtime::exec(&Exec {
            target,
            spec: &spec,
            process,
            io,
            cgroup: cgroup.as_ref().map(coracle_cgroups::Cgroup::as_fd),
            user,
            caller: Caller { groups: &record.host_config.group_add, ..Caller::default() },
        })
    };
    match exec(&process) {
        Err(error) if spec::drop_mknod(&error, &mut process, &record) => Ok(exec(&process)?),
        created => Ok(created?),
    }
}

/// Run a process; its exit status.
pub fn exec(args: &Args) -> anyhow::Result<i32> {
    runtime::seal_self()?;
    let (record, target) = running(&args.container).map_err(|error| Exit { status: 1, error })?;
    let wanted = Wanted {
        command: args.command.clone(),
        env: options_env::environment(&[], &args.env_file, &args.env)?,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        privileged: args.privileged,
    };
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context("cannot open /dev/null")?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let io = match (args.tty, args.detach) {
        (true, _) => Io::Terminal(attach::terminal_size()),
        (false, true) => Io::Fds { stdin: null.as_fd(), stdout: null.as_fd(), stderr: null.as_fd() },
        (false, false) => Io::Fds {
            stdin: if args.interactive { stdin.as_fd() } else { null.as_fd() },
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
        },
    };
    let mut created = create(&record, target.as_fd(), &wanted, io)?;
    created.ready()?;
    let console = created.take_console();
    let running = created.start()?;
    match console {
        Some(console) if args.detach => leave(&console),
        None if args.detach => Ok(0),
        Some(console) => {
            let keys = args.interactive.then(|| Watch::new(args.detach_keys.clone()));
            relay(&running, &console, keys)
        }
        None => Ok(running.wait()?.code()),
    }
}

/// A container that runs, and its first process.
fn running(name: &str) -> anyhow::Result<(Record, OwnedFd)> {
    let id = record::resolve(name)?;
    let target = lifecycle::payload(&id)?;
    let record = Record::read(&id)?;
    ensure!(
        record.state.status != Status::Restarting,
        "Container {id} is restarting, wait until the container is running"
    );
    let Some(target) = target else { bail!("container {id} is not running") };
    ensure!(!limits::is_frozen(&id), "Container {id} is paused, unpause the container before exec");
    Ok((record, target))
}

/// Leave a process to itself. A child keeps its terminal open and reads from it, or the process would stop at the first chance.
fn leave(console: &OwnedFd) -> anyhow::Result<i32> {
    let child = || -> anyhow::Result<()> {
        rustix::process::setsid()?;
        super::monitor::release_streams()?;
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(console, &mut buffer) {
                Ok(length) if length > 0 => {}
                Err(Errno::INTR) => {}
                _ => return Ok(()),
            }
        }
    };
    coracle_abi::clone::spawn(0, None, || i32::from(child().is_err())).context("cannot leave the process")?;
    Ok(0)
}

/// Between the caller's terminal and the process', until that ends, or the keys say to leave it. Without keys there is no input.
fn relay(running: &Running, console: &OwnedFd, mut keys: Option<Watch>) -> anyhow::Result<i32> {
    let signals = attach::signals()?;
    let _raw = if keys.is_some() { Some(attach::Raw::enter()?) } else { None };
    let stdin = io::stdin();
    let mut buffer = [0; 8192];
    loop {
        let mut polled = vec![
            PollFd::new(console, PollFlags::IN),
            PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        if keys.is_some() {
            polled.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno).context("cannot wait for the process"),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        if ready[2] {
            while let Ok(Some(info)) = signals.read_signal() {
                if info.ssi_signo == Signal::SIGWINCH as u32
                    && let Some((rows, columns)) = attach::terminal_size()
                {
                    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = rustix::termios::tcsetwinsize(console, size);
                }
            }
        }
        if let (Some(true), Some(watch)) = (ready.get(3), &mut keys) {
            match rustix::io::read(&stdin, &mut buffer) {
                Ok(length) if length > 0 => {
                    let mut typed = Vec::with_capacity(length);
                    let is_left = watch.take(&buffer[..length], &mut typed);
                    write_all(console, &typed)?;
                    if is_left {
                        return leave(console);
                    }
                }
                _ => keys = None,
            }
        }
        if ready[0] {
            match rustix::io::read(console, &mut buffer) {
                Ok(length) if length > 0 => {
                    let mut out = io::stdout().lock();
                    out.write_all(&buffer[..length]).and_then(|()| out.flush())?;
                    continue;
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                // The last user of the terminal is gone.
                _ => return Ok(running.wait()?.code()),
            }
        } else if ready[1] {
            return Ok(running.wait()?.code());
        }
    }
}

fn write_all(fd: &OwnedFd, mut data: &[u8]) -> anyhow::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(fd, data) {
            Ok(length) => data = &data[length..],
            Err(Errno::INTR) => {}
            Err(Errno::IO) => return Ok(()),
            Err(errno) => return Err(errno).context("cannot write to the process' terminal"),
        }
    }
    Ok(())
}
