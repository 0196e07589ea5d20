//! `ctr run`, `ctr create` and `ctr start`.

use std::io::Write;

use anyhow::{Context, bail, ensure};

use super::attach::{Manner, Show};
use super::lock::Lock;
use super::options::Options;
use super::record::{Record, State, Status};
use super::start::{Started, start};
use super::{attach, create, lifecycle, limits, names, pod, reaper, record};
use crate::runtime;

/// `run`.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "ctr run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub struct RunArgs {
    /// Leave it running and print its id
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    detach: bool,

    #[command(flatten)]
    manner: Manner,

    #[command(flatten)]
    options: Options,
}

/// `create`.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "ctr create [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub struct CreateArgs {
    #[command(flatten)]
    options: Options,
}

/// `start`.
#[derive(clap::Args)]
pub struct StartArgs {
    /// Follow its output and take on its exit status
    #[arg(short, long)]
    attach: bool,

    /// Also pass standard input on, if the container was made with -i
    #[arg(short, long)]
    interactive: bool,

    #[command(flatten)]
    manner: Manner,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Create a container and start it.
pub fn run(args: &RunArgs) -> anyhow::Result<i32> {
    ensure!(
        !args.detach || args.options.attach.is_empty(),
        "conflicting options: cannot specify both --attach and --detach"
    );
    runtime::seal_self()?;
    reaper::sweep_live()?;
    let (container, lock) = create::create(&args.options, State::starting(), args.detach)?;
    let config = &container.config;
    let show = Show { stdout: config.attach_stdout, stderr: config.attach_stderr };
    let follow = (!args.detach).then_some((&args.manner, config.open_stdin && config.attach_stdin, show));
    let code = begin(&container, lock, follow)?;
    if args.detach && code == 0 {
        writeln!(std::io::stdout(), "{}", container.id)?;
    }
    Ok(code)
}

/// Create a container only.
pub fn create(args: &CreateArgs) -> anyhow::Result<i32> {
    let (container, lock) = create::create(&args.options, State::default(), false)?;
    lock.remove()?;
    writeln!(std::io::stdout(), "{}", container.id)?;
    Ok(0)
}

/// Start containers that do not run. What cannot be started is reported, and the others are started all the same.
pub fn start_existing(args: &StartArgs) -> anyhow::Result<i32> {
    runtime::seal_self()?;
    if args.attach || args.interactive {
        let [name] = &args.containers[..] else { bail!("you cannot start and attach multiple containers at once") };
        return start_attached(name, args);
    }
    let mut failed = Vec::new();
    for name in &args.containers {
        match start_one(name) {
            Ok(0) => writeln!(std::io::stdout(), "{name}")?,
            Ok(_) => failed.push(name.as_str()),
            Err(error) => {
                eprintln!("ctr: {error:#}");
                failed.push(name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed to start containers: {}", failed.join(", "));
    Ok(0)
}

/// Start a container, or leave it as it is if it runs; not 0 if that failed for a reason that has been printed.
fn start_one(name: &str) -> anyhow::Result<i32> {
    let id = record::resolve(name)?;
    if runs(&id)? { Ok(0) } else { start_again(&id) }
}

/// Start a container and follow it, or only follow it if it runs; its exit status.
fn start_attached(name: &str, args: &StartArgs) -> anyhow::Result<i32> {
    let id = record::resolve(name)?;
    if runs(&id)?
        && let Some(code) = attach::resume(&id, &args.manner, args.interactive)?
    {
        return Ok(code);
    }
    let lock = lock(&id)?;
    let container = starting(&id)?;
    let interactive = args.interactive && container.config.open_stdin;
    begin(&container, lock, Some((&args.manner, interactive, Show::ALL)))
}

/// Whether a container runs, or is about to again. One that is paused cannot be started.
fn runs(id: &str) -> anyhow::Result<bool> {
    let is_running = lifecycle::payload(id)?.is_some();
    ensure!(!(is_running && limits::is_frozen(id)), "cannot start a paused container, try unpause instead");
    Ok(is_running || Record::read(id)?.state.status == Status::Restarting)
}

fn lock(id: &str) -> anyhow::Result<Lock> {
    Lock::take(id)?.with_context(|| format!("container {} is being started", names::short(id)))
}

/// Put a container on record as starting.
fn starting(id: &str) -> anyhow::Result<Record> {
    Record::change(id, |container| {
        container.state = State::starting();
        container.restart_count = 0;
        Ok(())
    })
}

/// Start a container that does not run, without following it; exit status.
pub fn start_again(id: &str) -> anyhow::Result<i32> {
    let lock = lock(id)?;
    begin(&starting(id)?, lock, None)
}

/// Start it and follow it in the given manner, with or without standard input.
fn begin(container: &Record, lock: Lock, follow: Option<(&Manner, bool, Show)>) -> anyhow::Result<i32> {
    pod::start_infra(container)?;
    let tty = container.config.tty;
    let size = if tty { attach::terminal_size() } else { None };
    match (start(container, lock, follow.is_some(), size)?, follow) {
        (Started::Failed(code), _) => Ok(code),
        (Started::Running(wire), Some((manner, interactive, show))) => {
            attach::follow(&wire, manner, interactive, tty, show)
        }
        (Started::Running(_), None) => Ok(0),
    }
}
