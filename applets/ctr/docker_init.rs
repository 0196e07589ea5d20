//! `docker-init`: the first process of a container that was started with `--init`, as tini has it. It runs the program, passes signals on
//! to it, reaps what is left to it, and takes on the program's exit status.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet = Applet {
    name: "docker-init",
    aliases: &["tini"],
    dir: Dir::Bin,
    summary: "Run a program as a container's first process does",
    run,
};

/// In place of a program: do nothing until a signal says to end. So a pod's namespaces are held.
pub const PAUSE: &str = "coracle-pause";

#[derive(clap::Parser)]
#[command(name = "docker-init", about = APPLET.summary)]
struct Args {
    /// Pass signals on to the program's whole process group
    #[arg(short)]
    group: bool,

    /// Program and its arguments
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, args: Args| attend(&args))
}

/// Run the program to its end.
fn attend(args: &Args) -> anyhow::Result<i32> {
    // Before there is a child, so that none of them is missed.
    SigSet::all().thread_block().context("cannot block signals")?;
    if args.command == [PAUSE] {
        return pause();
    }
    let child = match spawn(&args.command)? {
        Ok(child) => child,
        Err(errno) => {
            let program = args.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            eprintln!("docker-init: exec {program} failed: {}", errno.desc());
            return Ok(if errno == Errno::ENOENT { 127 } else { 126 });
        }
    };
    give_terminal(child);
    let target = if args.group { Pid::from_raw(-child.as_raw()) } else { child };
    loop {
        // Before the wait: it may have ended already.
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
        match SigSet::all().wait() {
            Ok(Signal::SIGCHLD) | Err(Errno::EINTR) => {}
            // Of one that has just ended the status is to come.
            Ok(signal) => drop(kill(target, signal)),
            Err(errno) => return Err(errno).context("cannot wait for signals"),
        }
    }
}

/// Sleep, and reap what is left to this process.
fn pause() -> anyhow::Result<i32> {
    loop {
        match SigSet::all().wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => return Ok(0),
            Ok(Signal::SIGCHLD) => drop(reap(Pid::from_raw(0))?),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for signals"),
        }
    }
}

/// Start the program in a process group of its own, with all signals as a program expects them. The inner error is why it cannot be
/// executed.
fn spawn(command: &[OsString]) -> anyhow::Result<Result<Pid, Errno>> {
    let text = |text: &OsString| CString::new(text.as_bytes()).context("an argument has a NUL byte");
    let args = command.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    let env = std::env::vars_os().map(|(key, value)| text(&[key, value].join(OsStr::new("="))));
    let env = env.collect::<anyhow::Result<Vec<_>>>()?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    // Rust itself ignores SIGPIPE.
    attributes.set_sigdefault(&SigSet::all())?;
    let actions = PosixSpawnFileActions::init()?;
    let program = args.first().context("there is no program to run")?;
    Ok(posix_spawnp(program, &actions, &attributes, &args, &env))
}

/// Make the program's process group the terminal's foreground, if there is a terminal.
fn give_terminal(child: Pid) {
    if tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) && tcsetpgrp(io::stdin(), child).is_ok() {
        // It may have been stopped for reading from the terminal too early.
        let _ = kill(child, Signal::SIGCONT);
    }
}

/// Reap all that has ended; the program's exit status if it is among them.
fn reap(child: Pid) -> anyhow::Result<Option<i32>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(code),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for processes"),
        }
    }
}
