//! `runc`: the command line of an OCI runtime, on the code that `ctr` runs containers with.
//!
//! Words, outputs and exit codes are those of runc 1.x, which containerd's shim, conmon (podman, CRI-O) and buildah call and parse.
//! Spec: <https://github.com/opencontainers/runtime-spec/blob/main/runtime.md> and
//! <https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md>
//!
//! A container is a directory below `--root`: `config.json` (what it was created from), `state.json` (see [`state`]) and `start.sock`,
//! where its first process waits until `start`. Its status is never stored: it is asked from the kernel.

mod cgroup;
mod console;
mod container;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod launch;
mod list;
mod log;
mod options;
mod pause;
mod process;
mod ps;
mod spec;
mod start;
mod state;
mod update;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::FromArgMatches;

use crate::registry::{Applet, Dir};
use options::{Cli, Command};

/// The applet.
pub const APPLET: Applet = Applet {
    name: "runc",
    aliases: &["coracle-runc", "crun", "oci-runtime"],
    dir: Dir::Sbin,
    summary: "Run containers by the OCI runtime specification",
    run,
};

/// The version of the runtime specification that this runtime keeps to.
pub const SPEC_VERSION: &str = "1.2.0";

/// Exit status of a command that failed.
const FAILED: i32 = 1;
/// Exit status of an unknown command.
const NO_SUCH_COMMAND: i32 = 3;
/// Exit status of `exec` when there was no process that could have one.
const EXEC_FAILED: i32 = 255;

fn run(args: &[OsString]) -> i32 {
    let called = crate::common::called_as(args);
    let matches = match options::command(&called).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return usage(&called, args, &error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&called, args, &error),
    };
    if cli.version {
        return print(&version(&called));
    }
    let log = match log::Log::open(cli.log.as_deref(), &cli.log_format, cli.debug) {
        Ok(log) => log,
        Err(error) => {
            log::Log::stderr().error(&error);
            return FAILED;
        }
    };
    let Some(command) = &cli.command else {
        return print(&options::command(&called).render_help().to_string());
    };
    let global = match log.try_clone().map_err(Into::into).and_then(|log| cli.global(log)) {
        Ok(global) => global,
        Err(error) => return log.fail(&error, FAILED),
    };
    log.debug(&format!("{called} {} with the root {}", command.name(), global.root.display()));
    let result = act(&global, command);
    let result = result.and_then(|status| io::stdout().flush().map(|()| status).map_err(Into::into));
    match result {
        Ok(status) => status,
        Err(error) => log.fail(&error, if matches!(command, Command::Exec(_)) { EXEC_FAILED } else { FAILED }),
    }
}

fn act(global: &options::Global, command: &Command) -> anyhow::Result<i32> {
    match command {
        Command::Create(args) => create::create(global, args),
        Command::Run(args) => create::run(global, args),
        Command::Start(args) => start::start(global, &args.id),
        Command::State(args) => list::state(global, &args.id),
        Command::List(args) => list::list(global, args),
        Command::Kill(args) => kill::kill(global, args),
        Command::Delete(args) => delete::delete(global, args),
        Command::Exec(args) => exec::exec(global, args),
        Command::Ps(args) => ps::ps(global, args),
        Command::Pause(args) => pause::pause(global, &args.id),
        Command::Resume(args) => pause::resume(global, &args.id),
        Command::Update(args) => update::update(global, args),
        Command::Events(args) => events::events(global, args),
        Command::Spec(args) => spec::spec(args),
        Command::Features => features::features(),
        Command::Checkpoint { .. } => anyhow::bail!("checkpoint is not supported by this runtime"),
        Command::Restore { .. } => anyhow::bail!("restore is not supported by this runtime"),
    }
}

/// What podman, containerd and Docker look for: `NAME version X`, `commit: X`, `spec: X`.
fn version(called: &str) -> String {
    let name = if called == "crun" { "crun" } else { "runc" };
    let version = env!("CARGO_PKG_VERSION");
    format!("{name} version {version}\ncommit: coracle-{version}\nspec: {SPEC_VERSION}\n")
}

fn print(text: &str) -> i32 {
    // A closed pipe while printing help is no failure of ours.
    let _ = io::stdout().write_all(text.as_bytes());
    0
}

/// Say what was wrong with the command line, as runc does.
fn usage(called: &str, args: &[OsString], error: &clap::Error) -> i32 {
    if !error.use_stderr() {
        return print(&error.to_string());
    }
    let (message, status) = options::complaint(args, error);
    let log = log::Log::of_args(args);
    if status == NO_SUCH_COMMAND {
        return log.fail(&anyhow::anyhow!(message), status);
    }
    let mut command = options::command(called);
    command.build();
    let used = args.iter().skip(1).filter_map(|arg| arg.to_str()).find_map(|arg| command.find_subcommand(arg)).cloned();
    let help = used.unwrap_or(command).render_help();
    let _ = write!(io::stdout(), "Incorrect Usage.\n\n{help}");
    log.fail(&anyhow::anyhow!(message), status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn version_is_what_callers_parse() {
        let text = version("oci-runtime");
        assert!(text.starts_with("runc version "));
        assert!(text.lines().any(|line| line == "spec: 1.2.0"));
        assert!(version("crun").starts_with("crun version "));
    }
}
