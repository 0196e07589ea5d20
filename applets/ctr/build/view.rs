//! Layers stacked: an overlay in the build's mount namespace, to copy from and into.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::UnmountFlags;

use super::session::Session;
use super::tree::{Tree, open_folder};
use crate::runtime::{self, Root};

/// A mounted overlay. Dropped, it is unmounted; what was written stays in [`View::upper`].
pub struct View {
    root: OwnedFd,
    dir: PathBuf,
}

impl View {
    /// Mount layers, top-most last, with an empty one on top.
    pub fn mount(session: &Session, layers: &[PathBuf]) -> anyhow::Result<Self> {
        let dir = session.new_dir("view")?;
        for name in ["upper", "work", "root"] {
            let path = dir.join(name);
            fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        open_to_all(&dir.join("upper"))?;
        let lower = lower(session, layers)?;
        let (upper, work, target) = (dir.join("upper"), dir.join("work"), dir.join("root"));
        runtime::mount_root(&Root::Overlay { lower: &lower, upper: &upper, work: &work, target: &target })?;
        let root = open_folder(&target)?;
        Ok(View { root, dir })
    }

    /// The stacked root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The stacked root, to copy from.
    pub fn tree(&self) -> anyhow::Result<Tree> {
        Ok(Tree::new(self.root.try_clone()?))
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// What has been written, once it is unmounted.
    pub fn into_upper(self) -> PathBuf {
        self.dir.join("upper")
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // What cannot be unmounted goes with the namespace.
        let _ = rustix::mount::unmount(self.dir.join("root"), UnmountFlags::DETACH);
    }
}

/// Layers for an overlay, which wants at least one.
pub fn lower(session: &Session, layers: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    if !layers.is_empty() {
        return Ok(layers.to_vec());
    }
    let empty = session.new_dir("empty")?;
    open_to_all(&empty)?;
    Ok(vec![empty])
}

/// A layer's top is the container's /: everyone may look into it.
pub fn open_to_all(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}
