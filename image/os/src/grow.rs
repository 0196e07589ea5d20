//! STATE takes the whole disk: the machine rewrites the table, tells the kernel, and grows the file system while it is mounted.
//!
//! Three steps, the last of them in pieces, each of which finds out by itself whether there is something to do; so they are repeated at every boot, and a power
//! cut between or inside them, or a virtual disk that was enlarged later, needs no other code.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::gpt::{self, Copy, Geometry, Table};
use crate::guid::Guid;
use crate::layout;

/// Why STATE does not grow. It works on with the size that it has.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel's view of the device cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Sysfs {
        /// The file.
        path: PathBuf,
        /// What the kernel said, or what is no number.
        source: io::Error,
    },
    /// A device cannot be opened, or told its new size.
    #[error("cannot {doing} {}: {source}", path.display())]
    Device {
        /// What was being done.
        doing: &'static str,
        /// The device or mount point.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The partition table cannot be read or written.
    #[error("{}: {source}", disk.display())]
    Table {
        /// The disk.
        disk: PathBuf,
        /// What is wrong.
        source: gpt::Error,
    },
    /// The table on the disk does not have the partition that the kernel has.
    #[error("{}: partition {number} is not STATE in the table on the disk", disk.display())]
    NotState {
        /// The disk.
        disk: PathBuf,
        /// Number of the partition.
        number: u32,
    },
}

/// The STATE partition, as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its device, `/dev/vda2`.
    pub device: PathBuf,
    /// The disk that it is on, `/dev/vda`.
    pub disk: PathBuf,
    /// Number of the partition.
    pub number: u32,
    /// Its folder in sysfs.
    sysfs: PathBuf,
}

impl State {
    /// Look a partition up by its device's name (`vda2`) in sysfs (mounted at `sys`).
    ///
    /// # Errors
    /// When it is no partition.
    pub fn from_name(sys: &Path, name: &str) -> Result<Self, Error> {
        let link = sys.join("class/block").join(name);
        let sysfs = fs::canonicalize(&link).map_err(|source| Error::Sysfs { path: link, source })?;
        let number = read_number(&sysfs.join("partition"))?;
        let disk = sysfs.parent().and_then(Path::file_name).unwrap_or_default();
        let dev = Path::new("/dev");
        Ok(State {
            device: dev.join(name),
            disk: dev.join(disk),
            number: u32::try_from(number).unwrap_or_default(),
            sysfs,
        })
    }

    /// Enlarge the partition to the end of its disk, in the table and in the kernel, and give a disk that has the image's identifiers
    /// its own. Returns the partition's size in bytes.
    ///
    /// # Errors
    /// When the table is not ours to change, or a device refuses.
    pub fn grow_partition(&self) -> Result<u64, Error> {
        let geometry = self.geometry()?;
        let failed = |doing| move |source| Error::Device { doing, path: self.disk.clone(), source };
        let mut disk = File::options().read(true).write(true).open(&self.disk).map_err(failed("open"))?;
        let table_error = |source| Error::Table { disk: self.disk.clone(), source };
        let (mut table, copy) = Table::read(&mut disk, geometry).map_err(table_error)?;
        let grown = enlarge(&mut table, self.number, geometry).map_err(table_error)?;
        let Some(grown) = grown else {
            return Err(Error::NotState { disk: self.disk.clone(), number: self.number });
        };
        let random = || Guid::random().map_err(failed("find identifiers for"));
        let renewed = renew(&mut table, self.number, random()?, random()?);
        if grown.changed || renewed || copy == Copy::Backup {
            table.write(&mut disk, geometry, |disk| disk.sync_all()).map_err(table_error)?;
        }
        let sector = u64::from(geometry.sector_size);
        let (start, length) = (grown.first * sector, (grown.last - grown.first + 1) * sector);
        // Unit of sysfs: 512 bytes, whatever the disk's sectors are.
        if read_number(&self.sysfs.join("size"))? * 512 < length {
            let number = i32::try_from(self.number).unwrap_or_default();
            coracle_abi::block::resize_partition(&disk, number, start, length).map_err(failed("enlarge STATE on"))?;
        }
        Ok(length)
    }

