//! `sed`: edit streams by a script.
//!
//! POSIX.1-2024 XCU `sed` with GNU's options, addresses and commands. Refused are the command and flag `e`, which run
//! programs, `--debug` and `--posix`.

mod address;
mod arguments;
mod edit;
mod execute;
mod in_place;
mod input;
mod output;
mod parse;
mod script;
mod source;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{ArgAction, CommandFactory, Parser};

use crate::common;
use crate::registry::{Applet, Dir};
use crate::text::reason;
use parse::Dialect;
use source::{Origin, Source};

/// `sed`.
pub const APPLET: Applet =
    Applet { name: "sed", aliases: &[], dir: Dir::Bin, summary: "Edit text by a script of commands", run };

/// Edit FILEs, or standard input, by SCRIPT.
#[derive(Parser, Default)]
#[command(name = "sed", args_override_self = true, override_usage = "sed [OPTION]... SCRIPT [FILE]...")]
pub struct Options {
    /// Print only what the script prints
    #[arg(short = 'n', long, visible_alias = "silent")]
    quiet: bool,
    /// Add SCRIPT to the commands
    #[arg(short = 'e', long, value_name = "SCRIPT", allow_hyphen_values = true, action = ArgAction::Append)]
    expression: Vec<OsString>,
    /// Add the commands of FILE
    #[arg(short = 'f', long, value_name = "FILE", action = ArgAction::Append)]
    file: Vec<PathBuf>,
    /// Use extended regular expressions
    #[arg(short = 'E', short_alias = 'r', long)]
    regexp_extended: bool,
    /// Edit files in place; keep the original under SUFFIX if given
    #[arg(short = 'i', long, value_name = "SUFFIX", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    in_place: Option<OsString>,
    /// Treat files as separate streams
    #[arg(short = 's', long)]
    separate: bool,
    /// Lines end with a zero byte
    #[arg(short = 'z', long, visible_alias = "zero-terminated")]
    null_data: bool,
    /// Flush after each line
    #[arg(short = 'u', long)]
    unbuffered: bool,
    /// Width of the lines of `l`
    #[arg(short = 'l', long, value_name = "N", default_value_t = 70)]
    line_length: usize,
    /// With -i, edit what symbolic links lead to, instead of replacing the links
    #[arg(long)]
    follow_symlinks: bool,
    /// Refuse the commands r, R, w and W, which read and write other files
    #[arg(long)]
    sandbox: bool,
    /// SCRIPT (unless -e or -f is given) and FILEs
    #[arg(value_name = "SCRIPT and FILEs")]
    operands: Vec<OsString>,
}

/// Exit status of a bad command line or script.
const BAD_USAGE: i32 = 1;
/// Exit status when a file could not be read.
const BAD_INPUT: i32 = 2;
/// Exit status of an error at run time.
const PANIC: i32 = 4;

/// Why there is no script to run.
#[derive(Debug)]
struct Failure {
    status: i32,
    error: anyhow::Error,
}

/// An empty pattern stands for the one used last, and there is none.
#[derive(Debug, thiserror::Error)]
#[error("no previous regular expression")]
struct NoPreviousPattern;

fn run(args: &[OsString]) -> i32 {
    let mut options: Options = match common::parse(&attach_suffix(args), BAD_USAGE) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let (script, files) = match script(args, &mut options) {
        Ok(parsed) => parsed,
        Err(failure) => return common::finish("sed", Err(failure.error)).min(1) * failure.status,
    };
    let out = BufWriter::new(io::stdout().lock());
    match execute::run(&script, &options, &files, out) {
        Ok(status) => status,
        Err(error) => {
            let status = if error.is::<NoPreviousPattern>() { BAD_USAGE } else { PANIC };
            common::finish("sed", Err(error)).min(1) * status
        }
    }
}

