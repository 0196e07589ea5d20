//! Starting a unit's process.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use coracle_abi::child::ChildExt;

use crate::supervise::{Io, Unit};
use crate::{PATH, cgroup, console};

/// Start a unit in a cgroup and a session of its own; the number of its process.
///
/// # Errors
/// What could not be done, to what.
pub fn start(unit: &Unit) -> anyhow::Result<i32> {
    let mut command = command_for(unit);
    // Init has every signal blocked; a program that starts so cannot be interrupted or stopped.
    command.args(&unit.args).current_dir("/").default_signals();
    environment(&mut command);
    // Without its cgroup, a unit runs all the same: a machine that answers is worth more than its accounting.
    if let Ok(procs) = cgroup::of_unit(&unit.name) {
        command.cgroup(procs);
    }
    streams(&mut command, &unit.io).with_context(|| format!("cannot open the streams of {}", unit.name))?;
    let child = command.spawn().with_context(|| format!("cannot start {}", unit.program.display()))?;
    i32::try_from(child.id()).context("process number out of range")
}

/// The unit's program, or, where its link is missing (in the initramfs), this binary under the program's name.
fn command_for(unit: &Unit) -> Command {
    let name = unit.arg0.clone().or_else(|| Some(unit.program.file_name()?.to_string_lossy().into_owned()));
    let program = if unit.program.exists() { unit.program.as_path() } else { Path::new("/proc/self/exe") };
    let mut command = Command::new(program);
    command.arg0(name.unwrap_or_default());
    command
}

fn environment(command: &mut Command) {
    command.env_clear().env("PATH", PATH).env("HOME", "/root").env("TERM", "vt220");
}

fn streams(command: &mut Command, io: &Io) -> io::Result<()> {
    match io {
        Io::Log => {
            let log = File::options()
                .write(true)
                .open("/dev/kmsg")
                .or_else(|_| File::options().write(true).open("/dev/null"))?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).new_session();
        }
        Io::Console => {
            command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit()).new_session();
        }
        Io::Terminal(name) => {
            let terminal = console::open_terminal(name)?;
            command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal).new_terminal_session();
            command.env("TERM", console::terminal_type(name)).env("PS1", r"\u@\h:\w\$ ").current_dir("/root");
            command.envs([("USER", "root"), ("LOGNAME", "root"), ("SHELL", "/bin/sh")]);
        }
    }
    Ok(())
}