    /// Enlarge the file system, mounted at `mount_point`, towards the partition's size, by at most `step` bytes: a large disk takes
    /// minutes. Returns how many bytes are left to do.
    ///
    /// # Errors
    /// When it is no ext4, or the kernel refuses.
    pub fn grow_file_system(&self, mount_point: &Path, step: u64) -> Result<u64, Error> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Device { doing, path, source }
        };
        let size = File::open(&self.device)
            .and_then(Superblock::read)
            .map_err(failed("read the superblock of", &self.device))?;
        let whole = read_number(&self.sysfs.join("size"))? * 512 / size.block;
        let next = whole.min(size.blocks.saturating_add(step / size.block));
        if next > size.blocks {
            let root = File::open(mount_point).map_err(failed("open", mount_point))?;
            let enlarged = coracle_abi::block::resize_ext4(&root, next);
            enlarged.map_err(failed("enlarge the file system at", mount_point))?;
        }
        Ok(whole.saturating_sub(next) * size.block)
    }

    /// Give the file system, mounted at `mount_point`, a UUID of its own if it still has the image's.
    ///
    /// # Errors
    /// When it is no ext4, or the kernel refuses.
    pub fn renew_file_system_id(&self, mount_point: &Path) -> Result<(), Error> {
        let failed = |doing| move |source| Error::Device { doing, path: self.device.clone(), source };
        let superblock =
            File::open(&self.device).and_then(Superblock::read).map_err(failed("read the superblock of"))?;
        if !superblock.uuid.is_derived() {
            return Ok(());
        }
        let root = File::open(mount_point).map_err(failed("open the root of"))?;
        let own = Guid::random().map_err(failed("find a UUID for"))?;
        coracle_abi::block::set_ext4_uuid(&root, own.text_order()).map_err(failed("set the UUID of"))
    }

    fn geometry(&self) -> Result<Geometry, Error> {
        let disk = self.sysfs.parent().unwrap_or(&self.sysfs);
        let sector_size = read_number(&disk.join("queue/logical_block_size"))?.clamp(512, 65536);
        let sectors = read_number(&disk.join("size"))? * 512 / sector_size;
        Ok(Geometry { sector_size: sector_size as u32, sectors })
    }
}

/// What the superblock of an ext4 says. (statfs(2) leaves out of the size what the file system needs for itself.)
#[derive(Debug, PartialEq, Eq)]
struct Superblock {
    blocks: u64,
    /// Bytes in a block.
    block: u64,
    uuid: Guid,
}

impl Superblock {
    /// Read the superblock, 1024 bytes from the start; see Documentation/filesystems/ext4/super.rst. Of a mounted file system the
    /// device's cache has the present one.
    fn read(mut device: File) -> io::Result<Self> {
        let mut block = [0; 1024];
        device.seek(io::SeekFrom::Start(1024))?;
        device.read_exact(&mut block)?;
        Self::parse(&block).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no ext4"))
    }

    fn parse(superblock: &[u8; 1024]) -> Option<Self> {
        let word = |at: usize| superblock.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        // s_magic; s_log_block_size; the high half of s_blocks_count counts with the feature 64bit.
        let magic = superblock.get(0x38..0x3a)? == [0x53, 0xef];
        let log = word(0x18).filter(|log| *log <= 6)?;
        let high = if word(0x60)? & 0x80 != 0 { u64::from(word(0x150)?) } else { 0 };
        let uuid = Guid::from_text_order(superblock.get(0x68..0x78)?.try_into().ok()?);
        magic.then_some(Superblock { blocks: high << 32 | u64::from(word(0x4)?), block: 1024 << log, uuid })
    }
}

/// What became of the partition: its sectors, and whether the table must be written.
#[derive(Debug, PartialEq, Eq)]
struct Grown {
    first: u64,
    last: u64,
    changed: bool,
}

/// Fit the table to the disk and move STATE's end to the disk's, if nothing lies behind it. None if the partition is not STATE.
fn enlarge(table: &mut Table, number: u32, geometry: Geometry) -> Result<Option<Grown>, gpt::Error> {
    let index = (number as usize).wrapping_sub(1);
    let Some(Some(state)) = table.entries.get(index).cloned() else { return Ok(None) };
    if state.kind != layout::STATE_TYPE || state.name() != layout::STATE_LABEL {
        return Ok(None);
    }
    let moved = table.fit(geometry)?;
    let blocked = table.entries.iter().flatten().any(|entry| entry.first > state.last);
    let unit = (layout::ALIGNMENT / u64::from(geometry.sector_size)).max(1);
    let aligned = (table.last_usable + 1) / unit * unit;
    let last = if blocked { state.last } else { state.last.max(aligned.saturating_sub(1)) };
    if let Some(Some(entry)) = table.entries.get_mut(index) {
        entry.last = last;
    }
    Ok(Some(Grown { first: state.first, last, changed: moved || last != state.last }))
}

