//! `cmp`: compare two files byte by byte.
//!
//! POSIX.1-2024 XCU `cmp` with GNU's options.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use clap::Parser;

use super::reason;
use crate::common;
use crate::registry::{Applet, Dir};

/// `cmp`.
pub const APPLET: Applet =
    Applet { name: "cmp", aliases: &[], dir: Dir::Bin, summary: "Compare two files byte by byte", run };

/// The files are the same.
const SAME: i32 = 0;
/// They are different.
const DIFFERENT: i32 = 1;
/// Something went wrong.
const TROUBLE: i32 = 2;

/// Compare two files byte by byte. Exit with 0 if they are the same, 1 if they are different, 2 if something went wrong.
///
/// SKIP and LIMIT may end with kB (1000), K (1024), MB, M, GB, G, and so on.
#[derive(Parser)]
#[command(name = "cmp", args_override_self = true, override_usage = "cmp [OPTION]... FILE1 [FILE2 [SKIP1 [SKIP2]]]")]
struct Options {
    /// Print the bytes that differ
    #[arg(short = 'b', long)]
    print_bytes: bool,
    /// Skip the first SKIP bytes of both files, or different numbers of bytes
    #[arg(short = 'i', long, value_name = "SKIP[:SKIP2]")]
    ignore_initial: Option<String>,
    /// Print number and values of all bytes that differ
    #[arg(short = 'l', long, conflicts_with = "silent")]
    verbose: bool,
    /// Compare at most LIMIT bytes
    #[arg(short = 'n', long, value_name = "LIMIT")]
    bytes: Option<String>,
    /// Print nothing
    #[arg(short = 's', long, visible_alias = "quiet")]
    silent: bool,
    /// FILE1, FILE2 (default: standard input, which - means too) and how much to skip in each
    #[arg(value_name = "FILE", num_args = 1..=4, required = true)]
    operands: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    let options: Options = match common::parse(args, TROUBLE) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let result = compare(&options);
    let failed = result.is_err();
    let status = common::finish("cmp", result);
    if failed { status * TROUBLE } else { status }
}

/// A file that is being read.
struct Source {
    name: String,
    reader: Box<dyn BufRead>,
    /// Device and inode, size; of a regular file.
    regular: Option<((u64, u64), u64)>,
}

impl Source {
    fn open(path: &OsStr, skip: u64) -> Result<Self> {
        let name = path.to_string_lossy().into_owned();
        let fail = |error: io::Error| anyhow!("{name}: {}", reason(&error));
        let file = if path == "-" { File::open("/dev/stdin") } else { File::open(Path::new(path)) };
        let (reader, meta): (Box<dyn Read>, _) = match file {
            // Where there is no /proc, there is still a standard input.
            Err(_) if path == "-" => (Box::new(io::stdin()), None),
            Err(error) => return Err(fail(error)),
            Ok(file) => {
                let meta = file.metadata().map_err(fail)?;
                let reader: Box<dyn Read> = if path == "-" { Box::new(io::stdin()) } else { Box::new(file) };
                (reader, Some(meta))
            }
        };
        let meta = meta.filter(|meta| meta.is_file() && path != "-");
        let regular = meta.map(|meta| ((meta.dev(), meta.ino()), meta.len().saturating_sub(skip)));
        let mut reader: Box<dyn BufRead> = Box::new(BufReader::with_capacity(64 << 10, reader));
        io::copy(&mut reader.by_ref().take(skip), &mut io::sink()).map_err(fail)?;
        Ok(Self { name, reader, regular })
    }

    fn fill(&mut self) -> Result<&[u8]> {
        let name = &self.name;
        self.reader.fill_buf().map_err(|error| anyhow!("{name}: {}", reason(&error)))
    }
}

fn compare(options: &Options) -> Result<i32> {
    let (skips, limit) = (skips(options)?, options.bytes.as_deref().map(|text| number(text, "bytes")).transpose()?);
    let standard = OsString::from("-");
    let second = options.operands.get(1).unwrap_or(&standard);
    // One descriptor cannot be read twice; what it holds is the same.
    if options.operands[0] == "-" && *second == "-" && skips.0 == skips.1 {
        return Ok(SAME);
    }
    let mut a = Source::open(&options.operands[0], skips.0)?;
    let mut b = Source::open(second, skips.1)?;
    if let (Some((a_file, a_size)), Some((b_file, b_size))) = (a.regular, b.regular) {
        if a_file == b_file && skips.0 == skips.1 {
            return Ok(SAME);
        }
        let limit = limit.unwrap_or(u64::MAX);
        if options.silent && a_size.min(limit) != b_size.min(limit) {
            return Ok(DIFFERENT);
        }
    }
    let width = width(&a, &b, limit);
    let mut out = BufWriter::new(io::stdout().lock());
    let progress = Progress {
        options,
        names: [a.name.clone(), b.name.clone()],
        width,
        limit: limit.unwrap_or(u64::MAX),
        at: 0,
        lines: 0,
        last: b'\n',
        different: false,
    };
    let status = progress.run(&mut a, &mut b, &mut out)?;
    out.flush()?;
    Ok(status)
}

/// The digits that byte numbers may need.
fn width(a: &Source, b: &Source, limit: Option<u64>) -> usize {
    let sizes = [a, b].into_iter().filter_map(|source| source.regular.map(|(_, size)| size));
    let most = sizes.chain(limit).min().unwrap_or(u64::MAX >> 1);
    most.max(1).ilog10() as usize + 1
}

