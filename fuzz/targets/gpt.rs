//! Partition tables: what is read can be fitted to the disk and written, and is read again as it was.
#![no_main]

use std::io::Cursor;

use coracle_image_os::gpt::{Entry, Geometry, Table};
use coracle_image_os::guid::Guid;

const SECTORS: u64 = 256;

libfuzzer_sys::fuzz_target!(|edits: Vec<(u16, u8, bool)>| {
    let geometry = Geometry { sector_size: 512, sectors: SECTORS };
    let mut disk = Cursor::new(vec![0; SECTORS as usize * 512]);
    let mut table = Table::new(Guid::derive("fuzz", "disk"), geometry).expect("room for a table");
    for (at, first) in [100, 120].into_iter().enumerate() {
        let guid = Guid::derive("fuzz", "partition");
        table.entries[at] = Some(Entry::new(guid, guid, first, first + 9, "STATE"));
    }
    table.write(&mut disk, geometry, |_| Ok(())).expect("a valid table");
    let mut disk = disk.into_inner();
    let last = disk.len() - 512;
    for (at, byte, in_header) in edits {
        // Most edits to the header, where the offsets and sizes are.
        let at = if in_header { 512 + usize::from(at) % 92 } else { 512 + usize::from(at) % (33 * 512) };
        disk[at] = byte;
        // The backup is as bad, or the primary's flaw would be passed over.
        disk[last + at % 512] = byte;
    }
    seal(&mut disk, 512);
    seal(&mut disk, last);
    let mut disk = Cursor::new(disk);
    let Ok((mut table, _)) = Table::read(&mut disk, geometry) else { return };
    if table.fit(geometry).is_ok() && table.write(&mut disk, geometry, |_| Ok(())).is_ok() {
        let (again, _) = Table::read(&mut disk, geometry).expect("what was written is read");
        assert_eq!(again, table);
    }
});

/// Give what looks like a header at `at` the right checksums, which no fuzzer would find.
fn seal(disk: &mut [u8], at: usize) {
    let word = |disk: &[u8], at: usize| u32::from_le_bytes(disk[at..at + 4].try_into().unwrap_or_default());
    let header = disk[at..at + 512].to_vec();
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let start = (word(&header, 72) as usize).saturating_mul(512);
    let length = (word(&header, 80) as usize).saturating_mul(word(&header, 84) as usize);
    if let Some(entries) = disk.get(start..start.saturating_add(length)) {
        let sum = crc32(entries);
        disk[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
    }
    let size = (word(&header, 12) as usize).clamp(92, 512);
    disk[at + 16..at + 20].fill(0);
    let sum = crc32(&disk[at..at + size]);
    disk[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| (0..8).fold(byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }))
        .collect();
    !bytes.iter().fold(!0, |crc, &byte| (crc >> 8) ^ table[((crc ^ u32::from(byte)) & 0xff) as usize])
}
