//! `gzip`, `gunzip`, `zcat`: compress files (gzip(1)).

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;

use super::compressor::{self, Input, Outcome, Output, Trouble};
use super::gzip_format::{self, DecodeError, Remembered, Summary};
use super::level::Level;
use crate::common;
use crate::registry::{Applet, Dir};
use crate::system::clock::Date;

/// `gzip` and its other names.
pub const APPLET: Applet =
    Applet { name: "gzip", aliases: &["gunzip", "zcat"], dir: Dir::Bin, summary: "compress or decompress files", run };

const DEFAULT_LEVEL: u32 = 6;
const BUFFER: usize = 64 << 10;

#[derive(Parser)]
#[command(name = "gzip", about = "Compress files, or, called gunzip, decompress them", disable_help_flag = true)]
struct Options {
    /// Write to standard output, keep the files
    #[arg(short = 'c', long, visible_alias = "to-stdout")]
    stdout: bool,
    /// Decompress
    #[arg(short, long, visible_alias = "uncompress")]
    decompress: bool,
    /// Overwrite files, follow links, write to a terminal; with -dc copy what is not compressed
    #[arg(short, long)]
    force: bool,
    /// Keep the files
    #[arg(short, long)]
    keep: bool,
    /// List what compressed files hold
    #[arg(short, long)]
    list: bool,
    /// Neither save nor restore name and time
    #[arg(short = 'n', long, overrides_with = "name")]
    no_name: bool,
    /// Save and restore name and time
    #[arg(short = 'N', long, overrides_with = "no_name")]
    name: bool,
    /// No warnings
    #[arg(short, long, overrides_with = "verbose")]
    quiet: bool,
    /// Take the files in folders too
    #[arg(short, long)]
    recursive: bool,
    /// The compressed file's suffix
    #[arg(short = 'S', long, value_name = "SUFFIX", default_value = ".gz")]
    suffix: String,
    /// Check compressed files
    #[arg(short, long)]
    test: bool,
    /// Say what was done to each file
    #[arg(short, long, overrides_with = "quiet")]
    verbose: bool,
    #[command(flatten)]
    level: Level,
    /// Print help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Files; none, or -, is standard input
    files: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let mut options: Options = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    options.decompress |= name == "gunzip" || name == "zcat";
    options.stdout |= name == "zcat";
    if options.suffix.is_empty() || options.suffix.contains('/') || options.suffix.len() > 30 {
        let _ = writeln!(io::stderr(), "{name}: {:?} is no suffix", options.suffix);
        return 1;
    }
    let mut job = Job { name, options, outcome: Outcome::Done, totals: Sizes::default(), listed: 0 };
    let finished = job.all().map(|()| match job.outcome {
        Outcome::Done => 0,
        Outcome::Failed => 1,
        Outcome::Warned => 2,
    });
    common::finish(&job.name, finished.map_err(Into::into))
}

struct Job {
    name: String,
    options: Options,
    outcome: Outcome,
    /// Sum of what was listed.
    totals: Sizes,
    listed: usize,
}

impl Job {
    /// An error here is of standard output, which ends everything.
    fn all(&mut self) -> io::Result<()> {
        let mut files = std::mem::take(&mut self.options.files);
        if files.is_empty() {
            files.push("-".into());
        }
        for file in &files {
            if compressor::is_stdin(file) {
                self.one(None)?;
            } else if self.options.recursive && Path::new(file).is_dir() {
                let mut unread = Vec::new();
                let below = compressor::files_below(Path::new(file), &mut |path, error| {
                    unread.push(format!("{}: {}", path.display(), compressor::kernel_text(error)));
                });
                unread.iter().for_each(|message| self.complain(Outcome::Failed, message));
                for path in below {
                    self.one(Some(&path))?;
                }
            } else {
                self.one(Some(Path::new(file)))?;
            }
        }
        if self.options.list && self.listed > 1 {
            self.list_totals()?;
        }
        Ok(())
    }

