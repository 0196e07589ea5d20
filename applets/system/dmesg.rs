//! `dmesg`: the kernel's log (util-linux dmesg(1); /dev/kmsg, Documentation/ABI/testing/dev-kmsg).

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use clap::Parser;

use super::clock::{self, Date};
use super::processes;
use crate::common;
use crate::registry::{Applet, Dir};

/// `dmesg`.
pub const APPLET: Applet = Applet { name: "dmesg", aliases: &[], dir: Dir::Bin, summary: "the kernel's log", run };

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
const PRINTK: &str = "/proc/sys/kernel/printk";
/// One record of /dev/kmsg fits (PRINTK_MESSAGE_MAX in kernel/printk/internal.h).
const MAX_RECORD: usize = 8192;

#[derive(Parser)]
#[command(name = "dmesg", about = "Show the kernel's log")]
struct Options {
    /// Go on with what comes
    #[arg(short = 'w', long)]
    follow: bool,
    /// Only what comes
    #[arg(short = 'W', long)]
    follow_new: bool,
    /// Messages up to this level go to the console too
    #[arg(short = 'n', long, value_name = "LEVEL")]
    console_level: Option<String>,
    /// Only these levels
    #[arg(short, long, value_delimiter = ',', value_name = "LEVEL")]
    level: Vec<String>,
    /// With the level as <N>
    #[arg(short, long)]
    raw: bool,
    /// With dates (UTC)
    #[arg(short = 'T', long, conflicts_with = "raw")]
    ctime: bool,
    /// Without times
    #[arg(short = 't', long, conflicts_with_all = ["raw", "ctime"])]
    notime: bool,
    /// With level names
    #[arg(short = 'x', long, conflicts_with = "raw")]
    decode: bool,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| options.act().map(|()| 0))
}

/// A message as /dev/kmsg gives it: `level,sequence,microseconds,flags;text`.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    level: usize,
    facility: u32,
    microseconds: u64,
    lines: Vec<String>,
}

fn parse(bytes: &[u8]) -> Option<Record> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let microseconds = fields.nth(1)?.parse().ok()?;
    // Lines after the first that begin with a space are keys for programs.
    let message = body.lines().next().unwrap_or_default();
    Some(Record { level: (priority & 7) as usize, facility: priority >> 3, microseconds, lines: unescape(message) })
}

/// The lines of a message, in which the kernel writes unprintable bytes as `\xNN`, a newline among them.
fn unescape(message: &str) -> Vec<String> {
    message.replace("\\x0a", "\n").lines().map(str::to_owned).collect()
}

fn level(word: &str) -> anyhow::Result<usize> {
    let named = LEVELS.iter().position(|name| *name == word);
    let number = word.parse().ok().filter(|number| *number < LEVELS.len());
    named.or(number).with_context(|| format!("{word}: no such level; there are {}", LEVELS.join(" ")))
}

impl Options {
    fn act(&self) -> anyhow::Result<()> {
        if let Some(word) = &self.console_level {
            // The console shows what is below its number, so the number is one more.
            let number = level(word)? + 1;
            return std::fs::write(PRINTK, format!("{number}\n"))
                .with_context(|| format!("cannot set the level in {PRINTK}"));
        }
        let wanted = self.level.iter().map(|word| level(word)).collect::<anyhow::Result<Vec<usize>>>()?;
        let follows = self.follow || self.follow_new;
        let wait = if follows { 0 } else { libc::O_NONBLOCK };
        let mut log =
            OpenOptions::new().read(true).custom_flags(wait).open("/dev/kmsg").context("cannot read /dev/kmsg")?;
        if self.follow_new {
            io::Seek::seek(&mut log, io::SeekFrom::End(0)).context("cannot go to the end of /dev/kmsg")?;
        }
        let boot = clock::now() - processes::uptime()? as i64;
        let mut buffer = vec![0; MAX_RECORD];
        while let Some(length) = next(&mut log, &mut buffer)? {
            let Some(record) = parse(&buffer[..length]) else { continue };
            if wanted.is_empty() || wanted.contains(&record.level) {
                io::stdout().write_all(self.text(&record, boot).as_bytes())?;
            }
            if follows {
                io::stdout().flush()?;
            }
        }
        Ok(())
    }

    fn text(&self, record: &Record, boot: i64) -> String {
        let Record { level, facility, microseconds, lines } = record;
        let seconds = microseconds / 1_000_000;
        let time = match () {
            () if self.notime => String::new(),
            () if self.ctime => format!("[{}] ", Date::from_unix(boot + seconds as i64).ctime()),
            () => format!("[{seconds:5}.{:06}] ", microseconds % 1_000_000),
        };
        let head = match () {
            () if self.raw => format!("<{}>", level + *facility as usize * 8),
            () if self.decode => {
                let source = if *facility == 0 { "kern" } else { "user" };
                format!("{source:<6}:{:<6}: ", LEVELS.get(*level).copied().unwrap_or_default())
            }
            () => String::new(),
        };
        lines.iter().map(|line| format!("{head}{time}{line}\n")).collect()
    }
}

/// The next record's length; `None` at the end. What was overwritten meanwhile is passed over.
fn next(log: &mut File, buffer: &mut [u8]) -> anyhow::Result<Option<usize>> {
    loop {
        match log.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINTR)) => {}
            Err(error) => return Err(error).context("cannot read /dev/kmsg"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let record = parse(b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n").unwrap();
        assert_eq!(
            record,
            Record { level: 6, facility: 0, microseconds: 5_140_900, lines: vec!["NET: Registered".into()] }
        );
        assert_eq!(parse(b"30,1,2,-;a\\x0ab").unwrap().lines, ["a", "b"]);
        for wrong in [&b""[..], b"x;y", b"6,1", b"6;text"] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn forms() {
        let record = parse(b"3,1,5140900,-;bad").unwrap();
        let text =
            |args: &[&str]| Options::parse_from(std::iter::once("dmesg").chain(args.iter().copied())).text(&record, 0);
        assert_eq!(text(&[]), "[    5.140900] bad\n");
        assert_eq!(text(&["-T"]), "[Thu Jan  1 00:00:05 1970] bad\n");
        assert_eq!(text(&["-r"]), "<3>[    5.140900] bad\n");
        assert_eq!(text(&["-t"]), "bad\n");
        assert_eq!(text(&["-x"]), "kern  :err   : [    5.140900] bad\n");
    }

    #[test]
    fn levels() {
        assert!(level("err").is_ok_and(|number| number == 3) && level("7").is_ok() && level("8").is_err());
    }
}
