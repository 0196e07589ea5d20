//! `ctr`: images and containers in Docker's words.
//!
//! There is no daemon. Every subcommand works on files below the [`paths`] and on the one small monitor process that each
//! running container has. One file per subcommand or pair of subcommands; this file only lists them.

mod attach;
mod build;
mod commit;
mod completion;
mod container;
mod cp;
mod create;
mod create_mounts;
mod diff;
pub mod docker_init;
mod events;
mod exec;
mod export;
mod farewell;
mod files;
mod filter;
mod format;
mod health;
mod history;
mod image;
mod image_inspect;
mod images;
mod keys;
mod lifecycle;
mod limits;
mod list;
mod load;
mod lock;
mod logfile;
mod login;
mod logs;
mod monitor;
pub mod name_server;
mod names;
mod network;
mod network_command;
mod network_connect;
mod network_create;
mod network_options;
mod network_view;
mod options;
mod options_env;
mod options_health;
mod options_limits;
mod options_log;
mod options_mounts;
mod options_network;
mod options_refused;
mod options_security;
mod options_spaces;
mod paths;
mod pause;
mod pod;
mod port;
mod progress;
mod prune;
mod ps;
mod pull;
mod push;
mod reaper;
mod record;
mod record_config;
mod record_health;
mod record_host;
mod record_network;
mod relay;
mod restart;
mod rmi;
mod rootfs;
mod run;
mod save;
mod signals;
mod spec;
mod spec_mounts;
mod spec_security;
mod start;
mod stats;
mod system;
mod template;
mod time;
mod top;
mod update;
mod version;
mod volume;
mod volumes;
mod wire;

use std::ffi::OsString;

use crate::common;
use crate::registry::{Applet, Dir};
use crate::runtime;

/// The applet.
pub const APPLET: Applet =
    Applet { name: "ctr", aliases: &[], dir: Dir::Bin, summary: "Run and manage containers and images", run: dispatch };

/// Exit status when `ctr` itself failed, bad usage included, as Docker has it.
pub const ENGINE_FAILED: i32 = 125;

