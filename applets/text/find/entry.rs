//! A file that the walk has come to, reached through its folder's descriptor.

use std::cell::{Cell, OnceCell};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use super::clock::SECOND;
use super::expression::{Nanoseconds, Stamp};
use crate::text::reason;

/// Tells of errors, and remembers that there was one.
#[derive(Default)]
pub struct Report {
    failed: Cell<bool>,
}

impl Report {
    /// What is wrong with `path`.
    pub fn path(&self, path: &[u8], error: impl Into<io::Error>) {
        self.message(&format!("{}: {}", quoted(path), reason(&error.into())));
    }

    /// What is wrong with `path`, if that is no failure of this run.
    pub fn note(&self, path: &[u8], error: impl Into<io::Error>) {
        let _ = writeln!(io::stderr(), "find: {}: {}", quoted(path), reason(&error.into()));
    }

    /// What is wrong.
    pub fn message(&self, message: &str) {
        self.failed.set(true);
        let _ = writeln!(io::stderr(), "find: {message}");
    }

    /// Note a failure that has been told elsewhere.
    pub fn fail(&self) {
        self.failed.set(true);
    }

    /// Whether there was an error.
    pub fn failed(&self) -> bool {
        self.failed.get()
    }
}

/// A name as GNU writes it in messages, without what a terminal could take for a command.
pub fn quoted(name: &[u8]) -> String {
    let name: String = String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("‘{name}’")
}

/// One file.
pub struct Entry<'a> {
    /// The path from the starting point on, which begins it.
    pub path: &'a [u8],
    /// The length of the starting point.
    pub root: usize,
    /// How many folders below the starting point.
    pub depth: usize,
    /// The folder in which system calls find it.
    pub folder: BorrowedFd<'a>,
    /// Its name there; for a starting point, the path itself.
    pub at: &'a [u8],
    /// A symbolic link is taken for what it leads to.
    pub follow: bool,
    /// What the folder says of its type.
    pub hint: FileType,
    pub report: &'a Report,
    pub stat: OnceCell<Option<Statx>>,
}

impl Entry<'_> {
    /// The last part of the path.
    pub fn name(&self) -> &[u8] {
        base_name(self.path)
    }

    /// What the system knows of the file. An error is told once.
    pub fn stat(&self) -> Option<&Statx> {
        self.stat
            .get_or_init(|| match stat_at(self.folder, self.at, self.follow) {
                Ok(stat) => Some(stat),
                Err(error) => {
                    self.report.path(self.path, error);
                    None
                }
            })
            .as_ref()
    }

    /// Its type: without asking the system, where the folder has told.
    pub fn kind(&self) -> FileType {
        if self.stat.get().is_none()
            && !(self.hint == FileType::Unknown || self.hint == FileType::Symlink && self.follow)
        {
            return self.hint;
        }
        self.stat().map_or(FileType::Unknown, kind_of)
    }

    /// What a symbolic link holds; `None` for another file.
    pub fn link_target(&self) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(self.folder, self.at, Vec::new()).ok().map(std::ffi::CString::into_bytes)
    }
}

/// Ask the system about a file. A link that leads nowhere, or round in a ring, is taken for itself.
pub fn stat_at(folder: BorrowedFd<'_>, at: &[u8], follow: bool) -> Result<Statx, Errno> {
    let ask = |flags| rustix::fs::statx(folder, at, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME);
    let itself = AtFlags::SYMLINK_NOFOLLOW;
    if !follow {
        return ask(itself);
    }
    match ask(AtFlags::empty()) {
        Err(Errno::NOENT | Errno::LOOP) => ask(itself),
        result => result,
    }
}

/// The type of a file.
pub fn kind_of(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// The letter of `-type` and `%y`.
pub fn letter(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => b'f',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::BlockDevice => b'b',
        FileType::CharacterDevice => b'c',
        FileType::Fifo => b'p',
        FileType::Socket => b's',
        FileType::Unknown => b'U',
    }
}

/// Device number.
pub fn device(stat: &Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// One of the file's times; `None` for a birth that the file system does not record.
pub fn stamp(stat: &Statx, which: Stamp) -> Option<Nanoseconds> {
    let time = |time: &StatxTimestamp| Nanoseconds::from(time.tv_sec) * SECOND + Nanoseconds::from(time.tv_nsec);
    match which {
        Stamp::Access => Some(time(&stat.stx_atime)),
        Stamp::Change => Some(time(&stat.stx_ctime)),
        Stamp::Modification => Some(time(&stat.stx_mtime)),
        Stamp::Birth => (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(&stat.stx_btime)),
    }
}

/// The last part of a path, without slashes at its end; of `/`, itself.
pub fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(path.len().min(1), |at| at + 1);
    let trimmed = &path[..end];
    match trimmed.iter().rposition(|byte| *byte == b'/') {
        Some(at) if trimmed.len() > 1 => &trimmed[at + 1..],
        _ => trimmed,
    }
}

/// The path of the folder that holds the last part: `.` for a bare name.
pub fn folder_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    match path[..end].iter().rposition(|byte| *byte == b'/') {
        Some(0) => b"/",
        Some(at) => &path[..at],
        None => b".",
    }
}