fn skips(options: &Options) -> Result<(u64, u64)> {
    let mut skips = (0, 0);
    if let Some(text) = &options.ignore_initial {
        let (first, second) = text.split_once(':').unwrap_or((text, text));
        skips = (number(first, "ignore-initial")?, number(second, "ignore-initial")?);
    }
    for (index, skip) in [(2, &mut skips.0), (3, &mut skips.1)] {
        if let Some(text) = options.operands.get(index) {
            *skip = (*skip).max(number(&text.to_string_lossy(), "ignore-initial")?);
        }
    }
    Ok(skips)
}

/// A number of bytes, with a unit.
fn number(text: &str, option: &str) -> Result<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let power = |letter: &str| ["k", "M", "G", "T", "P", "E"].iter().position(|known| *known == letter);
    let (base, letter) = match unit {
        "" => (1, Some(0)),
        "K" => (1024_u64, Some(1)),
        unit => match (unit.strip_suffix("iB"), unit.strip_suffix('B')) {
            (Some("K"), _) => (1024, Some(1)),
            (Some(letter), _) => (1024, power(letter).filter(|_| letter != "k").map(|at| at + 1)),
            (None, Some(letter)) => (1000, power(letter).map(|at| at + 1)),
            (None, None) => (1024, power(unit).map(|at| at + 1)),
        },
    };
    let factor = letter.and_then(|letter| base.checked_pow(u32::try_from(letter).ok()?));
    match (number.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => Ok(number.saturating_mul(factor)),
        _ => bail!("invalid --{option} value '{text}'"),
    }
}

/// How far the comparison has come.
struct Progress<'o> {
    options: &'o Options,
    names: [String; 2],
    width: usize,
    limit: u64,
    /// Bytes compared.
    at: u64,
    /// Newlines among them.
    lines: u64,
    last: u8,
    different: bool,
}

impl Progress<'_> {
    fn run(mut self, a: &mut Source, b: &mut Source, out: &mut impl Write) -> Result<i32> {
        while self.at < self.limit {
            let (a_bytes, b_bytes) = (a.fill()?, b.fill()?);
            if a_bytes.is_empty() || b_bytes.is_empty() {
                if a_bytes.is_empty() && b_bytes.is_empty() {
                    break;
                }
                let ended = if a_bytes.is_empty() { &a.name } else { &b.name };
                if !self.options.silent {
                    out.flush()?;
                    self.tell_end(ended);
                }
                return Ok(DIFFERENT);
            }
            let most = usize::try_from(self.limit - self.at).unwrap_or(usize::MAX);
            let length = a_bytes.len().min(b_bytes.len()).min(most);
            let stop = self.chunk(&a_bytes[..length], &b_bytes[..length], out)?;
            if stop {
                return Ok(DIFFERENT);
            }
            a.reader.consume(length);
            b.reader.consume(length);
        }
        Ok(if self.different { DIFFERENT } else { SAME })
    }

    /// Compare chunks of equal length; true to stop.
    fn chunk(&mut self, a: &[u8], b: &[u8], out: &mut impl Write) -> Result<bool> {
        if a == b {
            self.pass(a);
            return Ok(false);
        }
        for (x, y) in a.iter().zip(b) {
            if x != y {
                self.different = true;
                if self.options.silent {
                    return Ok(true);
                }
                if !self.options.verbose {
                    self.tell_first(*x, *y, out)?;
                    return Ok(true);
                }
                self.list(*x, *y, out)?;
            }
            self.pass(&[*x]);
        }
        Ok(false)
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    fn tell_first(&self, x: u8, y: u8, out: &mut impl Write) -> io::Result<()> {
        let (byte, line) = (self.at + 1, self.lines + 1);
        write!(out, "{} {} differ: byte {byte}, line {line}", self.names[0], self.names[1])?;
        if self.options.print_bytes {
            write!(out, " is {x:3o} {} {y:3o} {}", visible(x), visible(y))?;
        }
        writeln!(out)
    }

    fn list(&self, x: u8, y: u8, out: &mut impl Write) -> io::Result<()> {
        let (byte, width) = (self.at + 1, self.width);
        if self.options.print_bytes {
            writeln!(out, "{byte:width$} {x:3o} {:4} {y:3o} {}", visible(x), visible(y))
        } else {
            writeln!(out, "{byte:width$} {x:3o} {y:3o}")
        }
    }

    fn tell_end(&self, name: &str) {
        let at = self.at;
        let place = match (at, self.options.verbose, self.last) {
            (0, ..) => "which is empty".to_owned(),
            (_, true, _) => format!("after byte {at}"),
            (_, false, b'\n') => format!("after byte {at}, line {}", self.lines),
            (_, false, _) => format!("after byte {at}, in line {}", self.lines + 1),
        };
        let _ = writeln!(io::stderr(), "cmp: EOF on {name} {place}");
    }
}

/// A byte as `cat -t` shows it.
fn visible(byte: u8) -> String {
    let low = byte & 0x7f;
    let meta = if byte >= 0x80 { "M-" } else { "" };
    match low {
        0..0x20 => format!("{meta}^{}", char::from(low + 0x40)),
        0x7f => format!("{meta}^?"),
        low => format!("{meta}{}", char::from(low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("2K", 2048),
            ("2k", 2048),
            ("2kB", 2000),
            ("1M", 1 << 20),
            ("1MiB", 1 << 20),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(number(text, "bytes").unwrap(), value, "{text}");
        }
        for text in ["", "x", "1Q", "1X", "-1", "1 K", "1iB"] {
            assert!(number(text, "bytes").is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_as_seen() {
        for (byte, text) in [(b'a', "a"), (1, "^A"), (0x7f, "^?"), (0xff, "M-^?"), (0x81, "M-^A"), (0xe1, "M-a")] {
            assert_eq!(visible(byte), text);
        }
    }
}
