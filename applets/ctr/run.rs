//! `ctr run`, `ctr create` and `ctr start`.

use super::attach::{Manner, Show};
use super::lock::Lock;
use super::options::Options;
use super::record::{Record, State, Status};
use super::start::{Started, start};
use super::{attach, create, lifecycle, pod, reaper, record};
use crate::runtime;
use std::io::Write;

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
    anyhow::ensure!(
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

/// Start containers that do not run.
pub fn start_existing(args: &StartArgs) -> anyhow::Result<i32> {
    runtime::seal_self()?;
    let attach = args.attach || args.interactive;
    anyhow::ensure!(!attach || args.containers.len() == 1, "--attach and --interactive take one container");
    let mut worst = 0;
    for name in &args.containers {
        let id = record::resolve(name)?;
        let is_running = lifecycle::payload(&id)?.is_some();
        if is_running || Record::read(&id)?.state.status == Status::Restarting {
            anyhow::ensure!(!attach, "container {name} is running; `ctr attach` follows it");
            writeln!(std::io::stdout(), "{name}")?;
            continue;
        }
        let Some(lock) = Lock::take(&id)? else { anyhow::bail!("container {name} is being started") };
        let container = starting(&id)?;
        let follow = attach.then_some((&args.manner, args.interactive && container.config.open_stdin, Show::ALL));
        let code = begin(&container, lock, follow)?;
        if !attach && code == 0 {
            writeln!(std::io::stdout(), "{name}")?;
        }
        worst = worst.max(code);
    }
    Ok(worst)
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
    let Some(lock) = Lock::take(id)? else { anyhow::bail!("the container is being started") };
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