    fn one(&mut self, path: Option<&Path>) -> io::Result<()> {
        let result = match path {
            Some(path) if self.options.list || self.options.test || self.options.stdout => self.stream(Some(path)),
            Some(path) => self.in_place(path),
            None => self.stream(None),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Failure::Stdout(error)) => Err(error),
            Err(Failure::File(trouble)) => {
                let shown = path.map_or("stdin".into(), |path| path.display().to_string());
                match trouble {
                    Trouble::Exists(target) => {
                        self.complain(
                            Outcome::Warned,
                            &format!("{} already exists;\tnot overwritten", target.display()),
                        );
                    }
                    Trouble::Skipped(why) => self.complain(Outcome::Warned, &format!("{shown}{why}")),
                    Trouble::Failed(why) => self.complain(Outcome::Failed, &format!("{shown}: {why}")),
                }
                Ok(())
            }
        }
    }

    fn complain(&mut self, outcome: Outcome, message: &str) {
        self.outcome = self.outcome.max(outcome);
        if outcome == Outcome::Failed || !self.options.quiet {
            let _ = writeln!(io::stderr(), "{}: {message}", self.name);
        }
    }

    /// Suffixes of compressed files and what they become.
    fn suffixes(&self) -> Vec<(&str, &'static str)> {
        let mut known = vec![(self.options.suffix.as_str(), "")];
        known.extend([
            (".gz", ""),
            ("-gz", ""),
            (".z", ""),
            ("-z", ""),
            ("_z", ""),
            (".tgz", ".tar"),
            (".taz", ".tar"),
        ]);
        known
    }

    fn in_place(&mut self, path: &Path) -> Result<(), Failure> {
        if self.options.decompress { self.decompress_in_place(path) } else { self.compress_in_place(path) }
    }

    fn compress_in_place(&mut self, path: &Path) -> Result<(), Failure> {
        let Input { file, meta } = compressor::open_input(path, self.options.force, self.options.keep)?;
        let mut known = self.suffixes();
        known.retain(|(suffix, _)| !matches!(*suffix, "-gz" | ".z" | "-z" | "_z"));
        if !self.options.force && compressor::without_suffix(path, &known).is_some() {
            let name = path.file_name().unwrap_or_default().as_bytes().to_ascii_lowercase();
            let end =
                known.iter().find(|(suffix, _)| name.ends_with(suffix.as_bytes())).map_or("", |(suffix, _)| suffix);
            // Not even a warning to gzip(1): the file is what was asked for.
            if self.options.verbose || !(self.options.recursive || self.options.quiet) {
                let _ =
                    writeln!(io::stderr(), "{}: {} already has {end} suffix -- unchanged", self.name, path.display());
            }
            return Ok(());
        }
        let target = compressor::with_suffix(path, &self.options.suffix);
        let mut out = Output::create(&self.name, &target, self.options.force)?;
        let modified = meta.modified().ok();
        let remembered = self.remembered(path, modified);
        let (plain, packed) =
            gzip_format::compress(file, &mut out, self.level(), &remembered).map_err(|error| Trouble::io(&error.0))?;
        out.finish(path, &meta, self.options.keep, None)?;
        self.say_replaced(path, &target, Sizes { packed, plain, frame: remembered.frame() });
        Ok(())
    }

    fn level(&self) -> u32 {
        self.options.level.0.unwrap_or(DEFAULT_LEVEL)
    }

    fn remembered<'a>(&self, path: &'a Path, modified: Option<SystemTime>) -> Remembered<'a> {
        if self.options.no_name {
            return Remembered::default();
        }
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
        Remembered {
            // A name with a NUL cannot be, as it is a file's.
            name: path.file_name().map(OsStr::as_bytes),
            mtime: u32::try_from(since).unwrap_or(0),
        }
    }

    fn decompress_in_place(&mut self, path: &Path) -> Result<(), Failure> {
        let Some((path, mut target)) = self.find_compressed(path)? else { return Ok(()) };
        let Input { file, meta } = compressor::open_input(&path, self.options.force, self.options.keep)?;
        let mut source = BufReader::with_capacity(BUFFER, file);
        if self.options.name
            && let Some(name) = gzip_format::name_in_header(&mut source)
        {
            target = path.with_file_name(OsString::from_vec(name));
        }
        let mut out = Output::create(&self.name, &target, self.options.force)?;
        let summary = gzip_format::decompress(source, &mut out)?;
        let restored = summary.mtime.filter(|_| self.options.name);
        let modified = restored.map(|mtime| UNIX_EPOCH + Duration::from_secs(mtime.into()));
        // A copy whose end may be missing takes no original's place.
        out.finish(&path, &meta, self.options.keep, modified)?;
        self.say_replaced(&path, &target, (&summary).into());
        self.warn_of_garbage(Some(&path), &summary);
        Ok(())
    }

    /// The file that is meant, suffix added where the name alone is not there, and what it becomes.
    fn find_compressed(&self, path: &Path) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
        if let Some(target) = compressor::without_suffix(path, &self.suffixes()) {
            return Ok(Some((path.to_owned(), target)));
        }
        if path.symlink_metadata().is_ok() {
            if path.is_dir() {
                return Err(Trouble::Skipped(" is a directory -- ignored".into()).into());
            }
            // In a folder there may be others.
            return match self.options.recursive && !self.options.verbose {
                true => Ok(None),
                false => Err(Trouble::Skipped(": unknown suffix -- ignored".into()).into()),
            };
        }
        let named = compressor::with_suffix(path, &self.options.suffix);
        match named.symlink_metadata() {
            Ok(_) => Ok(Some((named, path.to_owned()))),
            Err(error) => Err(Trouble::io(&error).into()),
        }
    }

    fn stream(&mut self, path: Option<&Path>) -> Result<(), Failure> {
        let decompress = self.options.decompress || self.options.list || self.options.test;
        let (source, modified): (Box<dyn Read>, _) = match path {
            None => (Box::new(io::stdin().lock()), None),
            Some(path) => {
                let path = if decompress { self.find_for_reading(path) } else { path.to_owned() };
                let input = compressor::open_input(&path, self.options.force, true)?;
                let modified = input.meta.modified().ok();
                (Box::new(input.file), modified)
            }
        };
        let mut source = BufReader::with_capacity(BUFFER, source);
        if !decompress {
            self.refuse_terminal(&io::stdout(), "compressed data not written to a terminal", "compression")?;
            let named = path.map(|path| self.remembered(path, modified)).unwrap_or_default();
            let out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
            let (plain, packed) =
                gzip_format::compress(source, out, self.level(), &named).map_err(|error| Failure::Stdout(error.0))?;
            self.say_ratio(path, Sizes { packed, plain, frame: named.frame() });
            return Ok(());
        }
        if path.is_none() {
            self.refuse_terminal(&io::stdin(), "compressed data not read from a terminal", "decompression")?;
        }
        if self.options.list {
            let summary = gzip_format::decompress(source, &mut io::sink())?;
            return self.list(path, modified, &summary).map_err(Failure::Stdout);
        }
        if self.options.test {
            let summary = gzip_format::decompress(source, &mut io::sink())?;
            if self.options.verbose {
                let _ = writeln!(io::stderr(), "{}:\t OK", path.unwrap_or(Path::new("stdin")).display());
            }
            self.warn_of_garbage(path, &summary);
            return Ok(());
        }
        let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
        if self.options.force && self.options.stdout && !gzip_format::is_gzip(&mut source)? {
            io::copy(&mut source, &mut out).map_err(Failure::Stdout)?;
            return out.flush().map_err(Failure::Stdout);
        }
        let result = gzip_format::decompress(source, &mut out);
        // What could be read of a damaged file is wanted all the same.
        out.flush().map_err(Failure::Stdout)?;
        let summary = result?;
        self.say_ratio(path, (&summary).into());
        self.warn_of_garbage(path, &summary);
        Ok(())
    }

    fn find_for_reading(&self, path: &Path) -> PathBuf {
        let named = compressor::with_suffix(path, &self.options.suffix);
        if path.symlink_metadata().is_err() && named.exists() { named } else { path.to_owned() }
    }

    fn refuse_terminal(&self, stream: &impl IsTerminal, what: &str, doing: &str) -> Result<(), Failure> {
        if stream.is_terminal() && !self.options.force {
            let advice = format!("{what}. Use -f to force {doing}.");
            return Err(Trouble::Failed(advice).into());
        }
        Ok(())
    }

    fn warn_of_garbage(&mut self, path: Option<&Path>, summary: &Summary) {
        if summary.trailing_garbage {
            let shown = path.unwrap_or(Path::new("stdin")).display().to_string();
            self.complain(Outcome::Warned, &format!("{shown}: decompression OK, trailing garbage ignored"));
        }
    }

    fn say_replaced(&self, path: &Path, target: &Path, sizes: Sizes) {
        if self.options.verbose {
            let done = if self.options.keep { "created" } else { "replaced with" };
            let ratio = ratio(sizes);
            let _ = writeln!(io::stderr(), "{}:\t{ratio} -- {done} {}", path.display(), target.display());
        }
    }

    fn say_ratio(&self, path: Option<&Path>, sizes: Sizes) {
        if self.options.verbose {
            let shown = path.map_or(String::new(), |path| format!("{}:\t", path.display()));
            let _ = writeln!(io::stderr(), "{shown}{}", ratio(sizes));
        }
    }

    fn list(&mut self, path: Option<&Path>, modified: Option<SystemTime>, summary: &Summary) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.listed == 0 && !self.options.quiet {
            let head = if self.options.verbose { "method  crc     date  time  " } else { "" };
            writeln!(out, "{head}         compressed        uncompressed  ratio uncompressed_name")?;
        }
        self.listed += 1;
        let sizes = Sizes::from(summary);
        self.totals.packed += sizes.packed;
        self.totals.plain += sizes.plain;
        // gzip(1) takes only the last one's off.
        self.totals.frame = sizes.frame;
        if self.options.verbose {
            let header = summary.mtime.map(i64::from);
            let file =
                modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs() as i64);
            let date = Date::from_unix(header.or(file).unwrap_or_else(crate::system::clock::now));
            let Date { day, hour, minute, .. } = date;
            write!(out, "defla {:08x} {} {day:2} {hour:02}:{minute:02} ", summary.crc, date.month_name())?;
        }
        let name = match (&summary.name, path) {
            (Some(name), Some(path)) if self.options.name => path.with_file_name(OsString::from_vec(name.clone())),
            (_, Some(path)) => compressor::without_suffix(path, &self.suffixes()).unwrap_or_else(|| path.to_owned()),
            (_, None) => "stdout".into(),
        };
        row(&mut out, sizes, &name.display().to_string())
    }

    fn list_totals(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.options.verbose {
            write!(out, "{:27}", "")?;
        }
        row(&mut out, self.totals, "(totals)")
    }
}

