//! `grep`, `egrep`, `fgrep`: print the lines that match patterns.
//!
//! POSIX.1-2024 XCU `grep` with GNU's options. The search runs on ripgrep's searcher; see `regex` for how patterns are served.

mod lines;
mod print;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Parser, ValueEnum};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};

use super::glob::{Glob, GlobFlags};
use super::reason;
use crate::common;
use crate::registry::{Applet, Dir};
use lines::LineMatcher;
use print::Printer;

/// `grep`.
pub const APPLET: Applet = Applet {
    name: "grep",
    aliases: &["egrep", "fgrep"],
    dir: Dir::Bin,
    summary: "Print lines that match patterns",
    run,
};

/// Status of an error, as POSIX has it.
const ERROR: i32 = 2;

/// Print the lines of FILEs that match PATTERNS. With no FILE, read standard input (with -r: the working folder).
#[derive(Parser)]
#[command(
    name = "grep",
    disable_help_flag = true,
    args_override_self = true,
    override_usage = "grep [OPTION]... PATTERNS [FILE]..."
)]
pub struct Options {
    /// PATTERNS are extended regular expressions
    #[arg(short = 'E', long, overrides_with_all = ["basic_regexp", "fixed_strings"])]
    extended_regexp: bool,
    /// PATTERNS are basic regular expressions (default)
    #[arg(short = 'G', long, overrides_with_all = ["extended_regexp", "fixed_strings"])]
    basic_regexp: bool,
    /// PATTERNS are strings
    #[arg(short = 'F', long, overrides_with_all = ["extended_regexp", "basic_regexp"])]
    fixed_strings: bool,
    /// Use PATTERNS for matching
    #[arg(short = 'e', long = "regexp", value_name = "PATTERNS", allow_hyphen_values = true, action = ArgAction::Append)]
    patterns: Vec<OsString>,
    /// Take PATTERNS from FILE
    #[arg(short = 'f', long, value_name = "FILE", action = ArgAction::Append)]
    file: Vec<PathBuf>,
    /// Ignore case
    #[arg(short = 'i', long, short_alias = 'y', overrides_with = "no_ignore_case")]
    ignore_case: bool,
    /// Do not ignore case (default)
    #[arg(long, overrides_with = "ignore_case")]
    no_ignore_case: bool,
    /// Select the lines that do not match
    #[arg(short = 'v', long)]
    invert_match: bool,
    /// Match only whole words
    #[arg(short = 'w', long)]
    word_regexp: bool,
    /// Match only whole lines
    #[arg(short = 'x', long)]
    line_regexp: bool,
    /// Print only a count of selected lines per FILE
    #[arg(short = 'c', long)]
    count: bool,
    /// Print only the names of FILEs with selected lines
    #[arg(short = 'l', long, overrides_with = "files_without_match")]
    files_with_matches: bool,
    /// Print only the names of FILEs without selected lines
    #[arg(short = 'L', long, overrides_with = "files_with_matches")]
    files_without_match: bool,
    /// Stop after NUM selected lines of a FILE
    #[arg(short = 'm', long, value_name = "NUM")]
    max_count: Option<u64>,
    /// Print only the parts of lines that match
    #[arg(short = 'o', long)]
    only_matching: bool,
    /// Print nothing; exit at the first match
    #[arg(short = 'q', long, visible_alias = "silent")]
    quiet: bool,
    /// Suppress messages about files that cannot be read
    #[arg(short = 's', long)]
    no_messages: bool,
    /// Print the byte offset with output lines
    #[arg(short = 'b', long)]
    byte_offset: bool,
    /// Print line numbers with output lines
    #[arg(short = 'n', long)]
    line_number: bool,
    /// Print the file name with output lines
    #[arg(short = 'H', long, overrides_with = "no_filename")]
    with_filename: bool,
    /// Print no file names
    #[arg(short = 'h', long, overrides_with = "with_filename")]
    no_filename: bool,
    /// The name to print for standard input
    #[arg(long, value_name = "LABEL")]
    label: Option<OsString>,
    /// Print a zero byte after file names
    #[arg(short = 'Z', long)]
    null: bool,
    /// Lines end with a zero byte
    #[arg(short = 'z', long)]
    null_data: bool,
    /// Print NUM lines after selected ones
    #[arg(short = 'A', long, value_name = "NUM")]
    after_context: Option<usize>,
    /// Print NUM lines before selected ones
    #[arg(short = 'B', long, value_name = "NUM")]
    before_context: Option<usize>,
    /// Print NUM lines around selected ones; -NUM is the same
    #[arg(short = 'C', long, value_name = "NUM")]
    context: Option<usize>,
    /// Treat binary files as text
    #[arg(short = 'a', long)]
    text: bool,
    /// Treat binary files as files without a match
    #[arg(short = 'I')]
    skip_binary: bool,
    /// Search folders recursively, following no symbolic link but those given
    #[arg(short = 'r', long)]
    recursive: bool,
    /// Search folders recursively, following symbolic links
    #[arg(short = 'R', long)]
    dereference_recursive: bool,
    /// Search only files whose name matches GLOB
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    include: Vec<OsString>,
    /// Skip files whose name matches GLOB
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    exclude: Vec<OsString>,
    /// Skip folders whose name matches GLOB
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    exclude_dir: Vec<OsString>,
    /// Mark matches with colour
    #[arg(long, visible_alias = "colour", value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value = "never", default_missing_value = "auto")]
    color: Color,
    /// Flush after each line
    #[arg(long)]
    line_buffered: bool,
    /// Print this help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// PATTERNS (unless -e or -f is given) and FILEs
    #[arg(value_name = "PATTERNS and FILEs")]
    operands: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Color {
    Never,
    Auto,
    Always,
}

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options: Options = match common::parse(&expand_context(args), ERROR) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    match Grep::new(&name, options).and_then(|mut grep| grep.search_all(out)) {
        Ok(status) => status,
        Err(error) => common::finish(&name, Err(error)).min(1) * ERROR,
    }
}

