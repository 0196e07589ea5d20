//! Extended attributes (xattr(7)) of open files.

use std::os::fd::BorrowedFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Longest value and longest list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX` of linux/limits.h).
const LONGEST: usize = 64 << 10;

/// All that the file has and shows to us.
///
/// # Errors
/// What the kernel said; `NOTSUP` of a file system without them.
pub fn read(fd: BorrowedFd<'_>) -> rustix::io::Result<Xattrs> {
    let mut list = vec![0; LONGEST];
    let length = rustix::fs::flistxattr(fd, list.as_mut_slice())?;
    let mut value = vec![0; LONGEST];
    let mut found = Vec::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::fgetxattr(fd, name, value.as_mut_slice()) {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            // Gone since, or not for us to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Set those that an archive may set: `user.*` for anyone, as GNU tar has it, and file capabilities if the owner is set too.
/// Attributes that mean something to this machine alone (trusted.*, security.*, system.*) are not an archive's to give.
///
/// # Errors
/// What the kernel said.
pub fn write(fd: BorrowedFd<'_>, xattrs: &Xattrs, owners: bool) -> rustix::io::Result<()> {
    for (name, value) in xattrs {
        let is_capability = owners && name == b"security.capability";
        if is_capability || (name.starts_with(b"user.") && !name.contains(&0)) {
            rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty())?;
        }
    }
    Ok(())
}
