//! Mount points that an image does not have. Made in the layer that RUN writes to they would become part of the image; so they are a
//! layer of their own below it, for the time of the run.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens};

use super::session::{Session, path_of};
use super::tree::{Tree, open_folder};
use super::view::{View, open_to_all};

/// What every container has mounted.
const ALWAYS: [(&str, bool); 6] = [
    ("/proc", true),
    ("/sys", true),
    ("/dev", true),
    ("/etc/resolv.conf", false),
    ("/etc/hostname", false),
    ("/etc/hosts", false),
];

/// Make the mount points that are not there; none if all are. Each is a path and whether it is a folder.
///
/// # Errors
/// If they cannot be made.
pub fn make(session: &Session, view: &View, wanted: &[(String, bool)]) -> anyhow::Result<Option<PathBuf>> {
    let tree = view.tree()?;
    let top = view.path();
    let mut dir = None;
    let all = ALWAYS.iter().map(|&(path, folder)| (path, folder));
    for (path, is_folder) in all.chain(wanted.iter().map(|(path, folder)| (path.as_str(), *folder))) {
        let Some((there, rest)) = missing(&tree, path) else { continue };
        // Below /dev, /proc and /sys nothing of the image is seen.
        if ["/dev/", "/proc/", "/sys/"].iter().any(|top| path.starts_with(top)) {
            continue;
        }
        let dir = match &dir {
            Some(dir) => dir,
            None => {
                let new = session.new_dir("stubs")?;
                open_to_all(&new)?;
                copy_attributes(&tree.open(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)?, &open_folder(&new)?)?;
                dir.insert(new)
            }
        };
        let real = path_of(&there)?;
        let real = real.strip_prefix(&top).unwrap_or(Path::new(""));
        stub(&tree, dir, real, &rest, is_folder).with_context(|| format!("cannot make the mount point {path}"))?;
    }
    Ok(dir)
}

/// The deepest folder of a path that is there, and what is missing below it.
fn missing(tree: &Tree, path: &str) -> Option<(OwnedFd, PathBuf)> {
    let path = Path::new(path.trim_matches('/'));
    if tree.open(path, OFlags::PATH).is_ok() {
        return None;
    }
    let folder = path.ancestors().skip(1).find_map(|folder| {
        let fd = tree.open(folder, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
        Some((fd, path.strip_prefix(folder).ok()?.to_path_buf()))
    })?;
    // A link that leads nowhere is not a missing name.
    let first = folder.1.components().next()?;
    let is_link = rustix::fs::statat(&folder.0, Path::new(&first), rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
    (!is_link).then_some(folder)
}

fn stub(tree: &Tree, dir: &Path, real: &Path, rest: &Path, is_folder: bool) -> anyhow::Result<()> {
    let mut path = dir.to_path_buf();
    let mut below = PathBuf::new();
    for part in real.components().filter(|part| matches!(part, Component::Normal(_))) {
        path.push(part);
        below.push(part);
        if !path.exists() {
            fs::create_dir(&path)?;
            copy_attributes(&tree.open(&below, OFlags::RDONLY | OFlags::DIRECTORY)?, &open_folder(&path)?)?;
        }
    }
    let parts: Vec<Component<'_>> = rest.components().collect();
    for (index, part) in parts.iter().enumerate() {
        path.push(part);
        if path.exists() {
            continue;
        }
        if is_folder || index + 1 < parts.len() {
            fs::create_dir(&path)?;
            open_to_all(&path)?;
        } else {
            fs::write(&path, "")?;
        }
    }
    // What was made in it has changed its time.
    if !real.as_os_str().is_empty() {
        copy_attributes(&tree.open(real, OFlags::RDONLY | OFlags::DIRECTORY)?, &open_folder(&dir.join(real))?)?;
    }
    Ok(())
}

/// A folder that hides one of the image must look like it.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> anyhow::Result<()> {
    let stat = fstat(from)?;
    debug_assert!(FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    fchown(to.as_fd(), Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(futimens(to, &Timestamps { last_access: time, last_modification: time })?)
}
