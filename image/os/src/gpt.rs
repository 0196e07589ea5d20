//! The GUID partition table (UEFI 2.10, section 5.3): read from a disk that may lie, written so that a crash loses nothing.
//!
//! Own code rather than the crate gptman: what is read here is read by PID 1, so no input may make it panic or allocate without
//! bound, and growing a disk needs the order of the writes in its own hands.
//!
//! A table is on the disk twice. [`Table::write`] writes and flushes the backup before it touches the primary: at any moment one
//! of the two is whole, and [`Table::read`] takes the one that is. The kernel does the same when told `gpt` on its command line.

use std::io::{self, Read, Seek, SeekFrom, Write};

use thiserror::Error;

use crate::guid::Guid;

/// Bytes of one entry. The specification allows more; no one makes them.
const ENTRY_SIZE: usize = 128;
/// Entries of a table that we make: the least that the specification allows.
const ENTRIES: usize = 128;
/// Most entries that are read: what is more is no table but an attack on our memory.
const MAX_ENTRIES: u32 = 1024;
const HEADER_SIZE: usize = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;

/// Why there is no table to work with.
#[derive(Debug, Error)]
pub enum Error {
    /// The disk cannot be read or written.
    #[error("cannot {doing} the partition table: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Neither primary nor backup is whole.
    #[error("no valid partition table: primary: {primary}; backup: {backup}")]
    NoTable {
        /// What is wrong with the primary.
        primary: Flaw,
        /// What is wrong with the backup.
        backup: Flaw,
    },
    /// The disk is too small for what the table says.
    #[error("the disk has {sectors} sectors; {why}")]
    Geometry {
        /// Size of the disk.
        sectors: u64,
        /// What does not fit.
        why: &'static str,
    },
}

/// What is wrong with one copy of the table.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Flaw {
    /// It cannot be read.
    #[error("unreadable")]
    Unreadable,
    /// There is none.
    #[error("no signature")]
    Signature,
    /// A revision, header or entry size that nothing writes, or a header that says it is elsewhere.
    #[error("unknown layout")]
    Layout,
    /// The header's checksum is wrong.
    #[error("wrong header checksum")]
    HeaderChecksum,
    /// The entries' checksum is wrong.
    #[error("wrong checksum of the entries")]
    EntriesChecksum,
    /// Partitions overlap or lie outside the usable area.
    #[error("partitions overlap or leave the disk")]
    Ranges,
}

/// Which copy a table was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// The one at the disk's start.
    Primary,
    /// The one at the disk's end: the primary is damaged and should be written anew.
    Backup,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Partition type.
    pub kind: Guid,
    /// Identity of this partition (PARTUUID).
    pub guid: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector, inclusive.
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Name in UTF-16, padded with zeros.
    name: [u16; 36],
}

impl Entry {
    /// A partition of the sectors `first..=last`. A name longer than 36 UTF-16 units is cut.
    pub fn new(kind: Guid, guid: Guid, first: u64, last: u64, name: &str) -> Self {
        let mut units = [0; 36];
        for (unit, from) in units.iter_mut().zip(name.encode_utf16()) {
            *unit = from;
        }
        Entry { kind, guid, first, last, attributes: 0, name: units }
    }

    /// The partition's name (PARTLABEL).
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|unit| *unit == 0).unwrap_or(self.name.len());
        String::from_utf16_lossy(&self.name[..end])
    }

    fn parse(bytes: &[u8; ENTRY_SIZE]) -> Option<Self> {
        let guid = |at| Guid::from_bytes(array(bytes, at));
        let kind = guid(0);
        if kind == Guid::ZERO {
            return None;
        }
        let mut name = [0; 36];
        for (index, unit) in name.iter_mut().enumerate() {
            *unit = u16::from_le_bytes(array(bytes, 56 + 2 * index));
        }
        let number = |at| u64::from_le_bytes(array(bytes, at));
        Some(Entry { kind, guid: guid(16), first: number(32), last: number(40), attributes: number(48), name })
    }

    fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[..16].copy_from_slice(&self.kind.bytes());
        bytes[16..32].copy_from_slice(&self.guid.bytes());
        for (at, value) in [(32, self.first), (40, self.last), (48, self.attributes)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (index, unit) in self.name.iter().enumerate() {
            bytes[56 + 2 * index..58 + 2 * index].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    }
}

