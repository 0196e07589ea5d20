//! `ctr diff`: what a container has added (A), changed (C) and deleted (D) in its image's root.
//!
//! Told from the overlay's upper directory (Documentation/filesystems/overlayfs.rst): a character device 0:0 is a deleted file, a
//! directory with the attribute `trusted.overlay.opaque` hides what the layers have there.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, fstat, openat, openat2};
use rustix::io::Errno;

use super::paths;
use super::record::{self, Record};

/// What is mounted over in every container: made for it, not by it.
const MOUNT_POINTS: [&str; 6] = ["/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys"];

/// `diff`.
#[derive(clap::Args)]
pub struct Args {
    /// Container, by name or id
    container: String,
}

/// List the changes.
pub fn diff(args: &Args) -> anyhow::Result<i32> {
    let record = Record::read(&record::resolve(&args.container)?)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (path, kind) in changes(&record)? {
        out.write_all(&[kind, b' '])?;
        out.write_all(path.as_os_str().as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(0)
}

/// The changes by path: `A`, `C` or `D`.
fn changes(record: &Record) -> anyhow::Result<BTreeMap<PathBuf, u8>> {
    let upper = paths::container(&record.id).join("upper");
    let upper = open_root(&upper)?;
    let layers = record.layers.iter().rev().map(|layer| open_root(layer)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut walk = Walk { upper, layers, found: BTreeMap::new() };
    let mut left = vec![PathBuf::from("/")];
    while let Some(folder) = left.pop() {
        walk.folder(&folder, &mut left)
            .with_context(|| format!("cannot read {} of the container", folder.display()))?;
    }
    walk.drop_mount_points();
    Ok(walk.found)
}

fn open_root(path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).with_context(|| format!("cannot open {}", path.display()))
}

/// Open a path below a root, following no link.
fn open_below(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    loop {
        match openat2(root, below, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_opaque(root: &OwnedFd, path: &Path) -> bool {
    let mut value = [0; 8];
    open_below(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|folder| fgetxattr(&folder, c"trusted.overlay.opaque", &mut value[..]))
        .is_ok_and(|length| &value[..length] == b"y")
}

struct Walk {
    upper: OwnedFd,
    /// Top-most first.
    layers: Vec<OwnedFd>,
    found: BTreeMap<PathBuf, u8>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, left: &mut Vec<PathBuf>) -> Result<(), Errno> {
        let names = names(&self.upper, folder)?;
        if folder != Path::new("/") && is_opaque(&self.upper, folder) {
            let hidden = self.lower_names(folder);
            hidden.into_iter().filter(|name| !names.contains(name)).for_each(|name| {
                self.found.insert(folder.join(name), b'D');
            });
        }
        for name in names {
            let path = folder.join(&name);
            let stat = match open_below(&self.upper, &path, OFlags::PATH) {
                Ok(found) => fstat(&found)?,
                // Gone since the folder was read.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            };
            let lower = self.lower(&path);
            if is_whiteout(&stat) {
                if lower.is_some() {
                    self.found.insert(path, b'D');
                }
                continue;
            }
            self.found.insert(path.clone(), if lower.is_some() { b'C' } else { b'A' });
            if is_folder(&stat) {
                left.push(path);
            }
        }
        Ok(())
    }

    /// What the image has at a path.
    fn lower(&self, path: &Path) -> Option<Stat> {
        for layer in &self.layers {
            let mut ends = false;
            let mut folders: Vec<_> = path.ancestors().collect();
            folders.reverse();
            for part in folders {
                match open_below(layer, part, OFlags::PATH).and_then(|found| fstat(&found)) {
                    Ok(stat) if is_whiteout(&stat) => return None,
                    Ok(stat) if part == path => return Some(stat),
                    // A file where the path wants a folder hides what is below.
                    Ok(stat) if !is_folder(&stat) => return None,
                    Ok(_) => ends |= is_opaque(layer, part),
                    Err(_) => break,
                }
            }
            if ends {
                return None;
            }
        }
        None
    }

    /// What the image has in a folder.
    fn lower_names(&self, folder: &Path) -> Vec<PathBuf> {
        let mut all: Vec<_> = self.layers.iter().filter_map(|layer| names(layer, folder).ok()).flatten().collect();
        all.sort();
        all.dedup();
        all.retain(|name| self.lower(&folder.join(name)).is_some());
        all
    }

    /// Mount points are no changes, nor is a folder that only got them.
    fn drop_mount_points(&mut self) {
        for point in MOUNT_POINTS {
            let path = Path::new(point);
            let is_empty = || match open_below(&self.upper, path, OFlags::PATH).and_then(|found| fstat(&found)) {
                Ok(stat) if is_folder(&stat) => names(&self.upper, path).is_ok_and(|names| names.is_empty()),
                Ok(stat) => stat.st_size == 0,
                Err(_) => false,
            };
            if self.found.contains_key(path) && is_empty() {
                self.found.remove(path);
            }
        }
        let etc = Path::new("/etc");
        let has_other = self.found.keys().any(|path| path != etc && path.starts_with(etc));
        let mode = |stat: Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
        let own = open_below(&self.upper, etc, OFlags::PATH).and_then(|found| fstat(&found)).ok().map(mode);
        let untouched = self.lower(etc).map(mode).is_none_or(|lower| own == Some(lower));
        if !has_other && untouched {
            self.found.remove(etc);
        }
    }
}

fn names(root: &OwnedFd, folder: &Path) -> Result<Vec<PathBuf>, Errno> {
    let folder = open_below(root, folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut all = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            all.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(all)
}
