//! Dates of files, for builds that give the same bytes again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, openat, statat, utimensat};

use super::builder::Epoch;
use super::tree::{names, open_folder};

/// Date what is in a folder, the folder itself included.
///
/// # Errors
/// If a date cannot be set.
pub fn apply(folder: &Path, epoch: Epoch) -> anyhow::Result<()> {
    let fd = open_folder(folder)?;
    walk(&fd, epoch)?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok(rustix::fs::futimens(&fd, &times(stat.st_mtime, epoch))?)
}

fn walk(folder: &OwnedFd, epoch: Epoch) -> anyhow::Result<()> {
    for name in names(folder)? {
        let stat = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            walk(&openat(folder, &name, flags, Mode::empty())?, epoch)?;
        }
        set(folder.as_fd(), &name, &times(stat.st_mtime, epoch))?;
    }
    Ok(())
}

fn set(folder: BorrowedFd<'_>, name: &std::ffi::OsStr, times: &Timestamps) -> rustix::io::Result<()> {
    utimensat(folder, name, times, AtFlags::SYMLINK_NOFOLLOW)
}

fn times(mtime: i64, epoch: Epoch) -> Timestamps {
    let seconds = if epoch.all { epoch.seconds } else { mtime.min(epoch.seconds) };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_newer_is_dated() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/new"), "").unwrap();
        let old = fs::File::create(dir.path().join("d/old")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let mtime = |path: &str| fs::symlink_metadata(dir.path().join(path)).unwrap().mtime();
        apply(dir.path(), Epoch { seconds: 1000, all: false }).unwrap();
        assert_eq!([mtime("d/new"), mtime("d/old"), mtime("d"), mtime("link"), mtime("")], [1000, 5, 1000, 1000, 1000]);
        apply(dir.path(), Epoch { seconds: 1000, all: true }).unwrap();
        assert_eq!(mtime("d/old"), 1000);
    }
}
