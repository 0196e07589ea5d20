//! Comparing files and folders by name.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};

use super::print::{Comparison, Layout, Style};
use super::script::{Change, compare};
use super::text::{Ignore, Text, classes};
use crate::text::glob::Glob;
use crate::text::reason;

/// Deepest nesting of folders: keeps recursion within the stack.
const DEPTH_MAX: usize = 1000;

/// The files were the same.
pub const SAME: i32 = 0;
/// They were different.
pub const DIFFERENT: i32 = 1;
/// Something went wrong.
pub const TROUBLE: i32 = 2;

/// What is to be compared and how.
pub struct Settings {
    pub layout: Layout,
    pub ignore: Ignore,
    pub ignore_blank_lines: bool,
    pub minimal: bool,
    pub brief: bool,
    pub report_identical: bool,
    pub recursive: bool,
    /// Files that are not there count as empty.
    pub new_files: bool,
    /// Only those of the first folder.
    pub new_first: bool,
    pub as_text: bool,
    pub follow: bool,
    pub labels: Vec<OsString>,
    pub exclude: Vec<Glob>,
    /// The options, for the line that begins each comparison within folders.
    pub switches: String,
}

/// A run of diff.
pub struct Run<'r> {
    settings: &'r Settings,
    out: Box<dyn Write + 'r>,
    /// Device and inode of the folders that are being compared.
    holders: Vec<[Option<(u64, u64)>; 2]>,
}

/// One of the two files.
struct Side {
    path: PathBuf,
    /// None if it is not there.
    meta: Option<Metadata>,
}

impl<'r> Run<'r> {
    /// Write to `out`.
    pub fn new(settings: &'r Settings, out: impl Write + 'r) -> Self {
        Self { settings, out: Box::new(out), holders: Vec::new() }
    }

    /// Compare two operands; the exit status.
    ///
    /// # Errors
    /// When output cannot be written.
    pub fn operands(&mut self, a: &Path, b: &Path) -> Result<i32> {
        let is_dir = |path: &Path| path != Path::new("-") && fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        let (mut a, mut b) = (a.to_owned(), b.to_owned());
        // Of a folder and a file, the file of the same name in the folder is meant.
        match (is_dir(&a), is_dir(&b)) {
            (true, false) if b != Path::new("-") => a.extend(b.file_name()),
            (false, true) if a != Path::new("-") => b.extend(a.file_name()),
            (true, false) | (false, true) => {
                self.complain("cannot compare '-' to a directory");
                return Ok(TROUBLE);
            }
            _ => {}
        }
        let status = self.pair(a, b, 0)?;
        self.out.flush()?;
        Ok(status)
    }

    fn complain(&mut self, message: &str) {
        // In its place among the output.
        let _ = self.out.flush();
        let _ = writeln!(io::stderr(), "diff: {message}");
    }

