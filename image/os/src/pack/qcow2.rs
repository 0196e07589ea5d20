//! A writer of compressed qcow2 images (QEMU docs/interop/qcow2.txt, version 3): what a user downloads.
//!
//! Own code rather than `qemu-img convert`: the bytes depend on nothing but the input, and no tool is needed to make one.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{At, Error};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: usize = 1 << CLUSTER_BITS;
/// Entries of a second-level table, and reference counts (16 bits each) of a block.
const L2_ENTRIES: usize = CLUSTER / 8;
const REFCOUNTS: u64 = CLUSTER as u64 / 2;
/// Clusters of the header, the first-level table and the reference count table, in this order: enough for 64 GiB.
const L1_AT: u64 = CLUSTER as u64;
const REFCOUNT_TABLE_AT: u64 = 2 * CLUSTER as u64;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Bits of a compressed cluster's entry that hold its offset; the sectors it takes are above.
const OFFSET_BITS: u32 = 62 - (CLUSTER_BITS - 8);

/// Write the qcow2 image of the raw image `raw` to `out`. Clusters of zeros take no space.
///
/// # Errors
/// When `raw` cannot be read, is larger than a first-level table of one cluster can map, or `out` cannot be written.
pub fn write(raw: &Path, out: &Path) -> Result<(), Error> {
    let mut source = File::open(raw).at("open", raw)?;
    let size = source.metadata().at("examine", raw)?.len();
    let file = File::create(out).at("create", out)?;
    convert(&mut source, size, BufWriter::with_capacity(1 << 20, file)).at("write", out)
}

fn convert<W: Write + Seek>(source: &mut impl Read, size: u64, mut out: W) -> io::Result<()> {
    let tables = size.div_ceil((CLUSTER * L2_ENTRIES) as u64) as usize;
    if tables > L2_ENTRIES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the image exceeds what one first-level table maps"));
    }
    let mut entries = vec![0u64; tables * L2_ENTRIES];
    let mut at = REFCOUNT_TABLE_AT + CLUSTER as u64;
    out.seek(SeekFrom::Start(at))?;
    let (mut cluster, mut packed) = (vec![0; CLUSTER], vec![0; CLUSTER]);
    for (index, entry) in entries.iter_mut().enumerate().take(size.div_ceil(CLUSTER as u64) as usize) {
        let length = CLUSTER.min((size - index as u64 * CLUSTER as u64) as usize);
        source.read_exact(&mut cluster[..length])?;
        cluster[length..].fill(0);
        if cluster.iter().all(|byte| *byte == 0) {
            continue;
        }
        match deflate(&cluster, &mut packed)? {
            Some(length) => {
                // The entry counts sectors beyond the first that the data touch.
                let sectors = (at + length as u64 - 1) / 512 - at / 512;
                *entry = COMPRESSED | sectors << OFFSET_BITS | at;
                out.write_all(&packed[..length])?;
                at += length as u64;
            }
            None => {
                at = pad(&mut out, at)?;
                *entry = COPIED | at;
                out.write_all(&cluster)?;
                at += CLUSTER as u64;
            }
        }
    }
    at = pad(&mut out, at)?;
    let mut first_level = Vec::with_capacity(tables);
    for table in entries.chunks(L2_ENTRIES) {
        if table.iter().all(|entry| *entry == 0) {
            first_level.push(0);
            continue;
        }
        first_level.push(COPIED | at);
        write_numbers(&mut out, table)?;
        at += CLUSTER as u64;
    }
    let blocks_at = at;
    let counts = reference_counts(&entries, blocks_at);
    let bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
    out.write_all(&bytes)?;
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header(size, tables as u32))?;
    out.seek(SeekFrom::Start(L1_AT))?;
    write_numbers(&mut out, &first_level)?;
    out.seek(SeekFrom::Start(REFCOUNT_TABLE_AT))?;
    let blocks = counts.len() as u64 / REFCOUNTS;
    write_numbers(&mut out, &(0..blocks).map(|block| blocks_at + block * CLUSTER as u64).collect::<Vec<_>>())?;
    out.flush()
}

