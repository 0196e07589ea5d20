//! `ctr container`: all about containers, under one word.

use std::io::{self, Write};

use clap::Subcommand;

use super::filter::{self, Filter, Filters};
use super::format::decimal_size;
use super::{
    attach, commit, cp, diff, exec, export, lifecycle, list, logs, pause, port, prune, ps, run, stats, top, update,
};

/// `container`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for the length of the program")]
enum Command {
    /// Follow a container that runs
    Attach(attach::AttachArgs),
    /// Make an image of what a container has written
    Commit(commit::Args),
    /// Copy files between a container and the host
    Cp(cp::Args),
    /// Create a container, not started
    Create(run::CreateArgs),
    /// List what a container has changed in its image
    Diff(diff::Args),
    /// Run a process in a running container
    Exec(exec::Args),
    /// Write a container's root as a tar archive
    Export(export::Args),
    /// Print all that is known of containers
    Inspect(list::InspectArgs),
    /// Send a signal to containers
    Kill(lifecycle::KillArgs),
    /// Print a container's output
    Logs(logs::Args),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::PsArgs),
    /// Stop all processes of containers where they are
    Pause(pause::Args),
    /// Print where a container's ports are published
    Port(port::Args),
    /// Remove containers that do not run
    Prune(PruneArgs),
    /// Give a container another name
    Rename(pause::RenameArgs),
    /// Stop containers and start them again
    Restart(lifecycle::RestartArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(lifecycle::RmArgs),
    /// Create a container and start it
    Run(run::RunArgs),
    /// Start containers that do not run
    Start(run::StartArgs),
    /// Print what containers use
    Stats(stats::Args),
    /// Stop containers
    Stop(lifecycle::StopArgs),
    /// List the processes of a container
    Top(top::Args),
    /// Let containers that were paused go on
    Unpause(pause::Args),
    /// Change the limits of containers
    Update(update::Args),
    /// Wait for containers to end
    Wait(lifecycle::WaitArgs),
}

/// `container prune`.
#[derive(clap::Args)]
struct PruneArgs {
    /// Remove those that meet a condition: until, label, label!
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Do what was asked for.
pub fn container(args: &Args) -> anyhow::Result<i32> {
    match &args.command {
        Command::Attach(args) => attach::attach(args),
        Command::Commit(args) => commit::commit(args),
        Command::Cp(args) => cp::cp(args),
        Command::Create(args) => run::create(args),
        Command::Diff(args) => diff::diff(args),
        Command::Exec(args) => exec::exec(args),
        Command::Export(args) => export::export(args),
        Command::Inspect(args) => list::inspect(args),
        Command::Kill(args) => lifecycle::kill(args),
        Command::Logs(args) => logs::logs(args),
        Command::Ls(args) => ps::ps(args),
        Command::Pause(args) => pause::pause(args),
        Command::Port(args) => port::port(args),
        Command::Prune(args) => prune(args),
        Command::Rename(args) => pause::rename(args),
        Command::Restart(args) => lifecycle::restart(args),
        Command::Rm(args) => lifecycle::rm(args),
        Command::Run(args) => run::run(args),
        Command::Start(args) => run::start_existing(args),
        Command::Stats(args) => stats::stats(args),
        Command::Stop(args) => lifecycle::stop(args),
        Command::Top(args) => top::top(args),
        Command::Unpause(args) => pause::unpause(args),
        Command::Update(args) => update::update(args),
        Command::Wait(args) => lifecycle::wait(args),
    }
}

fn prune(args: &PruneArgs) -> anyhow::Result<i32> {
    let filters = Filters::new(&args.filter, &["until", "label", "label!"])?;
    if !args.force {
        prune::confirm("container", "WARNING! This will remove all stopped containers.")?;
    }
    let pruned = prune::prune_containers(&filters)?;
    prune::print("Deleted Containers:", &pruned)?;
    writeln!(io::stdout(), "Total reclaimed space: {}", decimal_size(pruned.bytes))?;
    Ok(0)
}
