//! `pgrep`, `pkill` and `pidof` (procps pgrep(1), sysvinit pidof(8)).

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Context as _;
use clap::Parser;
use regex::Regex;

use super::kill::{own_pid, send};
use super::processes::{self, Process};
use super::signals;
use crate::common;
use crate::registry::{Applet, Dir};

/// `pgrep` and, with a signal, `pkill`.
pub const PGREP: Applet = Applet {
    name: "pgrep",
    aliases: &["pkill"],
    dir: Dir::Bin,
    summary: "find or signal processes by name",
    run: pgrep,
};

/// `pidof`.
pub const PIDOF: Applet =
    Applet { name: "pidof", aliases: &[], dir: Dir::Bin, summary: "process ids of a program", run: pidof };

/// Bad usage, as procps reports it.
const USAGE_ERROR: i32 = 2;

#[derive(Parser)]
#[command(
    name = "pgrep",
    about = "Find processes by a regular expression on their name; pkill sends them a signal",
    disable_help_flag = true
)]
struct Search {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Signal that pkill sends
    #[arg(long, value_name = "SIGNAL", default_value = "TERM")]
    signal: String,
    /// Match the whole command line
    #[arg(short, long)]
    full: bool,
    /// The whole name (or line) must match
    #[arg(short = 'x', long)]
    exact: bool,
    /// Ignore case
    #[arg(short, long)]
    ignore_case: bool,
    /// Processes that do not match
    #[arg(short = 'v', long)]
    inverse: bool,
    /// Print the names too
    #[arg(short = 'l', long)]
    list_name: bool,
    /// Print the command lines too
    #[arg(short = 'a', long)]
    list_full: bool,
    /// Print how many there are
    #[arg(short, long)]
    count: bool,
    /// Only the newest
    #[arg(short, long, conflicts_with = "oldest")]
    newest: bool,
    /// Only the oldest
    #[arg(short, long)]
    oldest: bool,
    /// Only children of these
    #[arg(short = 'P', long, value_delimiter = ',', value_name = "PPID")]
    parent: Vec<i32>,
    /// Only of these effective users
    #[arg(short = 'u', long, value_delimiter = ',', value_name = "USER")]
    euid: Vec<String>,
    /// Between the ids
    #[arg(short, long, default_value = "\n")]
    delimiter: String,
    /// Pattern
    #[arg(required_unless_present_any = ["parent", "euid"])]
    pattern: Option<String>,
}

fn pgrep(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let kills = name == "pkill";
    // pkill takes -SIGNAL, which no option parser knows.
    let mut args = args.to_vec();
    if kills && let Some(at) = args.iter().position(|arg| is_signal(&arg.to_string_lossy())) {
        let signal = args.remove(at).to_string_lossy()[1..].to_owned();
        args.insert(at, format!("--signal={signal}").into());
    }
    let search: Search = match common::parse(&args, USAGE_ERROR) {
        Ok(search) => search,
        Err(status) => return status,
    };
    common::finish(&name, search.run(&name, kills))
}

fn is_signal(arg: &str) -> bool {
    arg.strip_prefix('-').is_some_and(|word| {
        let looks_so = word.parse::<u8>().is_ok() || (word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase()));
        looks_so && signals::parse(word).is_ok()
    })
}

impl Search {
    fn run(&self, called: &str, kills: bool) -> anyhow::Result<i32> {
        let signal = signals::parse(&self.signal).map_err(anyhow::Error::msg)?;
        let found = self.find()?;
        let mut out = io::stdout().lock();
        if kills {
            for process in &found {
                if let Err(message) = send(signal, &process.pid.to_string()) {
                    writeln!(io::stderr(), "{called}: {message}")?;
                }
            }
        } else if self.count {
            writeln!(out, "{}", found.len())?;
        } else if !found.is_empty() {
            let lines: Vec<String> = found.iter().map(|process| self.line(process)).collect();
            writeln!(out, "{}", lines.join(&self.delimiter))?;
        }
        Ok(i32::from(found.is_empty()))
    }

    fn line(&self, process: &Process) -> String {
        match (self.list_full, self.list_name) {
            (true, _) => format!("{} {}", process.pid, process.command_line()),
            (_, true) => format!("{} {}", process.pid, process.stat.comm),
            _ => process.pid.to_string(),
        }
    }

    fn find(&self) -> anyhow::Result<Vec<Process>> {
        let pattern = self.pattern.as_deref().unwrap_or_default();
        let whole = if self.exact { format!("^(?:{pattern})$") } else { pattern.to_owned() };
        let whole = if self.ignore_case { format!("(?i){whole}") } else { whole };
        let pattern = Regex::new(&whole).with_context(|| format!("{pattern}: not a regular expression"))?;
        let users = self.euid.iter().map(|name| uid(name)).collect::<anyhow::Result<Vec<u32>>>()?;
        let fits = |process: &Process| {
            let line = if self.full { process.command_line() } else { process.name().to_owned() };
            let fits = pattern.is_match(&line)
                && (self.parent.is_empty() || self.parent.contains(&process.stat.ppid))
                && (users.is_empty() || users.contains(&process.uids.1));
            process.pid != own_pid() && fits != self.inverse
        };
        let mut found: Vec<Process> = processes::all()?.into_iter().filter(fits).collect();
        let by_age = |process: &Process| (process.stat.starttime, process.pid);
        if self.newest {
            found = found.into_iter().max_by_key(by_age).into_iter().collect();
        } else if self.oldest {
            found = found.into_iter().min_by_key(by_age).into_iter().collect();
        }
        Ok(found)
    }
}

/// A user's number from name or number.
///
/// # Errors
/// When there is no such user.
pub fn uid(word: &str) -> anyhow::Result<u32> {
    if let Ok(number) = word.parse() {
        return Ok(number);
    }
    let user = nix::unistd::User::from_name(word).with_context(|| format!("cannot look up user {word}"))?;
    Ok(user.with_context(|| format!("{word}: no such user"))?.uid.as_raw())
}

#[derive(Parser)]
#[command(name = "pidof", about = "Print the ids of the processes that run a program")]
struct PidOf {
    /// Only one id
    #[arg(short)]
    single: bool,
    /// Leave out this process
    #[arg(short, value_delimiter = ',', value_name = "PID")]
    omit: Vec<i32>,
    /// Print nothing
    #[arg(short)]
    quiet: bool,
    /// Names of programs
    #[arg(required = true)]
    names: Vec<String>,
}

fn pidof(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options: PidOf = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    common::finish(&name, options.run())
}

impl PidOf {
    fn run(&self) -> anyhow::Result<i32> {
        let fits = |process: &Process| {
            process.pid != own_pid()
                && !self.omit.contains(&process.pid)
                && self.names.iter().any(|name| process.is_called(name))
        };
        let all = processes::all()?;
        // The newest first, as pidof has always had it.
        let mut pids: Vec<String> = all.iter().rev().filter(|p| fits(p)).map(|p| p.pid.to_string()).collect();
        if self.single {
            pids.truncate(1);
        }
        if !pids.is_empty() && !self.quiet {
            writeln!(io::stdout(), "{}", pids.join(" "))?;
        }
        Ok(i32::from(pids.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_told_from_options() {
        assert!(is_signal("-9") && is_signal("-HUP") && is_signal("-SIGTERM"));
        assert!(!is_signal("-f") && !is_signal("-P") && !is_signal("-99") && !is_signal("9") && !is_signal("-ABC"));
    }
}
