//! Limits on what an image may come to, shared by its layers, which unpack at the same time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Context, Error, Result};

/// How large an image may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sum of the files' lengths, holes included, in bytes.
    pub bytes: u64,
    /// Members of all layers.
    pub entries: u64,
    /// Bytes of free space that unpacking leaves alone.
    pub reserve: u64,
}

impl Default for Limits {
    /// 64 GiB, 4 million entries, 64 MiB to spare.
    fn default() -> Limits {
        Limits { bytes: 64 << 30, entries: 4_000_000, reserve: 64 << 20 }
    }
}

/// What is left of the limits.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    /// Blocks that may be written before the reserve is touched.
    space: u64,
    bytes: AtomicU64,
    entries: AtomicU64,
    written: AtomicU64,
    streamed: AtomicU64,
}

/// What an entry costs on disk beside its data: an inode and its part of a directory.
const ENTRY_COST: u64 = 512;

impl Budget {
    /// Full limits, for unpacking to the file system of `dir`.
    ///
    /// # Errors
    /// If its free space cannot be found out.
    pub fn new(limits: Limits, dir: &Path) -> Result<Budget> {
        let stat = rustix::fs::statvfs(dir).at("asking for the free space of", dir)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(Budget {
            limits,
            space: free.saturating_sub(limits.reserve),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            written: AtomicU64::new(0),
            streamed: AtomicU64::new(0),
        })
    }

    /// One more member.
    pub(super) fn entry(&self, path: &[u8]) -> Result<()> {
        if add(&self.entries, 1) > self.limits.entries {
            let what = format!("the number of entries (at {:?})", super::lossy(path));
            return Err(Error::Limit { what, limit: self.limits.entries.to_string() });
        }
        self.write(ENTRY_COST)
    }

    /// A file of this length.
    pub(super) fn file(&self, path: &[u8], length: u64) -> Result<()> {
        if add(&self.bytes, length) > self.limits.bytes {
            let what = format!("the image's unpacked size (at {:?}, {length} bytes)", super::lossy(path));
            return Err(Error::Limit { what, limit: format!("{} bytes", self.limits.bytes) });
        }
        Ok(())
    }

    /// Data that goes to the disk.
    pub(crate) fn write(&self, length: u64) -> Result<()> {
        if add(&self.written, length) > self.space {
            let limit = format!("{} bytes (the free space without a reserve of {})", self.space, self.limits.reserve);
            return Err(Error::Limit { what: "the image's size on disk".into(), limit });
        }
        Ok(())
    }

    /// Data that was removed from the disk.
    pub(crate) fn give_back(&self, length: u64) {
        let less = |written: u64| Some(written.saturating_sub(length));
        let _ = self.written.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Uncompressed archive, headers, padding and what follows its end included: what is not written costs time all the same.
    pub(crate) fn stream(&self, length: u64) -> Result<()> {
        let limit = self.limits.bytes.saturating_add(self.limits.entries.saturating_mul(2048)).saturating_add(1 << 20);
        if add(&self.streamed, length) > limit {
            return Err(Error::Limit { what: "the uncompressed layer".into(), limit: format!("{limit} bytes") });
        }
        Ok(())
    }
}

/// Add and give the sum; it sticks at the top instead of wrapping.
fn add(counter: &AtomicU64, amount: u64) -> u64 {
    let before = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(value.saturating_add(amount)));
    before.unwrap_or(u64::MAX).saturating_add(amount)
}
