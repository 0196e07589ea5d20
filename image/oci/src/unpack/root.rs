//! The layer's root directory and the names below it, resolved by the kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Budget, There, kind_of, whiteout};
use crate::error::{Context, Error, Result};

/// A descriptor of the root, and one of the directory used last: archives list a directory's files in a row.
pub(super) struct Root<'a> {
    fd: OwnedFd,
    /// Counts directories that the archive does not list.
    budget: &'a Budget,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Root<'a> {
    pub(super) fn new(fd: OwnedFd, budget: &'a Budget) -> Self {
        Root { fd, budget, last: None }
    }

    /// The directory `path`, made with its parents if it is missing.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.fd.as_fd());
        }
        if self.last.as_ref().is_none_or(|(known, _)| known != path) {
            let fd = match self.open(path) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_all(path)?,
                Err(error) => return Err(error).doing(|| doing("opening the directory", path)),
            };
            self.last = Some((path.to_vec(), fd));
        }
        Ok(self.last.as_ref().map_or(self.fd.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// A name was taken away: the descriptor kept may be of a directory that is no longer what its path means.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Open a directory; links in its path are followed, but never out of the root.
    pub(super) fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        // The kernel gives EAGAIN when a rename anywhere raced with a `..` in a link (openat2(2)): a busy host, not an error.
        for _ in 0..128 {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Open a directory whose last name is no link, to change its attributes; nothing if it has become something else.
    pub(super) fn open_directory(&mut self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (dir, name) = split(path);
        let name = if name.is_empty() { b"." } else { name };
        let parent = match self.open(dir) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error).doing(|| doing("opening the directory", dir)),
        };
        match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error).doing(|| doing("opening the directory", path)),
        }
    }

    /// Make a directory that is not there, and those above it that are not.
    fn make_all(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = slashes.chain([path.len()]).collect();
        let mut parent = self.open(b"").doing(|| "opening the layer's root".into())?;
        // What is above a directory that is there is there too, so the first that is missing is found by halves: a name can have
        // two thousand of them.
        let (mut there, mut missing) = (0, ends.len());
        while missing - there > 1 {
            let middle = usize::midpoint(there, missing);
            let prefix = &path[..ends[middle - 1]];
            match self.open(prefix) {
                Ok(fd) => (there, parent) = (middle, fd),
                Err(Errno::NOENT | Errno::NOTDIR) => missing = middle,
                Err(error) => return Err(error).doing(|| doing("opening the directory", prefix)),
            }
        }
        for &end in &ends[there..] {
            parent = self.make_one(parent.as_fd(), &path[..end])?;
        }
        Ok(parent)
    }

    /// Make a directory that the archive does not list. One that comes after its own whiteout hides what is below.
    fn make_one(&self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
        let (_, name) = split(path);
        let making = || doing("making the directory", path);
        self.budget.entry(path)?;
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => match kind_of(parent, path)? {
                There::Whiteout => {
                    rustix::fs::unlinkat(parent, name, AtFlags::empty()).doing(making)?;
                    rustix::fs::mkdirat(parent, name, Mode::RWXU).doing(making)?;
                    whiteout::set_opaque(parent, name).doing(making)?;
                }
                _ => {
                    return Err(Error::entry(
                        path,
                        "a file, or a link to nothing in this layer, stands where a directory is needed",
                    ));
                }
            },
            Err(error) => return Err(error).doing(making),
        }
        // Not by mkdirat: the process's umask would have its say.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty()).doing(making)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty()).doing(making)
    }
}

/// The path of the directory and the name in it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn doing(verb: &str, path: &[u8]) -> String {
    format!("{verb} {:?} of the layer", String::from_utf8_lossy(path))
}
