//! Where a member goes: names resolved by the kernel below one folder (openat2(2), `RESOLVE_BENEATH`). A link that an archive, or
//! somebody else, put in the way can lead to another place in the folder, never out of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::names;

/// The folder that is unpacked into.
pub struct Root {
    fd: OwnedFd,
    resolve: ResolveFlags,
    /// Names are taken as they are, absolute ones too.
    absolute: bool,
    /// The folder used last: archives list a folder's files in a row.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Root {
    /// Below `fd`, or, with `-P`, anywhere.
    pub fn new(fd: OwnedFd, absolute: bool) -> Self {
        let resolve = match absolute {
            true => ResolveFlags::empty(),
            false => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        };
        Self { fd, resolve, absolute, last: None }
    }

    /// The folder that a member lies in, made if it is missing, and the member's name there; `None` for the root itself.
    ///
    /// # Errors
    /// What the kernel said; `XDEV` if it lies outside.
    pub fn parent<'a>(&mut self, path: &'a [u8]) -> rustix::io::Result<Option<(BorrowedFd<'_>, &'a [u8])>> {
        let parts = names::parts(path);
        let Some((name, folders)) = parts.split_last() else { return Ok(None) };
        let folder = self.join(path, folders);
        if folder.is_empty() {
            return Ok(Some((self.fd.as_fd(), name)));
        }
        if self.last.as_ref().is_none_or(|(known, _)| *known != folder) {
            let fd = match self.open(&folder) {
                Err(Errno::NOENT) => self.make_all(path, folders)?,
                other => other?,
            };
            self.last = Some((folder, fd));
        }
        Ok(self.last.as_ref().map(|(_, fd)| (fd.as_fd(), *name)))
    }

    /// Something was taken away: the folder kept may no longer be what its name means.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// A folder that is there.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn existing(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let folder = self.join(path, &names::parts(path));
        if folder.is_empty() { rustix::io::fcntl_dupfd_cloexec(&self.fd, 0) } else { self.open(&folder) }
    }

    /// Open a folder to set its attributes; `None` if it has become something else.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn folder(&self, path: &[u8]) -> rustix::io::Result<Option<OwnedFd>> {
        let parts = names::parts(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match parts.split_last() {
            None => rustix::fs::openat(&self.fd, ".", flags, Mode::empty()),
            Some((name, folders)) => {
                let parent = self.join(path, folders);
                let parent =
                    if parent.is_empty() { rustix::io::fcntl_dupfd_cloexec(&self.fd, 0) } else { self.open(&parent) };
                parent.and_then(|parent| rustix::fs::openat(&parent, *name, flags, Mode::empty()))
            }
        };
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn join(&self, path: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let front: &[u8] = if self.absolute && path.starts_with(b"/") { b"/" } else { b"" };
        [front, &parts.join(&b'/')].concat()
    }

    fn open(&self, folder: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The kernel gives EAGAIN when a rename anywhere raced with a `..` in a link (openat2(2)): a busy host, not an error.
        for _ in 0..128 {
            match rustix::fs::openat2(&self.fd, folder, flags, Mode::empty(), self.resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    fn make_all(&self, path: &[u8], folders: &[&[u8]]) -> rustix::io::Result<OwnedFd> {
        let start = if self.absolute && path.starts_with(b"/") { self.open(b"/") } else { self.open(b".") };
        let mut parent = start?;
        // Above a folder that is there all are, so the first that is missing is found by halves: a name can have two thousand.
        let (mut there, mut missing) = (0, folders.len());
        while missing - there > 1 {
            let middle = usize::midpoint(there, missing);
            match self.open(&self.join(path, &folders[..middle])) {
                Err(Errno::NOENT) => missing = middle,
                other => (there, parent) = (middle, other?),
            }
        }
        for end in there + 1..=folders.len() {
            parent = match rustix::fs::mkdirat(&parent, folders[end - 1], Mode::from_raw_mode(0o777)) {
                // Also a link to nothing: the open says so.
                Ok(()) | Err(Errno::EXIST) => self.open(&self.join(path, &folders[..end]))?,
                Err(error) => return Err(error),
            };
        }
        Ok(parent)
    }
}

/// What a name is; `None` if there is none.
///
/// # Errors
/// What the kernel said.
pub fn kind_of(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Remove what has the name, a folder only if it is empty; nothing there is success.
///
/// # Errors
/// What the kernel said.
pub fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        Err(error) => Err(error),
    }
}
