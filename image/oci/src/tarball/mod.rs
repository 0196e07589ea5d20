//! A streaming tar reader for hostile archives: POSIX ustar and pax (pax(1), "ustar Interchange Format" and "pax Interchange
//! Format"), GNU long names and GNU sparse files.
//!
//! Why not the `tar` crate's: its reader takes long names and pax headers of any length into memory and knows no pax sparse
//! files. Where readers in the field differ on an archive's meaning, this one refuses it rather than pick one.

mod encode;
mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead};

pub use encode::{Format, Member, Unfit, encode};
use header::Header;
pub use header::{BLOCK, Kind};
pub use sparse::Extent;

use crate::error::{Context, Error, Result};

/// Longest pax header or GNU long name, as Go's archive/tar has it.
const SPECIAL_MAX: u64 = 1 << 20;

/// One member of the archive, its headers merged.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name as written; it may hold anything but NUL.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Length of the file, holes included.
    pub size: u64,
    /// Permission bits, set-id and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name of the owner where the archive was made; empty if it says none.
    pub user: Vec<u8>,
    /// Name of the group there.
    pub group: Vec<u8>,
    /// Modification time: seconds since the epoch and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// For a sparse file, where the data that follows belongs.
    pub sparse: Option<Vec<Extent>>,
}

/// Reads an archive from its beginning to its end.
pub struct Archive<R> {
    source: R,
    /// Bytes of the current member not yet read.
    body: u64,
    /// Padding after the body.
    padding: u64,
    /// Bytes taken from the source.
    position: u64,
    ended: bool,
}

impl<R: BufRead> Archive<R> {
    /// Read an archive from `source`.
    pub fn new(source: R) -> Self {
        Archive { source, body: 0, padding: 0, position: 0, ended: false }
    }

    /// How far into the archive the reader is: after `next_entry`, where the member's data begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the current member's data that have not been read.
    pub fn remaining(&self) -> u64 {
        self.body
    }