/// Size and sector size of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical sector: 512 or 4096.
    pub sector_size: u32,
    /// How many there are.
    pub sectors: u64,
}

/// A partition table, whichever copy it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Identity of the disk.
    pub disk: Guid,
    /// First sector that a partition may have.
    pub first_usable: u64,
    /// Last sector that a partition may have.
    pub last_usable: u64,
    /// Entries by partition number less one; `None` is an unused one.
    pub entries: Vec<Option<Entry>>,
}

impl Table {
    /// An empty table for a disk.
    ///
    /// # Errors
    /// When the disk has no room for one.
    pub fn new(disk: Guid, geometry: Geometry) -> Result<Self, Error> {
        let mut table = Table { disk, first_usable: 0, last_usable: 0, entries: vec![None; ENTRIES] };
        table.first_usable = 2 + table.entry_sectors(geometry);
        table.last_usable = table.last_usable_of(geometry)?;
        Ok(table)
    }

    /// Read the table of a disk: the primary, or the backup at the disk's end if that is damaged.
    ///
    /// # Errors
    /// When neither is whole.
    pub fn read(disk: &mut (impl Read + Seek), geometry: Geometry) -> Result<(Self, Copy), Error> {
        let primary = match read_copy(disk, geometry, 1) {
            Ok(table) => return Ok((table, Copy::Primary)),
            Err(flaw) => flaw,
        };
        read_copy(disk, geometry, geometry.sectors.saturating_sub(1))
            .map(|table| (table, Copy::Backup))
            .map_err(|backup| Error::NoTable { primary, backup })
    }

    /// Take all of the disk that there is: true if the disk is larger (or smaller) than the table knew.
    ///
    /// # Errors
    /// When the disk is now smaller than a partition's end.
    pub fn fit(&mut self, geometry: Geometry) -> Result<bool, Error> {
        let last_usable = self.last_usable_of(geometry)?;
        if self.entries.iter().flatten().any(|entry| entry.last > last_usable) {
            return Err(Error::Geometry { sectors: geometry.sectors, why: "a partition ends behind them" });
        }
        Ok(std::mem::replace(&mut self.last_usable, last_usable) != last_usable)
    }

    /// Write both copies, the backup first; `flush` is called after each and must return only when the disk has them.
    ///
    /// # Errors
    /// When a write or flush fails: then one copy is still whole.
    pub fn write<D: Write + Seek>(
        &self,
        disk: &mut D,
        geometry: Geometry,
        mut flush: impl FnMut(&mut D) -> io::Result<()>,
    ) -> Result<(), Error> {
        let failed = |doing| move |source| Error::Io { doing, source };
        let size = u64::from(geometry.sector_size);
        let entries = self.encode_entries(geometry);
        let last = geometry.sectors - 1;
        let entries_at = last - self.entry_sectors(geometry);
        let mut backup = entries.clone();
        backup.extend_from_slice(&self.encode_header(geometry, &entries, last, 1, entries_at));
        write_at(disk, entries_at * size, &backup).map_err(failed("write the backup of"))?;
        flush(disk).map_err(failed("flush the backup of"))?;
        // Header and entries lie side by side: one write, so that a crash in between is as unlikely as it can be made.
        let mut primary = self.encode_header(geometry, &entries, 1, last, 2);
        primary.extend_from_slice(&entries);
        write_at(disk, size, &primary).map_err(failed("write"))?;
        flush(disk).map_err(failed("flush"))
    }

    fn entry_sectors(&self, geometry: Geometry) -> u64 {
        ((self.entries.len() * ENTRY_SIZE) as u64).div_ceil(geometry.sector_size.into())
    }

    fn last_usable_of(&self, geometry: Geometry) -> Result<u64, Error> {
        let reserved = self.entry_sectors(geometry) + 2;
        match geometry.sectors.checked_sub(reserved) {
            Some(last) if last >= self.first_usable => Ok(last),
            _ => Err(Error::Geometry { sectors: geometry.sectors, why: "two partition tables need more" }),
        }
    }

