//! `xargs`: build command lines from items of input and run them.
//!
//! POSIX.1-2024 XCU `xargs` with GNU's options, save `--show-limits`.

mod input;
mod jobs;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use super::command_line::{cost, room};
use super::reason;
use crate::common;
use crate::registry::{Applet, Dir};
use input::{Items, Separator};
use jobs::{Jobs, Settings};

/// `xargs`.
pub const APPLET: Applet =
    Applet { name: "xargs", aliases: &[], dir: Dir::Bin, summary: "Run commands with arguments from input", run };

/// The length of command lines when none is told: as long as any system takes, and long enough.
const CHARACTERS: usize = 128 << 10;

/// Run COMMAND with INITIAL-ARGS and more arguments read from input. Without COMMAND, echo is run.
#[derive(Parser)]
#[command(
    name = "xargs",
    args_override_self = true,
    override_usage = "xargs [OPTION]... [COMMAND [INITIAL-ARG]...]",
    after_help = "Exit status: 0; 123 if a command exited with 1 to 125, 124 if with 255, 125 if it was killed, 126 if it cannot be run,\n\
                  127 if there is none; 1 for other errors."
)]
struct Options {
    /// Items end with a zero byte; quotes and backslashes are not special
    #[arg(short = '0', long)]
    null: bool,
    /// Read items from FILE; the commands keep standard input
    #[arg(short = 'a', long, value_name = "FILE")]
    arg_file: Option<PathBuf>,
    /// Items end with CHARACTER; quotes and backslashes are not special
    #[arg(short = 'd', long, value_name = "CHARACTER", allow_hyphen_values = true)]
    delimiter: Option<OsString>,
    /// The item END ends the input; -eEND and --eof are the same
    #[arg(short = 'E', value_name = "END", allow_hyphen_values = true)]
    end: Option<OsString>,
    #[arg(long, short = 'e', hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "")]
    eof: Option<OsString>,
    /// Put each line in place of R in the INITIAL-ARGs; -i[R] and --replace[=R] are the same, with {} for R
    #[arg(short = 'I', value_name = "R", allow_hyphen_values = true)]
    replace_string: Option<OsString>,
    #[arg(long, short = 'i', hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "{}")]
    replace: Option<OsString>,
    /// Use at most N lines for a command; -l[N] and --max-lines[=N] are the same, with 1 for N
    #[arg(short = 'L', value_name = "N", allow_negative_numbers = true)]
    lines: Option<String>,
    #[arg(long, short = 'l', hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    max_lines: Option<String>,
    /// Use at most N items for a command
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    max_args: Option<String>,
    /// Give the commands the terminal as standard input
    #[arg(short = 'o', long)]
    open_tty: bool,
    /// Run up to N commands at once; 0 for as many as possible
    #[arg(short = 'P', long, value_name = "N", allow_negative_numbers = true)]
    max_procs: Option<String>,
    /// Ask before each command
    #[arg(short = 'p', long)]
    interactive: bool,
    /// Set the environment variable NAME of each command to the number of its slot
    #[arg(long, value_name = "NAME")]
    process_slot_var: Option<OsString>,
    /// Run nothing if there are no items
    #[arg(short = 'r', long)]
    no_run_if_empty: bool,
    /// Keep command lines within N bytes
    #[arg(short = 's', long, value_name = "N", allow_negative_numbers = true)]
    max_chars: Option<String>,
    /// Print each command before it is run
    #[arg(short = 't', long)]
    verbose: bool,
    /// Exit if what -n or -L ask for is longer than -s allows
    #[arg(short = 'x', long)]
    exit: bool,
    /// COMMAND and INITIAL-ARGS
    #[arg(value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    let args = attach_values(args);
    let parsed = Options::command().try_get_matches_from(&args).and_then(|matches| {
        let options = Options::from_arg_matches(&matches)?;
        Ok((options, matches))
    });
    let (options, matches) = match parsed {
        Ok(parsed) => parsed,
        // The same again, for its way of telling.
        Err(_) => return common::parse::<Options>(&args, 1).err().unwrap_or(1),
    };
    common::finish("xargs", Xargs::new(options, &matches).and_then(Xargs::run))
}

