//! The overlay of a container with users of its own: its layers are mounted with their ids mapped (idmapped mounts), so that the files
//! of an image belong to the container's users, and nothing on the disk is changed.
//!
//! A mount's ids are mapped by a process outside of the user namespace. As overlayfs wants its layers attached somewhere (before Linux
//! 6.15), a child with a mount namespace of its own does it, fills the volumes, and hands the overlay over, attached nowhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use coracle_abi::clone::spawn;
use coracle_abi::mount::{Propagation, mount_setattr, set_id_map};
use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, mkdirat, stat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsmount, fsopen, mount_change, move_mount, open_tree,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

use super::channel::{Channel, Doing, Heard, Step};
use super::rootfs::{Rootfs, overlay};
use super::{CopyUp, Error, copy_up};

/// The overlay, attached nowhere. `users`: a user namespace with the mapping.
pub(super) fn mount(layers: &Layers<'_>, users: BorrowedFd<'_>, volumes: &[CopyUp]) -> Result<OwnedFd, Error> {
    let doing = "make the overlay with the ids of the container's users";
    let (ours, theirs) = Channel::pair().map_err(|source| Error::setup(doing, source))?;
    let newns = u64::from(CloneFlags::CLONE_NEWNS.bits().cast_unsigned());
    let child = spawn(newns, None, || {
        let made =
            layers.mount(users, volumes).and_then(|overlay| theirs.send_ready(Some(&overlay)).doing(|| doing.into()));
        made.map_or_else(
            |failure| {
                theirs.send_failure(&failure);
                1
            },
            |()| 0,
        )
    });
    let child = child.map_err(|source| Error::setup(doing, source))?;
    drop(theirs);
    let heard = ours.hear("");
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {}
    match heard.map_err(|source| Error::setup(doing, source))? {
        Heard::Ready(Some(overlay)) => Ok(overlay),
        Heard::Failed(error) => Err(error),
        _ => Err(Error::Vanished),
    }
}

/// What an overlay is made of; see [`super::Root::Overlay`].
pub(super) struct Layers<'a> {
    pub lower: &'a [PathBuf],
    pub upper: &'a Path,
    pub work: &'a Path,
    pub target: &'a Path,
}

impl Layers<'_> {
    /// In a mount namespace of its own.
    fn mount(&self, users: BorrowedFd<'_>, volumes: &[CopyUp]) -> Step<OwnedFd> {
        rustix::process::umask(Mode::empty());
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .doing(|| "cut a mount namespace off from the host's".into())?;
        // overlayfs wants both of one mount.
        let (Some(dir), Some(upper), Some(work)) = (self.upper.parent(), self.upper.file_name(), self.work.file_name())
        else {
            return Err(Errno::INVAL).doing(|| "map the writable layer's ids: it has no directory".into());
        };
        if self.work.parent() != Some(dir) {
            return Err(Errno::XDEV)
                .doing(|| "map the writable layer's ids: its work directory is not beside it".into());
        }
        let folder = self.scratch().doing(|| "make a place for layers".into())?;
        let place = |index: usize| self.target.join(index.to_string());
        for (index, source) in self.lower.iter().map(PathBuf::as_path).chain([dir]).enumerate() {
            mapped(source, users)
                .and_then(|mount| {
                    mkdirat(&folder, index.to_string(), Mode::RWXU)?;
                    Ok(move_mount(&mount, "", CWD, place(index), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
                })
                .doing(|| format!("mount {} with its ids mapped", source.display()))?;
        }
        let lower: Vec<PathBuf> = (0..self.lower.len()).map(place).collect();
        let own = place(self.lower.len());
        become_owner(&own).doing(|| "become the owner of the writable layer".into())?;
        let overlay = overlay(&lower, &own.join(upper), &own.join(work))
            .doing(|| format!("mount the overlay of {} layers with their ids mapped", lower.len()))?;
        if volumes.is_empty() {
            return Ok(overlay);
        }
        // Their files have the ids of the container's users on the disk, as those of layers have.
        let volumes = &self.mapped_volumes(&folder, users, volumes)?;
        // A copy is attached and used, as the overlay itself must stay unattached.
        let copy = super::rootfs::clone_mount(overlay.as_fd(), false);
        match copy {
            // Before Linux 6.15 only an attached mount is copied.
            Err(Errno::INVAL) => self.fill_attached(overlay, &folder, volumes),
            copy => {
                let rootfs = Rootfs::of(copy.doing(|| "copy the overlay's mount".into())?);
                volumes.iter().try_for_each(|volume| copy_up::fill(&rootfs, volume))?;
                Ok(overlay)
            }
        }
    }

    fn mapped_volumes(&self, folder: &OwnedFd, users: BorrowedFd<'_>, volumes: &[CopyUp]) -> Step<Vec<CopyUp>> {
        let map = |(index, volume): (usize, &CopyUp)| {
            let name = format!("volume-{index}");
            let place = self.target.join(&name);
            mapped(&volume.volume, users)
                .and_then(|mount| {
                    mkdirat(folder, &name, Mode::RWXU)?;
                    Ok(move_mount(&mount, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
                })
                .doing(|| format!("mount {} with its ids mapped", volume.volume.display()))?;
            Ok(CopyUp { destination: volume.destination.clone(), volume: place })
        };
        volumes.iter().enumerate().map(map).collect()
    }

    fn fill_attached(&self, overlay: OwnedFd, folder: &OwnedFd, volumes: &[CopyUp]) -> Step<OwnedFd> {
        let words = || "attach the overlay to fill volumes".into();
        mkdirat(folder, "root", Mode::RWXU).doing(words)?;
        let place = self.target.join("root");
        move_mount(&overlay, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).doing(words)?;
        let rootfs = Rootfs::of(overlay);
        volumes.iter().try_for_each(|volume| copy_up::fill(&rootfs, volume))?;
        super::rootfs::clone_mount(rootfs.as_fd(), false).doing(words)
    }

    /// A tmpfs over the target, to attach layers to.
    fn scratch(&self) -> Result<OwnedFd, Errno> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&mount, "", CWD, self.target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(mount)
    }
}

/// Become who owns a directory, with all privileges: overlayfs makes files as the one who mounts it, and on a mount with mapped ids only
/// an id of the mapping can make any.
fn become_owner(dir: &Path) -> Result<(), Errno> {
    let stat = stat(dir)?;
    let kernel = |errno: nix::errno::Errno| Errno::from_raw_os_error(errno as i32);
    let (uid, gid) = (nix::unistd::Uid::from_raw(stat.st_uid), nix::unistd::Gid::from_raw(stat.st_gid));
    rustix::thread::set_keep_capabilities(true)?;
    nix::unistd::setresgid(gid, gid, gid).map_err(kernel)?;
    nix::unistd::setresuid(uid, uid, uid).map_err(kernel)?;
    let held = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: held.permitted, ..held })
}

fn mapped(source: &Path, users: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    let mount = open_tree(CWD, source, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    mount_setattr(mount.as_fd(), 0, 0, Some(Propagation::Private), false)?;
    set_id_map(mount.as_fd(), users, false)?;
    Ok(mount)
}
