//! Files that are whole or not there: written beside, then renamed.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use coracle_abi::atomic_write;
pub use coracle_abi::atomic_write::Durability;

/// Replace a file's content atomically; it is its owner's alone. Only the owner of the directory's lock may do this.
pub fn write(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    atomic_write::write(path, content, 0o600, durability)
}

/// Make a directory that only its owner may look into, or close one that is there to others: what containers hold, programs with
/// the set-user-ID bit among it, is not for the host's users (CVE-2021-41091).
pub fn private_dir(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() && meta.permissions().mode() & 0o077 == 0 => Ok(()),
        Ok(_) => fs::set_permissions(path, fs::Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            }
        }
        Err(error) => Err(error),
    }
}

/// Remove a tree; one that is gone is success.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Remove a file; one that is gone is success.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"one", Durability::Durable).unwrap();
        write(&path, b"2", Durability::Volatile).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
