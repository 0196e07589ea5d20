//! mount_setattr(2), which rustix lacks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `MOUNT_ATTR_*` of linux/mount.h.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// No set-user-id.
    pub const NOSUID: u64 = 0x2;
    /// No device files.
    pub const NODEV: u64 = 0x4;
    /// No programs.
    pub const NOEXEC: u64 = 0x8;
    /// The field of access-time modes; to set one of them, clear the field.
    pub const ATIME_FIELD: u64 = 0x70;
    /// Update access times relative to modification (the zero of the field).
    pub const RELATIME: u64 = 0x0;
    /// Never update access times.
    pub const NOATIME: u64 = 0x10;
    /// Always update access times.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Follow no symbolic links on this mount.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// How mount events spread (mount_namespaces(7)); values are those of `MS_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Propagation {
    /// Both ways within the peer group.
    Shared = 1 << 20,
    /// Neither way.
    Private = 1 << 18,
    /// From the master only.
    Slave = 1 << 19,
    /// Private, and no source of a bind mount.
    Unbindable = 1 << 17,
}

/// linux/mount.h.
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// `struct mount_attr` of linux/mount.h, first version.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Change the mount that `mount` (the descriptor of a mount's root) refers to: set and clear `attr` flags, choose its
/// propagation; with `recursive`, in all mounts below too.
///
/// # Errors
/// What mount_setattr(2) says; `EINVAL` if the descriptor is not a mount's root.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: Option<Propagation>,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr { set, clear, propagation: propagation.map_or(0, |p| p as u64), userns_fd: 0 };
    call(mount, &attr, recursive)
}

/// Show the files of a mount that is attached nowhere with other owners: a user namespace's mapping is applied between the file system
/// and the mount (`MOUNT_ATTR_IDMAP`).
///
/// # Errors
/// `EINVAL` if the file system cannot do that or the mount is attached, `EPERM` if it is mapped already or without privilege.
pub fn set_id_map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let userns_fd = u64::try_from(user_namespace.as_raw_fd()).unwrap_or_default();
    call(mount, &MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns_fd }, recursive)
}

fn call(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, attr is valid for the size passed; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
