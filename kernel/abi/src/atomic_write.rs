//! Files that are whole or not there: written beside, then renamed (rename(2)). No system call is missing for it; it lives here because
//! every other crate can reach this one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// Whether a file must survive a power cut, or only a killed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to disk, and its folder too.
    Durable,
    /// Left to the page cache: on a tmpfs, about to be removed, or easily made again.
    Volatile,
}

/// Replace the file `path` by one with this content and exactly these permission bits. A reader, or the next boot, finds the old or the
/// new file and nothing between. A symbolic link is itself replaced.
///
/// # Errors
/// What the kernel said; the old file is then untouched and nothing is left beside it.
pub fn write(path: &Path, content: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.set_mode(mode)?;
    file.write_all(content)?;
    file.commit(durability)
}

/// A file that takes its name only when it is complete. Dropped before that, it is removed. A process that is killed leaves
/// `.NAME.PID-N.tmp` beside it, which nobody reads.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Begin a file that will be `target`, empty and for its owner alone.
    ///
    /// # Errors
    /// What the kernel said of the folder.
    pub fn create(target: &Path) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let temporary = target.with_file_name(temporary_name(name, number));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary) {
                // Left by a killed process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok(Self { file, temporary, target: target.to_owned(), committed: false }),
            }
        }
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Set the permission bits, whatever the umask is.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// Take owner and permission bits of another file. Where the owner may not be given, the set-id bits are left out, as they would
    /// give another's rights.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn take_attributes(&self, of: &Metadata) -> io::Result<()> {
        let now = self.file.metadata()?;
        let same_owner = (now.uid(), now.gid()) == (of.uid(), of.gid());
        let given = same_owner || std::os::unix::fs::fchown(&self.file, Some(of.uid()), Some(of.gid())).is_ok();
        // The group alone can often be given by its members.
        let group = given || std::os::unix::fs::fchown(&self.file, None, Some(of.gid())).is_ok();
        let mut mode = of.mode() & 0o7777;
        if !given {
            mode &= !0o6000;
        }
        if !group {
            // What the old group was allowed is not for this one.
            mode &= !0o070;
        }
        self.set_mode(mode)
    }

    /// Give the file its name, in place of what has it now.
    ///
    /// # Errors
    /// What the kernel said; what has the name now is then untouched.
    pub fn commit(self, durability: Durability) -> io::Result<()> {
        self.finish(durability, |from, to| fs::rename(from, to))
    }

    /// Give the file its name, unless something has it.
    ///
    /// # Errors
    /// `AlreadyExists`, else what the kernel said.
    pub fn commit_new(self, durability: Durability) -> io::Result<()> {
        self.finish(durability, |from, to| {
            match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                // A file system without that flag (9p, NFS): a link never replaces either.
                Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
                other => Ok(other?),
            }
        })
    }

    fn finish(mut self, durability: Durability, rename: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
        if durability == Durability::Durable {
            self.file.sync_all()?;
        }
        rename(&self.temporary, &self.target)?;
        self.committed = true;
        if durability == Durability::Durable {
            File::open(folder(&self.target))?.sync_all()?;
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the name may be another's: a process of another PID namespace can have our number.
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// At most 255 bytes, as any file system allows.
fn temporary_name(name: &OsStr, number: u64) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut text = b".".to_vec();
    text.extend(name.as_bytes().iter().take(200));
    text.extend_from_slice(format!(".{}-{number}.tmp", std::process::id()).as_bytes());
    OsString::from_vec(text)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn content_is_replaced_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"one", 0o644, Durability::Durable).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        write(&path, b"2", 0o600, Durability::Volatile).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), 1);
    }

    #[test]
    fn what_is_not_committed_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(dir.path()), 1);
        drop(file);
        assert_eq!(names(dir.path()), 0);
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"", 0o600, Durability::Volatile).is_err());
        assert_eq!(names(dir.path()), 1);
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(255));
        AtomicFile::create(&path).unwrap().commit_new(Durability::Volatile).unwrap();
        let error = AtomicFile::create(&path).unwrap().commit_new(Durability::Volatile).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(dir.path()), 1);
    }

    #[test]
    fn attributes_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        write(&old, b"", 0o751, Durability::Volatile).unwrap();
        let file = AtomicFile::create(&dir.path().join("new")).unwrap();
        file.take_attributes(&fs::metadata(&old).unwrap()).unwrap();
        assert_eq!(file.file.metadata().unwrap().mode() & 0o7777, 0o751);
    }
}