/// For the parser, `-iR`, `-lN` and `-eEND`, which take their values attached only, are written as `-i=R`, and `--` is put before the command,
/// whose options are not ours.
fn attach_values(args: &[OsString]) -> Vec<OsString> {
    let mut out: Vec<OsString> = args.iter().take(1).cloned().collect();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" || !bytes.starts_with(b"-") {
            out.push("--".into());
            out.extend((bytes != b"--").then(|| arg.clone()));
            break;
        }
        // The first option of the cluster that takes a value.
        let at = (1..bytes.len()).find(|at| bytes[1] != b'-' && b"adEIilLnPse".contains(&bytes[*at]));
        match at {
            Some(at) if b"ile".contains(&bytes[at]) && at + 1 < bytes.len() => {
                let (head, value) = bytes.split_at(at + 1);
                out.push(OsString::from_vec([head, b"=", value].concat()));
            }
            Some(at) if !b"ile".contains(&bytes[at]) && at + 1 == bytes.len() => {
                out.push(arg.clone());
                out.extend(rest.next().cloned());
            }
            _ => {
                out.push(arg.clone());
                let long = [b"--arg-file".as_slice(), b"--delimiter", b"--max-args", b"--max-procs", b"--max-chars"];
                if long.contains(&bytes) || bytes == b"--process-slot-var" {
                    out.extend(rest.next().cloned());
                }
            }
        }
    }
    out.extend(rest.cloned());
    out
}

/// How items are shared out.
enum Share {
    /// As many as fit.
    Fill,
    Items(usize),
    Lines(usize),
    /// Each line in place of this string.
    Replace(Vec<u8>),
}

struct Xargs {
    options: Options,
    initial: Vec<Vec<u8>>,
    share: Share,
    separator: Separator,
    characters: usize,
    room: usize,
    jobs: Jobs,
}

/// A command line that is being built.
struct Line {
    words: Vec<Vec<u8>>,
    characters: usize,
    cost: usize,
}

impl Xargs {
    fn new(mut options: Options, matches: &ArgMatches) -> Result<Self> {
        let share = share(&options, matches)?;
        let most = number("P", options.max_procs.as_deref(), 0)?.unwrap_or(1);
        let characters = number("s", options.max_chars.as_deref(), 1)?;
        let separator = match (&options.delimiter, options.null) {
            (_, true) => Separator::Byte(0),
            (Some(delimiter), false) => Separator::Byte(parse_delimiter(delimiter.as_bytes())?),
            (None, false) if matches!(share, Share::Replace(_)) => Separator::Lines,
            (None, false) => Separator::Blanks,
        };
        let mut initial: Vec<Vec<u8>> =
            std::mem::take(&mut options.command).into_iter().map(OsString::into_vec).collect();
        if initial.is_empty() {
            initial.push(b"echo".to_vec());
        }
        let settings = Settings {
            most,
            verbose: options.verbose,
            interactive: options.interactive,
            open_tty: options.open_tty,
            keep_stdin: options.arg_file.is_some(),
            slot_variable: options.process_slot_var.take(),
        };
        let room = room();
        let xargs = Self {
            characters: characters.unwrap_or(CHARACTERS).min(room),
            jobs: Jobs::new(settings, initial[0].clone()),
            options,
            initial,
            share,
            separator,
            room,
        };
        if Line::new(&xargs.initial).characters > xargs.characters {
            bail!("cannot fit single argument within argument list size limit");
        }
        Ok(xargs)
    }

