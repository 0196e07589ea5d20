//! Regular files: data, holes and attributes.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::attributes::Metadata;
use super::{Layer, root};
use crate::error::{Context, Result};
use crate::tarball::{Archive, Entry, Extent};

/// Zeros of at least this length become a hole: a sparse bomb costs no disk.
const HOLE: usize = 64 << 10;

impl Layer<'_, '_> {
    pub(super) fn file<R: BufRead>(&mut self, archive: &mut Archive<R>, path: &[u8], mut entry: Entry) -> Result<()> {
        self.budget.file(&entry.path, entry.size)?;
        self.report.bytes = self.report.bytes.saturating_add(entry.size);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd =
            self.make(path, |parent, name| rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR))?;
        let size = entry.size;
        let extents = entry.sparse.take();
        let metadata = Metadata::new(entry, self.owners)?;
        let mut end = 0;
        match extents {
            None => self.extent(archive, fd.as_fd(), path, Extent { offset: 0, length: size }, &mut end)?,
            Some(extents) => {
                for extent in extents {
                    self.extent(archive, fd.as_fd(), path, extent, &mut end)?;
                }
            }
        }
        if end < size {
            rustix::fs::ftruncate(&fd, size).doing(|| root::doing("setting the length of", path))?;
        }
        metadata.set(fd.as_fd()).doing(|| root::doing("setting attributes of", path))
    }

    /// Copy the archive's next `extent.length` bytes to their place; `end` is where the last byte was written.
    fn extent<R: BufRead>(
        &self,
        archive: &mut Archive<R>,
        fd: BorrowedFd<'_>,
        path: &[u8],
        extent: Extent,
        end: &mut u64,
    ) -> Result<()> {
        let (mut offset, mut left) = (extent.offset, extent.length);
        if let Some(recorder) = self.recorder {
            recorder.borrow_mut().file(path, offset, left)?;
        }
        while left > 0 {
            let data = archive.data().doing(|| root::doing("reading", path))?;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            for piece in data[..length].chunks(HOLE) {
                if !(piece.len() == HOLE && is_zero(piece)) {
                    self.budget.write(piece.len() as u64)?;
                    write_at(fd, piece, offset).doing(|| root::doing("writing", path))?;
                    *end = offset + piece.len() as u64;
                }
                offset += piece.len() as u64;
            }
            archive.consume(length);
            left -= length as u64;
        }
        Ok(())
    }
}

fn is_zero(piece: &[u8]) -> bool {
    // Comparing with itself one further is a memcmp; the first byte ends most tries at once.
    piece.first() == Some(&0) && piece[1..] == piece[..piece.len() - 1]
}

fn write_at(fd: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !data.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, data, offset))?;
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}