    fn side(&mut self, path: PathBuf, may_be_absent: bool) -> Option<Side> {
        if path == Path::new("-") {
            let meta = File::open("/dev/stdin").and_then(|file| file.metadata());
            return Some(Side { path, meta: meta.ok() });
        }
        let meta = if self.settings.follow { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        match meta {
            Ok(meta) => Some(Side { path, meta: Some(meta) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_absent => Some(Side { path, meta: None }),
            Err(error) => {
                self.complain(&format!("{}: {}", path.display(), reason(&error)));
                None
            }
        }
    }

    fn pair(&mut self, a: PathBuf, b: PathBuf, depth: usize) -> Result<i32> {
        let new = self.settings.new_files;
        let (a, b) = (self.side(a, new || self.settings.new_first), self.side(b, new));
        let (Some(a), Some(b)) = (a, b) else { return Ok(TROUBLE) };
        self.sides(&a, &b, depth)
    }

    fn sides(&mut self, a: &Side, b: &Side, depth: usize) -> Result<i32> {
        if let (None, None) = (&a.meta, &b.meta)
            && a.path != Path::new("-")
        {
            self.complain(&format!("{}: No such file or directory", a.path.display()));
            self.complain(&format!("{}: No such file or directory", b.path.display()));
            return Ok(TROUBLE);
        }
        let same_file = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let same = a.meta.as_ref().zip(b.meta.as_ref()).is_some_and(|(a, b)| same_file(a, b));
        let is_dir = |side: &Side| side.meta.as_ref().is_some_and(Metadata::is_dir);
        let absent = |side: &Side| side.meta.is_none() && side.path != Path::new("-");
        if is_dir(a) && is_dir(b) || is_dir(a) && absent(b) || absent(a) && is_dir(b) {
            if depth > 0 && !self.settings.recursive {
                writeln!(self.out, "Common subdirectories: {} and {}", a.path.display(), b.path.display())?;
                return Ok(SAME);
            }
            return if same { Ok(SAME) } else { self.new_folders(a, b, depth) };
        }
        if let (Some(a_meta), Some(b_meta)) = (&a.meta, &b.meta) {
            let (a_kind, b_kind) = (kind(a_meta), kind(b_meta));
            let special = depth > 0 && (is_special(a_meta.file_type()) || is_special(b_meta.file_type()));
            let symlinks = a_meta.is_symlink() && b_meta.is_symlink();
            if symlinks && fs::read_link(&a.path)? == fs::read_link(&b.path)? {
                return Ok(SAME);
            }
            if symlinks {
                writeln!(self.out, "Symbolic links {} and {} differ", a.path.display(), b.path.display())?;
                return Ok(DIFFERENT);
            }
            let differ = a_meta.file_type() != b_meta.file_type();
            let different_kinds = differ && (depth > 0 || !self.settings.follow);
            if special || different_kinds || a_meta.is_dir() != b_meta.is_dir() {
                writeln!(
                    self.out,
                    "File {} is a {a_kind} while file {} is a {b_kind}",
                    a.path.display(),
                    b.path.display()
                )?;
                return Ok(DIFFERENT);
            }
        }
        self.files(a, b, same, depth)
    }

    /// Compare folders, unless the way there led through one of them.
    fn new_folders(&mut self, a: &Side, b: &Side, depth: usize) -> Result<i32> {
        let identity = |side: &Side| side.meta.as_ref().map(|meta| (meta.dev(), meta.ino()));
        let identities = [identity(a), identity(b)];
        for (index, side) in [a, b].into_iter().enumerate() {
            let is_held = |holder: &[Option<(u64, u64)>; 2]| holder[index] == identities[index];
            if identities[index].is_some() && self.holders.iter().any(is_held) {
                self.complain(&format!("{}: recursive directory loop", side.path.display()));
                return Ok(TROUBLE);
            }
        }
        self.holders.push(identities);
        let result = self.folders(a, b, depth);
        self.holders.pop();
        result
    }

    fn folders(&mut self, a: &Side, b: &Side, depth: usize) -> Result<i32> {
        if depth > DEPTH_MAX {
            self.complain(&format!("{}: folders are nested too deep", a.path.display()));
            return Ok(TROUBLE);
        }
        let mut status = SAME;
        let mut names = BTreeSet::new();
        let mut listed = Vec::new();
        for side in [a, b] {
            let list = if side.meta.is_some() { self.list(&side.path) } else { Some(BTreeSet::new()) };
            let Some(list) = list else { return Ok(TROUBLE) };
            names.extend(list.iter().cloned());
            listed.push(list);
        }
        for name in names {
            if self.settings.exclude.iter().any(|glob| glob.matches(name.as_bytes())) {
                continue;
            }
            let there = [listed[0].contains(&name), listed[1].contains(&name)];
            let (a_path, b_path) = (a.path.join(&name), b.path.join(&name));
            let alone = match there {
                [true, false] if !self.settings.new_files => Some(&a.path),
                [false, true] if !self.settings.new_files && !self.settings.new_first => Some(&b.path),
                _ => None,
            };
            status = status.max(match alone {
                Some(folder) => {
                    writeln!(self.out, "Only in {}: {}", folder.display(), name.display())?;
                    DIFFERENT
                }
                None => self.children(a_path, b_path, there, depth)?,
            });
        }
        Ok(status)
    }

    /// Compare what two folders hold under one name.
    fn children(&mut self, a: PathBuf, b: PathBuf, there: [bool; 2], depth: usize) -> Result<i32> {
        let absent = |path: PathBuf| Some(Side { path, meta: None });
        let a = if there[0] { self.side(a, false) } else { absent(a) };
        let b = if there[1] { self.side(b, false) } else { absent(b) };
        let (Some(a), Some(b)) = (a, b) else { return Ok(TROUBLE) };
        self.sides(&a, &b, depth + 1)
    }

    fn list(&mut self, path: &Path) -> Option<BTreeSet<OsString>> {
        let read = || fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>();
        match read() {
            Ok(names) => Some(names),
            Err(error) => {
                self.complain(&format!("{}: {}", path.display(), reason(&error)));
                None
            }
        }
    }

    fn files(&mut self, a: &Side, b: &Side, same: bool, depth: usize) -> Result<i32> {
        let status = if same {
            SAME
        } else {
            let (a_bytes, b_bytes) = (self.read(a), self.read(b));
            let (Some(a_bytes), Some(b_bytes)) = (a_bytes, b_bytes) else { return Ok(TROUBLE) };
            self.contents(a, b, a_bytes, b_bytes, depth)?
        };
        if status == SAME && self.settings.report_identical {
            writeln!(self.out, "Files {} and {} are identical", a.path.display(), b.path.display())?;
        }
        Ok(status)
    }

    fn read(&mut self, side: &Side) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = if side.path == Path::new("-") {
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        } else if side.meta.is_none() {
            Ok(bytes)
        } else {
            fs::read(&side.path)
        };
        match read {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.complain(&format!("{}: {}", side.path.display(), reason(&error)));
                None
            }
        }
    }

    fn contents(&mut self, a: &Side, b: &Side, a_bytes: Vec<u8>, b_bytes: Vec<u8>, depth: usize) -> Result<i32> {
        if a_bytes == b_bytes {
            return Ok(SAME);
        }
        let settings = self.settings;
        let binary = |bytes: &[u8]| bytes[..bytes.len().min(32 << 10)].contains(&0);
        if !settings.as_text && (binary(&a_bytes) || binary(&b_bytes)) {
            let what = if settings.brief { "Files" } else { "Binary files" };
            writeln!(self.out, "{what} {} and {} differ", a.path.display(), b.path.display())?;
            return Ok(DIFFERENT);
        }
        let (a_text, b_text) = (Text::new(a_bytes), Text::new(b_bytes));
        let (a_classes, b_classes) = classes(&a_text, &b_text, settings.ignore);
        let changes = compare(&a_classes, &b_classes, settings.minimal);
        let blank = |text: &Text, index: usize| text.line(index).iter().all(u8::is_ascii_whitespace);
        let ignorable = |change: &Change| {
            settings.ignore_blank_lines
                && change.a.clone().all(|index| blank(&a_text, index))
                && change.b.clone().all(|index| blank(&b_text, index))
        };
        let ends = self.check_ends([(a, &a_text), (b, &b_text)]);
        if changes.iter().all(ignorable) {
            return Ok(ends);
        }
        if settings.brief {
            writeln!(self.out, "Files {} and {} differ", a.path.display(), b.path.display())?;
            return Ok(DIFFERENT);
        }
        if depth > 0 {
            let names = [self.name(0, a), self.name(1, b)].map(|name| String::from_utf8_lossy(&name).into_owned());
            writeln!(self.out, "diff{} {} {}", settings.switches, names[0], names[1])?;
        }
        let headers = [self.header(0, a), self.header(1, b)];
        let comparison = Comparison { a: &a_text, b: &b_text, changes: &changes, ignorable: &ignorable, headers };
        settings.layout.print(&comparison, &mut *self.out)?;
        Ok(ends.max(DIFFERENT))
    }

    /// Complain of a newline that is missing at the end, when the form of output cannot tell of it.
    fn check_ends(&mut self, sides: [(&Side, &Text); 2]) -> i32 {
        let mut status = SAME;
        for (side, text) in sides {
            if self.settings.layout.style == Style::Ed && text.unended {
                self.complain(&format!("{}: No newline at end of file\n", side.path.display()));
                status = TROUBLE;
            }
        }
        status
    }

    /// What a file is called in a header.
    fn name(&self, index: usize, side: &Side) -> Vec<u8> {
        quoted(self.settings.labels.get(index).map_or(side.path.as_os_str(), OsString::as_os_str))
    }

    /// What a file is called in its own line of a header: a label as it is, or the name with the time.
    fn header(&self, index: usize, side: &Side) -> Vec<u8> {
        if let Some(label) = self.settings.labels.get(index) {
            return label.as_bytes().to_vec();
        }
        let time = match (&side.meta, side.path == Path::new("-")) {
            (Some(meta), false) => meta.modified().unwrap_or(UNIX_EPOCH),
            (_, true) => SystemTime::now(),
            (None, false) => UNIX_EPOCH,
        };
        [self.name(index, side), b"\t".to_vec(), time_text(time).into_bytes()].concat()
    }
}

fn time_text(time: SystemTime) -> String {
    let Ok(timestamp) = Timestamp::try_from(time) else { return "?".into() };
    let fraction = time.duration_since(UNIX_EPOCH).map_or_else(
        |before| {
            (Duration::from_secs(1).subsec_nanos() + 1_000_000_000 - before.duration().subsec_nanos()) % 1_000_000_000
        },
        |since| since.subsec_nanos(),
    );
    let zoned = timestamp.to_zoned(TimeZone::system());
    format!("{}.{fraction:09} {}", zoned.strftime("%Y-%m-%d %H:%M:%S"), zoned.strftime("%z"))
}

fn is_special(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device()
}

/// GNU's words for a file's type.
fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block special file"
    } else if kind.is_char_device() {
        "character special file"
    } else if meta.len() == 0 {
        "regular empty file"
    } else {
        "regular file"
    }
}

/// A name; one with blanks, quotes or control characters as C writes it.
fn quoted(name: &OsStr) -> Vec<u8> {
    let name = name.as_bytes();
    if !name.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'"' | b'\\')) {
        return name.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in name {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\t' => out.extend(b"\\t"),
            byte if byte.is_ascii_control() => out.extend(format!("\\{byte:03o}").as_bytes()),
            byte => out.push(*byte),
        }
    }
    out.push(b'"');
    out
}

/// A word as one writes it to a shell.
pub fn shell_quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
