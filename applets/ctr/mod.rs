//! `ctr`: images and containers in Docker's words.
//!
//! There is no daemon. Every subcommand works on files below the [`paths`] and on the one small monitor process that each
//! running container has. One file per subcommand or pair of subcommands; this file only lists them.

mod attach;
mod create;
mod exec;
mod files;
mod images;
mod keys;
mod lifecycle;
mod limits;
mod list;
mod load;
mod lock;
mod logfile;
mod logs;
mod monitor;
mod names;
mod network;
mod options;
mod paths;
mod progress;
mod pull;
mod reaper;
mod record;
mod run;
mod signals;
mod spec;
mod start;
mod time;
mod version;
mod volume;
mod volumes;
mod wire;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::common;
use crate::registry::{Applet, Dir};
use crate::runtime;

/// The applet.
pub const APPLET: Applet =
    Applet { name: "ctr", aliases: &[], dir: Dir::Bin, summary: "Run and manage containers and images", run: dispatch };

/// Exit status when `ctr` itself failed, bad usage included, as Docker has it.
pub const ENGINE_FAILED: i32 = 125;

/// Run and manage containers and images.
#[derive(Parser)]
#[command(name = "ctr", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Follow a container that runs
    Attach(attach::AttachArgs),
    /// Create a container, not started
    Create(run::CreateArgs),
    /// Run a process in a running container
    Exec(exec::Args),
    /// List images
    Images(images::ImagesArgs),
    /// Make an image of an archive of a root file system
    Import(pull::ImportArgs),
    /// Print all that is known of containers
    Inspect(list::InspectArgs),
    /// Send a signal to containers
    Kill(lifecycle::KillArgs),
    /// Load images of docker save, or of an OCI layout
    Load(load::LoadArgs),
    /// Print a container's output
    Logs(logs::Args),
    /// List containers
    Ps(list::PsArgs),
    /// Fetch an image from a registry
    Pull(pull::PullArgs),
    /// Remove containers
    Rm(lifecycle::RmArgs),
    /// Remove images
    Rmi(images::RmiArgs),
    /// Create a container and start it
    Run(run::RunArgs),
    /// Start containers that do not run
    Start(run::StartArgs),
    /// Stop containers
    Stop(lifecycle::StopArgs),
    /// Give an image a further name
    Tag(load::TagArgs),
    Version(version::Args),
    /// Manage volumes
    Volume(volume::Args),
    /// Wait for containers to end
    Wait(lifecycle::WaitArgs),
}

fn dispatch(args: &[OsString]) -> i32 {
    let cli = match common::parse::<Cli>(args, ENGINE_FAILED) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let engine = matches!(cli.command, Command::Run(_) | Command::Create(_) | Command::Exec(_));
    let result = match cli.command {
        Command::Attach(args) => attach::attach(&args),
        Command::Create(args) => run::create(&args),
        Command::Exec(args) => exec::exec(&args),
        Command::Images(args) => images::images(&args),
        Command::Import(args) => pull::import(&args),
        Command::Inspect(args) => list::inspect(&args),
        Command::Kill(args) => lifecycle::kill(&args),
        Command::Load(args) => load::load(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Ps(args) => list::ps(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Rm(args) => lifecycle::rm(&args),
        Command::Rmi(args) => images::rmi(&args),
        Command::Run(args) => run::run(&args),
        Command::Start(args) => run::start_existing(&args),
        Command::Stop(args) => lifecycle::stop(&args),
        Command::Tag(args) => load::tag(&args),
        Command::Version(args) => version::run(&args),
        Command::Volume(args) => volume::volume(&args),
        Command::Wait(args) => lifecycle::wait(&args),
    };
    let failed_as = |error: &anyhow::Error| error.downcast_ref::<runtime::Error>().map(runtime::Error::exit_code);
    match &result {
        // Docker's exit codes: a program that was not found or not executable, or the engine.
        Err(error) if let Some(code) = failed_as(error) => {
            eprintln!("ctr: {error:#}");
            code
        }
        Err(_) if engine => {
            common::finish("ctr", result);
            ENGINE_FAILED
        }
        _ => common::finish("ctr", result),
    }
}
