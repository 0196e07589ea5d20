//! `uptime`: how long the machine has run, and its load (procps uptime(1)).

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Context as _;
use clap::Parser;

use super::clock::{self, Date};
use super::processes;
use crate::common;
use crate::registry::{Applet, Dir};

/// `uptime`.
pub const APPLET: Applet =
    Applet { name: "uptime", aliases: &[], dir: Dir::Bin, summary: "how long the machine has run, and its load", run };

#[derive(Parser)]
#[command(name = "uptime", about = "Show how long the machine has run, and the load of the last 1, 5 and 15 minutes")]
struct Options {
    /// Only the time, in words
    #[arg(short, long, conflicts_with = "since")]
    pretty: bool,
    /// When it was started (UTC)
    #[arg(short, long)]
    since: bool,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| show(&options).map(|()| 0))
}

fn show(options: &Options) -> anyhow::Result<()> {
    let seconds = processes::uptime()? as i64;
    let text = if options.pretty {
        format!("up {}", in_words(seconds))
    } else if options.since {
        let Date { year, month, day, hour, minute, second, .. } = Date::from_unix(clock::now() - seconds);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    } else {
        summary(seconds)?
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// The line of `uptime`, which also heads `top`.
///
/// # Errors
/// When /proc/loadavg cannot be read.
pub fn summary(seconds: i64) -> anyhow::Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg; is /proc mounted?")?;
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let Date { hour, minute, second, .. } = Date::from_unix(clock::now());
    Ok(format!(" {hour:02}:{minute:02}:{second:02} up {},  load average: {}", compact(seconds), load.join(", ")))
}

/// `3 days,  4:05` or `12 min`.
fn compact(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let days = match days {
        0 => String::new(),
        1 => "1 day, ".into(),
        days => format!("{days} days, "),
    };
    if hours > 0 { format!("{days}{hours:2}:{minutes:02}") } else { format!("{days}{minutes} min") }
}

fn in_words(seconds: i64) -> String {
    let parts = [
        (seconds / 604_800, "week"),
        (seconds / 86_400 % 7, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "0 minutes".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(compact(59), "0 min");
        assert_eq!(compact(3_600 + 300), " 1:05");
        assert_eq!(compact(2 * 86_400 + 60), "2 days, 1 min");
        assert_eq!(in_words(694_861), "1 week, 1 day, 1 hour, 1 minute");
        assert_eq!(in_words(3), "0 minutes");
    }
}
