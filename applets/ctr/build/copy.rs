//! Copying into an image's root: the entries that were selected, one by one, below descriptors.

use std::collections::HashMap;
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
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat, openat2, readlinkat,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::mode::Change;
use super::pattern::clean;
use super::session::path_of;
use super::tree::{Entry, Selection, Tree};

/// `XATTR_SIZE_MAX` of linux/limits.h.
const XATTR_MAX: usize = 64 << 10;
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
            Some(top) if !existed && !destination.ends_with('/') => {
                Ok(self.set_attributes(copier.fd.as_fd(), tree, top)?)
            }
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
    fn set_attributes(&self, fd: BorrowedFd<'_>, tree: &Tree, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = self.owner_of(&entry.stat);
        fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(fd, Mode::from_raw_mode(self.mode_of(entry)))?;
        for (name, value) in xattrs(tree, &entry.from)? {
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
        self.target.set_attributes(copy.as_fd(), self.tree, entry)?;
        Ok(())
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

fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// The extended attributes that are part of an image: `user.*` and file capabilities.
pub fn xattrs(tree: &Tree, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match tree.open(path, flags) {
        Ok(file) => file,
        Err(Errno::NXIO | Errno::NODEV | Errno::LOOP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(Vec::new());
    }
    let mut list = vec![0; XATTR_MAX];
    let length = match flistxattr(&file, &mut list[..]) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        length => length?,
    };
    let mut all = Vec::new();
    for name in list[..length].split(|&byte| byte == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; XATTR_MAX];
        let length = fgetxattr(&file, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        all.push((name.to_vec(), value));
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Rules, open_folder};
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    struct Fixture {
        dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["ctx/d/e", "root/old"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            for file in ["ctx/a", "ctx/d/b", "ctx/d/e/c", "root/old/kept", "outside"] {
                fs::write(dir.path().join(file), file).unwrap();
            }
            fs::set_permissions(dir.path().join("ctx/d"), fs::Permissions::from_mode(0o711)).unwrap();
            fs::set_permissions(dir.path().join("ctx/a"), fs::Permissions::from_mode(0o4750)).unwrap();
            fs::hard_link(dir.path().join("ctx/a"), dir.path().join("ctx/d/twin1")).unwrap();
            fs::hard_link(dir.path().join("ctx/a"), dir.path().join("ctx/d/twin2")).unwrap();
            symlink("b", dir.path().join("ctx/d/link")).unwrap();
            symlink("/old", dir.path().join("root/in")).unwrap();
            symlink("../../..", dir.path().join("root/up")).unwrap();
            Fixture { dir }
        }

        fn copy(&self, sources: &[&str], destination: &str) -> anyhow::Result<()> {
            self.copy_as(sources, destination, None, None)
        }

        fn copy_as(
            &self,
            sources: &[&str],
            destination: &str,
            owner: Option<(u32, u32)>,
            mode: Option<Change>,
        ) -> anyhow::Result<()> {
            let tree = Tree::new(open_folder(&self.dir.path().join("ctx")).unwrap());
            let sources: Vec<String> = sources.iter().map(|&source| source.into()).collect();
            let selection = tree.select(&sources, &Rules::default())?;
            let root = open_folder(&self.dir.path().join("root")).unwrap();
            Target { root: root.as_fd(), owner, mode, replace: false }.copy(&tree, &selection, destination)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.dir.path().join("root").join(path)).unwrap()
        }

        fn mode(&self, path: &str) -> u32 {
            fs::symlink_metadata(self.dir.path().join("root").join(path)).unwrap().mode() & 0o7777
        }
    }

    #[test]
    fn dockers_rules_of_destinations() {
        let it = Fixture::new();
        it.copy(&["a"], "/x/y").unwrap();
        assert_eq!((it.read("x/y").as_str(), it.mode("x/y"), it.mode("x")), ("ctx/a", 0o4750, 0o755));
        it.copy(&["a"], "/z/").unwrap();
        it.copy(&["a"], "/old").unwrap();
        assert_eq!((it.read("z/a"), it.read("old/a")), ("ctx/a".into(), "ctx/a".into()));
        it.copy(&["d"], "/new").unwrap();
        it.copy(&["d"], "/slash/").unwrap();
        assert_eq!((it.mode("new"), it.mode("slash"), it.read("new/e/c").as_str()), (0o711, 0o755, "ctx/d/e/c"));
        assert_eq!(fs::read_link(it.dir.path().join("root/new/link")).unwrap(), Path::new("b"));
        let inode = |path: &str| fs::metadata(it.dir.path().join("root").join(path)).unwrap().ino();
        assert_eq!(inode("new/twin1"), inode("new/twin2"));
        it.copy(&["d"], "/old").unwrap();
        assert_eq!((it.read("old/kept"), it.read("old/b")), ("root/old/kept".into(), "ctx/d/b".into()));
        it.copy(&["a", "d/b"], "/both/").unwrap();
        assert_eq!((it.read("both/a"), it.read("both/b")), ("ctx/a".into(), "ctx/d/b".into()));
    }

    #[test]
    fn links_of_the_image_are_followed_inside_of_it() {
        let it = Fixture::new();
        it.copy(&["a"], "/in/").unwrap();
        assert_eq!(it.read("old/a"), "ctx/a");
        it.copy(&["a"], "/up/fresh/a").unwrap();
        assert_eq!(it.read("fresh/a"), "ctx/a");
        assert!(!it.dir.path().join("fresh").exists());
        // A link that has the name of the copy is followed too, and no further.
        symlink("../outside", it.dir.path().join("root/escape")).unwrap();
        it.copy(&["a"], "/escape").unwrap();
        assert_eq!(fs::read_to_string(it.dir.path().join("outside")).unwrap(), "outside");
        assert_eq!(it.read("outside"), "ctx/a");
        symlink("old/kept", it.dir.path().join("root/file")).unwrap();
        symlink("/not/there", it.dir.path().join("root/dangling")).unwrap();
        it.copy(&["a"], "/file").unwrap();
        it.copy(&["a"], "/dangling/").unwrap();
        assert_eq!((it.read("old/kept"), it.read("not/there/a")), ("ctx/a".into(), "ctx/a".into()));
        symlink("circle", it.dir.path().join("root/circle")).unwrap();
        it.copy(&["a"], "/circle").unwrap();
        // One that lies in a folder that is copied onto gives way.
        symlink("/outside", it.dir.path().join("root/old/b")).unwrap();
        it.copy(&["d"], "/old").unwrap();
        assert_eq!((it.read("old/b"), it.read("outside")), ("ctx/d/b".into(), "ctx/a".into()));
    }

    #[test]
    fn a_folder_does_not_replace_a_file() {
        let it = Fixture::new();
        fs::write(it.dir.path().join("root/old/e"), "").unwrap();
        let error = format!("{:#}", it.copy(&["d"], "/old").unwrap_err());
        assert!(error.contains("cannot copy to non-directory: /old/e"), "{error}");
        fs::create_dir_all(it.dir.path().join("root/other/b")).unwrap();
        let error = format!("{:#}", it.copy(&["d"], "/other").unwrap_err());
        assert!(error.contains("cannot replace to directory"), "{error}");
    }

    #[test]
    fn owner_and_mode() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let it = Fixture::new();
        it.copy_as(&["d"], "/p/q", Some((5, 6)), Some(Change::Octal(0o750))).unwrap();
        for path in ["p", "p/q", "p/q/e", "p/q/e/c"] {
            let meta = fs::metadata(it.dir.path().join("root").join(path)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (5, 6), "{path}");
        }
        assert_eq!((it.mode("p/q/e"), it.mode("p/q/b")), (0o750, 0o750));
    }
}