/// `-NUM` is `-C NUM`.
fn expand_context(args: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len());
    let mut options = true;
    for arg in args {
        let bytes = arg.as_bytes();
        options &= bytes != b"--";
        if options && bytes.len() > 1 && bytes[0] == b'-' && bytes[1..].iter().all(u8::is_ascii_digit) {
            out.push(OsString::from("-C"));
            out.push(OsStr::from_bytes(&bytes[1..]).to_owned());
        } else {
            out.push(arg.clone());
        }
    }
    out
}

/// One run of grep.
struct Grep {
    name: String,
    options: Options,
    matcher: LineMatcher,
    files: Vec<PathBuf>,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    exclude_dir: Vec<Glob>,
    /// Device and inode of the folders that are being searched.
    holders: Vec<(u64, u64)>,
    failed: bool,
}

impl Grep {
    fn new(name: &str, mut options: Options) -> Result<Self> {
        options.extended_regexp |= name == "egrep" && !options.basic_regexp && !options.fixed_strings;
        options.fixed_strings |= name == "fgrep" && !options.basic_regexp && !options.extended_regexp;
        let mut operands = std::mem::take(&mut options.operands).into_iter();
        let patterns = patterns(&options, &mut operands)?;
        let files = operands.map(PathBuf::from).collect();
        let globs =
            |globs: &[OsString]| globs.iter().map(|glob| Glob::new(glob.as_bytes(), GlobFlags::default())).collect();
        Ok(Self {
            name: name.to_owned(),
            matcher: LineMatcher::new(&patterns, &options)?,
            include: globs(&options.include),
            exclude: globs(&options.exclude),
            exclude_dir: globs(&options.exclude_dir),
            options,
            files,
            holders: Vec::new(),
            failed: false,
        })
    }