    fn encode_entries(&self, geometry: Geometry) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_SIZE);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.as_ref().map_or([0; ENTRY_SIZE], Entry::encode));
        }
        bytes.resize(bytes.len().next_multiple_of(geometry.sector_size as usize), 0);
        bytes
    }

    fn encode_header(&self, geometry: Geometry, entries: &[u8], mine: u64, other: u64, entries_at: u64) -> Vec<u8> {
        let mut bytes = vec![0; geometry.sector_size as usize];
        bytes[..8].copy_from_slice(SIGNATURE);
        bytes[56..72].copy_from_slice(&self.disk.bytes());
        let checksum = crc32(&entries[..self.entries.len() * ENTRY_SIZE]);
        for (at, value) in [(24, mine), (32, other), (40, self.first_usable), (48, self.last_usable), (72, entries_at)]
        {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let count = self.entries.len() as u32;
        for (at, value) in
            [(8, REVISION), (12, HEADER_SIZE as u32), (80, count), (84, ENTRY_SIZE as u32), (88, checksum)]
        {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = crc32(&bytes[..HEADER_SIZE]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn ranges_are_sound(&self) -> bool {
        let mut used: Vec<_> = self.entries.iter().flatten().map(|entry| (entry.first, entry.last)).collect();
        used.sort_unstable();
        let inside =
            |(first, last): &(u64, u64)| first <= last && *first >= self.first_usable && *last <= self.last_usable;
        used.iter().all(inside) && used.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }
}

/// The protective MBR (UEFI 2.10, table 5.4): tells a tool that knows no GPT that the disk is in use.
pub fn protective_mbr(geometry: Geometry) -> [u8; 512] {
    let mut sector = [0; 512];
    let size = u32::try_from(geometry.sectors - 1).unwrap_or(u32::MAX);
    sector[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    sector[458..462].copy_from_slice(&size.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn read_copy(disk: &mut (impl Read + Seek), geometry: Geometry, at: u64) -> Result<Table, Flaw> {
    let size = u64::from(geometry.sector_size);
    let mut header = [0; HEADER_SIZE];
    read_at(disk, at.checked_mul(size).ok_or(Flaw::Unreadable)?, &mut header)?;
    if &header[..8] != SIGNATURE {
        return Err(Flaw::Signature);
    }
    let number = |at| u32::from_le_bytes(array(&header, at));
    let long = |at| u64::from_le_bytes(array(&header, at));
    let (count, entries_at) = (number(80), long(72));
    if number(8) != REVISION
        || number(12) as usize != HEADER_SIZE
        || number(84) as usize != ENTRY_SIZE
        || count == 0
        || count > MAX_ENTRIES
        || long(24) != at
    {
        return Err(Flaw::Layout);
    }
    let mut unsummed = header;
    unsummed[16..20].fill(0);
    if crc32(&unsummed) != number(16) {
        return Err(Flaw::HeaderChecksum);
    }
    let mut bytes = vec![0; count as usize * ENTRY_SIZE];
    read_at(disk, entries_at.checked_mul(size).ok_or(Flaw::Layout)?, &mut bytes)?;
    if crc32(&bytes) != number(88) {
        return Err(Flaw::EntriesChecksum);
    }
    let entries = bytes.chunks_exact(ENTRY_SIZE).map(|chunk| Entry::parse(&array(chunk, 0))).collect();
    let table =
        Table { disk: Guid::from_bytes(array(&header, 56)), first_usable: long(40), last_usable: long(48), entries };
    let room = 2 + table.entry_sectors(geometry);
    let sound = table.first_usable >= room && table.last_usable < geometry.sectors && table.ranges_are_sound();
    if sound { Ok(table) } else { Err(Flaw::Ranges) }
}

fn read_at(disk: &mut (impl Read + Seek), at: u64, bytes: &mut [u8]) -> Result<(), Flaw> {
    disk.seek(SeekFrom::Start(at)).and_then(|_| disk.read_exact(bytes)).map_err(|_| Flaw::Unreadable)
}

fn write_at(disk: &mut (impl Write + Seek), at: u64, bytes: &[u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    disk.write_all(bytes)
}

/// `N` bytes of `bytes` from `at`, which the caller knows are there; zeros if not.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).unwrap_or([0; N])
}

/// CRC-32 of IEEE 802.3, as UEFI wants it. A table is 16 KiB, read once a boot: bit by bit is fast enough.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
