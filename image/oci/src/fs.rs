//! Files of the store: atomic writes, locks, and the removal of trees that an attacker built.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use coracle_abi::atomic_write::{self, Durability};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// A name that no other thread or process uses.
pub(crate) fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{}-{nanos:x}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Replace the file `path` by one with these bytes; a reader or a crash sees the old or the new, never a part.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_write::write(path, bytes, 0o644, Durability::Durable).at("writing", path)
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// An advisory lock (flock(2)): held until dropped, and released by the kernel if the process dies.
pub(crate) struct Lock {
    /// Closing it is what unlocks.
    _file: File,
    path: PathBuf,
    remove: bool,
}

impl Lock {
    /// Wait for a lock on a file that stays.
    pub(crate) fn take(path: &Path, exclusive: bool) -> Result<Lock> {
        let operation = if exclusive { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
        let file = Self::open(path)?;
        flock(&file, operation).at("locking", path)?;
        Ok(Lock { _file: file, path: path.into(), remove: false })
    }

    /// Take it only if nobody holds it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file, path: path.into(), remove: false })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).at("locking", path),
        }
    }

    /// Wait for an exclusive lock on a file that is removed with the lock. `waiting` is called if somebody holds it.
    pub(crate) fn take_transient(path: &Path, waiting: impl FnOnce()) -> Result<Lock> {
        let mut waiting = Some(waiting);
        loop {
            let file = Self::open(path)?;
            if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                if error != Errno::WOULDBLOCK {
                    return Err(error).at("locking", path);
                }
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                flock(&file, FlockOperation::LockExclusive).at("locking", path)?;
            }
            // The holder before may have removed the file: then this lock is on a file that nobody else will find.
            let ours = file.metadata().at("reading", path)?.ino();
            if fs::metadata(path).is_ok_and(|now| now.ino() == ours) {
                return Ok(Lock { _file: file, path: path.into(), remove: true });
            }
        }
    }

    fn open(path: &Path) -> Result<File> {
        File::options().read(true).write(true).create(true).truncate(false).open(path).at("opening the lock", path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.remove {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// flock(2), again after a signal.
fn flock(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
}

/// Open a directory that must be one.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("opening the directory", path)
}

/// Remove whatever is called `name` in `parent`. Symbolic links are removed, never followed; a missing name is no error.
///
/// Directories are not walked by recursion but lifted into `name` itself and emptied there, so a tree of any depth costs two
/// descriptors and no stack.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open_at(parent, name)?;
    let mut lifted = 0u64;
    let mut queue: Vec<CString> = Vec::new();
    empty(top.as_fd(), top.as_fd(), &mut lifted, &mut queue)?;
    while let Some(next) = queue.pop() {
        let dir = open_at(top.as_fd(), &next)?;
        empty(dir.as_fd(), top.as_fd(), &mut lifted, &mut queue)?;
        drop(dir);
        rustix::fs::unlinkat(&top, &*next, AtFlags::REMOVEDIR)?;
    }
    drop(top);
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn open_at(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // Without privileges a directory of our own may still be closed to us.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

/// Unlink what is in `dir`; its subdirectories move to `top` under new names and join the queue.
fn empty(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, lifted: &mut u64, queue: &mut Vec<CString>) -> io::Result<()> {
    let _ = rustix::fs::fchmod(dir, Mode::RWXU);
    let mut entries = Dir::read_from(dir)?;
    let mut subdirs = Vec::new();
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        subdirs.push(name.to_owned());
    }
    for name in subdirs {
        if rustix::fs::unlinkat(dir, &*name, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        let target = lift(dir, top, &name, lifted)?;
        queue.push(target);
    }
    Ok(())
}

/// Move a directory to a name in `top` that nothing else has.
fn lift(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, name: &CStr, lifted: &mut u64) -> io::Result<CString> {
    loop {
        *lifted += 1;
        let target = CString::new(format!(".lifted-{lifted}"))?;
        match rustix::fs::renameat_with(dir, name, top, &*target, rustix::fs::RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(target),
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            // A directory that is not ours to write cannot be moved: make it so first.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::renameat(dir, name, top, &*target)?;
                return Ok(target);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn remove(dir: &Path, name: &str) {
        remove_tree(open_dir(dir).unwrap().as_fd(), &CString::new(name).unwrap()).unwrap();
    }

    #[test]
    fn removes_deep_and_wide_trees_and_follows_nothing() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("outside"), "kept").unwrap();
        fs::create_dir(temp.path().join("tree")).unwrap();
        // Deeper than PATH_MAX and than the limit on open files.
        let mut dir = open_dir(&temp.path().join("tree")).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&dir, ".lifted-1", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("../outside", &dir, "link").unwrap();
            dir = open_at(dir.as_fd(), c"d").unwrap();
        }
        drop(dir);
        remove(temp.path(), "tree");
        let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_bytes(), b"outside");
        remove(temp.path(), "missing");
        remove(temp.path(), "outside");
    }

    #[test]
    fn locks_exclude_and_vanish() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let counter = std::sync::Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _lock = Lock::take_transient(&path, || {}).unwrap();
                    *counter.try_lock().unwrap() += 1;
                });
            }
        });
        assert_eq!(*counter.lock().unwrap(), 8);
        assert!(!path.exists());
        let held = Lock::take(&path, false).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn atomic_write_replaces() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