    fn search_all(&mut self, out: impl Write) -> Result<i32> {
        let recursive = self.options.recursive || self.options.dereference_recursive;
        let mut files = std::mem::take(&mut self.files);
        let here = files.is_empty() && recursive;
        if files.is_empty() {
            files.push(if recursive { "." } else { "-" }.into());
        }
        let many = files.len() > 1 || recursive && !(files.len() == 1 && files[0] == Path::new("-"));
        let names = (many || self.options.with_filename) && !self.options.no_filename;
        let color = match self.options.color {
            Color::Always => true,
            Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            Color::Never => false,
        };
        let mut searcher = self.searcher();
        let mut printer = Printer::new(out, names, color);
        for file in &files {
            if self.done(&printer) {
                break;
            }
            if file == Path::new("-") {
                let label = self.options.label.clone().unwrap_or_else(|| "(standard input)".into());
                self.search(&mut searcher, &mut printer, Path::new(&label), io::stdin().lock())?;
            } else {
                let shown = if here { PathBuf::new() } else { file.clone() };
                self.visit(&mut searcher, &mut printer, file, shown, true)?;
            }
        }
        printer.flush()?;
        let selected = printer.any_selected;
        Ok(if self.failed && !(self.options.quiet && selected) { ERROR } else { i32::from(!selected) })
    }

    fn done<W: Write>(&self, printer: &Printer<W>) -> bool {
        self.options.quiet && printer.any_selected
    }

    fn searcher(&self) -> Searcher {
        let options = &self.options;
        let context = options.context.unwrap_or(0);
        let quiet = options.quiet
            || options.files_with_matches
            || options.files_without_match
            || options.count
            || options.only_matching;
        let lines = |own: Option<usize>| if quiet { 0 } else { own.unwrap_or(context) };
        let detection =
            if options.text || options.null_data { BinaryDetection::none() } else { BinaryDetection::convert(0) };
        let mut builder = SearcherBuilder::new();
        if options.null_data {
            builder.line_terminator(grep_matcher::LineTerminator::byte(0));
        }
        builder
            .invert_match(options.invert_match)
            .line_number(options.line_number)
            .after_context(lines(options.after_context))
            .before_context(lines(options.before_context))
            .max_matches(options.max_count)
            .bom_sniffing(false)
            .binary_detection(detection)
            .build()
    }

    fn complain(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        self.failed = true;
        if !self.options.no_messages {
            let _ = writeln!(io::stderr(), "{}: {}: {error}", self.name, path.display());
        }
    }

    /// Search a file, or what is below a folder. `shown` is the path to print.
    fn visit<W: Write>(
        &mut self,
        searcher: &mut Searcher,
        printer: &mut Printer<W>,
        path: &Path,
        shown: PathBuf,
        given: bool,
    ) -> Result<()> {
        let follow = given || self.options.dereference_recursive;
        let meta = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        let meta = match meta {
            Ok(meta) => meta,
            Err(error) => {
                self.complain(path, &reason(&error));
                return Ok(());
            }
        };
        if meta.is_dir() {
            return self.visit_new_folder(searcher, printer, path, &shown, given, &meta);
        }
        let special = meta.file_type().is_symlink() || is_special(&meta);
        if !given && special || self.skips_file(path, given) {
            return Ok(());
        }
        match File::open(path) {
            Ok(file) if self.is_output(&meta) => {
                drop(file);
                self.complain(path, &"input file is also the output");
                Ok(())
            }
            Ok(file) => self.search(searcher, printer, &shown, file),
            Err(error) => {
                self.complain(path, &reason(&error));
                Ok(())
            }
        }
    }

    /// Search below a folder, unless the way there led through it.
    fn visit_new_folder<W: Write>(
        &mut self,
        searcher: &mut Searcher,
        printer: &mut Printer<W>,
        path: &Path,
        shown: &Path,
        given: bool,
        meta: &Metadata,
    ) -> Result<()> {
        let identity = (meta.dev(), meta.ino());
        if self.holders.contains(&identity) {
            if !self.options.no_messages {
                let _ = writeln!(io::stderr(), "{}: {}: warning: recursive directory loop", self.name, path.display());
            }
            return Ok(());
        }
        self.holders.push(identity);
        let result = self.visit_folder(searcher, printer, path, shown, given);
        self.holders.pop();
        result
    }

