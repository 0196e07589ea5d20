//! The root of a container that does not run, for whoever copies into it or out of it.

use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::channel::{Doing, Failure, Step};
use super::rootfs::{Links, Rootfs, attach, clone_mount};
use super::{Error, Root};

/// A directory or file of the host that is mounted in the container.
pub struct OfflineMount {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the container has it.
    pub destination: PathBuf,
}

/// Move the calling process to a mount namespace of its own and mount a container's root there, with its volumes. The root is gone
/// with the process. Mount points that the root lacks are left out.
///
/// # Errors
/// [`Error::Setup`].
pub fn offline_root(root: &Root<'_>, mounts: &[OfflineMount]) -> Result<OwnedFd, Error> {
    let failed = |failure: Failure| Error::setup(failure.doing, failure.errno);
    make(root, mounts).map_err(failed)
}

fn make(root: &Root<'_>, mounts: &[OfflineMount]) -> Step<OwnedFd> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).doing(|| "make a mount namespace".into())?;
    let rootfs = Rootfs::attach(root, None, false)?;
    for mount in mounts {
        let words = || format!("mount {} in the container", mount.source.display());
        match rootfs.resolve(&mount.destination, Links::Follow) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            target => attach(source(&mount.source).doing(words)?.as_fd(), target.doing(words)?.as_fd()).doing(words)?,
        }
    }
    rootfs.as_fd().try_clone_to_owned().doing(|| "keep the root".into())
}

fn source(path: &Path) -> Result<OwnedFd, Errno> {
    clone_mount(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?.as_fd(), true)
}
