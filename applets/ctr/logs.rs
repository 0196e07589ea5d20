//! `ctr logs`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};

use super::logfile::{self, Entry};
use super::record::{self, Record};
use super::{reaper, time};

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// `logs`.
#[derive(clap::Args)]
pub struct Args {
    /// Go on with what comes, until the container ends
    #[arg(short, long)]
    follow: bool,

    /// Print so many lines from the end, or all
    #[arg(short = 'n', long, default_value = "all", value_parser = parse_tail, allow_hyphen_values = true)]
    tail: Tail,

    /// Print times
    #[arg(short, long)]
    timestamps: bool,

    /// Print what came after this time (RFC 3339) or in this last while (10m)
    #[arg(long, value_parser = time::parse_since)]
    since: Option<SystemTime>,

    /// Print what came before this time, or before this last while
    #[arg(long, value_parser = time::parse_since)]
    until: Option<SystemTime>,

    /// Print the extra attributes of the log before each line; there are none
    #[arg(long)]
    details: bool,

    /// Container, by name or id
    container: String,
}

/// How much of the log.
#[derive(Clone, Copy, Debug)]
struct Tail(usize);

fn parse_tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(usize::MAX)),
        // As docker has it: less than none is all.
        number => match number.parse::<i64>() {
            Ok(number) => Ok(Tail(usize::try_from(number).unwrap_or(usize::MAX))),
            Err(_) => Err("wanted a number or `all`".into()),
        },
    }
}

/// Print a container's output.
pub fn logs(args: &Args) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    reaper::sweep(&id)?;
    let record = Record::read(&id)?;
    ensure!(record.host_config.log_config.driver != "none", "configured logging driver does not support reading");
    let path = record.log_path;
    let mut kept = VecDeque::new();
    // What was read of the newest file: its inode, and up to where.
    let mut read = (0, 0);
    for file in logfile::files(&path) {
        let Some(mut reader) = open(&file)? else { continue };
        let inode = reader.get_ref().metadata().map_or(0, |meta| meta.ino());
        let length = lines(&mut reader, |line| {
            if kept.len() == args.tail.0 {
                kept.pop_front();
            }
            if args.tail.0 > 0 {
                kept.push_back(line);
            }
        });
        let length = length.with_context(|| format!("cannot read {}", file.display()))?;
        if file == path {
            read = (inode, length);
        }
    }
    kept.iter().try_for_each(|line| print(args, line))?;
    if args.follow { follow(args, &id, &path, read) } else { Ok(0) }
}

/// Take all whole lines; how many bytes they have. One that is still being written is left.
fn lines(reader: &mut BufReader<File>, mut take: impl FnMut(Vec<u8>)) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 || line.last() != Some(&b'\n') {
            return Ok(length);
        }
        length += line.len() as u64;
        take(line);
    }
}

fn open(path: &Path) -> anyhow::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

/// Go on after what was read.
fn follow(args: &Args, id: &str, path: &Path, read: (u64, u64)) -> anyhow::Result<i32> {
    let mut current: Option<(u64, BufReader<File>)> = None;
    let mut first = true;
    let mut line = Vec::new();
    loop {
        // Asked before the last look at the file, so that nothing that came before the end is missed.
        let running = Record::read(id).is_ok_and(|record| record.state.status.is_live());
        let inode = std::fs::metadata(path).map(|meta| meta.ino()).ok();
        if current.as_ref().map(|(inode, _)| *inode) != inode {
            if let Some((_, reader)) = &mut current {
                drain(args, reader, &mut line)?;
            }
            current = open(path)?.zip(inode).map(|(reader, inode)| (inode, reader));
            if let (true, Some((inode, reader))) = (first, &mut current)
                && *inode == read.0
            {
                reader.seek(io::SeekFrom::Start(read.1))?;
            }
        }
        first = false;
        if let Some((_, reader)) = &mut current {
            drain(args, reader, &mut line)?;
        }
        if !running || args.until.is_some_and(|until| SystemTime::now() > until) {
            return Ok(0);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Print whole lines; the beginning of one is kept in `line`.
fn drain(args: &Args, reader: &mut BufReader<File>, line: &mut Vec<u8>) -> anyhow::Result<()> {
    while reader.read_until(b'\n', line)? > 0 {
        if line.last() != Some(&b'\n') {
            break;
        }
        print(args, line)?;
        line.clear();
    }
    Ok(())
}

fn print(args: &Args, line: &[u8]) -> anyhow::Result<()> {
    // A line that was cut off by a crash is none.
    let Ok(entry) = serde_json::from_slice::<Entry>(line) else { return Ok(()) };
    let at = time::parse_rfc3339(&entry.time);
    let is_early = at.zip(args.since).is_some_and(|(at, since)| at < since);
    let is_late = at.zip(args.until).is_some_and(|(at, until)| at > until);
    if is_early || is_late {
        return Ok(());
    }
    let text = if args.details { format!(" {}", entry.log) } else { entry.log };
    let text = if args.timestamps { format!("{} {text}", entry.time) } else { text };
    if entry.stream == "stderr" {
        io::stderr().write_all(text.as_bytes())?;
    } else {
        io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}
