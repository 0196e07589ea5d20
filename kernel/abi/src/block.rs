//! Growing a partition and the ext4 on it, and naming that anew, while both are in use.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `BLKPG` of linux/blkpg.h: `_IO(0x12, 105)`.
const BLKPG: u32 = 0x1269;
/// `BLKPG_RESIZE_PARTITION` of linux/blkpg.h.
const BLKPG_RESIZE_PARTITION: libc::c_int = 3;
/// `EXT4_IOC_RESIZE_FS` of the kernel's Documentation/admin-guide/ext4.rst: `_IOW('f', 16, __u64)`.
const EXT4_IOC_RESIZE_FS: u32 = 0x4008_6610;

/// `EXT4_IOC_SETFSUUID` of linux/ext4.h: `_IOW('f', 44, struct fsuuid)`.
const EXT4_IOC_SETFSUUID: u32 = 0x4008_662c;

/// `struct fsuuid` of linux/ext4.h, with its flexible array.
#[repr(C)]
struct FsUuid {
    length: u32,
    flags: u32,
    uuid: [u8; 16],
}

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    size: libc::c_int,
    data: *mut BlkpgPartition,
}

/// Tell the kernel that partition `number` of the disk now has `length` bytes; it begins at byte `start` as before. Works while it is
/// mounted. Writes nothing to the disk.
///
/// # Errors
/// `EBUSY` if it would overlap another, `EINVAL` if `start` is not its start, `EACCES` without CAP_SYS_ADMIN.
pub fn resize_partition(disk: impl AsFd, number: i32, start: u64, length: u64) -> io::Result<()> {
    let bytes = |value| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let mut partition = BlkpgPartition {
        start: bytes(start)?,
        length: bytes(length)?,
        number,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation: BLKPG_RESIZE_PARTITION,
        flags: 0,
        size: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: BLKPG reads one blkpg_ioctl_arg and the partition it points to; both outlive the call.
    let result = unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKPG as _, &raw const argument) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Grow the mounted ext4 that `root`, its root folder, lies on to `blocks` blocks of its own size. Does nothing if it has as many.
///
/// # Errors
/// `EINVAL` if it has more, or the device is smaller; `EPERM` without CAP_SYS_RESOURCE, or if it has errors; `ENOTTY` if it is no ext4.
pub fn resize_ext4(root: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one 64-bit number.
    let result = unsafe { libc::ioctl(root.as_fd().as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw const blocks) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Give the mounted ext4 that `root`, its root folder, lies on another UUID.
///
/// # Errors
/// `EOPNOTSUPP` if its checksums depend on the UUID (it lacks the feature metadata_csum_seed); `EPERM` without CAP_SYS_ADMIN.
pub fn set_ext4_uuid(root: impl AsFd, uuid: [u8; 16]) -> io::Result<()> {
    let argument = FsUuid { length: 16, flags: 0, uuid };
    // SAFETY: EXT4_IOC_SETFSUUID reads the header and the `length` bytes that follow it.
    let result = unsafe { libc::ioctl(root.as_fd().as_raw_fd(), EXT4_IOC_SETFSUUID as _, &raw const argument) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_kernel() {
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(size_of::<BlkpgArgument>(), 24);
        assert_eq!(size_of::<FsUuid>(), 24);
    }

    #[test]
    fn a_file_that_is_no_disk_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(resize_partition(&null, 1, 0, 512).is_err());
        assert!(resize_ext4(&null, 1).is_err());
        assert!(set_ext4_uuid(&null, [1; 16]).is_err());
        assert!(resize_partition(&null, 1, u64::MAX, 512).is_err());
    }
}
