//! `diff`: compare files line by line.
//!
//! POSIX.1-2024 XCU `diff` with GNU's options, save `-f`, `-n`, `-y`, `-D`, `-I`, `-l`, `-S` and colours.

mod print;
mod script;
mod text;
mod tree;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{ArgAction, Parser};

use super::glob::{Glob, GlobFlags};
use super::reason;
use super::regex::{Flags, Regex, Syntax};
use crate::common;
use crate::registry::{Applet, Dir};
use print::{Layout, Style};
use text::Ignore;
use tree::{Run, Settings, TROUBLE};

/// `diff`.
pub const APPLET: Applet =
    Applet { name: "diff", aliases: &[], dir: Dir::Bin, summary: "Compare files line by line", run };

/// Compare FILEs line by line. Exit with 0 if they are the same, 1 if they are different, 2 if something went wrong.
#[derive(Parser)]
#[command(name = "diff", args_override_self = true, override_usage = "diff [OPTION]... FILE1 FILE2")]
struct Options {
    /// Print an ed script
    #[arg(short = 'e', long, conflicts_with_all = ["u", "unified", "c", "context"])]
    ed: bool,
    /// Print 3 lines of unified context
    #[arg(short = 'u', conflicts_with_all = ["c", "context"])]
    u: bool,
    /// Print NUM (default 3) lines of unified context
    #[arg(short = 'U', long, value_name = "NUM", num_args = 0..=1, require_equals = true, default_missing_value = "3", conflicts_with_all = ["c", "context"])]
    unified: Option<usize>,
    /// Print 3 lines of copied context
    #[arg(short = 'c')]
    c: bool,
    /// Print NUM (default 3) lines of copied context
    #[arg(short = 'C', long, value_name = "NUM", num_args = 0..=1, require_equals = true, default_missing_value = "3")]
    context: Option<usize>,
    /// `-NUM`: so many lines of context
    #[arg(long, hide = true)]
    digits: Option<usize>,
    /// Tell only whether files differ
    #[arg(short = 'q', long)]
    brief: bool,
    /// Tell when files are the same
    #[arg(short = 's', long)]
    report_identical_files: bool,
    /// Compare folders with all that is below them
    #[arg(short = 'r', long)]
    recursive: bool,
    /// Take files that are not there for empty
    #[arg(short = 'N', long)]
    new_file: bool,
    /// Take those of the first folder that are not there for empty
    #[arg(short = 'P', long)]
    unidirectional_new_file: bool,
    /// Compare symbolic links, not what they lead to
    #[arg(long)]
    no_dereference: bool,
    /// Skip files whose name matches PATTERN
    #[arg(short = 'x', long, value_name = "PATTERN", action = ArgAction::Append)]
    exclude: Vec<OsString>,
    /// Skip files whose name matches a pattern in FILE
    #[arg(short = 'X', long, value_name = "FILE", action = ArgAction::Append)]
    exclude_from: Vec<PathBuf>,
    /// Use LABEL instead of a file's name and time (may be given twice)
    #[arg(short = 'L', long, value_name = "LABEL", action = ArgAction::Append)]
    label: Vec<OsString>,
    /// Show in which C function a change is
    #[arg(short = 'p', long)]
    show_c_function: bool,
    /// Show the last line that matches REGEX before a change
    #[arg(short = 'F', long, value_name = "REGEX")]
    show_function_line: Option<OsString>,
    /// Take all files for text
    #[arg(short = 'a', long)]
    text: bool,
    /// Ignore differences of upper and lower case
    #[arg(short = 'i', long)]
    ignore_case: bool,
    /// Ignore all white space
    #[arg(short = 'w', long)]
    ignore_all_space: bool,
    /// Ignore changes in the amount of white space
    #[arg(short = 'b', long)]
    ignore_space_change: bool,
    /// Ignore white space at the end of lines
    #[arg(short = 'Z', long)]
    ignore_trailing_space: bool,
    /// Ignore changes due to tab expansion
    #[arg(short = 'E', long)]
    ignore_tab_expansion: bool,
    /// Ignore changes whose lines are all blank
    #[arg(short = 'B', long)]
    ignore_blank_lines: bool,
    /// Ignore a carriage return at the end of lines
    #[arg(long)]
    strip_trailing_cr: bool,
    /// Find a smallest set of changes, however long that takes
    #[arg(short = 'd', long)]
    minimal: bool,
    /// Write tabs as blanks
    #[arg(short = 't', long)]
    expand_tabs: bool,
    /// Write a tab before each line, so that tabs in it stand where they stood
    #[arg(short = 'T', long)]
    initial_tab: bool,
    /// Print a normal diff (default)
    #[arg(long, conflicts_with_all = ["ed", "u", "unified", "c", "context"])]
    normal: bool,
    /// Two files, two folders, or a folder and a file; - is standard input
    #[arg(value_name = "FILE", num_args = 2, required = true)]
    files: Vec<PathBuf>,
}

fn run(args: &[OsString]) -> i32 {
    let line = CommandLine::new(args);
    let options: Options = match common::parse(&line.arguments, TROUBLE) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let result = settings(&options, line.switches).and_then(|settings| {
        let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        Run::new(&settings, out).operands(&options.files[0], &options.files[1])
    });
    let failed = result.is_err();
    let status = common::finish("diff", result);
    if failed { status * TROUBLE } else { status }
}

