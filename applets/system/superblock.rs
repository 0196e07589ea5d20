//! What is on a block device: type, label and UUID of the common file systems, read from their superblocks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What a superblock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Type, as mount(8) names it.
    pub fs_type: &'static str,
    /// Label, if there is one.
    pub label: Option<String>,
    /// UUID or serial number, as blkid(8) writes it.
    pub uuid: Option<String>,
}

/// Bytes from the start that hold every superblock looked for: btrfs is the last, at 64 KiB.
const HEAD: usize = 68 * 1024;

/// Recognise the file system in a device or file; `None` if there is none that is known here.
///
/// # Errors
/// When it cannot be opened or read.
pub fn probe_path(path: &Path) -> io::Result<Option<Found>> {
    // A FIFO or a terminal is never a file system, and opening one may block.
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_block_device(&kind) {
        return Ok(None);
    }
    let file = File::open(path)?;
    let mut head = vec![0; HEAD];
    let mut filled = 0;
    while filled < HEAD {
        match file.read_at(&mut head[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    Ok(probe(&head))
}

/// Recognise a file system by its first bytes.
pub fn probe(head: &[u8]) -> Option<Found> {
    [luks, swap, ext, erofs, xfs, btrfs, squashfs, iso9660, fat].iter().find_map(|probe| probe(head))
}

fn luks(head: &[u8]) -> Option<Found> {
    has(head, 0, b"LUKS\xba\xbe").then(|| Found { fs_type: "crypto_LUKS", label: None, uuid: text(head, 168, 40) })
}

/// mkswap(8): the signature ends the first page, whatever its size; the header is at 1024.
fn swap(head: &[u8]) -> Option<Found> {
    let found = [4096, 8192, 16384, 65536].iter().any(|page| has(head, page - 10, b"SWAPSPACE2"));
    found.then(|| Found { fs_type: "swap", label: text(head, 1052, 16), uuid: uuid(head, 1036) })
}

/// ext2, 3, 4 (Documentation/filesystems/ext4/super.rst).
fn ext(head: &[u8]) -> Option<Found> {
    const BASE: usize = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    /// Incompatible features that ext3 has: filetype, recover, meta_bg.
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    /// Read-only compatible features that ext3 has: sparse_super, large_file, btree_dir.
    const EXT3_RO_COMPAT: u32 = 0x7;
    if !has(head, BASE + 0x38, &[0x53, 0xef]) {
        return None;
    }
    let (compat, incompat, ro_compat) = (le32(head, BASE + 0x5c)?, le32(head, BASE + 0x60)?, le32(head, BASE + 0x64)?);
    let fs_type = if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        "ext4"
    } else if compat & HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    Some(Found { fs_type, label: text(head, BASE + 0x78, 16), uuid: uuid(head, BASE + 0x68) })
}

/// fs/erofs/erofs_fs.h, struct erofs_super_block.
fn erofs(head: &[u8]) -> Option<Found> {
    const BASE: usize = 1024;
    has(head, BASE, &0xe0f5_e1e2_u32.to_le_bytes()).then(|| Found {
        fs_type: "erofs",
        label: text(head, BASE + 64, 16),
        uuid: uuid(head, BASE + 48),
    })
}

fn xfs(head: &[u8]) -> Option<Found> {
    has(head, 0, b"XFSB").then(|| Found { fs_type: "xfs", label: text(head, 108, 12), uuid: uuid(head, 32) })
}

fn btrfs(head: &[u8]) -> Option<Found> {
    const BASE: usize = 65536;
    has(head, BASE + 64, b"_BHRfS_M").then(|| Found {
        fs_type: "btrfs",
        label: text(head, BASE + 0x12b, 256),
        uuid: uuid(head, BASE + 32),
    })
}

fn squashfs(head: &[u8]) -> Option<Found> {
    has(head, 0, b"hsqs").then_some(Found { fs_type: "squashfs", label: None, uuid: None })
}

/// ECMA-119, 8.4: the primary volume descriptor. Its UUID is the time of its last change, as blkid has it.
fn iso9660(head: &[u8]) -> Option<Found> {
    const BASE: usize = 32768;
    if !has(head, BASE + 1, b"CD001") {
        return None;
    }
    let time = text(head, BASE + 830, 16).filter(|time| time.len() == 16 && time.bytes().all(|b| b.is_ascii_digit()));
    let uuid = time.map(|t| {
        format!("{}-{}-{}-{}-{}-{}-{}", &t[..4], &t[4..6], &t[6..8], &t[8..10], &t[10..12], &t[12..14], &t[14..])
    });
    Some(Found { fs_type: "iso9660", label: text(head, BASE + 40, 32), uuid })
}

/// Microsoft FAT specification, 3.1 to 3.3.
fn fat(head: &[u8]) -> Option<Found> {
    if !has(head, 510, &[0x55, 0xaa]) {
        return None;
    }
    let (serial, label) = if has(head, 82, b"FAT32   ") {
        (67, 71)
    } else if has(head, 54, b"FAT16   ") || has(head, 54, b"FAT12   ") || has(head, 54, b"FAT     ") {
        (39, 43)
    } else {
        return None;
    };
    let number = le32(head, serial)?;
    let label = text(head, label, 11).filter(|label| label != "NO NAME");
    Some(Found { fs_type: "vfat", label, uuid: Some(format!("{:04X}-{:04X}", number >> 16, number & 0xffff)) })
}

fn has(head: &[u8], at: usize, magic: &[u8]) -> bool {
    head.get(at..at + magic.len()) == Some(magic)
}

fn le32(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Text up to a zero byte, without what would harm a terminal; `None` if nothing is left.
fn text(head: &[u8], at: usize, length: usize) -> Option<String> {
    let bytes = head.get(at..at + length)?.split(|byte| *byte == 0).next()?;
    let text: String =
        String::from_utf8_lossy(bytes).trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    (!text.is_empty()).then_some(text)
}

fn uuid(head: &[u8], at: usize) -> Option<String> {
    let bytes = head.get(at..at + 16)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Names of all block devices that have a size and are not RAM disks, sorted.
///
/// # Errors
/// When /sys is not there.
pub fn devices() -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/block").context("cannot read /sys/class/block; is /sys mounted?")?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with("ram"))
        .collect();
    names.retain(|name| sys_text(name, "size").is_some_and(|size| size != "0"));
    names.sort_unstable();
    Ok(names)
}

/// The text of a file of a block device in /sys.
pub fn sys_text(device: &str, file: &str) -> Option<String> {
    fs::read_to_string(format!("/sys/class/block/{device}/{file}")).ok().map(|text| text.trim().to_owned())
}

/// The name of a GPT partition, from its uevent file.
pub fn part_label(device: &str) -> Option<String> {
    sys_text(device, "uevent")?.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned)
}

/// The device that `LABEL=`, `UUID=` or `PARTLABEL=` means; anything else stands for itself.
///
/// # Errors
/// When there is no such device.
pub fn resolve(source: &str) -> anyhow::Result<String> {
    let Some((tag, value)) = source.split_once('=') else { return Ok(source.to_owned()) };
    let value = value.trim_matches('"');
    let fits = |name: &String| match tag {
        "PARTLABEL" => part_label(name).as_deref() == Some(value),
        _ => probe_path(&node(name)).ok().flatten().is_some_and(|found| match tag {
            "LABEL" => found.label.as_deref() == Some(value),
            _ => found.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value)),
        }),
    };
    match tag {
        "LABEL" | "UUID" | "PARTLABEL" => {
            let found = devices()?.into_iter().find(fits);
            found
                .map(|name| node(&name).to_string_lossy().into_owned())
                .with_context(|| format!("{source}: no device has it"))
        }
        _ => Ok(source.to_owned()),
    }
}