    fn run(mut self) -> Result<i32> {
        let end = self.options.end.take().or(self.options.eof.take()).map(OsString::into_vec);
        let end = end.filter(|end| !end.is_empty());
        let input: Box<dyn BufRead> = match &self.options.arg_file {
            Some(path) if path != Path::new("-") => {
                let file = File::open(path)
                    .map_err(|error| anyhow!("Cannot open input file ‘{}’: {}", path.display(), reason(&error)))?;
                Box::new(BufReader::new(file))
            }
            _ => Box::new(BufReader::new(io::stdin())),
        };
        let mut items = Items::new(input, self.separator, end);
        let result = match std::mem::replace(&mut self.share, Share::Fill) {
            Share::Replace(string) => self.replace(&mut items, &string),
            share => self.fill(&mut items, &share),
        };
        // What runs is waited for, whatever went wrong.
        let status = self.jobs.finish();
        result.and(status)
    }

    /// Run the command once for each line, put in place of `string`.
    fn replace(&mut self, items: &mut Items<impl BufRead>, string: &[u8]) -> Result<()> {
        while !self.jobs.stopped() {
            let Some(item) = items.next()? else { break };
            let mut line = Line::new(&self.initial[..1]);
            for word in &self.initial[1..] {
                line.push(replaced(word, string, &item));
                if !line.fits(self.characters, self.room) {
                    bail!("argument list too long");
                }
            }
            self.jobs.run(&line.words)?;
        }
        Ok(())
    }

    /// Run the command with as many items as `share` and the limits allow.
    fn fill(&mut self, items: &mut Items<impl BufRead>, share: &Share) -> Result<()> {
        let mut line = Line::new(&self.initial);
        let fixed = line.words.len();
        let mut ran = false;
        // -L implies -x.
        let strict = self.options.exit || matches!(share, Share::Lines(_));
        while !self.jobs.stopped() {
            let item = match items.next() {
                Ok(Some(item)) => item,
                end => {
                    // What was read before an error is still run, unless parts are not to be.
                    let collected = line.words.len() > fixed && (end.is_ok() || !strict);
                    if collected || end.is_ok() && !ran && !self.options.no_run_if_empty {
                        self.jobs.run(&line.words)?;
                    }
                    return end.map(|_| ());
                }
            };
            if !line.with(&item).fits(self.characters, self.room) {
                if line.words.len() == fixed {
                    bail!("argument line too long");
                }
                if strict && !matches!(share, Share::Fill) {
                    bail!("argument list too long");
                }
                self.jobs.run(&std::mem::replace(&mut line, Line::new(&self.initial)).words)?;
                ran = true;
                if !line.with(&item).fits(self.characters, self.room) {
                    bail!("argument line too long");
                }
            }
            line.push(item);
            let full = match share {
                Share::Items(most) => line.words.len() - fixed >= *most,
                Share::Lines(most) => items.lines >= *most,
                Share::Fill | Share::Replace(_) => false,
            };
            if full {
                items.lines = 0;
                self.jobs.run(&std::mem::replace(&mut line, Line::new(&self.initial)).words)?;
                ran = true;
            }
        }
        Ok(())
    }
}

/// The size of a command line.
struct Size {
    characters: usize,
    cost: usize,
}

impl Size {
    fn fits(&self, characters: usize, room: usize) -> bool {
        self.characters <= characters && self.cost <= room
    }
}

impl Line {
    fn new(words: &[Vec<u8>]) -> Self {
        let mut line = Self { words: Vec::new(), characters: 0, cost: 0 };
        words.iter().for_each(|word| line.push(word.clone()));
        line
    }

    fn push(&mut self, word: Vec<u8>) {
        let size = self.with(&word);
        (self.characters, self.cost) = (size.characters, size.cost);
        self.words.push(word);
    }

    /// The size with one more word.
    fn with(&self, word: &[u8]) -> Size {
        Size { characters: self.characters + word.len() + 1, cost: self.cost + cost(word) }
    }

    fn fits(&self, characters: usize, room: usize) -> bool {
        Size { characters: self.characters, cost: self.cost }.fits(characters, room)
    }
}

