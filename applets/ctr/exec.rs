//! `ctr exec`: a further process in a running container.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use oci_spec::runtime::Process;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::record::{self, Record};
use super::{Exit, attach, lifecycle, limits, options_env, spec};
use crate::runtime::{self, Caller, Exec, Io, Running};

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
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,

    /// Set an environment variable
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,

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

/// Run a process; its exit status.
pub fn exec(args: &Args) -> anyhow::Result<i32> {
    runtime::seal_self()?;
    let id = record::resolve(&args.container)?;
    let Some(target) = lifecycle::payload(&id)? else { bail!("container {} is not running", args.container) };
    anyhow::ensure!(
        !limits::is_frozen(&id),
        Exit {
            status: 1,
            error: anyhow::anyhow!("Container {} is paused, unpause the container before exec", args.container),
        }
    );
    let record = Record::read(&id)?;
    let spec = spec::build(&record)?;
    let mut process = runtime::exec_process(&spec, args.command.clone());
    let mut env = process.env().clone().unwrap_or_default();
    args.env.iter().try_for_each(|entry| options_env::set_variable(&mut env, entry))?;
    process.set_env(Some(env));
    if let Some(workdir) = &args.workdir {
        anyhow::ensure!(workdir.starts_with('/'), "the working directory {workdir:?} must be an absolute path");
        process.set_cwd(workdir.into());
    }
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
    let cgroup = limits::open(&id);
    let user = Some(args.user.as_deref().filter(|user| !user.is_empty()).unwrap_or(record.user()));
    let exec = |process: &Process| {
        runtime::exec(&Exec {
            target: target.as_fd(),
            spec: &spec,
            process,
            io,
            cgroup: cgroup.as_ref().map(coracle_cgroups::Cgroup::as_fd),
            user,
            caller: Caller { groups: &record.host_config.group_add, ..Caller::default() },
        })
    };
    let mut created = match exec(&process) {
        Err(error) if spec::drop_mknod(&error, &mut process, &record) => exec(&process)?,
        created => created?,
    };
    created.ready()?;
    let console = created.take_console();
    let running = created.start()?;
    match console {
        _ if args.detach => Ok(0),
        Some(console) => relay(&running, console, args.interactive),
        None => Ok(running.wait()?.code()),
    }
}

/// Between the caller's terminal and the process', until that ends.
fn relay(running: &Running, console: OwnedFd, interactive: bool) -> anyhow::Result<i32> {
    let signals = attach::signals()?;
    let _raw = if interactive { Some(attach::Raw::enter()?) } else { None };
    let stdin = io::stdin();
    let mut input = interactive;
    let mut buffer = [0; 8192];
    loop {
        let mut polled = vec![
            PollFd::new(&console, PollFlags::IN),
            PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        if input {
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
                    let _ = rustix::termios::tcsetwinsize(&console, size);
                }
            }
        }
        if ready.get(3) == Some(&true) {
            match rustix::io::read(&stdin, &mut buffer) {
                Ok(length) if length > 0 => write_all(&console, &buffer[..length])?,
                _ => input = false,
            }
        }
        if ready[0] {
            match rustix::io::read(&console, &mut buffer) {
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
