//! `zstd`, `unzstd`, `zstdcat`: compress files (zstd(1)).
//!
//! The encoder has one level, about the original's -1: another one asked for is refused.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use coracle_image_oci::decompress::{self, Compression};

use super::compressor::{self, Input, Outcome, Output, Trouble};
use super::zstd_format::Encoder;
use crate::common;
use crate::registry::{Applet, Dir};

/// `zstd` and its other names.
pub const APPLET: Applet = Applet {
    name: "zstd",
    aliases: &["unzstd", "zstdcat"],
    dir: Dir::Bin,
    summary: "compress or decompress files with Zstandard",
    run,
};

const SUFFIX: &str = ".zst";
const SUFFIXES: [(&str, &str); 2] = [(SUFFIX, ""), (".tzst", ".tar")];
const BUFFER: usize = 128 << 10;

#[derive(Parser)]
#[command(name = "zstd", about = "Compress files, or, called unzstd, decompress them", disable_help_flag = true)]
struct Options {
    /// Compress (the default)
    #[arg(short = 'z', long, overrides_with = "decompress")]
    compress: bool,
    /// Decompress
    #[arg(short, long, visible_alias = "uncompress", overrides_with = "compress")]
    decompress: bool,
    /// The level: there is but this one
    #[arg(short = '1')]
    one: bool,
    /// Write to standard output
    #[arg(short = 'c', long)]
    stdout: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "stdout")]
    output: Option<PathBuf>,
    /// Overwrite files, write to a terminal; with -dc copy what is not compressed
    #[arg(short, long)]
    force: bool,
    /// Keep the files (the default)
    #[arg(short, long, overrides_with = "rm")]
    keep: bool,
    /// Remove each file when its other form is complete
    #[arg(long, overrides_with = "keep", conflicts_with_all = ["stdout", "output", "test"])]
    rm: bool,
    /// Check compressed files
    #[arg(short, long)]
    test: bool,
    /// Take the files in folders too
    #[arg(short)]
    recursive: bool,
    /// Only errors
    #[arg(short, long, overrides_with = "verbose")]
    quiet: bool,
    /// Say what was done to each file
    #[arg(short, long, overrides_with = "quiet")]
    verbose: bool,
    /// Print help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Files; none, or -, is standard input
    files: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    if let Some(level) = args.iter().skip(1).take_while(|arg| *arg != "--").find_map(|arg| other_level(arg)) {
        let _ = writeln!(io::stderr(), "{name}: -{level}: only level 1 is supported");
        return 1;
    }
    let mut options: Options = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    options.decompress |= name == "unzstd" || name == "zstdcat";
    options.stdout |= name == "zstdcat";
    options.force |= name == "zstdcat";
    let mut job = Job { name, options, outcome: Outcome::Done };
    let finished = job.all().map(|()| i32::from(job.outcome != Outcome::Done));
    common::finish(&job.name, finished.map_err(Into::into))
}

