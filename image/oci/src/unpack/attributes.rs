//! Owner, mode, extended attributes and times of what a layer holds.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::tarball::Entry;

/// Attributes to set once the thing is there.
pub(super) struct Metadata {
    owner: Option<(u32, u32)>,
    mode: u32,
    times: Timestamps,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// # Errors
    /// If an extended attribute would forge the overlay's marks.
    pub(super) fn new(entry: Entry, owners: bool) -> Result<Metadata> {
        let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        let Entry { path, uid, gid, mode, xattrs, .. } = entry;
        let mut kept = Vec::new();
        for (name, value) in xattrs {
            if accept(&name).map_err(|reason| Error::entry(&path, reason))? {
                kept.push((name, value));
            }
        }
        Ok(Metadata {
            owner: owners.then_some((uid, gid)),
            mode,
            times: Timestamps { last_access: time, last_modification: time },
            xattrs: kept,
        })
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn memory(&self) -> usize {
        const NODE: usize = 64;
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + NODE);
        size_of::<Self>() + NODE + xattrs.sum::<usize>()
    }

    /// Set them on an open file or directory. The order matters: a change of owner drops set-id bits and capabilities.
    pub(super) fn set(&self, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                // A file system without them (a tmpfs has no user.* before 6.6), or no privilege: the files themselves are whole.
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(Errno::PERM) if self.owner.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        rustix::fs::futimens(fd, &self.times)
    }

    /// Set them on a link, pipe or device, which cannot be opened without effects. Links have no mode.
    pub(super) fn set_on_name(&self, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Symlink {
            // The name was made a moment ago in a directory that only this process knows.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(parent, name, &self.times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// `user.*` and file capabilities are part of an image. Overlayfs's own marks would let a layer hide or redirect what is
/// below it: refused. Anything else (SELinux labels, ACLs of another system) is dropped.
fn accept(name: &[u8]) -> Result<bool, &'static str> {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return Err("extended attribute that would forge the overlay's own");
    }
    Ok((name.starts_with(b"user.") && !name.contains(&0)) || name == b"security.capability")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_attributes() {
        assert_eq!(accept(b"user.a"), Ok(true));
        assert_eq!(accept(b"security.capability"), Ok(true));
        assert_eq!(accept(b"security.selinux"), Ok(false));
        assert_eq!(accept(b"system.posix_acl_access"), Ok(false));
        assert_eq!(accept(b"trusted.x"), Ok(false));
        assert!(accept(b"trusted.overlay.redirect").is_err());
        assert!(accept(b"user.overlay.opaque").is_err());
    }
}