/// Of -I, -L and -n the last one counts, save -n 1, which is what -I does anyhow.
fn share(options: &Options, matches: &ArgMatches) -> Result<Share> {
    let place = |id| matches.indices_of(id).into_iter().flatten().last();
    let items = number("n", options.max_args.as_deref(), 1)?;
    let lines = number("L", options.lines.as_deref(), 1)?
        .map_or_else(|| number("l", options.max_lines.as_deref(), 1), |lines| Ok(Some(lines)))?;
    let string = options.replace_string.as_ref().or(options.replace.as_ref());
    let mut shares = vec![(place("max_args"), items.map(Share::Items), "--max-args")];
    shares.push((place("lines").max(place("max_lines")), lines.map(Share::Lines), "--max-lines"));
    let replace = string.map(|string| Share::Replace(string.as_bytes().to_vec()));
    shares.push((place("replace_string").max(place("replace")), replace, "--replace"));
    if items == Some(1) && shares[2].0.is_some() && shares[2].0 < shares[0].0 {
        shares.remove(0);
    }
    shares.retain(|(_, share, _)| share.is_some());
    shares.sort_by_key(|(place, _, _)| *place);
    let Some((_, chosen, name)) = shares.pop() else { return Ok(Share::Fill) };
    for (_, _, ignored) in shares {
        let _ = writeln!(
            io::stderr(),
            "xargs: warning: options {ignored} and {name} are mutually exclusive, ignoring previous {ignored} value"
        );
    }
    match chosen.unwrap_or(Share::Fill) {
        Share::Replace(string) if string.is_empty() => bail!("the string that -I replaces cannot be empty"),
        share => Ok(share),
    }
}

/// The number of an option, which must not be less than `least`.
fn number(option: &str, text: Option<&str>, least: usize) -> Result<Option<usize>> {
    let Some(text) = text else { return Ok(None) };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("invalid number \"{text}\" for -{option} option");
    }
    match text.parse::<usize>() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ if text.starts_with('-') || text.parse::<usize>().is_ok() => {
            bail!("value {text} for -{option} option should be >= {least}")
        }
        _ => Ok(Some(usize::MAX)),
    }
}

/// One character, or an escape of one.
fn parse_delimiter(text: &[u8]) -> Result<u8> {
    let invalid = || {
        anyhow!(
            "Invalid input delimiter specification {}: the delimiter must be either a single character or an escape \
             sequence starting with \\.",
            String::from_utf8_lossy(text)
        )
    };
    let coded = |digits: &[u8], radix| {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
        digits.and_then(|digits| u8::from_str_radix(digits, radix).ok())
    };
    match text {
        [byte] => Some(*byte),
        [b'\\', name] if !name.is_ascii_digit() => match name {
            b'a' => Some(7),
            b'b' => Some(8),
            b'f' => Some(0x0c),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'v' => Some(0x0b),
            b'\\' => Some(b'\\'),
            _ => None,
        },
        [b'\\', b'x', digits @ ..] => coded(digits, 16),
        [b'\\', digits @ ..] => coded(digits, 8),
        _ => None,
    }
    .ok_or_else(invalid)
}

/// `word` with `item` in place of each `string`.
fn replaced(word: &[u8], string: &[u8], item: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if word[at..].starts_with(string) {
            out.extend(item);
            at += string.len();
        } else {
            out.push(word[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters() {
        for (text, byte) in [(",", b','), ("\\n", b'\n'), ("\\0", 0), ("\\x41", b'A'), ("\\101", b'A'), ("\\\\", b'\\')]
        {
            assert_eq!(parse_delimiter(text.as_bytes()).unwrap(), byte);
        }
        for text in ["", "ab", "\\q", "\\x", "\\x100", "\\400"] {
            assert!(parse_delimiter(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn replacement_takes_no_second_look() {
        assert_eq!(replaced(b"{}-{}", b"{}", b"{}x"), b"{}x-{}x");
    }
}