/// `-19` is one option to zstd, not two.
fn other_level(arg: &std::ffi::OsStr) -> Option<&str> {
    let digits = arg.to_str()?.strip_prefix('-')?;
    (!digits.is_empty() && digits != "1" && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

struct Job {
    name: String,
    options: Options,
    outcome: Outcome,
}

/// What ended the work on one file.
enum Failure {
    File(Trouble),
    /// Standard output is gone: nothing more can be done.
    Stdout(io::Error),
}

impl<T: Into<Trouble>> From<T> for Failure {
    fn from(trouble: T) -> Self {
        Failure::File(trouble.into())
    }
}

impl Job {
    fn all(&mut self) -> io::Result<()> {
        let mut files = std::mem::take(&mut self.options.files);
        if files.is_empty() {
            files.push("-".into());
        }
        if self.options.output.is_some() && files.len() > 1 {
            self.complain("-o: several files cannot become one; use -c");
            return Ok(());
        }
        for file in &files {
            let path = Path::new(file);
            if compressor::is_stdin(file) {
                self.one(None)?;
            } else if self.options.recursive && path.is_dir() {
                let mut unread = Vec::new();
                let below = compressor::files_below(path, &mut |path, error| {
                    unread.push(format!("{}: {}", path.display(), compressor::kernel_text(error)));
                });
                unread.iter().for_each(|message| self.complain(message));
                for path in below {
                    self.one(Some(&path))?;
                }
            } else {
                self.one(Some(path))?;
            }
        }
        Ok(())
    }

    fn one(&mut self, path: Option<&Path>) -> io::Result<()> {
        let shown = path.map_or("stdin".into(), |path| path.display().to_string());
        match self.transform(path, &shown) {
            Ok(()) => {}
            Err(Failure::Stdout(error)) => return Err(error),
            Err(Failure::File(Trouble::Exists(target))) => {
                self.complain(&format!("{} already exists; not overwritten", target.display()));
            }
            Err(Failure::File(Trouble::Skipped(why))) => self.complain(&format!("{shown}{why}")),
            Err(Failure::File(Trouble::Failed(why))) => self.complain(&format!("{shown}: {why}")),
        }
        Ok(())
    }

    fn complain(&mut self, message: &str) {
        self.outcome = Outcome::Failed;
        let _ = writeln!(io::stderr(), "{}: {message}", self.name);
    }

    fn transform(&mut self, path: Option<&Path>, shown: &str) -> Result<(), Failure> {
        let input = path.map(|path| compressor::open_input(path, self.options.force, !self.options.rm)).transpose()?;
        let meta = input.as_ref().map(|input| input.meta.clone());
        let source: Box<dyn Read + Send> = match input {
            Some(Input { file, .. }) => Box::new(file),
            None => Box::new(io::stdin()),
        };
        let mut source = BufReader::with_capacity(BUFFER, source);
        if self.options.test {
            let length = self.pump(&mut source, &mut io::sink())?;
            if !self.options.quiet {
                let _ = writeln!(io::stderr(), "{shown}: {length} bytes");
            }
            return Ok(());
        }
        let Some(target) = self.target(path)? else {
            return self.to_stdout(&mut source, path.is_none());
        };
        if path == Some(&target) {
            return Err(Trouble::Failed("would overwrite itself".into()).into());
        }
        let mut out = Output::create(&self.name, &target, self.options.force)?;
        self.pump(&mut source, &mut out)?;
        match (path, meta) {
            (Some(path), Some(meta)) => out.finish(path, &meta, !self.options.rm, None)?,
            _ => out.finish_plain()?,
        }
        if self.options.verbose {
            let _ = writeln!(io::stderr(), "{shown}: {}", target.display());
        }
        Ok(())
    }

    /// The file that it becomes; `None` is standard output.
    fn target(&self, path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
        if let Some(output) = &self.options.output {
            return Ok(Some(output.clone()).filter(|output| output.as_os_str() != "-"));
        }
        match path {
            None => Ok(None),
            Some(_) if self.options.stdout => Ok(None),
            Some(path) if !self.options.decompress => Ok(Some(compressor::with_suffix(path, SUFFIX))),
            Some(path) => match compressor::without_suffix(path, &SUFFIXES) {
                Some(target) => Ok(Some(target)),
                None => Err(Trouble::Skipped(": unknown suffix (.zst and .tzst are known) -- ignored".into()).into()),
            },
        }
    }

    fn to_stdout(&self, source: &mut (dyn BufRead + Send), is_stdin: bool) -> Result<(), Failure> {
        let terminal = match self.options.decompress {
            true => is_stdin && io::stdin().is_terminal(),
            false => io::stdout().is_terminal(),
        };
        if terminal && !self.options.force {
            return Err(Trouble::Failed(
                "compressed data and a terminal do not go together; use -f to force it".into(),
            )
            .into());
        }
        let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
        let result = self.pump(source, &mut StdoutGone(&mut out));
        // What could be read of a damaged file is wanted all the same.
        out.flush().map_err(Failure::Stdout)?;
        result.map(drop)
    }

    /// Compress or decompress; gives the length of the uncompressed data.
    fn pump(&self, source: &mut (dyn BufRead + Send), out: &mut dyn Write) -> Result<u64, Failure> {
        if !self.options.decompress && !self.options.test {
            let mut encoder = Encoder::new(out);
            let length = io::copy(source, &mut encoder).map_err(sort_out)?;
            encoder.finish().map_err(sort_out)?;
            return Ok(length);
        }
        let passes = self.options.force && self.options.stdout && !self.options.test;
        match Compression::detect(source.fill_buf()?) {
            Compression::Zstd => {}
            _ if passes => return io::copy(source, out).map_err(sort_out),
            _ => return Err(Trouble::Failed("not in zstd format".into()).into()),
        }
        let (_, mut reader) = decompress::reader(source)?;
        io::copy(&mut reader, out).map_err(sort_out)
    }
}

/// Marks an error as standard output's.
struct StdoutGone<W>(W);

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Marked(io::Error);

impl<W: Write> Write for StdoutGone<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| io::Error::other(Marked(error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| io::Error::other(Marked(error)))
    }
}

fn sort_out(error: io::Error) -> Failure {
    match error.downcast::<Marked>() {
        Ok(Marked(error)) => Failure::Stdout(error),
        Err(error) => Failure::File(Trouble::io(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        assert_eq!(other_level("-19".as_ref()), Some("19"));
        assert_eq!(other_level("-3".as_ref()), Some("3"));
        for fine in ["-1", "-1c", "19", "-", "-c"] {
            assert_eq!(other_level(fine.as_ref()), None);
        }
    }
}
