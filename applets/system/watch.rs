//! `watch`: run a command again and again and show what it writes (procps watch(1)).

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;

use super::clock::{self, Date};
use crate::common;
use crate::registry::{Applet, Dir};
use crate::terminal::keys::Key;
use crate::terminal::{Screen, width};

/// `watch`.
pub const APPLET: Applet =
    Applet { name: "watch", aliases: &[], dir: Dir::Bin, summary: "run a command again and again on the screen", run };

#[derive(Parser)]
#[command(name = "watch", about = "Run a command again and again and show what it writes", disable_help_flag = true)]
#[command(trailing_var_arg = true)]
struct Options {
    /// Seconds in between
    #[arg(short = 'n', long, value_name = "SECONDS", default_value_t = 2.0)]
    interval: f64,
    /// Show what has changed
    #[arg(short, long)]
    differences: bool,
    /// No heading
    #[arg(short = 't', long)]
    no_title: bool,
    /// Leave when the output changes
    #[arg(short = 'g', long)]
    chgexit: bool,
    /// Leave when the command fails
    #[arg(short, long)]
    errexit: bool,
    /// Run the command itself, not by sh
    #[arg(short = 'x', long)]
    exec: bool,
    /// Print help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The command
    #[arg(required = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| watch(&options))
}

fn watch(options: &Options) -> anyhow::Result<i32> {
    let interval = Duration::try_from_secs_f64(options.interval.max(0.1)).context("-n: not a time in seconds")?;
    let line = options.command.join(" ".as_ref());
    let mut screen = Screen::open(true).context("watch needs a terminal")?;
    let mut before: Option<Vec<String>> = None;
    loop {
        let (output, status) = output(options, &line)?;
        let lines: Vec<String> = String::from_utf8_lossy(&output).lines().map(str::to_owned).collect();
        let start = Instant::now();
        if options.errexit && status != 0 {
            return Ok(status);
        }
        if options.chgexit && before.as_ref().is_some_and(|before| *before != lines) {
            return Ok(0);
        }
        let mut old = before.take().filter(|_| options.differences);
        loop {
            let heading = (!options.no_title).then(|| title(options.interval, &line.to_string_lossy()));
            draw(&mut screen, heading.as_deref(), &lines, old.as_deref())?;
            let left = interval.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            match screen.key(Some(u16::try_from(left.as_millis()).unwrap_or(u16::MAX)))? {
                Some(Key::Char('q') | Key::Control('c')) | Some(Key::Gone) => return Ok(0),
                Some(Key::Char(' ')) => break,
                Some(Key::Control('z')) => screen.suspend()?,
                Some(Key::Resized) => old = None,
                _ => {}
            }
        }
        before = Some(lines);
    }
}

fn output(options: &Options, line: &OsString) -> anyhow::Result<(Vec<u8>, i32)> {
    let mut command = match options.exec {
        true => {
            let mut command = Command::new(&options.command[0]);
            command.args(&options.command[1..]);
            command
        }
        false => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(line);
            command
        }
    };
    // One pipe for both: what the command writes stays in its order.
    let (mut reader, writer) = io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", line.to_string_lossy()))?;
    // Our ends of the pipe are in the command.
    drop(command);
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut reader, &mut bytes).context("cannot read what the command writes")?;
    let status = child.wait()?;
    Ok((bytes, status.code().unwrap_or(1)))
}

fn title(interval: f64, line: &str) -> String {
    format!("Every {interval:.1}s: {line}    {}", Date::from_unix(clock::now()).ctime())
}

fn draw(screen: &mut Screen, heading: Option<&str>, lines: &[String], old: Option<&[String]>) -> io::Result<()> {
    let (rows, columns) = screen.size();
    let mut shown: Vec<String> =
        heading.map(|heading| vec![row(heading, None, columns), String::new()]).unwrap_or_default();
    shown.extend(
        lines
            .iter()
            .enumerate()
            .map(|(index, line)| row(line, old.map(|old| old.get(index).map_or("", String::as_str)), columns)),
    );
    shown.truncate(rows);
    screen.draw(&format!("\x1b[?25l\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n")))
}

/// What fits of a line; what differs from the line before is shown in reverse.
fn row(line: &str, old: Option<&str>, columns: usize) -> String {
    let mut before = old.map(str::chars);
    let (mut text, mut column, mut reverse) = (String::new(), 0, false);
    for character in line.chars() {
        let shown = width::shown(character, column);
        let wide = width::of(&shown);
        if column + wide > columns {
            break;
        }
        let differs = before.as_mut().is_some_and(|before| before.next() != Some(character));
        if differs != reverse {
            text.push_str(if differs { "\x1b[7m" } else { "\x1b[m" });
            reverse = differs;
        }
        text.push_str(&shown);
        column += wide;
    }
    if reverse {
        text.push_str("\x1b[m");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        assert_eq!(row("abcdef", None, 4), "abcd");
        assert_eq!(row("abc", Some("axc"), 80), "a\x1b[7mb\x1b[mc");
        assert_eq!(row("ab", Some(""), 80), "\x1b[7mab\x1b[m");
        assert_eq!(row("a\tb\x1b[2J", None, 80), "a       b^[[2J");
    }

    #[test]
    fn both_streams_and_the_status() {
        let options = Options::parse_from(["watch", "echo", "out;", "echo", "err", ">&2;", "exit", "3"]);
        let line = options.command.join(" ".as_ref());
        let (bytes, status) = output(&options, &line).unwrap();
        assert_eq!((bytes.as_slice(), status), (&b"out\nerr\n"[..], 3));
        let options = Options::parse_from(["watch", "-x", "echo", "a  b"]);
        assert_eq!(output(&options, &OsString::new()).unwrap().0, b"a  b\n");
    }
}