/// The device file; `!` in a kernel name stands for a slash.
pub fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        for (at, bytes) in parts {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    const UUID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    const UUID_TEXT: &str = "01020304-0506-0708-090a-0b0c0d0e0f10";

    #[test]
    fn ext_generations() {
        let base: [(usize, &[u8]); 3] = [(1080, &[0x53, 0xef]), (1144, b"STATE"), (1128, &UUID)];
        let found = probe(&blank(&base)).unwrap();
        assert_eq!(found, Found { fs_type: "ext2", label: Some("STATE".into()), uuid: Some(UUID_TEXT.into()) });
        let mut parts = base.to_vec();
        parts.push((1116, &[4]));
        assert_eq!(probe(&blank(&parts)).unwrap().fs_type, "ext3");
        parts.push((1120, &[0x40]));
        assert_eq!(probe(&blank(&parts)).unwrap().fs_type, "ext4");
    }

    #[test]
    fn others() {
        let erofs = probe(&blank(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1072, &UUID), (1088, b"root")])).unwrap();
        assert_eq!(erofs, Found { fs_type: "erofs", label: Some("root".into()), uuid: Some(UUID_TEXT.into()) });
        let fat = probe(&blank(&[
            (510, &[0x55, 0xaa]),
            (82, b"FAT32   "),
            (67, &[0xef, 0xbe, 0xad, 0xde]),
            (71, b"ESP        "),
        ]));
        assert_eq!(fat, Some(Found { fs_type: "vfat", label: Some("ESP".into()), uuid: Some("DEAD-BEEF".into()) }));
        let iso = probe(&blank(&[(32769, b"CD001"), (32808, b"cidata"), (33598, b"2024010203040506")])).unwrap();
        assert_eq!(iso.uuid.as_deref(), Some("2024-01-02-03-04-05-06"));
        assert_eq!(probe(&blank(&[(4086, b"SWAPSPACE2")])).unwrap().fs_type, "swap");
    }

    #[test]
    fn nothing_and_less() {
        assert_eq!(probe(&[]), None);
        assert_eq!(probe(&blank(&[])), None);
        assert_eq!(probe(&[0x55; 1080]), None);
    }

    #[test]
    fn sources_without_a_tag_stand_for_themselves() {
        assert_eq!(resolve("/dev/vda").unwrap(), "/dev/vda");
        assert_eq!(resolve("a=b").unwrap(), "a=b");
    }
}
