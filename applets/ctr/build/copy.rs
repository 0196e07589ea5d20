//! Copying into an image's root: the entries that were selected, one by one, below descriptors.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::mode::Change;
use super::pattern::clean;
use super::session::path_of;
use super::tree::{Entry, Selection, Tree, open_in};

/// Pieces in which files are copied; one of zeros becomes a hole.
const PIECE: usize = 64 << 10;

/// Links that are followed one after another (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// An image's root that is copied into.
pub struct Target<'a> {
    /// The root.
    pub root: BorrowedFd<'a>,
    /// Whom copies belong to; `None`: whom they belong to where they are.
    pub owner: Option<(u32, u32)>,
    /// How their permissions change.
    pub mode: Option<Change>,
    /// What is in the way gives way, as when an archive is unpacked; otherwise a folder does not replace a file, nor the reverse.
    pub replace: bool,
}

impl Target<'_> {
    /// Copy a selection. `destination` ends with a slash if it must be a folder.
    ///
    /// # Errors
    /// What could not be copied, and why.
    pub fn copy(&self, tree: &Tree, selection: &Selection, destination: &str) -> anyhow::Result<()> {
        let destination = &self.follow(destination)?;
        let top = selection.entries.iter().find(|entry| entry.to.as_os_str().is_empty());
        let existed = self.is_folder(destination)?;
        let as_folder = existed || destination.ends_with('/') || selection.sources > 1 || top.is_some();
        let (folder, name) = split(destination, as_folder);
        let fd = self.make_folders(&folder)?;
        let mut copier = Copier { target: self, tree, folder: &folder, fd, links: HashMap::new(), times: Vec::new() };
        for entry in selection.entries.iter().filter(|entry| !entry.to.as_os_str().is_empty()) {
            let to = name.map_or(entry.to.as_path(), Path::new);
            let words = || format!("cannot copy {} to /{}", entry.from.display(), folder.join(to).display());
            copier.entry(entry, to).with_context(words)?;
        }
        copier.finish()?;
        match top {
            // The destination has been made for this folder: it takes on what that is like.
            Some(top) if !existed && !destination.ends_with('/') => self.set_attributes(copier.fd.as_fd(), tree, top),
            _ => Ok(()),
        }
    }

    /// A destination that is a symbolic link stands for where that leads within the image, even if nothing is there yet.
    fn follow(&self, destination: &str) -> anyhow::Result<String> {
        let slash = if destination.len() > 1 && destination.ends_with('/') { "/" } else { "" };
        let mut path = PathBuf::from(destination.trim_matches('/'));
        let top = path_of(self.root)?;
        for _ in 0..LINKS_MAX {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { break };
            let Ok(folder) = open_in(self.root, folder, OFlags::PATH | OFlags::DIRECTORY) else { break };
            let Ok(link) = readlinkat(&folder, name, Vec::new()) else { break };
            let below = path_of(&folder)?;
            let below = below.strip_prefix(&top).unwrap_or(Path::new(""));
            path = clean(&below.join(OsStr::from_bytes(link.as_bytes())).to_string_lossy()).into();
        }
        Ok(format!("/{}{slash}", path.display()))
    }

    /// Whether a path of the image is a folder.
    fn is_folder(&self, path: &str) -> anyhow::Result<bool> {
        match open_in(self.root, Path::new(path), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("cannot look at {path} in the image")),
        }
    }

    /// Open a folder of the image, made with its parents if it is not there; links on the way are followed within the image.
    pub fn make_folders(&self, path: &Path) -> anyhow::Result<OwnedFd> {
        let words = || format!("cannot make the folder /{} in the image", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_in(self.root, path, flags) {
            Err(Errno::NOENT) => {}
            opened => return opened.with_context(words),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { bail!(words()) };
        let parent = self.make_folders(parent)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let fd = openat(&parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
                let fd = fd.with_context(words)?;
                let (uid, gid) = self.owner.unwrap_or((0, 0));
                fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).with_context(words)?;
                fchmod(&fd, Mode::from_raw_mode(0o755)).with_context(words)?;
                Ok(fd)
            }
            Err(Errno::EXIST) => open_in(self.root, path, flags).with_context(words),
            Err(errno) => Err(errno).with_context(words),
        }
    }

    /// Owner, mode, extended attributes and times of a copy.
    fn set_attributes(&self, fd: BorrowedFd<'_>, tree: &Tree, entry: &Entry) -> anyhow::Result<()> {
        let (uid, gid) = self.owner_of(&entry.stat);
        fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(fd, Mode::from_raw_mode(self.mode_of(entry)))?;
        for (name, value) in xattrs(tree, entry)? {
            match fsetxattr(fd, name.as_slice(), &value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(futimens(fd, &times(&entry.stat))?)
    }

    fn owner_of(&self, stat: &Stat) -> (u32, u32) {
        self.owner.unwrap_or((stat.st_uid, stat.st_gid))
    }

    fn mode_of(&self, entry: &Entry) -> u32 {
        let mode = entry.stat.st_mode & 0o7777;
        self.mode.as_ref().map_or(mode, |change| change.apply(mode, entry.kind() == FileType::Directory))
    }
}

/// The folder that is copied into, and the name in it if the copy gets another name than its source.
fn split(destination: &str, as_folder: bool) -> (PathBuf, Option<&OsStr>) {
    let path = Path::new(destination.trim_matches('/'));
    match (as_folder, path.file_name()) {
        (false, Some(name)) => (path.parent().unwrap_or(Path::new("")).into(), Some(name)),
        _ => (path.into(), None),
    }
}

struct Copier<'a> {
    target: &'a Target<'a>,
    tree: &'a Tree,
    folder: &'a Path,
    /// The destination's folder.
    fd: OwnedFd,
    /// Files with several names: device and inode to the path of the first copy.
    links: HashMap<(u64, u64), PathBuf>,
    /// Folders whose times are set at the end.
    times: Vec<(PathBuf, Timestamps)>,
}