/// Raw deflate as QEMU inflates it: a window of 4 KiB. None if the result is not smaller.
fn deflate(cluster: &[u8], packed: &mut [u8]) -> io::Result<Option<usize>> {
    let mut stream = Compress::new_with_window_bits(Compression::best(), false, 12);
    let status = stream.compress(cluster, packed, FlushCompress::Finish).map_err(io::Error::other)?;
    Ok((status == Status::StreamEnd).then_some(stream.total_out() as usize).filter(|length| *length < CLUSTER))
}

/// How often each cluster of the file is used, filled up to whole blocks; the blocks themselves, from `blocks_at`, are counted.
fn reference_counts(entries: &[u64], blocks_at: u64) -> Vec<u16> {
    let before = blocks_at / CLUSTER as u64;
    let mut blocks = 1;
    while blocks * REFCOUNTS < before + blocks {
        blocks += 1;
    }
    let mut counts = vec![1u16; (before + blocks) as usize];
    counts.resize((blocks * REFCOUNTS) as usize, 0);
    let data_at = (REFCOUNT_TABLE_AT as usize) / CLUSTER + 1;
    let is_packed = |entry: &&u64| **entry & COMPRESSED != 0;
    let packed: Vec<_> = entries.iter().filter(is_packed).collect();
    let mut shared = vec![0u16; before as usize];
    for entry in packed {
        let offset = *entry & ((1 << OFFSET_BITS) - 1);
        let sectors = (*entry & !(COMPRESSED | COPIED)) >> OFFSET_BITS;
        let end = (offset / 512 + sectors) * 512;
        for cluster in offset / CLUSTER as u64..=end / CLUSTER as u64 {
            shared[cluster as usize] += 1;
        }
    }
    for (count, shared) in counts.iter_mut().zip(&shared).skip(data_at) {
        *count = (*shared).max(1);
    }
    counts
}

fn header(size: u64, tables: u32) -> Vec<u8> {
    let mut bytes = b"QFI\xfb".to_vec();
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend_from_slice(&value.to_be_bytes());
    let long = |bytes: &mut Vec<u8>, value: u64| bytes.extend_from_slice(&value.to_be_bytes());
    word(&mut bytes, 3);
    long(&mut bytes, 0); // no backing file
    word(&mut bytes, 0);
    word(&mut bytes, CLUSTER_BITS);
    long(&mut bytes, size);
    word(&mut bytes, 0); // no encryption
    word(&mut bytes, tables);
    long(&mut bytes, L1_AT);
    long(&mut bytes, REFCOUNT_TABLE_AT);
    word(&mut bytes, 1);
    word(&mut bytes, 0); // no snapshots
    long(&mut bytes, 0);
    long(&mut bytes, 0); // incompatible, compatible and auto-clear features
    long(&mut bytes, 0);
    long(&mut bytes, 0);
    word(&mut bytes, 4); // reference counts of 1 << 4 bits
    word(&mut bytes, 104); // this header's length
    long(&mut bytes, 0); // end of the extensions
    bytes
}

fn write_numbers(out: &mut impl Write, numbers: &[u64]) -> io::Result<()> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    out.write_all(&bytes)
}

/// Go on at the next cluster.
fn pad(out: &mut (impl Write + Seek), at: u64) -> io::Result<u64> {
    let next = at.next_multiple_of(CLUSTER as u64);
    out.seek(SeekFrom::Start(next)).map(|_| next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn qemu_finds_no_fault_and_the_same_content() {
        let dir = tempfile::tempdir().unwrap();
        let (raw, out) = (dir.path().join("a.raw"), dir.path().join("a.qcow2"));
        let mut content = vec![0u8; 9 * CLUSTER + 512];
        let mut state = 1u32;
        for (index, byte) in content.iter_mut().enumerate() {
            // Clusters of text, of noise, and of zeros.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = [(index / 7) as u8, (state >> 24) as u8, 0][index / CLUSTER % 3];
        }
        std::fs::write(&raw, &content).unwrap();
        write(&raw, &out).unwrap();
        let Ok(check) = Command::new("qemu-img").args(["check", "-q"]).arg(&out).output() else { return };
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        let compare = Command::new("qemu-img").args(["compare", "-q"]).arg(&raw).arg(&out).status().unwrap();
        assert!(compare.success());
    }
}
