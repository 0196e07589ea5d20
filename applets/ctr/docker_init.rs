//! `docker-init`: the first process of a container that was started with `--init`, as tini has it. It runs the program, passes signals on
//! to it, reaps what is left to it, and takes on the program's exit status.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use nix::errno::Errno;
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
    // Before there is a child, so that none of them is missed. The program starts with none blocked.
    SigSet::all().thread_block().context("cannot block signals")?;
    let [program, rest @ ..] = &args.command[..] else { return Ok(1) };
    let child = match Command::new(program).args(rest).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("docker-init: exec {} failed: {error}", program.to_string_lossy());
            return Ok(if error.kind() == ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    let child = Pid::from_raw(i32::try_from(child.id()).context("the kernel gave a strange process id")?);
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
