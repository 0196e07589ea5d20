//! Network namespaces (network_namespaces(7)).

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::Socket;
use crate::{Error, Result};

/// The namespace of a process.
///
/// # Errors
/// No such process, or no permission.
pub fn of_process(pid: i32) -> Result<OwnedFd> {
    open(Path::new(&format!("/proc/{pid}/ns/net")))
}

/// A namespace by a file: `/proc/PID/ns/net` or one that was bind-mounted.
///
/// # Errors
/// What the kernel said.
pub fn open(path: &Path) -> Result<OwnedFd> {
    File::open(path).map(OwnedFd::from).map_err(|source| Error::file("open network namespace", path, source))
}

/// The inode number of a namespace: no two that exist at once share it.
///
/// # Errors
/// What the kernel said.
pub fn number(namespace: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstat(namespace).map_err(|errno| Error::kernel("look at the network namespace", errno))?;
    Ok(stat.st_ino)
}

/// Run `work` with the calling thread in another namespace. Meant for opening sockets, which stay there for ever.
///
/// # Errors
/// What the kernel said. The thread is back in its own namespace, unless that is the very error, which then is fatal
/// to the caller: it must not go on working in a foreign namespace.
pub fn within<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = open(Path::new("/proc/thread-self/ns/net"))?;
    enter(namespace)?;
    let result = work();
    enter(own.as_fd())?;
    result
}

/// Move the calling thread into a namespace.
///
/// # Errors
/// What the kernel said: `EINVAL` if it is no network namespace, `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter(namespace: BorrowedFd<'_>) -> Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::kernel("enter the network namespace", errno))
}

/// A route socket in another namespace.
///
/// # Errors
/// What the kernel said.
pub fn route_socket(namespace: BorrowedFd<'_>) -> Result<Socket> {
    within(namespace, Socket::route)
}

/// Whether two descriptors are of one namespace.
///
/// # Errors
/// What the kernel said.
pub fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    let identify = |fd| {
        rustix::fs::fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|errno| Error::kernel("identify the network namespace", errno))
    };
    Ok(identify(one)? == identify(other)?)
}

/// Keep a namespace alive without a process: bind-mount it on `path` (as `ip netns add` does).
///
/// # Errors
/// What the kernel said.
pub fn pin(namespace: BorrowedFd<'_>, path: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| Error::file("make directory", parent, source))?;
    }
    File::create(path).map_err(|source| Error::file("make", path, source))?;
    let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    rustix::mount::mount_bind(source, path).map_err(|errno| Error::file("mount the network namespace on", path, errno))
}

/// Undo [`pin`]; nothing there is no error.
///
/// # Errors
/// What the kernel said.
pub fn unpin(path: &Path) -> Result<()> {
    use rustix::io::Errno;
    match rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(errno) => return Err(Error::file("unmount", path, errno)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}
