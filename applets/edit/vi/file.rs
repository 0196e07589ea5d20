//! Files that are edited: read, and saved so that neither a crash nor a full disk loses the old text.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use coracle_abi::atomic_write::{AtomicFile, Durability};
use nix::unistd::{AccessFlags, access};

use crate::terminal::width;

/// What the file was when it was read or written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.len(), mtime: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// A file's lines.
pub struct Loaded {
    /// Lines without newlines.
    pub lines: Vec<String>,
    /// Bytes.
    pub size: usize,
    /// The last line had no newline.
    pub unended: bool,
    /// `None` if there is no such file.
    pub stamp: Option<Stamp>,
}

/// Read a file; one that is not there is empty.
///
/// # Errors
/// What the kernel said; folders and devices are refused.
pub fn load(path: &Path) -> io::Result<Loaded> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Loaded { lines: Vec::new(), size: 0, unended: false, stamp: None });
        }
        Err(error) => return Err(error),
    };
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let bytes = fs::read(path)?;
    let mut text = bytes.as_slice();
    let unended = !bytes.is_empty() && text.split_off_last() != Some(&b'\n');
    let text = if unended { bytes.as_slice() } else { text };
    let lines = match bytes.is_empty() {
        true => Vec::new(),
        false => text.split(|byte| *byte == b'\n').map(width::from_bytes).collect(),
    };
    Ok(Loaded { lines, size: bytes.len(), unended, stamp: Some(Stamp::of(&meta)) })
}

/// The bytes of lines, each with its newline. One empty line is an empty file.
pub fn bytes(lines: &[String]) -> Vec<u8> {
    if let [only] = lines
        && only.is_empty()
    {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend(width::to_bytes(line));
        bytes.push(b'\n');
    }
    bytes
}

/// Why a file was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It is not the file that was read.
    #[error("{0}: has changed since it was read; add ! to overwrite it")]
    Changed(String),
    /// It is there, and is not what is being edited.
    #[error("{0}: exists; add ! to overwrite it")]
    Exists(String),
    /// Its permissions say no.
    #[error("{0}: is read-only; add ! to try all the same")]
    ReadOnly(String),
    /// The kernel says no.
    #[error("{path}: {}", crate::text::reason(source))]
    Io {
        /// The file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Save. `expected` is the file as it was read, `None` for one that should not be there; `force` overwrites another. Symbolic links are
/// followed, owner and mode are kept.
///
/// # Errors
/// Why it was not saved; the old file is then untouched.
pub fn save(path: &Path, content: &[u8], expected: Option<Stamp>, force: bool) -> Result<Stamp, SaveError> {
    let shown = path.display().to_string();
    let failed = |source| SaveError::Io { path: shown.clone(), source };
    let old = match fs::metadata(path) {
        Ok(meta) => Some(meta),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if let Some(meta) = &old {
        if !meta.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        if !force {
            match expected {
                None => return Err(SaveError::Exists(shown)),
                Some(stamp) if stamp != Stamp::of(meta) => return Err(SaveError::Changed(shown)),
                Some(_) if access(path, AccessFlags::W_OK).is_err() => return Err(SaveError::ReadOnly(shown)),
                Some(_) => {}
            }
        }
    }
    let target = target(path).map_err(failed)?;
    let written = match replace(&target, content, old.as_ref()) {
        // A folder that cannot be written, or a file that is a mount point (as /etc/hosts in a container), can only be written into.
        Err(error) if old.is_some() && cannot_rename(&error) => write_into(&target, content),
        other => other,
    };
    written.and_then(|()| fs::metadata(&target)).map(|meta| Stamp::of(&meta)).map_err(failed)
}

/// What a path leads to; a link may lead to a file that is not there yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or(Path::new(".")).join(link),
            Err(_) => return Ok(target),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

fn cannot_rename(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EBUSY | libc::EROFS | libc::EXDEV))
}

fn replace(target: &Path, content: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    let mut file = AtomicFile::create(target)?;
    match old {
        Some(meta) => file.take_attributes(meta)?,
        None => file.set_mode(0o666 & !crate::archive::umask())?,
    }
    file.write_all(content)?;
    file.commit(Durability::Durable)
}

fn write_into(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).truncate(true).open(target)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_read_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (content, count, ended) in [
            (&b"a\nb\n"[..], 2, true),
            (b"\xff\0\r\n\n", 2, true),
            (b"", 0, true),
            (b"no end", 1, false),
            (b"\n", 1, true),
        ] {
            fs::write(&path, content).unwrap();
            let loaded = load(&path).unwrap();
            assert_eq!((loaded.lines.len(), loaded.unended), (count, !ended));
            let back = bytes(&loaded.lines);
            match content {
                b"\n" => assert_eq!(back, b""),
                _ if ended => assert_eq!(back, content),
                _ => assert_eq!(back, [content, b"\n"].concat()),
            }
        }
        assert!(load(dir.path()).is_err());
        assert!(load(&dir.path().join("none")).unwrap().stamp.is_none());
    }

    #[test]
    fn links_modes_and_others_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
        symlink("file", &link).unwrap();
        let stamp = load(&link).unwrap().stamp;
        let stamp = save(&link, b"new", stamp, false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!((fs::read(&path).unwrap(), fs::metadata(&path).unwrap().mode() & 0o7777), (b"new".to_vec(), 0o751));
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(save(&link, b"mine", Some(stamp), false), Err(SaveError::Changed(_))));
        assert!(matches!(save(&path, b"mine", None, false), Err(SaveError::Exists(_))));
        save(&link, b"mine", Some(stamp), true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
