//! What has come of a layer's blob, kept until all of it has: a pull that was interrupted goes on there.
//!
//! The file is `partial/HEX` by the blob's digest. What is read back from it goes through the same check as what comes from the
//! registry, so a damaged one costs a repetition and nothing else. None is kept in memory (there it would take the space twice, and
//! go with the machine), of small blobs, or by the second of two processes. One that nobody went on with for [`AGE`] is removed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::unpack::Budget;

/// Blobs smaller than this are fetched anew.
const SIZE_MIN: u64 = 1 << 20;
/// When a partial is given up.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Magic numbers of file systems in memory (statfs(2)).
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// The file of a blob's beginning. It is locked, and stays when it is dropped.
pub(crate) struct Partial<'a> {
    file: File,
    path: PathBuf,
    length: u64,
    budget: &'a Budget,
}

impl<'a> Partial<'a> {
    /// Open what there is of a blob, or begin; `None` where none is kept.
    pub(crate) fn open(dir: &Path, digest: &Digest, size: u64, budget: &'a Budget) -> Result<Option<Partial<'a>>> {
        if size < SIZE_MIN || is_in_memory(dir) {
            return Ok(None);
        }
        let path = dir.join(digest.hex());
        let mut options = File::options();
        let file =
            options.read(true).append(true).create(true).open(&path).at("opening the partial download", &path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let length = file.metadata().at("reading", &path)?.len();
        let mut partial = Partial { file, path, length, budget };
        if length > size {
            partial.restart()?;
        }
        Ok(Some(partial))
    }

    /// How much there is.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Forget what there is.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.length = 0;
        self.file.set_len(0).at("emptying the partial download", &self.path)
    }

    /// It is of no more use: the blob is unpacked, or will never be.
    pub(crate) fn remove(self) {
        // One that stays is swept some day.
        let _ = fs::remove_file(&self.path);
        self.budget.give_back(self.length);
    }

    fn append(&mut self, piece: &[u8]) -> Result<()> {
        self.budget.write(piece.len() as u64)?;
        self.file.write_all(piece).at("writing the partial download", &self.path)?;
        self.length += piece.len() as u64;
        Ok(())
    }
}

/// Remove what nobody went on with. The caller holds the store's lock alone.
pub(crate) fn sweep(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at("listing", dir)? {
        let entry = entry.at("listing", dir)?;
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > AGE) {
            let path = entry.path();
            fs::remove_file(&path).at("removing", &path)?;
        }
    }
    Ok(())
}

fn is_in_memory(dir: &Path) -> bool {
    // The field's type differs between architectures.
    #[allow(clippy::unnecessary_cast, reason = "not everywhere")]
    let kind = |stat: rustix::fs::StatFs| stat.f_type as i64;
    rustix::fs::statfs(dir).is_ok_and(|stat| [TMPFS, RAMFS].contains(&kind(stat)))
}

/// Reads a partial's bytes and then `rest`, which begins where it ends; what comes is added to it.
pub(crate) struct Resumed<'a, 'p, R> {
    pub partial: Option<&'a mut Partial<'p>>,
    pub rest: R,
    position: u64,
}

impl<'a, 'p, R: Read> Resumed<'a, 'p, R> {
    pub(crate) fn new(partial: Option<&'a mut Partial<'p>>, rest: R) -> Self {
        Resumed { partial, rest, position: 0 }
    }
}

impl<R: Read> Read for Resumed<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(partial) = &mut self.partial
            && self.position < partial.length
        {
            let left = usize::try_from(partial.length - self.position).unwrap_or(usize::MAX).min(buffer.len());
            let length = std::os::unix::fs::FileExt::read_at(&partial.file, &mut buffer[..left], self.position)?;
            self.position += length as u64;
            return Ok(length);
        }
        let length = self.rest.read(buffer)?;
        self.position += length as u64;
        if let Some(partial) = &mut self.partial
            && partial.append(&buffer[..length]).is_err()
        {
            // A full disk: the space is worth more than what it would save.
            let _ = partial.restart();
            self.partial = None;
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::Limits;

    const BLOB: &[u8] = &[7; 3 << 20];

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir_in(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).unwrap()
    }

    #[test]
    fn what_was_read_is_kept_and_read_again() {
        let dir = dir();
        let budget = Budget::new(Limits::default(), dir.path()).unwrap();
        let size = BLOB.len() as u64;
        let open = || Partial::open(dir.path(), &Digest::of(BLOB), size, &budget).unwrap();
        let Some(mut partial) = open() else {
            println!("SKIP what_was_read_is_kept_and_read_again: the tree is in memory");
            return;
        };
        assert!(open().is_none(), "it is locked");
        let mut half = vec![0; BLOB.len() / 2];
        Resumed::new(Some(&mut partial), BLOB).read_exact(&mut half).unwrap();
        drop(partial);
        let mut partial = open().unwrap();
        assert_eq!(partial.length(), half.len() as u64);
        let mut all = Vec::new();
        Resumed::new(Some(&mut partial), &BLOB[half.len()..]).read_to_end(&mut all).unwrap();
        assert!(all == BLOB && partial.length() == size);
        partial.remove();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Partial::open(dir.path(), &Digest::of(b"x"), SIZE_MIN - 1, &budget).unwrap().is_none());
    }

    #[test]
    fn the_old_ones_are_swept() {
        let dir = dir();
        let old = File::create(dir.path().join("old")).unwrap();
        old.set_modified(std::time::SystemTime::now() - AGE * 2).unwrap();
        fs::write(dir.path().join("new"), "x").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
