//! The command line, by clap; usage errors in runc's words.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use super::log::Log;
use super::{FAILED, NO_SUCH_COMMAND, create, delete, events, exec, kill, list, ps, spec, state, update};
use crate::runtime;

const HELP: &str =
    "NAME:\n   {bin} - {about}\n\nUSAGE:\n   {usage}\n\nCOMMANDS:\n{subcommands}\n\nGLOBAL OPTIONS:\n{options}\n";
const COMMAND_HELP: &str = " - {about}\n\nUSAGE:\n   {usage}\n\nOPTIONS:\n{options}\n";

/// Everything before the command.
#[derive(Parser)]
#[command(name = "runc", about = "Open Container Initiative runtime", disable_version_flag = true, help_template = HELP)]
pub struct Cli {
    /// Write debug lines to the log
    #[arg(long)]
    pub debug: bool,

    /// File to write the log to (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Form of the log: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: String,

    /// Directory of the containers' state; it should be on a tmpfs (default: /run/runc, $XDG_RUNTIME_DIR/runc when rootless)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Expect cgroupsPath as slice:prefix:name, and make the cgroup where systemd would
    #[arg(long)]
    pub systemd_cgroup: bool,

    /// As --systemd-cgroup (crun's option): cgroupfs or systemd
    #[arg(long, value_name = "MANAGER")]
    pub cgroup_manager: Option<String>,

    /// Go on when cgroups are not permitted: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub rootless: String,

    /// Print the version
    #[arg(short, long)]
    pub version: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// create a container
    Create(create::Args),
    /// create and run a container
    Run(create::RunArgs),
    /// execute the user defined process in a created container
    Start(Id),
    /// output the state of a container
    State(Id),
    /// list containers started with the given root
    List(list::Args),
    /// send the specified signal (default: SIGTERM) to the container's init process
    Kill(kill::Args),
    /// delete any resources held by the container
    Delete(delete::Args),
    /// execute new process inside the container
    Exec(exec::Args),
    /// display the processes running inside a container
    Ps(ps::Args),
    /// suspend all processes inside the container
    Pause(Id),
    /// resume all processes that have been previously paused
    Resume(Id),
    /// update container resource constraints
    Update(update::Args),
    /// display container events such as OOM notifications, cpu, memory, and IO usage statistics
    Events(events::Args),
    /// create a new specification file
    Spec(spec::Args),
    /// show the enabled features
    Features,
    /// (not supported) checkpoint a running container
    Checkpoint {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<OsString>,
    },
    /// (not supported) restore a container from a previous checkpoint
    Restore {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<OsString>,
    },
}

impl Command {
    /// For the log.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Create(_) => "create",
            Command::Run(_) => "run",
            Command::Start(_) => "start",
            Command::State(_) => "state",
            Command::List(_) => "list",
            Command::Kill(_) => "kill",
            Command::Delete(_) => "delete",
            Command::Exec(_) => "exec",
            Command::Ps(_) => "ps",
            Command::Pause(_) => "pause",
            Command::Resume(_) => "resume",
            Command::Update(_) => "update",
            Command::Events(_) => "events",
            Command::Spec(_) => "spec",
            Command::Features => "features",
            Command::Checkpoint { .. } => "checkpoint",
            Command::Restore { .. } => "restore",
        }
    }
}