/// `-iSUFFIX` takes its value attached only: written as `-i=SUFFIX` for the parser, which is how it tells it from a file.
fn attach_suffix(args: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len());
    let mut plain = false;
    for arg in args {
        let bytes = arg.as_bytes();
        plain |= bytes == b"--";
        let cluster = (!plain && bytes.len() > 2 && bytes[0] == b'-' && bytes[1] != b'-')
            .then(|| bytes[1..].iter().position(|byte| !b"nErszu".contains(byte)))
            .flatten();
        match cluster {
            Some(at) if bytes[at + 1] == b'i' && at + 2 < bytes.len() => {
                let (head, suffix) = bytes.split_at(at + 2);
                out.push(OsString::from(std::ffi::OsStr::from_bytes(&[head, b"=", suffix].concat())));
            }
            _ => out.push(arg.clone()),
        }
    }
    out
}

/// The script in the order of -e and -f, and the files to edit.
fn script(args: &[OsString], options: &mut Options) -> Result<(script::Script, Vec<PathBuf>), Failure> {
    let mut operands = std::mem::take(&mut options.operands).into_iter();
    let source = if options.expression.is_empty() && options.file.is_empty() {
        match operands.next() {
            Some(script) => Source::expression(script.as_bytes()),
            None => return Err(Failure { status: BAD_USAGE, error: anyhow!("no script given; see sed --help") }),
        }
    } else {
        source(args, options).map_err(|error| Failure { status: PANIC, error })?
    };
    let dialect = Dialect { extended: options.regexp_extended, sandbox: options.sandbox, null_data: options.null_data };
    Ok((parse::parse(&source, dialect)?, operands.map(PathBuf::from).collect()))
}

/// The pieces that -e and -f give.
fn source(args: &[OsString], options: &Options) -> Result<Source> {
    // What was parsed once does not tell which option came first.
    let matches = Options::command().try_get_matches_from(attach_suffix(args))?;
    let indices = |name| matches.indices_of(name).into_iter().flatten();
    let mut pieces: Vec<(usize, Result<&OsString, &PathBuf>)> = indices("expression")
        .zip(options.expression.iter().map(Ok))
        .chain(indices("file").zip(options.file.iter().map(Err)))
        .collect();
    pieces.sort_unstable_by_key(|(index, _)| *index);
    let mut source = Source::default();
    for (_, piece) in pieces {
        match piece {
            Ok(text) => {
                let number = source.expressions() + 1;
                source.push(text.as_bytes(), Origin::Expression(number));
            }
            Err(path) => source.push(&read_script(path)?, Origin::File(path.clone())),
        }
    }
    Ok(source)
}

fn read_script(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.map_err(|error| anyhow!("couldn't open file {}: {}", path.display(), reason(&error)))?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sed(script_text: &str, input: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("in");
        std::fs::write(&file, input).unwrap();
        let parsed = parse::parse(&Source::expression(script_text.as_bytes()), Dialect::default()).unwrap();
        let mut out = Vec::new();
        execute::run(&parsed, &Options { line_length: 70, ..Options::default() }, &[file], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commands() {
        assert_eq!(sed("s/a/b/g", "aa\n"), "bb\n");
        assert_eq!(sed("2d", "1\n2\n3"), "1\n3");
        assert_eq!(sed("1!G;h;$!d", "1\n2\n3\n"), "3\n2\n1\n");
        assert_eq!(sed("s/\\(.\\)\\1/<&>/", "abba\n"), "a<bb>a\n");
    }

    #[test]
    fn bad_scripts_are_refused() {
        for text in ["s/a", "{p", "}", "k", "b nowhere", "s/a/\\1/", "y/a/bc/", "0p", ":", "1,p", "e ls", "s/a/b/e"] {
            assert!(parse::parse(&Source::expression(text.as_bytes()), Dialect::default()).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_script_panics(text in r"[0-9sydpDGhx{};:ab/\\,!~+$\n &]{0,24}") {
            let _ = parse::parse(&Source::expression(text.as_bytes()), Dialect { extended: true, ..Dialect::default() });
        }
    }
}