fn row(out: &mut impl Write, sizes: Sizes, name: &str) -> io::Result<()> {
    let Sizes { packed, plain, .. } = sizes;
    writeln!(out, "{packed:19} {plain:19} {} {name}", ratio(sizes))
}

/// How much was saved, header and trailer not counted, as gzip(1) has it.
fn ratio(sizes: Sizes) -> String {
    let Sizes { packed, plain, frame } = sizes;
    let saved = plain as f64 - (packed as f64 - frame as f64);
    format!("{:5.1}%", if plain == 0 { 0.0 } else { saved * 100.0 / plain as f64 })
}

/// Lengths of a file in its two forms, and of what the compressed one has around the data.
#[derive(Clone, Copy, Default)]
struct Sizes {
    packed: u64,
    plain: u64,
    frame: u64,
}

impl From<&Summary> for Sizes {
    fn from(summary: &Summary) -> Self {
        Self { packed: summary.bytes_in, plain: summary.bytes_out, frame: summary.frame }
    }
}

/// What ended the work on one file.
enum Failure {
    File(Trouble),
    /// Standard output is gone: nothing more can be done.
    Stdout(io::Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure::File(trouble)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::File(Trouble::io(&error))
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::Stdout(error),
            other => Failure::File(Trouble::Failed(other.to_string())),
        }
    }
}