/// A subcommand. Its options are built only when it is called: those of all would be most of what the program has in memory when it
/// forks a container's monitor.
struct Subcommand {
    name: &'static str,
    about: &'static str,
    run: fn(Call<'_>) -> Result<i32, Failure>,
}

/// What a subcommand is asked for.
enum Call<'a> {
    /// To run, with these arguments.
    Run(&'a [OsString]),
    /// To say which options it takes.
    Describe(&'a mut Option<clap::Command>),
}

/// Why a subcommand did not run to its end.
enum Failure {
    /// It was called wrongly or for its help, which has been printed: exit status.
    Usage(i32),
    /// It failed.
    Error(anyhow::Error),
}

/// An error that has an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Exit {
    /// The exit status.
    pub status: i32,
    /// What is printed.
    pub error: anyhow::Error,
}

/// Sorted by name.
const SUBCOMMANDS: &[Subcommand] = &[
    subcommand("attach", "Follow a container that runs", |args| call(args, attach::attach)),
    subcommand("autostart", "Start the containers that come back with the machine", |args| {
        call(args, restart::autostart)
    }),
    subcommand("build", "Build an image from a Containerfile", |args| call(args, build::build)),
    subcommand("builder", "Manage builds and their cache", |args| call(args, build::builder)),
    subcommand("commit", "Make an image of what a container has written", |args| call(args, commit::commit)),
    subcommand("completion", "Print a shell's completions", |args| call(args, completion::completion)),
    subcommand("container", "Manage containers", |args| call(args, container::container)),
    subcommand("cp", "Copy files between a container and the host", |args| call(args, cp::cp)),
    subcommand("create", "Create a container, not started", |args| call(args, run::create)),
    subcommand("diff", "List what a container has changed in its image", |args| call(args, diff::diff)),
    subcommand("events", "Print what happens to containers, images and volumes", |args| call(args, events::events)),
    subcommand("exec", "Run a process in a running container", |args| call(args, exec::exec)),
    subcommand("export", "Write a container's root as a tar archive", |args| call(args, export::export)),
    subcommand("history", "Print how an image was made", |args| call(args, history::history)),
    subcommand("image", "Manage images", |args| call(args, image::image)),
    subcommand("images", "List images", |args| call(args, images::images)),
    subcommand("import", "Make an image of an archive of a root file system", |args| call(args, pull::import)),
    subcommand("info", "Print how things are", |args| call(args, system::info)),
    subcommand("inspect", "Print all that is known of containers, images and volumes", |args| {
        call(args, list::inspect)
    }),
    subcommand("kill", "Send a signal to containers", |args| call(args, lifecycle::kill)),
    subcommand("load", "Load images of docker save, or of an OCI layout", |args| call(args, load::load)),
    subcommand("login", "Log in to a registry", |args| call(args, login::login)),
    subcommand("logout", "Log out from a registry", |args| call(args, login::logout)),
    subcommand("logs", "Print a container's output", |args| call(args, logs::logs)),
    subcommand("network", "Manage networks", |args| call(args, network_command::network)),
    subcommand("pause", "Stop all processes of containers where they are", |args| call(args, pause::pause)),
    subcommand("pod", "Manage pods: containers that share namespaces", |args| call(args, pod::pod)),
    subcommand("port", "Print where a container's ports are published", |args| call(args, port::port)),
    subcommand("ps", "List containers", |args| call(args, ps::ps)),
    subcommand("pull", "Fetch an image from a registry", |args| call(args, pull::run)),
    subcommand("push", "Put an image into a registry", |args| call(args, push::push)),
    subcommand("rename", "Give a container another name", |args| call(args, pause::rename)),
    subcommand("restart", "Stop containers and start them again", |args| call(args, lifecycle::restart)),
    subcommand("rm", "Remove containers", |args| call(args, lifecycle::rm)),
    subcommand("rmi", "Remove images", |args| call(args, rmi::rmi)),
    subcommand("run", "Create a container and start it", |args| call(args, run::run)),
    subcommand("save", "Write images as an archive", |args| call(args, save::save)),
    subcommand("start", "Start containers that do not run", |args| call(args, run::start_existing)),
    subcommand("stats", "Print what containers use", |args| call(args, stats::stats)),
    subcommand("stop", "Stop containers", |args| call(args, lifecycle::stop)),
    subcommand("system", "Manage all that is on disk", |args| call(args, system::system)),
    subcommand("tag", "Give an image a further name", |args| call(args, load::tag)),
    subcommand("top", "List the processes of a container", |args| call(args, top::top)),
    subcommand("unpause", "Let containers that were paused go on", |args| call(args, pause::unpause)),
    subcommand("update", "Change the limits of containers", |args| call(args, update::update)),
    subcommand("version", "Show the version", |args| call(args, version::run)),
    subcommand("volume", "Manage volumes", |args| call(args, volume::volume)),
    subcommand("wait", "Wait for containers to end", |args| call(args, lifecycle::wait)),
];

const fn subcommand(name: &'static str, about: &'static str, run: fn(Call<'_>) -> Result<i32, Failure>) -> Subcommand {
    Subcommand { name, about, run }
}

/// Parse a subcommand's options and run it.
fn call<A: clap::Args>(asked: Call<'_>, run: fn(&A) -> anyhow::Result<i32>) -> Result<i32, Failure> {
    let args = match asked {
        Call::Run(args) => args,
        Call::Describe(command) => {
            *command = Some(A::augment_args(clap::Command::new("ctr")));
            return Ok(0);
        }
    };
    let name = common::called_as(args);
    let about = SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name).map_or("", |subcommand| subcommand.about);
    let command = A::augment_args(clap::Command::new(name.clone()).bin_name(format!("ctr {name}")));
    // As under Docker, the last one counts of an option that is given twice.
    let command = command.about(about).long_about(None::<&str>).args_override_self(true);
    let parsed = command.try_get_matches_from(args).and_then(|matches| A::from_arg_matches(&matches));
    let parsed = parsed.map_err(|error| Failure::Usage(common::usage_error(&error, ENGINE_FAILED)))?;
    run(&parsed).map_err(Failure::Error)
}

/// The whole command line, with the options of every subcommand.
fn described() -> clap::Command {
    let describe = |subcommand: &Subcommand| {
        let mut command = None;
        let _ = (subcommand.run)(Call::Describe(&mut command));
        command.unwrap_or_default().name(subcommand.name).about(subcommand.about).long_about(None::<&str>)
    };
    clap::Command::new("ctr").about(APPLET.summary).subcommands(SUBCOMMANDS.iter().map(describe))
}

/// `ctr` without a subcommand that exists: help, version, or what is wrong with it.
fn overview(args: &[OsString]) -> i32 {
    let names = SUBCOMMANDS.iter().map(|subcommand| clap::Command::new(subcommand.name).about(subcommand.about));
    let command = clap::Command::new("ctr")
        .about(APPLET.summary)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(names);
    match command.try_get_matches_from(args) {
        Ok(_) => ENGINE_FAILED,
        Err(error) => common::usage_error(&error, ENGINE_FAILED),
    }
}

fn dispatch(args: &[OsString]) -> i32 {
    let name = args.get(1).and_then(|name| name.to_str()).unwrap_or_default();
    let Some(subcommand) = SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name) else {
        return overview(args);
    };
    let error = match (subcommand.run)(Call::Run(&args[1..])) {
        Ok(status) => return common::finish("ctr", Ok(status)),
        Err(Failure::Usage(status)) => return status,
        Err(Failure::Error(error)) => error,
    };
    // Docker's exit codes: a program that was not found or not executable, or the engine.
    let own = error.downcast_ref::<Exit>().map(|exit| exit.status);
    let code = own.or_else(|| error.downcast_ref::<runtime::Error>().map(runtime::Error::exit_code));
    let word = if name == "container" { args.get(2).and_then(|word| word.to_str()).unwrap_or_default() } else { name };
    let engine = matches!(word, "run" | "create" | "exec").then_some(ENGINE_FAILED);
    let status = common::finish("ctr", Err(error));
    code.or(engine).unwrap_or(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_sorted() {
        assert!(SUBCOMMANDS.is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn each_subcommand_has_valid_options_and_help() {
        for subcommand in SUBCOMMANDS {
            let args = [subcommand.name, "--help"].map(OsString::from);
            assert!(matches!((subcommand.run)(Call::Run(&args)), Err(Failure::Usage(0))), "{}", subcommand.name);
        }
    }
}