/// The arguments as the parser takes them, and the options as they were given.
struct CommandLine {
    arguments: Vec<OsString>,
    switches: String,
}

impl CommandLine {
    /// `-NUM`, alone or among other letters, is told to the parser as `--digits=NUM`; `-U NUM` and `-C NUM`, whose long forms take their
    /// value after a `=` only, as `-U=NUM`.
    fn new(args: &[OsString]) -> Self {
        let mut line = Self { arguments: args.iter().take(1).cloned().collect(), switches: String::new() };
        let mut rest = args.iter().skip(1);
        while let Some(arg) = rest.next() {
            let bytes = arg.as_bytes();
            if bytes == b"--" {
                line.arguments.push(arg.clone());
                line.arguments.extend(rest.cloned());
                break;
            }
            if !bytes.starts_with(b"-") || bytes == b"-" {
                line.arguments.push(arg.clone());
                continue;
            }
            line.switch(arg);
            let long = [b"--label".as_slice(), b"--exclude", b"--exclude-from", b"--show-function-line"];
            let value_follows =
                if bytes.starts_with(b"--") { long.contains(&bytes) } else { line.cluster(&bytes[1..]) };
            if bytes.starts_with(b"--") {
                line.arguments.push(arg.clone());
            }
            if value_follows && let Some(value) = rest.next() {
                line.switch(value);
                let attached = matches!(bytes.last(), Some(b'U' | b'C')) && !bytes.starts_with(b"--");
                match line.arguments.last_mut().filter(|_| attached) {
                    Some(option) => {
                        option.push("=");
                        option.push(value);
                    }
                    None => line.arguments.push(value.clone()),
                }
            }
        }
        line
    }

    fn switch(&mut self, word: &OsStr) {
        self.switches.push(' ');
        self.switches.push_str(&tree::shell_quoted(word));
    }

    /// Take a cluster of letters; true if the last one takes the next argument as its value.
    fn cluster(&mut self, letters: &[u8]) -> bool {
        let value = letters.iter().position(|letter| b"UCLFxX".contains(letter));
        let (flags, valued) = letters.split_at(value.unwrap_or(letters.len()));
        let digits: Vec<u8> = flags.iter().copied().filter(u8::is_ascii_digit).collect();
        let flags: Vec<u8> = flags.iter().copied().filter(|letter| !letter.is_ascii_digit()).collect();
        if !digits.is_empty() {
            self.arguments.push(OsString::from_vec([b"--digits=".as_slice(), &digits].concat()));
        }
        if !flags.is_empty() {
            self.arguments.push(OsString::from_vec([b"-".as_slice(), &flags].concat()));
        }
        if valued.is_empty() {
            return false;
        }
        let (option, value) = valued.split_at(1);
        let mark: &[u8] = if value.is_empty() || !b"UC".contains(&option[0]) { b"" } else { b"=" };
        self.arguments.push(OsString::from_vec([b"-", option, mark, value].concat()));
        value.is_empty()
    }
}

fn settings(options: &Options, switches: String) -> Result<Settings> {
    let lines = |given: Option<usize>| given.or(options.digits).unwrap_or(3);
    let style = if options.ed {
        Style::Ed
    } else if options.u || options.unified.is_some() {
        Style::Unified(lines(options.unified))
    } else if options.c || options.context.is_some() {
        Style::Context(lines(options.context))
    } else if options.show_c_function {
        Style::Context(lines(None))
    } else {
        Style::Normal
    };
    let function = match (&options.show_function_line, options.show_c_function) {
        (Some(pattern), _) => Some(pattern.as_bytes()),
        (None, true) => Some(b"^[[:alpha:]$_]".as_slice()),
        (None, false) => None,
    };
    let function = function
        .map(|pattern| Regex::new(pattern, Syntax::default(), Flags::default()))
        .transpose()
        .context("compile the pattern of --show-function-line")?;
    Ok(Settings {
        layout: Layout { style, expand_tabs: options.expand_tabs, initial_tab: options.initial_tab, function },
        ignore: Ignore {
            case: options.ignore_case,
            all_space: options.ignore_all_space,
            space_change: options.ignore_space_change,
            trailing_space: options.ignore_trailing_space,
            tab_expansion: options.ignore_tab_expansion,
            trailing_return: options.strip_trailing_cr,
            missing_newline: options.ed,
        },
        ignore_blank_lines: options.ignore_blank_lines,
        minimal: options.minimal,
        brief: options.brief,
        report_identical: options.report_identical_files,
        recursive: options.recursive,
        new_files: options.new_file,
        new_first: options.unidirectional_new_file,
        as_text: options.text,
        follow: !options.no_dereference,
        labels: options.label.clone(),
        exclude: excluded(options)?,
        switches,
    })
}

fn excluded(options: &Options) -> Result<Vec<Glob>> {
    let glob = |pattern: &[u8]| Glob::new(pattern, GlobFlags::default());
    let mut out: Vec<Glob> = options.exclude.iter().map(|pattern| glob(pattern.as_bytes())).collect();
    for path in &options.exclude_from {
        let text = if path == Path::new("-") {
            let mut text = Vec::new();
            io::Read::read_to_end(&mut io::stdin().lock(), &mut text).map(|_| text)
        } else {
            std::fs::read(path)
        };
        let text = text.map_err(|error| anyhow!("{}: {}", path.display(), reason(&error)))?;
        out.extend(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(glob));
    }
    Ok(out)
}
