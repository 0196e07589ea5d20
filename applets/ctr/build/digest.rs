//! Digests of what goes into a step: the key of its cache.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use coracle_image_oci::Digest;
use coracle_image_oci::digest::Hasher;
use rustix::fs::FileType;

use super::copy::xattrs;
use super::tree::{Selection, Tree};

/// Collects parts, each with its length, so that no two lists of parts look alike.
#[derive(Default)]
pub struct Key(Hasher);

impl Key {
    /// Add a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Add a list of parts.
    pub fn add_all<T: AsRef<[u8]>>(&mut self, parts: impl IntoIterator<Item = T>) -> &mut Self {
        let parts: Vec<T> = parts.into_iter().collect();
        self.add((parts.len() as u64).to_le_bytes());
        for part in parts {
            self.add(part);
        }
        self
    }

    /// The digest of all.
    pub fn finish(&mut self) -> Digest {
        std::mem::take(&mut self.0).finish()
    }
}

/// What would be copied: names, kinds, modes, content; times do not count. Owners do only if they are kept.
///
/// # Errors
/// If something cannot be read.
pub fn of_selection(tree: &Tree, selection: &Selection, keeps_owners: bool) -> anyhow::Result<Digest> {
    let mut key = Key::default();
    key.add((selection.sources as u64).to_le_bytes());
    for entry in &selection.entries {
        let stat = &entry.stat;
        key.add(entry.to.as_os_str().as_bytes()).add(stat.st_mode.to_le_bytes());
        if keeps_owners {
            key.add(stat.st_uid.to_le_bytes()).add(stat.st_gid.to_le_bytes());
        }
        let words = || format!("cannot read {}", entry.from.display());
        match entry.kind() {
            FileType::RegularFile => {
                let file = tree.open_file(&entry.from)?;
                key.add(of_content(file).with_context(words)?.hex());
            }
            FileType::Symlink => {
                key.add(tree.read_link(&entry.from)?.as_bytes());
                continue;
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                key.add(stat.st_rdev.to_le_bytes());
            }
            _ => {}
        }
        for (name, value) in xattrs(tree, entry).with_context(words)? {
            key.add(name).add(value);
        }
    }
    Ok(key.finish())
}

/// The digest of all that can be read.
///
/// # Errors
/// If it cannot be read.
pub fn of_content(mut source: impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Rules, open_folder};
    use super::*;
    use std::fs;

    #[test]
    fn content_counts_and_time_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        let digest = || {
            let tree = Tree::new(open_folder(dir.path()).unwrap());
            let selection = tree.select(&[".".into()], &Rules::default()).unwrap();
            of_selection(&tree, &selection, false).unwrap()
        };
        fs::write(&file, "one").unwrap();
        let first = digest();
        fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(digest(), first);
        fs::write(&file, "two").unwrap();
        assert_ne!(digest(), first);
        fs::write(&file, "one").unwrap();
        assert_eq!(digest(), first);
        fs::rename(&file, dir.path().join("b")).unwrap();
        assert_ne!(digest(), first);
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = |parts: &[&str]| {
            let mut key = Key::default();
            for part in parts {
                key.add(part);
            }
            key.finish()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
