use super::*;
use crate::layout;
use proptest::prelude::*;
use std::io::Cursor;

const GEOMETRY: Geometry = Geometry { sector_size: 512, sectors: 4096 };

fn sample(geometry: Geometry) -> Table {
    let mut table = Table::new(Guid::derive("t", "disk"), geometry).unwrap();
    let entry = |kind, name, first, last| Some(Entry::new(kind, Guid::derive("t", name), first, last, name));
    table.entries[0] = entry(layout::ESP_TYPE, "ESP", 64, 1000);
    table.entries[1] = entry(layout::STATE_TYPE, "STATE", 1001, 2000);
    table
}

fn disk(geometry: Geometry) -> Cursor<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; (geometry.sectors * u64::from(geometry.sector_size)) as usize]);
    sample(geometry).write(&mut disk, geometry, |_| Ok(())).unwrap();
    disk
}

#[test]
fn checksum_is_the_standard_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn what_is_written_is_read_with_either_sector_size() {
    for sector_size in [512, 4096] {
        let geometry = Geometry { sector_size, sectors: 4096 };
        let (table, copy) = Table::read(&mut disk(geometry), geometry).unwrap();
        assert_eq!((&table, copy), (&sample(geometry), Copy::Primary));
        assert_eq!(table.entries[1].as_ref().unwrap().name(), "STATE");
    }
}

#[test]
fn either_damaged_copy_is_survived() {
    for (damaged, expected) in [(512, Copy::Backup), (1024, Copy::Backup), (4095 * 512, Copy::Primary)] {
        let mut disk = disk(GEOMETRY);
        disk.get_mut()[damaged + 60] ^= 1;
        let (table, copy) = Table::read(&mut disk, GEOMETRY).unwrap();
        assert_eq!((table, copy), (sample(GEOMETRY), expected), "byte {damaged}");
    }
}

#[test]
fn a_grown_disk_is_fitted_and_a_shrunk_one_refused() {
    let mut table = sample(GEOMETRY);
    assert!(!table.fit(GEOMETRY).unwrap());
    assert!(table.fit(Geometry { sectors: 8192, ..GEOMETRY }).unwrap());
    assert_eq!(table.last_usable, 8192 - 34);
    assert!(table.fit(Geometry { sectors: 1500, ..GEOMETRY }).is_err());
    assert!(table.fit(Geometry { sectors: 3, ..GEOMETRY }).is_err());
}

/// A disk that stops taking writes after some bytes: power is cut.
struct Failing {
    disk: Cursor<Vec<u8>>,
    left: usize,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Sectors are written whole or not at all.
        let whole = bytes.len().min(self.left / 512 * 512);
        self.left -= whole;
        if whole == 0 { Err(io::Error::other("power is cut")) } else { self.disk.write(&bytes[..whole]) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

#[test]
fn a_write_cut_anywhere_leaves_the_old_or_the_new_table() {
    let grown = Geometry { sectors: 8192, ..GEOMETRY };
    let old = sample(GEOMETRY);
    let mut new = old.clone();
    new.fit(grown).unwrap();
    new.entries[1].as_mut().unwrap().last = new.last_usable;
    for left in (0..=70 * 512).step_by(512) {
        let mut bytes = disk(GEOMETRY).into_inner();
        bytes.resize(8192 * 512, 0);
        let mut failing = Failing { disk: Cursor::new(bytes), left };
        let _ = new.write(&mut failing, grown, |_| Ok(()));
        let (table, _) = Table::read(&mut failing.disk, grown).unwrap();
        assert!(table == old || table == new, "cut after {left} bytes");
    }
}

#[test]
fn overlapping_partitions_are_refused() {
    let mut table = sample(GEOMETRY);
    table.entries[1].as_mut().unwrap().first = 1000;
    let mut disk = disk(GEOMETRY);
    table.write(&mut disk, GEOMETRY, |_| Ok(())).unwrap();
    let error = Table::read(&mut disk, GEOMETRY).unwrap_err();
    assert!(matches!(error, Error::NoTable { primary: Flaw::Ranges, backup: Flaw::Ranges }), "{error}");
}

#[test]
fn a_long_name_is_cut() {
    assert_eq!(Entry::new(layout::ESP_TYPE, Guid::ZERO, 1, 2, &"x".repeat(50)).name(), "x".repeat(36));
}

proptest! {
    /// Any header with a right checksum: what lies behind it must be checked too.
    #[test]
    fn hostile_headers_are_an_error_not_a_panic(mut header: [u8; 32], tail: [u8; 32], sectors in 0u64..5000, noise: Vec<u8>) {
        let mut bytes = vec![0u8; 1024];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
        header[24..32].copy_from_slice(&1u64.to_le_bytes());
        bytes[512..544].copy_from_slice(&header);
        bytes[572..604].copy_from_slice(&tail);
        bytes[596..600].copy_from_slice(&128u32.to_le_bytes());
        bytes[528..532].fill(0);
        let checksum = crc32(&bytes[512..604]);
        bytes[528..532].copy_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&noise);
        let _ = Table::read(&mut Cursor::new(bytes), Geometry { sector_size: 512, sectors });
    }
}
