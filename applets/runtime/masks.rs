//! Masked and read-only paths (`linux.maskedPaths`, `linux.readonlyPaths`).
//!
//! A file is covered by the real null device, opened before the container's root is in sight and checked to be it; a directory by
//! one empty read-only tmpfs that all of them share.

use std::path::Path;

use coracle_abi::mount::{attr, mount_setattr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::channel::{Doing, Step};
use super::rootfs::{Links, Rootfs, attach, clone_mount};

/// What paths are covered with.
pub(super) struct Masks {
    null: OwnedFd,
    /// Made for the first directory.
    empty: Option<OwnedFd>,
}

impl Masks {
    /// Take hold of the host's null device.
    pub(super) fn new() -> Step<Self> {
        let words = || "open the null device".into();
        let null = open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).doing(words)?;
        if !is_null(null.as_fd()).doing(words)? {
            return Err(Errno::NODEV).doing(|| "use /dev/null: it is no character device 1:3".into());
        }
        Ok(Self { null, empty: None })
    }

    /// Cover a path; one that is not there needs no cover.
    pub(super) fn mask(&mut self, rootfs: &Rootfs, path: &str) -> Step {
        let words = || format!("mask {path}");
        let target = match rootfs.resolve(Path::new(path), Links::Follow) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            found => found.doing(words)?,
        };
        if FileType::from_raw_mode(fstat(&target).doing(words)?.st_mode) == FileType::Directory {
            self.cover_directory(target.as_fd()).doing(words)
        } else {
            let null = clone_mount(self.null.as_fd(), false).doing(words)?;
            attach(null.as_fd(), target.as_fd()).doing(words)
        }
    }

    fn cover_directory(&mut self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(empty) = &self.empty {
            return attach(clone_mount(empty.as_fd(), false)?.as_fd(), target);
        }
        // It can be cloned once it is attached.
        let empty = empty_directory()?;
        attach(empty.as_fd(), target)?;
        self.empty = Some(empty);
        Ok(())
    }
}

fn is_null(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = fstat(file)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3))
}

fn empty_directory() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "tmpfs")?;
    fsconfig_set_string(&context, "size", "0")?;
    fsconfig_set_string(&context, "nr_inodes", "2")?;
    fsconfig_set_string(&context, "mode", "755")?;
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// Make a path read-only by a bind mount of itself; what is not there needs nothing.
pub(super) fn make_readonly(rootfs: &Rootfs, path: &str) -> Step {
    let words = || format!("make {path} read-only");
    let target = match rootfs.resolve(Path::new(path), Links::Follow) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        found => found.doing(words)?,
    };
    let mount = clone_mount(target.as_fd(), true).doing(words)?;
    mount_setattr(mount.as_fd(), attr::RDONLY, 0, None, true).doing(words)?;
    attach(mount.as_fd(), target.as_fd()).doing(words)
}
