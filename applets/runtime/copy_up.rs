//! The first content of a volume: what the container's root has where the volume is to be mounted, as Docker has it.
//!
//! A volume that is to be filled has a directory `fill.part` beside its `_data`. The content is copied there, the directory is renamed
//! to `fill` when it is complete, and then emptied into `_data`: whoever is killed on the way, the next start goes on. The source is
//! found below the root's descriptor, so an image's path leads nowhere but into the image (GO-2022-0344).

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, SeekFrom, Stat, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fgetxattr, flistxattr, flistxattr_query, flock, fsetxattr, fstat, ftruncate, futimens, linkat,
    mkdirat, mknodat, open, openat, readlinkat, renameat, seek, statat, symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::CopyUp;
use super::channel::{Doing, Step};
use super::rootfs::{Links, Rootfs};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `XATTR_SIZE_MAX` of linux/limits.h.
const XATTR_MAX: usize = 64 << 10;

/// Fill a volume, if that is still to be done.
pub(super) fn fill(rootfs: &Rootfs, wanted: &CopyUp) -> Step {
    let words = || format!("fill the volume {} from {}", wanted.volume.display(), wanted.destination.display());
    let volume = open(&wanted.volume, DIRECTORY, Mode::empty()).doing(words)?;
    if !is_there(&volume, "fill.part").doing(words)? && !is_there(&volume, "fill").doing(words)? {
        return Ok(());
    }
    flock(&volume, FlockOperation::LockExclusive).doing(words)?;
    if is_there(&volume, "fill.part").doing(words)? {
        let source = match rootfs.open(&wanted.destination, OFlags::RDONLY | OFlags::DIRECTORY, Links::Follow) {
            // The next image that the volume is mounted over may have something there.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            source => source.doing(words)?,
        };
        copy(&volume, &source).doing(words)?;
    }
    empty_into_data(&volume).doing(words)
}

/// From the source to `fill`.
fn copy(volume: &OwnedFd, source: &OwnedFd) -> io::Result<()> {
    let part = openat(volume, "fill.part", DIRECTORY, Mode::empty())?;
    remove_content(&part)?;
    let data = openat(volume, "_data", DIRECTORY, Mode::empty())?;
    if !names(data.as_fd())?.is_empty() {
        // Something was written into it before: it keeps what it has.
        return Ok(unlinkat(volume, "fill.part", AtFlags::REMOVEDIR)?);
    }
    copy_tree(source, &part)?;
    syncfs(&part)?;
    Ok(renameat(volume, "fill.part", volume, "fill")?)
}

/// Copy what a directory holds, and its owner, mode and times, into an empty one.
pub(super) fn copy_tree(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    Copy { top: target.as_fd(), links: HashMap::new() }.directory(source.as_fd(), target.as_fd(), Path::new(""))
}

/// From `fill` to `_data`.
fn empty_into_data(volume: &OwnedFd) -> io::Result<()> {
    let full = match openat(volume, "fill", DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        full => full?,
    };
    let data = openat(volume, "_data", DIRECTORY, Mode::empty())?;
    for name in names(full.as_fd())? {
        match renameat(&full, &name, &data, &name) {
            // Another container that has the volume was there first.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => {}
            moved => moved?,
        }
    }
    remove_content(&full)?;
    copy_attributes(full.as_fd(), data.as_fd(), &fstat(&full)?)?;
    Ok(unlinkat(volume, "fill", AtFlags::REMOVEDIR)?)
}

fn is_there(folder: &OwnedFd, name: &str) -> Result<bool, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What a directory holds, read whole before anything in it is changed.
fn names(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let names = Dir::read_from(folder)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    names.filter(|name| !matches!(name.as_ref().map(|name| name.to_bytes()), Ok(b"." | b".."))).collect()
}

fn remove_content(folder: &OwnedFd) -> Result<(), Errno> {
    for name in names(folder.as_fd())? {
        match unlinkat(folder, &name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                remove_content(&openat(folder, &name, DIRECTORY, Mode::empty())?)?;
                unlinkat(folder, &name, AtFlags::REMOVEDIR)?;
            }
            removed => removed?,
        }
    }
    Ok(())
}

/// A copy of a tree under way.
struct Copy<'a> {
    /// The copy's top.
    top: BorrowedFd<'a>,
    /// Files with several names: device and inode to the path of the first copy below `top`.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    /// Copy content and attributes of a directory; `at` is its path below the top.
    fn directory(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
        for name in names(source)? {
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            self.entry(source, target, &name, &path)?;
        }
        copy_attributes(source, target, &fstat(source)?)
    }

    fn entry(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, path: &Path) -> io::Result<()> {
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            mkdirat(target, name, Mode::RWXU)?;
            let source = openat(source, name, DIRECTORY, Mode::empty())?;
            let target = openat(target, name, DIRECTORY, Mode::empty())?;
            return self.directory(source.as_fd(), target.as_fd(), path);
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                return Ok(linkat(self.top, first, target, name, AtFlags::empty())?);
            }
            self.links.insert(inode, path.to_owned());
        }
        match kind {
            FileType::RegularFile => copy_file(source, target, name, &stat),
            FileType::Symlink => {
                symlinkat(readlinkat(source, name, Vec::new())?, target, name)?;
                own(target, name, &stat)
            }
            _ => {
                mknodat(target, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
                own(target, name, &stat)
            }
        }
    }
}

/// Owner and times of what is not opened. The umask is 0 during set-up.
fn own(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(folder, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_file(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = File::from(openat(source, name, flags | OFlags::RDONLY, Mode::empty())?);
    let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let target = File::from(openat(target, name, create, Mode::RUSR | Mode::WUSR)?);
    copy_data(&source, &target)?;
    copy_attributes(source.as_fd(), target.as_fd(), stat)
}

/// Copy what a file holds, and leave holes where it has them.
fn copy_data(source: &File, mut target: &File) -> io::Result<()> {
    use std::io::Read;
    ftruncate(target, source.metadata()?.len())?;
    let mut end = 0;
    loop {
        let start = match seek(source, SeekFrom::Data(end)) {
            Err(Errno::NXIO) => return Ok(()),
            start => start?,
        };
        end = seek(source, SeekFrom::Hole(start))?;
        seek(source, SeekFrom::Start(start))?;
        seek(target, SeekFrom::Start(start))?;
        io::copy(&mut source.take(end - start), &mut target)?;
    }
}

/// Owner, mode, extended attributes and times. The mode comes after the owner, whose change takes the set-user-ID bit away.
fn copy_attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(source, target)?;
    Ok(futimens(target, &times(stat))?)
}

fn copy_xattrs(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    for name in xattr_list(source)?.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_MAX];
        let length = fgetxattr(source, name, &mut value[..])?;
        fsetxattr(target, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

fn xattr_list(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut list = match flistxattr_query(file) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => vec![0; length?],
    };
    let length = flistxattr(file, &mut list[..])?;
    list.truncate(length);
    Ok(list)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(stat.st_atime as _, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime as _, stat.st_mtime_nsec as _),
    }
}
