//! `poweroff`, `reboot`, `halt`, `shutdown`: ask PID 1 to take the machine down. Options as in BusyBox and shutdown(8).

use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use coracle_init::control;
use coracle_init::shutdown::{Goal, force};

use crate::common;
use crate::registry::{Applet, Dir};

/// `poweroff`, also as `halt` and `reboot`.
pub const POWEROFF: Applet = Applet {
    name: "poweroff",
    aliases: &["halt", "reboot"],
    dir: Dir::Sbin,
    summary: "stop everything in order, then power off, halt or reboot",
    run: run_power,
};

/// `shutdown`.
pub const SHUTDOWN: Applet = Applet {
    name: "shutdown",
    aliases: &[],
    dir: Dir::Sbin,
    summary: "power off, halt or reboot, now or in some minutes",
    run: run_shutdown,
};

/// Stop containers and services, unmount the disks, then power off (poweroff), restart (reboot) or stop (halt).
#[derive(clap::Parser)]
#[command(name = "poweroff")]
struct Power {
    /// At once, by system call: nothing is stopped or unmounted
    #[arg(short, long)]
    force: bool,
    /// With -f: do not even write buffers to the disks
    #[arg(short, long = "no-sync", requires = "force")]
    no_sync: bool,
    /// Wait so many seconds first
    #[arg(short, long, value_name = "SECONDS")]
    delay: Option<u32>,
}

/// Stop containers and services, unmount the disks, then power off.
#[derive(clap::Parser)]
#[command(name = "shutdown", disable_help_flag = true)]
struct Shutdown {
    /// Power off (the default)
    #[arg(short = 'P', long, visible_short_alias = 'h')]
    poweroff: bool,
    /// Reboot
    #[arg(short, long, conflicts_with = "poweroff")]
    reboot: bool,
    /// Stop, but leave the power on
    #[arg(short = 'H', long, conflicts_with_all = ["poweroff", "reboot"])]
    halt: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// When: `now`, or `+MINUTES`, waited for in the foreground
    #[arg(default_value = "now", value_parser = parse_time)]
    time: Duration,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    if text == "now" {
        return Ok(Duration::ZERO);
    }
    let minutes = text.strip_prefix('+').and_then(|minutes| minutes.parse::<u32>().ok());
    minutes
        .map(|minutes| Duration::from_secs(u64::from(minutes) * 60))
        .ok_or_else(|| format!("{text:?} is neither `now` nor `+MINUTES`"))
}

fn run_power(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options: Power = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let goal = match name.as_str() {
        "reboot" => Goal::Reboot,
        "halt" => Goal::Halt,
        _ => Goal::PowerOff,
    };
    thread::sleep(Duration::from_secs(options.delay.unwrap_or(0).into()));
    let result = if options.force { by_force(goal, !options.no_sync) } else { ask(goal) };
    common::finish(&name, result)
}

fn run_shutdown(args: &[OsString]) -> i32 {
    let options: Shutdown = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let goal = match (options.reboot, options.halt) {
        (true, _) => Goal::Reboot,
        (_, true) => Goal::Halt,
        _ => Goal::PowerOff,
    };
    thread::sleep(options.time);
    common::finish("shutdown", ask(goal))
}

fn ask(goal: Goal) -> anyhow::Result<i32> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root may do that");
    }
    let socket = coracle_init::control_socket();
    control::ask(&socket, goal.request()).with_context(|| {
        format!("cannot ask PID 1 by {}; on a machine that does not answer, try -f", socket.display())
    })?;
    Ok(0)
}

fn by_force(goal: Goal, sync: bool) -> anyhow::Result<i32> {
    match force(goal, sync).context("the kernel refused") {
        Ok(never) => match never {},
        Err(error) => Err(error),
    }
}