/// A command that takes nothing but a container.
#[derive(clap::Args)]
pub struct Id {
    /// Name of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// The global options, understood.
pub struct Global {
    /// Directory of the containers' state.
    pub root: PathBuf,
    /// `cgroupsPath` is in systemd's form.
    pub systemd_cgroup: bool,
    /// Cgroups that are not permitted are done without.
    pub rootless: bool,
    /// Where warnings go.
    pub log: Log,
}

impl Global {
    /// Warn a caller who may not be permitted what a command does.
    pub fn warn_of_cgroups(&self, command: &str) {
        if self.rootless {
            let text = anyhow::anyhow!("runc {command} may fail if you don't have the full access to cgroups");
            self.log.warn(&text);
        }
    }
}

impl Cli {
    /// Check and complete the global options.
    pub fn global(&self, log: Log) -> anyhow::Result<Global> {
        let is_rootless = runtime::is_rootless();
        let rootless = match self.rootless.to_ascii_lowercase().as_str() {
            "auto" => is_rootless,
            "true" | "1" | "t" => true,
            "false" | "0" | "f" => false,
            other => anyhow::bail!("strconv.ParseBool: parsing {other:?}: invalid syntax"),
        };
        let systemd_cgroup = match self.cgroup_manager.as_deref() {
            None => self.systemd_cgroup,
            Some("systemd") => true,
            Some("cgroupfs") => self.systemd_cgroup,
            Some(other) => anyhow::bail!("the cgroup manager {other:?} is not supported; use cgroupfs or systemd"),
        };
        let root = match (&self.root, runtime_dir()) {
            (Some(root), _) => root.clone(),
            (None, Some(dir)) => {
                let root = dir.join("runc");
                state::make_lasting(&root)?;
                root
            }
            (None, None) => "/run/runc".into(),
        };
        let root = std::path::absolute(root)?;
        Ok(Global { root, systemd_cgroup, rootless, log })
    }
}

/// `XDG_RUNTIME_DIR`, where it counts: for an ordinary user, and root of a user namespace who does not call itself root.
fn runtime_dir() -> Option<PathBuf> {
    let is_user = !nix::unistd::geteuid().is_root() || std::env::var_os("USER").is_none_or(|user| user != "root");
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| is_user && runtime::is_rootless() && !dir.is_empty())
        .map(Into::into)
}

/// The definition under the name that it was called by.
pub fn command(called: &str) -> clap::Command {
    let command = Cli::command().name(called.to_owned()).bin_name(called.to_owned());
    command.mut_subcommands(|command| {
        let help = format!("NAME:\n   {called} {}{COMMAND_HELP}", command.get_name());
        command.help_template(help)
    })
}

/// An error of clap's in runc's words, and the exit status.
pub fn complaint(args: &[OsString], error: &clap::Error) -> (String, i32) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let known = Cli::command();
    let used = args.iter().skip(1).filter_map(|arg| arg.to_str()).find(|arg| known.find_subcommand(arg).is_some());
    let used = used.unwrap_or_default();
    let count = match used {
        "kill" | "ps" | "exec" => "a minimum of 1",
        "list" | "spec" | "features" => "exactly 0",
        _ => "exactly 1",
    };
    let wrong = text(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            (format!("No help topic for '{}'", text(ContextKind::InvalidSubcommand)), NO_SUCH_COMMAND)
        }
        ErrorKind::UnknownArgument if wrong.starts_with('-') => {
            (format!("flag provided but not defined: -{}", wrong.trim_start_matches('-')), FAILED)
        }
        ErrorKind::UnknownArgument if used.is_empty() => (format!("No help topic for '{wrong}'"), NO_SUCH_COMMAND),
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => {
            (format!("runc: {used:?} requires {count} argument(s)"), FAILED)
        }
        _ => {
            let all = error.to_string();
            let first = all.lines().next().unwrap_or_default();
            (first.strip_prefix("error: ").unwrap_or(first).to_owned(), FAILED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complain(args: &[&str]) -> (String, i32) {
        let args: Vec<OsString> = std::iter::once("runc").chain(args.iter().copied()).map(Into::into).collect();
        let error = command("runc").try_get_matches_from(&args).unwrap_err();
        complaint(&args, &error)
    }

    #[test]
    fn usage_errors_are_runcs() {
        let count = |name: &str, count: &str| (format!("runc: \"{name}\" requires {count} argument(s)"), 1);
        assert_eq!(complain(&["create"]), count("create", "exactly 1"));
        assert_eq!(complain(&["create", "a", "b"]), count("create", "exactly 1"));
        assert_eq!(complain(&["kill"]), count("kill", "a minimum of 1"));
        assert_eq!(complain(&["create", "--nope", "x"]), ("flag provided but not defined: -nope".into(), 1));
        assert_eq!(complain(&["--nope"]), ("flag provided but not defined: -nope".into(), 1));
        assert_eq!(complain(&["nosuch"]), ("No help topic for 'nosuch'".into(), 3));
    }

    #[test]
    fn global_options_come_first() {
        let parse = |args: &[&str]| Cli::try_parse_from(args);
        let cli = parse(&["runc", "--root=/x", "--log-format", "json", "kill", "--all", "id", "9"]).unwrap();
        assert_eq!(cli.root, Some("/x".into()));
        assert!(parse(&["runc", "state", "--root", "/x", "id"]).is_err());
        assert!(parse(&["runc", "exec", "id", "sh", "-c", "--", "-x"]).is_ok());
    }
}
