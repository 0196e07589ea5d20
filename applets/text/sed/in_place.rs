//! What stands in place of a file that sed edits, once it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use coracle_abi::atomic_write::{AtomicFile, Durability};

use crate::text::reason;

/// The new content of a file. Dropped without a commit, it leaves the file as it was.
pub struct Replacement {
    path: PathBuf,
    /// Where the new content goes.
    pub file: BufWriter<AtomicFile>,
}

impl Replacement {
    /// Begin to replace the regular file `path`, of which `meta` tells mode and owner.
    ///
    /// # Errors
    /// When it is no regular file, or its folder cannot be written.
    pub fn new(path: &Path, meta: &Metadata) -> Result<Self> {
        if !meta.is_file() {
            bail!("couldn't edit {}: not a regular file", path.display());
        }
        let file = AtomicFile::create(path).and_then(|file| file.take_attributes(meta).map(|()| file));
        let file = file
            .map_err(|error| anyhow!("couldn't open temporary file beside {}: {}", path.display(), reason(&error)))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Put the new file in place. With a suffix, the old one stays under its name with that; if the suffix holds a `*`, that stands
    /// for the name, and a `/` leads to another folder.
    ///
    /// # Errors
    /// When a step fails: the file under the old name is then still whole.
    pub fn commit(mut self, suffix: &OsStr) -> Result<()> {
        self.file.flush().context("write the new file")?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error).context("write the new file")?;
        if !suffix.is_empty() && suffix != "*" {
            let backup = backup_path(&self.path, suffix);
            keep(&self.path, &backup).map_err(|error| {
                anyhow!("cannot rename {} to {}: {}", self.path.display(), backup.display(), reason(&error))
            })?;
        }
        file.commit(Durability::Durable)
            .map_err(|error| anyhow!("cannot replace {}: {}", self.path.display(), reason(&error)))
    }
}

fn backup_path(path: &Path, suffix: &OsStr) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let suffix = suffix.as_bytes();
    let backup = if suffix.contains(&b'*') {
        suffix.split(|byte| *byte == b'*').collect::<Vec<_>>().join(name)
    } else {
        [name, suffix].concat()
    };
    let folder = if backup.contains(&b'/') { None } else { path.parent() };
    folder.unwrap_or(Path::new("")).join(OsString::from_vec(backup))
}

/// Give the file a second name, in place of what had it, so that there is one under the first at any time. Where the file system
/// has no hard links, the file is renamed.
fn keep(path: &Path, backup: &Path) -> io::Result<()> {
    let link = backup.with_extension(format!("sed{:08x}", std::process::id()));
    match std::fs::hard_link(path, &link) {
        Ok(()) => std::fs::rename(&link, backup).inspect_err(|_| drop(std::fs::remove_file(&link))),
        Err(_) => std::fs::rename(path, backup),
    }
}
