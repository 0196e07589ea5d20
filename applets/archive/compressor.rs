//! What gzip and zstd do alike: take files one by one, write each result beside it, keep its attributes, remove the original.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use coracle_abi::atomic_write::{AtomicFile, Durability};

/// How one file ended, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Done.
    Done,
    /// Left alone, or done with a warning.
    Warned,
    /// Failed.
    Failed,
}

/// Why nothing was done to a file.
#[derive(Debug)]
pub enum Trouble {
    /// It was left alone; the words follow its name.
    Skipped(String),
    /// What it would become is there already.
    Exists(PathBuf),
    /// It failed.
    Failed(String),
}

impl Trouble {
    /// A failure that the kernel reported.
    pub fn io(error: &io::Error) -> Self {
        Self::Failed(kernel_text(error))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::io(&error)
    }
}

/// The kernel's words, without Rust's number behind them.
pub fn kernel_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// An input that was opened and found fit.
pub struct Input {
    /// The file.
    pub file: File,
    /// What it was when opened.
    pub meta: Metadata,
}

/// Open a file to be replaced by its other form. Without `force` a link and a file with other names are left alone, because
/// those would no longer be what they were. `keep` says that the file stays, so that its other names do not matter.
///
/// # Errors
/// Why it is left alone, or cannot be opened.
pub fn open_input(path: &Path, force: bool, keep: bool) -> Result<Input, Trouble> {
    let flags = if force || keep { 0 } else { libc::O_NOFOLLOW };
    // Not to hang on a FIFO before it is known to be one.
    let file = File::options().read(true).custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(Trouble::Skipped(" is a directory -- ignored".into()));
    }
    if !meta.is_file() && !keep {
        return Err(Trouble::Skipped(" is not a directory or a regular file -- ignored".into()));
    }
    if meta.nlink() > 1 && !force && !keep {
        let others = meta.nlink() - 1;
        let plural = if others == 1 { "" } else { "s" };
        return Err(Trouble::Skipped(format!(" has {others} other link{plural} -- file ignored")));
    }
    Ok(Input { file, meta })
}

/// A result being written beside its input.
pub struct Output {
    file: AtomicFile,
    target: PathBuf,
    force: bool,
}

impl Output {
    /// Begin the file `target`. One that exists is replaced only by `force`, or if the user says so at the terminal.
    ///
    /// # Errors
    /// If it exists, or its folder cannot be written.
    pub fn create(program: &str, target: &Path, force: bool) -> Result<Self, Trouble> {
        let force = match fs::symlink_metadata(target) {
            Ok(meta) if meta.is_dir() => return Err(Trouble::Failed(format!("{}: is a directory", target.display()))),
            Ok(_) if force => true,
            Ok(_) if io::stdin().is_terminal() && confirm(program, target)? => true,
            Ok(_) => return Err(Trouble::Exists(target.to_owned())),
            Err(_) => force,
        };
        let file = AtomicFile::create(target)
            .map_err(|error| Trouble::Failed(format!("{}: {}", target.display(), kernel_text(&error))))?;
        Ok(Self { file, target: target.to_owned(), force })
    }

    /// Give it its name; the input was no file.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn finish_plain(self) -> Result<(), Trouble> {
        self.file.set_mode(0o666 & !super::umask())?;
        self.name(Durability::Volatile)
    }

    fn name(self, durability: Durability) -> Result<(), Trouble> {
        let named = if self.force { self.file.commit(durability) } else { self.file.commit_new(durability) };
        named.map_err(|error| Trouble::Failed(format!("{}: {}", self.target.display(), kernel_text(&error))))
    }

    /// Give it the input's owner, mode and times, and its name; then the input may go. `modified` is a time to have instead of
    /// the input's.
    ///
    /// # Errors
    /// What the kernel said; the input is then still there.
    pub fn finish(
        mut self,
        input: &Path,
        meta: &Metadata,
        keep: bool,
        modified: Option<SystemTime>,
    ) -> Result<(), Trouble> {
        self.file.take_attributes(meta)?;
        let modified = modified.or(meta.modified().ok());
        let times = FileTimes::new();
        let times = meta.accessed().map_or(times, |time| times.set_accessed(time));
        // A file system that cannot hold the time holds the content all the same.
        let _ = self.file.file().set_times(modified.map_or(times, |time| times.set_modified(time)));
        // What takes the place of the only copy must be on the disk before that goes.
        let durability = if keep { Durability::Volatile } else { Durability::Durable };
        self.name(durability)?;
        if !keep {
            fs::remove_file(input)?;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn confirm(program: &str, target: &Path) -> io::Result<bool> {
    write!(io::stderr(), "{program}: {} already exists; do you wish to overwrite (y or n)? ", target.display())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim_start().starts_with(['y', 'Y']))
}

/// `path` with `suffix` behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `path` without its suffix, if it is one of these (suffix, what takes its place); a name that is nothing but a suffix has none.
pub fn without_suffix(path: &Path, suffixes: &[(&str, &str)]) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    suffixes.iter().find_map(|(suffix, instead)| {
        let cut = name.len().checked_sub(suffix.len()).filter(|cut| *cut > 0)?;
        let (stem, end) = name.split_at(cut);
        end.eq_ignore_ascii_case(suffix.as_bytes())
            .then(|| path.with_file_name(OsString::from_vec([stem, instead.as_bytes()].concat())))
    })
}

/// All files below a folder, in the order of their names; what cannot be read is reported to `failed`.
pub fn files_below(folder: &Path, failed: &mut dyn FnMut(&Path, &io::Error)) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            failed(folder, &error);
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort_unstable();
    let mut files = Vec::new();
    for path in paths {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => files.extend(files_below(&path, failed)),
            Ok(_) => files.push(path),
            Err(error) => failed(&path, &error),
        }
    }
    files
}

/// Whether the operand means standard input.
pub fn is_stdin(operand: &OsStr) -> bool {
    operand == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        let known = [(".gz", ""), (".tgz", ".tar")];
        assert_eq!(with_suffix(Path::new("a/b.c"), ".gz"), Path::new("a/b.c.gz"));
        assert_eq!(without_suffix(Path::new("a/b.GZ"), &known).unwrap(), Path::new("a/b"));
        assert_eq!(without_suffix(Path::new("b.tgz"), &known).unwrap(), Path::new("b.tar"));
        assert_eq!(without_suffix(Path::new("a/.gz"), &known), None);
        assert_eq!(without_suffix(Path::new("gz"), &known), None);
    }
}