impl Copier<'_> {
    fn entry(&mut self, entry: &Entry, to: &Path) -> anyhow::Result<()> {
        let name = to.file_name().context("it has no name")?;
        let parent = self.parent(to)?;
        match entry.kind() {
            FileType::Directory => self.folder(entry, to, parent.as_fd(), name),
            FileType::Socket => Ok(()),
            kind => {
                self.make_room(parent.as_fd(), name)?;
                let id = (entry.stat.st_dev, entry.stat.st_ino);
                if entry.stat.st_nlink > 1 {
                    if let Some(first) = self.links.get(&id) {
                        return Ok(linkat(&self.fd, first, &parent, name, AtFlags::empty())?);
                    }
                    self.links.insert(id, to.into());
                }
                match kind {
                    FileType::RegularFile => self.file(entry, parent.as_fd(), name),
                    FileType::Symlink => {
                        symlinkat(self.tree.read_link(&entry.from)?, &parent, name)?;
                        self.set_on_name(entry, parent.as_fd(), name)
                    }
                    kind => {
                        let mode = Mode::from_raw_mode(self.target.mode_of(entry) & 0o777);
                        mknodat(&parent, name, kind, mode, entry.stat.st_rdev)?;
                        rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
                        self.set_on_name(entry, parent.as_fd(), name)
                    }
                }
            }
        }
    }

    /// The folder that an entry goes into: it has come before.
    fn parent(&self, to: &Path) -> anyhow::Result<OwnedFd> {
        let path = to.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(&self.fd, path, flags, Mode::empty(), resolve) {
            // With --exclude a file's folder need not be there.
            Err(Errno::NOENT) => self.target.make_folders(&self.folder.join(path)),
            opened => Ok(opened?),
        }
    }

    fn folder(&mut self, entry: &Entry, to: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    ensure!(self.target.replace, "cannot copy to non-directory: /{}", self.folder.join(to).display());
                    unlinkat(parent, name, AtFlags::empty())?;
                    mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(parent, name, flags, Mode::empty())?;
        self.target.set_attributes(fd.as_fd(), self.tree, entry)?;
        self.times.push((to.into(), times(&entry.stat)));
        Ok(())
    }

    /// What has the name of a file to come is removed, if it is no folder.
    fn make_room(&self, parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) if self.target.replace => remove_tree(parent, name),
            Err(Errno::ISDIR) => bail!("cannot replace to directory {} with file", name.to_string_lossy()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn file(&self, entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
        let source = self.tree.open_file(&entry.from)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        copy_content(&source, &copy)?;
        self.target.set_attributes(copy.as_fd(), self.tree, entry)
    }

    /// Owner and times of what cannot be opened without effects.
    fn set_on_name(&self, entry: &Entry, parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
        let (uid, gid) = self.target.owner_of(&entry.stat);
        chownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(utimensat(parent, name, &times(&entry.stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Set the folders' times, which what was made in them has changed.
    fn finish(&self) -> anyhow::Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for (path, times) in self.times.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat2(&self.fd, path, flags, Mode::empty(), resolve);
            futimens(&folder.with_context(|| format!("cannot open {} in the image", path.display()))?, times)?;
        }
        Ok(())
    }
}

/// Copy all of a file; what is zero becomes a hole.
fn copy_content(source: &File, copy: &File) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut position = 0;
    loop {
        let length = match source.read_at(&mut buffer, position) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if length == 0 {
            return copy.set_len(position);
        }
        if buffer[..length].iter().any(|&byte| byte != 0) {
            copy.write_all_at(&buffer[..length], position)?;
        }
        position += length as u64;
    }
}

/// Remove a folder and all in it.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    for name in super::tree::names(&folder)? {
        match unlinkat(&folder, &name, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(folder.as_fd(), &name)?,
            removed => removed?,
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// The extended attributes of an entry that are part of an image. What is neither file nor folder has none that may be, and is not
/// opened: that does things to devices and pipes.
pub fn xattrs(tree: &Tree, entry: &Entry) -> anyhow::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let file = match entry.kind() {
        FileType::RegularFile => tree.open_file(&entry.from)?.into(),
        FileType::Directory => tree.open(&entry.from, OFlags::RDONLY | OFlags::DIRECTORY)?,
        _ => return Ok(BTreeMap::new()),
    };
    let mut all = coracle_image_oci::xattrs(file.as_fd())?;
    all.retain(|name, _| coracle_image_oci::is_kept_xattr(name));
    Ok(all)
}
