//! The STATE partition as it is downloaded: a small, empty ext4 that the machine grows to its disk.

use std::path::Path;

use super::Error;
use super::tool::tool;
use crate::guid::Guid;
use crate::layout;

/// Features by name, so that the host's mke2fs.conf does not decide. `resize_inode` and its reserve let the kernel grow it online
/// to 1024 times its size with all tables in place; beyond that the kernel turns to `meta_bg` by itself. `metadata_csum_seed` lets the
/// machine give it a UUID of its own while it is mounted.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,\
                        huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed";

/// A journal never grows with its file system: this is one for the grown one.
const JOURNAL_MIB: &str = "size=32";

/// Make the file system in `disk`, from byte `start` on. Same version, same bytes.
///
/// # Errors
/// When mkfs.ext4 is missing or fails.
pub fn write(disk: &Path, start: u64, size: u64, version: &str, epoch: u32) -> Result<(), Error> {
    let uuid = Guid::derive(version, "state").to_string();
    let seed = Guid::derive(version, "state hash seed");
    // One inode in 16 KiB, as large ext4 has it; 1 % for root, because fragmentation starts where space ends.
    tool("mkfs.ext4", "e2fsprogs")
        .env("E2FSPROGS_FAKE_TIME", epoch.to_string())
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("MKE2FS_CONFIG", "/dev/null")
        .args(["-q", "-F", "-b", "4096", "-I", "256", "-i", "16384", "-m", "1", "-O", FEATURES, "-J", JOURNAL_MIB])
        .args(["-L", layout::STATE_LABEL, "-U", &uuid, "-M", "/var", "-E"])
        .arg(format!("hash_seed={seed},offset={start},lazy_itable_init=0,lazy_journal_init=1,nodiscard,root_owner=0:0"))
        .arg(disk)
        .arg(format!("{}k", size / 1024))
        .run()
        .map(drop)
}
