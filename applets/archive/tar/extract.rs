//! Unpacking an archive. Its names are never trusted: `names::harmless` takes off what leads out of the folder, and `place` has the
//! kernel watch over the rest.

use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use coracle_image_oci::tarball::{Archive, Entry, Extent, Kind};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::names::{self, Excludes, Selection, quoted};
use super::options::{Options, Step};
use super::place::{self, Root};
use super::{Report, list::Lister};
use crate::archive::tar::owners::Owners;

/// Unpacks members.
pub struct Extractor<'a> {
    root: Root,
    options: &'a Options,
    report: &'a mut Report,
    policy: Policy,
    /// Folders get their attributes at the end: until then they must be writable, and their times would change.
    folders: Vec<Entry>,
}

/// Which attributes are restored.
struct Policy {
    owners: Option<Owners>,
    /// Permission bits that are kept.
    mask: u32,
    times: bool,
    xattrs: bool,
}

/// What became of one member.
enum Done {
    Yes,
    /// It was left alone, as was asked for.
    No,
}

impl<'a> Extractor<'a> {
    /// Unpack into the folder that the steps lead to.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn new(steps: &[Step], options: &'a Options, report: &'a mut Report) -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut fd: OwnedFd =
            rustix::fs::openat(CWD, ".", flags, Mode::empty()).context("cannot open the working folder")?;
        for step in steps {
            if let Step::Directory(path) = step {
                fd = rustix::fs::openat(&fd, path, flags, Mode::empty())
                    .with_context(|| format!("{}: cannot change to it", path.display()))?;
            }
        }
        Ok(Self::at(fd, options, report))
    }

    /// Unpack into a folder.
    pub fn at(folder: OwnedFd, options: &'a Options, report: &'a mut Report) -> Self {
        let root = nix::unistd::geteuid().is_root();
        let owners = options.same_owner || (root && !options.no_same_owner);
        let exact = options.preserve_permissions || (root && !options.no_same_permissions);
        let policy = Policy {
            owners: owners.then(|| Owners::new(options.numeric_owner)),
            mask: if exact { 0o7777 } else { 0o777 & !crate::archive::umask() },
            times: !options.touch,
            xattrs: options.xattrs,
        };
        Self { root: Root::new(folder, options.absolute_names), options, report, policy, folders: Vec::new() }
    }

    /// Unpack what was asked for.
    ///
    /// # Errors
    /// If the archive is damaged; what is wrong with a single member is reported and the next one follows.
    pub fn run(mut self, archive: &mut Archive<impl BufRead>, selection: &mut Selection) -> anyhow::Result<()> {
        let excludes = Excludes::new(self.options)?;
        let mut lister = Lister::new(self.options.numeric_owner);
        let result = loop {
            let entry = match archive.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break Ok(()),
                Err(error) => break Err(super::explain(error)),
            };
            if excludes.fits(&entry.path) || !selection.takes(&entry.path) {
                continue;
            }
            if let Err(error) = self.one(archive, entry, &mut lister) {
                break Err(error);
            }
        };
        self.finish_folders();
        result
    }

    fn one(
        &mut self,
        archive: &mut Archive<impl BufRead>,
        mut entry: Entry,
        lister: &mut Lister,
    ) -> anyhow::Result<()> {
        let shown = entry.path.clone();
        if self.options.verbose > 0 {
            let line = lister.line(&entry, self.options.verbose > 1);
            if self.options.to_stdout { writeln!(io::stderr(), "{line}")? } else { writeln!(io::stdout(), "{line}")? }
        }
        if self.options.to_stdout {
            return if entry.kind == Kind::File { to_stdout(archive, &entry) } else { Ok(()) };
        }
        if !self.rename(&mut entry) {
            return Ok(());
        }
        match self.unpack(archive, entry) {
            Ok(Done::Yes | Done::No) => Ok(()),
            Err(Trouble::Member(doing, error)) => {
                self.report.failed(&shown, doing, error.into());
                Ok(())
            }
            Err(Trouble::Archive(error)) => Err(error),
        }
    }

    /// The name, and a hard link's target, as they are unpacked; false if nothing is left of it.
    fn rename(&mut self, entry: &mut Entry) -> bool {
        let Some(path) = names::strip_components(&entry.path, self.options.strip_components) else { return false };
        entry.path = path;
        if entry.kind == Kind::HardLink {
            match names::strip_components(&entry.link, self.options.strip_components) {
                Some(link) => entry.link = link,
                None => return false,
            }
        }
        if !self.options.absolute_names {
            let (cut, left) = names::harmless(&entry.path);
            if !cut.is_empty() {
                self.report.cut(cut, "member names");
                entry.path = left.to_vec();
            }
            if entry.kind == Kind::HardLink {
                let (cut, left) = names::harmless(&entry.link);
                if !cut.is_empty() {
                    self.report.cut(cut, "hard link targets");
                    entry.link = left.to_vec();
                }
            }
        }
        true
    }

    fn unpack(&mut self, archive: &mut Archive<impl BufRead>, entry: Entry) -> Result<Done, Trouble> {
        let path = entry.path.clone();
        let opening = |error| Trouble::Member("Cannot open", error);
        let Some((parent, name)) = self.root.parent(&path).map_err(opening)? else {
            // The folder that is unpacked into.
            if entry.kind == Kind::Directory {
                self.folders.push(entry);
            }
            return Ok(Done::Yes);
        };
        // Kept apart from the cache of folders, which may be renewed while this is in use.
        let parent = parent.try_clone_to_owned().map_err(|error| Trouble::Archive(error.into()))?;
        let parent = parent.as_fd();
        let there = place::kind_of(parent, name).map_err(|error| Trouble::Member("Cannot stat", error))?;
        if entry.kind == Kind::Directory {
            return self.directory(parent, name, there, entry);
        }
        if there.is_some() && !self.may_replace(parent, name, &entry)? {
            return Ok(Done::No);
        }
        let overwrites = self.options.overwrite && there == Some(FileType::RegularFile) && entry.kind == Kind::File;
        let is_itself = entry.kind == Kind::HardLink && names::parts(&entry.link) == names::parts(&path);
        if there.is_some() && !overwrites && !is_itself {
            place::remove(parent, name).map_err(|error| Trouble::Member("Cannot unlink", error))?;
            if there == Some(FileType::Directory) || there == Some(FileType::Symlink) {
                self.root.forget();
            }
        }
        match entry.kind {
            Kind::File => self.file(archive, parent, name, &entry, overwrites)?,
            Kind::HardLink if is_itself => {}
            Kind::HardLink => self.hard_link(parent, name, &entry)?,
            _ => {
                self.special(parent, name, &entry).map_err(|error| Trouble::Member("Cannot create", error))?;
                self.policy.set_on_name(parent, name, &entry)?;
            }
        }
        Ok(Done::Yes)
    }

    /// Whether what has the name may go.
    fn may_replace(&mut self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<bool, Trouble> {
        if self.options.skip_old_files {
            return Ok(false);
        }
        if self.options.keep_old_files {
            return Err(Trouble::Member("Cannot open", Errno::EXIST));
        }
        if self.options.keep_newer_files {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Trouble::Member("Cannot stat", error))?;
            #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
            let there = (stat.st_mtime as i64, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
            if there >= entry.mtime {
                self.report.say(&format!("Current `{}' is newer or same age", quoted(&entry.path)));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        there: Option<FileType>,
        entry: Entry,
    ) -> Result<Done, Trouble> {
        if there != Some(FileType::Directory) {
            if there.is_some() {
                if !self.may_replace(parent, name, &entry)? {
                    return Ok(Done::No);
                }
                place::remove(parent, name).map_err(|error| Trouble::Member("Cannot unlink", error))?;
                self.root.forget();
            }
            let made = rustix::fs::mkdirat(parent, name, Mode::RWXU);
            made.map_err(|error| Trouble::Member("Cannot mkdir", error))?;
        }
        self.folders.push(entry);
        Ok(Done::Yes)
    }

    fn file(
        &mut self,
        archive: &mut Archive<impl BufRead>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        overwrites: bool,
    ) -> Result<(), Trouble> {
        let how = if overwrites { OFlags::TRUNC | OFlags::NONBLOCK } else { OFlags::CREATE | OFlags::EXCL };
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | how;
        let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Trouble::Member("Cannot open", error))?;
        match write_data(archive, fd.as_fd(), entry) {
            Ok(()) => self.policy.set(fd.as_fd(), entry),
            Err(trouble) => {
                // No file that looks whole and is not.
                if !overwrites {
                    let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
                }
                Err(trouble)
            }
        }
    }

    fn hard_link(&mut self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Trouble> {
        let linking = |error| Trouble::Member("Cannot hard link", error);
        let parts = names::parts(&entry.link);
        let Some((target, _)) = parts.split_last() else { return Err(linking(Errno::INVAL)) };
        let end = entry.link.len() - entry.link.iter().rev().take_while(|byte| **byte == b'/').count();
        let folder = self.root.existing(&entry.link[..end - target.len()]).map_err(linking)?;
        // Without AT_SYMLINK_FOLLOW a link is linked to, not what it leads to.
        rustix::fs::linkat(&folder, *target, parent, name, AtFlags::empty()).map_err(linking)
    }

    fn special(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> rustix::io::Result<()> {
        let kind = match entry.kind {
            Kind::Symlink => return rustix::fs::symlinkat(entry.link.as_slice(), parent, name),
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device)
    }

    /// Innermost first: a folder may become one that we cannot enter.
    fn finish_folders(&mut self) {
        for entry in std::mem::take(&mut self.folders).into_iter().rev() {
            let result = match self.root.folder(&entry.path) {
                Ok(Some(fd)) => self.policy.set(fd.as_fd(), &entry),
                // Replaced by a later member.
                Ok(None) => Ok(()),
                Err(error) => Err(Trouble::Member("Cannot open", error)),
            };
            if let Err(Trouble::Member(doing, error)) = result {
                self.report.failed(&entry.path, doing, error.into());
            }
        }
    }
}

/// What is wrong, with one member or with the whole archive.
enum Trouble {
    Member(&'static str, Errno),
    Archive(anyhow::Error),
}

fn extents(entry: &Entry) -> Vec<Extent> {
    entry.sparse.clone().unwrap_or_else(|| vec![Extent { offset: 0, length: entry.size }])
}

/// Copy the member's data to its place; holes stay holes.
fn write_data(archive: &mut Archive<impl BufRead>, fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Trouble> {
    let mut end = 0;
    for Extent { mut offset, length } in extents(entry) {
        let mut left = length;
        while left > 0 {
            let data = archive.data().map_err(|error| Trouble::Archive(error.into()))?;
            let data = &data[..usize::try_from(left).unwrap_or(usize::MAX).min(data.len())];
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, data, offset))
                .map_err(|error| Trouble::Member("Cannot write", error))?;
            archive.consume(written);
            offset += written as u64;
            left -= written as u64;
            end = offset;
        }
    }
    if end < entry.size {
        rustix::fs::ftruncate(fd, entry.size).map_err(|error| Trouble::Member("Cannot set the length", error))?;
    }
    Ok(())
}

fn to_stdout(archive: &mut Archive<impl BufRead>, entry: &Entry) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut position = 0;
    for Extent { offset, length } in extents(entry) {
        io::copy(&mut io::Read::take(io::repeat(0), offset - position), &mut out)?;
        let mut left = length;
        while left > 0 {
            let data = archive.data()?;
            let data = &data[..usize::try_from(left).unwrap_or(usize::MAX).min(data.len())];
            out.write_all(data)?;
            let count = data.len();
            archive.consume(count);
            left -= count as u64;
        }
        position = offset + length;
    }
    io::copy(&mut io::Read::take(io::repeat(0), entry.size.saturating_sub(position)), &mut out)?;
    Ok(())
}

impl Policy {
    fn mode(&self, entry: &Entry) -> Mode {
        Mode::from_raw_mode(entry.mode & self.mask)
    }

    fn times(&self, entry: &Entry) -> Timestamps {
        let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        Timestamps { last_access: keep, last_modification: if self.times { time } else { keep } }
    }

    fn owner(&self, entry: &Entry) -> Option<(Option<Uid>, Option<Gid>)> {
        let (uid, gid) = self.owners.as_ref()?.of(entry);
        Some((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    /// On an open file or folder. The order matters: a change of owner drops set-id bits and capabilities.
    fn set(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Trouble> {
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::fchown(fd, uid, gid).map_err(|error| Trouble::Member("Cannot change ownership", error))?;
        }
        rustix::fs::fchmod(fd, self.mode(entry)).map_err(|error| Trouble::Member("Cannot change mode", error))?;
        if self.xattrs {
            super::xattrs::write(fd, &entry.xattrs, self.owners.is_some())
                .map_err(|error| Trouble::Member("Cannot set extended attributes", error))?;
        }
        rustix::fs::futimens(fd, &self.times(entry)).map_err(|error| Trouble::Member("Cannot utime", error))
    }

    /// On a link, pipe or device, which cannot be opened without effects. Links have no mode.
    fn set_on_name(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Trouble> {
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Trouble::Member("Cannot change ownership", error))?;
        }
        if entry.kind != Kind::Symlink {
            set_mode(parent, name, self.mode(entry)).map_err(|error| Trouble::Member("Cannot change mode", error))?;
        }
        rustix::fs::utimensat(parent, name, &self.times(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Trouble::Member("Cannot utime", error))
    }
}

/// fchmodat(2) follows links: the name is held by a descriptor first, and must still not be one.
fn set_mode(parent: BorrowedFd<'_>, name: &[u8], mode: Mode) -> rustix::io::Result<()> {
    let fd = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    use std::os::fd::AsRawFd;
    match rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode) {
        // Without /proc.
        Err(Errno::NOENT) => rustix::fs::chmodat(parent, name, mode, AtFlags::empty()),
        other => other,
    }
}