    /// The next member; what was not read of the one before is passed over.
    ///
    /// # Errors
    /// If the archive is damaged, ambiguous or ends in the middle.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut overrides = pax::Overrides::default();
        loop {
            self.skip_body()?;
            let Some(header) = self.header()? else {
                return if overrides.is_empty() { Ok(None) } else { Err(damaged("it ends after an extended header")) };
            };
            match header.typeflag() {
                b'x' => {
                    let data = self.special(&header)?;
                    overrides.read_pax(&data)?;
                }
                b'g' => {
                    let data = self.special(&header)?;
                    pax::check_global(&data)?;
                }
                b'L' => overrides.gnu_path = Some(self.long_name(&header)?),
                b'K' => overrides.gnu_link = Some(self.long_name(&header)?),
                _ => return self.member(&header, overrides).map(Some),
            }
        }
    }

    /// The next piece of the current member's data, empty at its end; say with `consume` how much was used.
    ///
    /// # Errors
    /// If the archive ends before the data does.
    pub fn data(&mut self) -> io::Result<&[u8]> {
        if self.body == 0 {
            return Ok(&[]);
        }
        let available = self.source.fill_buf()?;
        if available.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within a file"));
        }
        let length = usize::try_from(self.body).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..length])
    }

    /// Take `amount` bytes of what `data` gave.
    pub fn consume(&mut self, amount: usize) {
        let amount_u64 = amount as u64;
        debug_assert!(amount_u64 <= self.body);
        self.body -= amount_u64.min(self.body);
        self.position += amount_u64;
        self.source.consume(amount);
    }

    /// Read what follows the archive's end, so that a digest beneath covers it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn drain(&mut self) -> io::Result<()> {
        self.drain_at_most(u64::MAX).map(drop)
    }

    /// The same, up to a limit. False if there is more than `limit` bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn drain_at_most(&mut self, limit: u64) -> io::Result<bool> {
        let mut total = 0u64;
        while total <= limit {
            let length = self.source.fill_buf()?.len();
            if length == 0 {
                return Ok(true);
            }
            self.source.consume(length);
            total = total.saturating_add(length as u64);
        }
        Ok(false)
    }

    fn member(&mut self, header: &Header, mut overrides: pax::Overrides) -> Result<Entry> {
        let mut entry = header.entry()?;
        let mut stored = overrides.size.unwrap_or(header.size()?);
        overrides.apply(&mut entry, header)?;
        match entry.kind {
            Kind::File => {}
            // Readers agree that a hard link's size tells about its target.
            Kind::HardLink => stored = 0,
            _ if stored != 0 => {
                return Err(Error::entry(&entry.path, "only a file may have data; readers differ on what follows"));
            }
            _ => {}
        }
        entry.size = if entry.kind == Kind::File { stored } else { 0 };
        self.body = stored;
        self.padding = padding(stored);
        if header.typeflag() == b'S' {
            self.gnu_sparse(header, &mut entry)?;
        } else if let Some(map) = overrides.sparse.take() {
            self.pax_sparse(map, &mut entry)?;
        }
        Ok(entry)
    }

    /// The old GNU format: the map begins in the header and goes on in blocks that the size does not count.
    fn gnu_sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<()> {
        let (mut map, mut more) = header.sparse_map()?;
        let (body, padding) = (std::mem::take(&mut self.body), std::mem::take(&mut self.padding));
        while more {
            let block = self.block()?.ok_or_else(|| damaged("it ends within a sparse map"))?;
            more = header::sparse_extension(&block, &mut map)?;
            sparse::check_length(&map)?;
        }
        (self.body, self.padding) = (body, padding);
        entry.size = header.real_size()?;
        sparse::check(&map, entry.size, self.body).map_err(|reason| Error::entry(&entry.path, reason))?;
        entry.sparse = Some(map);
        Ok(())
    }

    fn pax_sparse(&mut self, sparse: sparse::Pax, entry: &mut Entry) -> Result<()> {
        if entry.kind != Kind::File {
            return Err(Error::entry(&entry.path, "only a file may be sparse"));
        }
        let (map, real_size) = match sparse.version() {
            (1, 0) => (self.read_sparse_map(&entry.path)?, sparse.real_size),
            _ => (sparse.map()?, sparse.real_size),
        };
        entry.size = real_size.ok_or_else(|| Error::entry(&entry.path, "sparse file without its real size"))?;
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        sparse::check(&map, entry.size, self.body).map_err(|reason| Error::entry(&entry.path, reason))?;
        entry.sparse = Some(map);
        Ok(())
    }

    /// Format 1.0: decimal numbers, one a line, before the data, padded to a block: count, then offset and length of each.
    fn read_sparse_map(&mut self, path: &[u8]) -> Result<Vec<Extent>> {
        let bad = || Error::entry(path, "unreadable sparse map");
        let mut numbers = sparse::Numbers::default();
        while !numbers.complete() {
            if self.body < BLOCK as u64 {
                return Err(bad());
            }
            let mut block = [0; BLOCK];
            self.fill(&mut block, BLOCK)?;
            self.body -= BLOCK as u64;
            numbers.feed(&block).map_err(|()| bad())?;
            sparse::check_length(numbers.extents())?;
        }
        Ok(numbers.into_extents())
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.special(header)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn special(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > SPECIAL_MAX {
            return Err(Error::Limit { what: "an extended header".into(), limit: format!("{SPECIAL_MAX} bytes") });
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let mut data = vec![0; length];
        self.fill(&mut data, length)?;
        self.padding = padding(size);
        Ok(data)
    }

    /// The next header, or nothing at the archive's end: two blocks of zeros, or the end of the stream between members.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if block.iter().any(|&byte| byte != 0) {
            return Header::new(block).map(Some);
        }
        match self.block()? {
            Some(block) if block.iter().any(|&byte| byte != 0) => {
                Err(damaged("a block of zeros is followed by more members; readers differ on what that means"))
            }
            _ => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.source.fill_buf().doing(|| "reading the archive".into())?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.fill(&mut block, BLOCK)?;
        Ok(Some(block))
    }

    fn fill(&mut self, buffer: &mut [u8], length: usize) -> Result<()> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => damaged("it is truncated"),
            _ => Error::from_io(|| "reading the archive".into(), error),
        })?;
        self.position += length as u64;
        Ok(())
    }

    fn skip_body(&mut self) -> Result<()> {
        let mut left = self.body + self.padding;
        while left > 0 {
            let available = self.source.fill_buf().doing(|| "reading the archive".into())?.len();
            if available == 0 {
                return Err(damaged("it is truncated"));
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(available);
            self.source.consume(length);
            self.position += length as u64;
            left -= length as u64;
        }
        (self.body, self.padding) = (0, 0);
        Ok(())
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

pub(crate) fn damaged(reason: &str) -> Error {
    Error::Archive(format!("unreadable archive: {reason}"))
}

#[cfg(test)]
mod tests;