/// Replace the image's identifiers: those of the disk and of STATE. The ESP keeps its own, by which firmware may know what to boot.
/// True if there was something to replace.
fn renew(table: &mut Table, number: u32, disk: Guid, partition: Guid) -> bool {
    let renewed = table.disk.is_derived();
    if renewed {
        table.disk = disk;
    }
    match table.entries.get_mut((number as usize).wrapping_sub(1)) {
        Some(Some(state)) if state.guid.is_derived() => {
            state.guid = partition;
            true
        }
        _ => renewed,
    }
}

fn read_number(path: &Path) -> Result<u64, Error> {
    fs::read_to_string(path)
        .and_then(|text| text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
        .map_err(|source| Error::Sysfs { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::Entry;

    const SMALL: Geometry = Geometry { sector_size: 512, sectors: 16 << 11 };
    const LARGE: Geometry = Geometry { sector_size: 512, sectors: (64 << 11) + 100 };

    fn table(kind: Guid) -> Table {
        let mut table = Table::new(Guid::ZERO, SMALL).unwrap();
        table.entries[0] = Some(Entry::new(layout::ESP_TYPE, Guid::ZERO, 2048, 4095, "ESP"));
        table.entries[1] = Some(Entry::new(kind, Guid::ZERO, 4096, 8191, "STATE"));
        table
    }

    #[test]
    fn state_grows_to_the_last_whole_mebibyte_and_only_once() {
        let mut table = table(layout::STATE_TYPE);
        let grown = enlarge(&mut table, 2, LARGE).unwrap();
        assert_eq!(grown, Some(Grown { first: 4096, last: (64 << 11) - 1, changed: true }));
        assert!(!enlarge(&mut table, 2, LARGE).unwrap().unwrap().changed);
    }

    #[test]
    fn superblocks() {
        let mut block = [0; 1024];
        block[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        block[0x4..0x8].copy_from_slice(&32768_u32.to_le_bytes());
        block[0x18] = 2;
        block[0x150] = 1;
        let uuid = Guid::derive("0.1.0", "state");
        block[0x68..0x78].copy_from_slice(&uuid.text_order());
        assert_eq!(Superblock::parse(&block), Some(Superblock { blocks: 32768, block: 4096, uuid }));
        block[0x60] = 0x80;
        assert_eq!(Superblock::parse(&block), Some(Superblock { blocks: (1 << 32) + 32768, block: 4096, uuid }));
        block[0x18] = 60;
        assert_eq!(Superblock::parse(&block), None);
        assert_eq!(Superblock::parse(&[0; 1024]), None);
    }

    #[test]
    fn a_disk_gets_identifiers_of_its_own_once() {
        let mut table = table(layout::STATE_TYPE);
        let (own, other) = (Guid::random().unwrap(), Guid::random().unwrap());
        table.disk = Guid::derive("0.1.0", "disk");
        for entry in table.entries.iter_mut().flatten() {
            entry.guid = Guid::derive("0.1.0", "partition");
        }
        assert!(renew(&mut table, 2, own, other));
        let guids: Vec<_> = table.entries.iter().flatten().map(|entry| entry.guid).collect();
        assert_eq!((table.disk, guids[0], guids[1]), (own, Guid::derive("0.1.0", "partition"), other));
        assert!(!renew(&mut table, 2, other, own));
    }

    #[test]
    fn what_lies_behind_state_is_not_overrun() {
        let mut table = table(layout::STATE_TYPE);
        table.entries[2] = Some(Entry::new(layout::ESP_TYPE, Guid::ZERO, 10_000, 11_000, "mine"));
        let grown = enlarge(&mut table, 2, LARGE).unwrap().unwrap();
        assert_eq!(grown.last, 8191);
    }

    #[test]
    fn only_state_is_touched() {
        for (mut table, number) in
            [(table(layout::ESP_TYPE), 2), (table(layout::STATE_TYPE), 1), (table(layout::STATE_TYPE), 0)]
        {
            assert_eq!(enlarge(&mut table, number, LARGE).unwrap(), None);
        }
        assert!(enlarge(&mut table(layout::STATE_TYPE), 400, LARGE).unwrap().is_none());
    }
}