    fn visit_folder<W: Write>(
        &mut self,
        searcher: &mut Searcher,
        printer: &mut Printer<W>,
        path: &Path,
        shown: &Path,
        given: bool,
    ) -> Result<()> {
        if !self.options.recursive && !self.options.dereference_recursive {
            self.complain(path, &"Is a directory");
            return Ok(());
        }
        let name = path.file_name().unwrap_or(path.as_os_str());
        if !(given && shown.as_os_str().is_empty()) && self.exclude_dir.iter().any(|glob| glob.matches(name.as_bytes()))
        {
            return Ok(());
        }
        if path.components().count() > 4096 {
            self.complain(path, &"folders are nested too deep");
            return Ok(());
        }
        let mut names: Vec<OsString> = match std::fs::read_dir(path) {
            Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect(),
            Err(error) => {
                self.complain(path, &reason(&error));
                return Ok(());
            }
        };
        names.sort_unstable();
        for name in names {
            if self.done(printer) {
                break;
            }
            self.visit(searcher, printer, &path.join(&name), shown.join(&name), false)?;
        }
        Ok(())
    }

    fn skips_file(&self, path: &Path, given: bool) -> bool {
        let name = path.file_name().unwrap_or(path.as_os_str()).as_bytes();
        let matches = |globs: &[Glob]| {
            globs.iter().any(|glob| glob.matches(name) || given && glob.matches(path.as_os_str().as_bytes()))
        };
        matches(&self.exclude) || !self.include.is_empty() && !matches(&self.include)
    }

    /// Whether the lines found would be read again, without end.
    fn is_output(&self, meta: &Metadata) -> bool {
        let options = &self.options;
        let endless = !(options.quiet
            || options.count
            || options.files_with_matches
            || options.files_without_match
            || options.max_count.is_some());
        let own = || rustix::fs::fstat(io::stdout()).ok();
        endless
            && meta.is_file()
            && own().is_some_and(|out| out.st_size > 0 && (out.st_dev, out.st_ino) == (meta.dev(), meta.ino()))
    }

    fn search<W: Write>(
        &mut self,
        searcher: &mut Searcher,
        printer: &mut Printer<W>,
        shown: &Path,
        input: impl Read,
    ) -> Result<()> {
        let mut sink = printer.file(shown, &self.options, &self.matcher, &self.name);
        let result = searcher.search_reader(&self.matcher, input, &mut sink);
        match result {
            Ok(()) => sink.finish(),
            Err(error) if sink.write_failed => Err(error.into()),
            Err(error) => {
                self.complain(shown, &reason(&error));
                Ok(())
            }
        }
    }
}

fn is_special(meta: &Metadata) -> bool {
    let kind = meta.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
}

/// The patterns of -e, -f, or the first operand: one on each line.
fn patterns(options: &Options, operands: &mut impl Iterator<Item = OsString>) -> Result<Vec<Vec<u8>>> {
    let mut patterns = Vec::new();
    if options.patterns.is_empty() && options.file.is_empty() {
        let Some(pattern) = operands.next() else { bail!("no pattern given; see grep --help") };
        add_lines(&mut patterns, &pattern.into_vec());
    }
    for pattern in &options.patterns {
        add_lines(&mut patterns, pattern.as_bytes());
    }
    for file in &options.file {
        let mut text = Vec::new();
        if file == Path::new("-") {
            io::stdin().lock().read_to_end(&mut text).context("read patterns from standard input")?;
        } else {
            text = std::fs::read(file).with_context(|| format!("read patterns from {}", file.display()))?;
        }
        if !text.is_empty() {
            add_lines(&mut patterns, text.strip_suffix(b"\n").unwrap_or(&text));
        }
    }
    Ok(patterns)
}

fn add_lines(patterns: &mut Vec<Vec<u8>>, text: &[u8]) {
    patterns.extend(text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
}
