//! Making an archive of files and folders.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use coracle_image_oci::tarball::{Entry, Kind};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::list::Lister;
use super::names::{self, Excludes, quoted};
use super::options::{Options, Step};
use super::stream::Output;
use super::{Report, overrides::Overrides};
use crate::system::processes::Names;
use coracle_image_oci::tarball::{BLOCK, Format, Member, encode};

/// GNU tar's record: an archive's length is a multiple of it.
const RECORD: u64 = 20 * BLOCK as u64;

/// Which members an archive has already, with their times: for `-u`.
pub type Known = HashMap<Vec<u8>, i64>;

/// Adds members to an archive.
pub struct Creator<'a> {
    out: Output,
    options: &'a Options,
    excludes: Excludes,
    overrides: Overrides,
    known: Known,
    report: &'a mut Report,
    lister: Lister,
    owners: Names,
    /// First names of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Bytes written, those of an archive that is added to included.
    position: u64,
}

impl<'a> Creator<'a> {
    /// Write to `out`, which stands at `position`.
    ///
    /// # Errors
    /// If an option names something that cannot be read.
    pub fn new(
        out: Output,
        position: u64,
        known: Known,
        options: &'a Options,
        report: &'a mut Report,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            out,
            options,
            excludes: Excludes::new(options)?,
            overrides: Overrides::new(options)?,
            known,
            report,
            lister: Lister::new(options.numeric_owner),
            owners: Names::default(),
            links: HashMap::new(),
            position,
        })
    }

    /// Add all that was named and end the archive.
    ///
    /// # Errors
    /// If the archive cannot be written, or a folder of `-C` not be entered.
    pub fn run(mut self, steps: &[Step]) -> anyhow::Result<()> {
        let mut folder: Option<OwnedFd> = None;
        for step in steps {
            let at = folder.as_ref().map_or(CWD, AsFd::as_fd);
            match step {
                Step::Directory(path) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let opened = rustix::fs::openat(at, path, flags, Mode::empty());
                    folder = Some(opened.with_context(|| format!("{}: cannot change to it", path.display()))?);
                }
                Step::Name(name) => self.operand(at, name)?,
                Step::List(list) => {
                    for name in super::names_in(list, self.options.null)? {
                        self.operand(at, &name)?;
                    }
                }
            }
        }
        self.finish().context("cannot write the archive")
    }

    fn finish(mut self) -> io::Result<()> {
        let end = self.position + 2 * BLOCK as u64;
        let zeros = usize::try_from(end.next_multiple_of(RECORD) - self.position).unwrap_or(2 * BLOCK);
        self.out.write_all(&vec![0; zeros])?;
        self.out.finish()
    }

    fn operand(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> anyhow::Result<()> {
        let end = name.iter().rposition(|byte| *byte != b'/').map_or(name.len().min(1), |last| last + 1);
        let name = &name[..end];
        let Ok(path) = CString::new(name) else { return Ok(()) };
        self.add(at, &path, name, None)
    }

    /// Add `file` of `parent`, called `path` on the command line; `device` is the file system that must not be left.
    fn add(&mut self, parent: BorrowedFd<'_>, file: &CStr, path: &[u8], device: Option<u64>) -> anyhow::Result<()> {
        if self.excludes.fits(path) {
            return Ok(());
        }
        let follow = if self.options.dereference { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = match rustix::fs::statat(parent, file, follow) {
            Ok(stat) => stat,
            // It was in the folder when that was read.
            Err(Errno::NOENT) if device.is_some() => {
                self.report.changed(path, "File removed before we read it");
                return Ok(());
            }
            Err(error) => {
                self.report.failed(path, "Cannot stat", error.into());
                return Ok(());
            }
        };
        #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
        let identity = (stat.st_dev as u64, stat.st_ino as u64);
        if self.out.identity == Some(identity) {
            self.report.notice(path, "archive cannot contain itself; not dumped");
            return Ok(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(parent, file, path, &stat, device),
            FileType::Socket => {
                self.report.notice(path, "socket ignored");
                Ok(())
            }
            kind => self.plain(parent, file, path, &stat, kind, identity),
        }
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &CStr,
        path: &[u8],
        stat: &Stat,
        device: Option<u64>,
    ) -> anyhow::Result<()> {
        let nofollow = if self.options.dereference { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | nofollow;
        let opened = rustix::fs::openat(parent, file, flags, Mode::empty());
        let fd = match opened {
            Ok(fd) => fd,
            Err(error) => {
                self.report.failed(path, "Cannot open", error.into());
                return Ok(());
            }
        };
        let slashed = [path, if path.ends_with(b"/") { b"" } else { b"/" }].concat();
        let mut member = self.member(&slashed, Kind::Directory, stat);
        member.xattrs = self.xattrs(path, fd.as_fd());
        if !self.write_header(path, &member)? {
            return Ok(());
        }
        #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
        let own = stat.st_dev as u64;
        if self.options.no_recursion || (self.options.one_file_system && device.is_some_and(|device| device != own)) {
            return Ok(());
        }
        for name in self.entries(&fd, path) {
            self.add(fd.as_fd(), &name, &[&slashed, name.to_bytes()].concat(), Some(device.unwrap_or(own)))?;
        }
        Ok(())
    }

    /// Names in a folder, sorted: the same folder gives the same archive.
    fn entries(&mut self, fd: &OwnedFd, path: &[u8]) -> Vec<CString> {
        let mut names = Vec::new();
        let read = Dir::read_from(fd).and_then(|mut dir| {
            while let Some(entry) = dir.read() {
                let name = entry?.file_name().to_owned();
                if !matches!(name.to_bytes(), b"." | b"..") {
                    names.push(name);
                }
            }
            Ok(())
        });
        if let Err(error) = read {
            self.report.failed(path, "Cannot read directory", error.into());
        }
        names.sort_unstable();
        names
    }

    fn plain(
        &mut self,
        parent: BorrowedFd<'_>,
        file: &CStr,
        path: &[u8],
        stat: &Stat,
        kind: FileType,
        identity: (u64, u64),
    ) -> anyhow::Result<()> {
        let kind = match kind {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            _ => Kind::Fifo,
        };
        let mut member = self.member(path, kind, stat);
        if self.is_known(&member) {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity) {
                member.link.clone_from(first);
                member.kind = Kind::HardLink;
                return self.write_header(path, &member).map(drop);
            }
            self.links.insert(identity, member.name.clone());
        }
        match kind {
            Kind::File => return self.file(parent, file, path, member),
            Kind::Symlink => match rustix::fs::readlinkat(parent, file, Vec::new()) {
                Ok(target) => member.link = target.into_bytes(),
                Err(error) => {
                    self.report.failed(path, "Cannot read link", error.into());
                    return Ok(());
                }
            },
            Kind::CharDevice | Kind::BlockDevice => {
                member.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            }
            _ => {}
        }
        self.write_header(path, &member).map(drop)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, file: &CStr, path: &[u8], mut member: Member) -> anyhow::Result<()> {
        let nofollow = if self.options.dereference { OFlags::empty() } else { OFlags::NOFOLLOW };
        // NONBLOCK: it may have become a pipe since it was looked at.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | nofollow;
        let opened = rustix::fs::openat(parent, file, flags, Mode::empty());
        let opened = opened.and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = match opened {
            Ok((fd, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => (fd, stat),
            Ok(_) => {
                self.report.changed(path, "File changed as we read it");
                return Ok(());
            }
            Err(error) => {
                self.report.failed(path, "Cannot open", error.into());
                return Ok(());
            }
        };
        member.size = u64::try_from(stat.st_size).unwrap_or(0);
        member.xattrs = self.xattrs(path, fd.as_fd());
        if !self.write_header(path, &member)? {
            return Ok(());
        }
        self.copy(&mut std::fs::File::from(fd), path, member.size).context("cannot write the archive")
    }

    /// Copy exactly `size` bytes: the header has said so, whatever becomes of the file meanwhile.
    fn copy(&mut self, file: &mut std::fs::File, path: &[u8], size: u64) -> io::Result<()> {
        use std::io::Read;
        let mut buffer = vec![0; 128 << 10];
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match file.read(&mut buffer[..want]) {
                Ok(0) => {
                    self.report.changed(path, &format!("File shrank by {left} bytes; padding with zeros"));
                    break;
                }
                Ok(count) => {
                    self.write(&buffer[..count])?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.report.failed(path, "Cannot read; padding with zeros", error);
                    break;
                }
            }
        }
        buffer.fill(0);
        let mut zeros = left + size.wrapping_neg() % BLOCK as u64;
        while zeros > 0 {
            let count = usize::try_from(zeros).unwrap_or(usize::MAX).min(buffer.len());
            self.write(&buffer[..count])?;
            zeros -= count as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn member(&mut self, path: &[u8], kind: Kind, stat: &Stat) -> Member {
        let name = if self.options.absolute_names {
            path.to_vec()
        } else {
            let (cut, left) = names::harmless(path);
            if !cut.is_empty() {
                self.report.cut(cut, "member names");
            }
            let is_folder = kind == Kind::Directory && !left.ends_with(b"/");
            [left, if is_folder { b"/" } else { b"" }].concat()
        };
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        let named = |found: &str, id: u32| if found == id.to_string() { Vec::new() } else { found.as_bytes().to_vec() };
        let (user, group) = match self.options.numeric_owner {
            true => (Vec::new(), Vec::new()),
            false => (named(self.owners.user(uid), uid), named(self.owners.group(gid), gid)),
        };
        #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
        let mtime = (stat.st_mtime as i64, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
        let member = Member {
            name,
            link: Vec::new(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            user,
            group,
            size: 0,
            mtime,
            device: (0, 0),
            xattrs: Vec::new(),
        };
        self.overrides.apply(member)
    }

    /// With `-u`, what the archive has and is no older stays out.
    fn is_known(&self, member: &Member) -> bool {
        self.known.get(&member.name).is_some_and(|mtime| *mtime >= member.mtime.0)
    }

    fn xattrs(&mut self, path: &[u8], fd: BorrowedFd<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        if !self.options.xattrs {
            return Vec::new();
        }
        match super::xattrs::read(fd) {
            Ok(found) => found,
            Err(Errno::NOTSUP) => Vec::new(),
            Err(error) => {
                self.report.failed(path, "Cannot read extended attributes", error.into());
                Vec::new()
            }
        }
    }

    /// False if the format cannot say it.
    fn write_header(&mut self, path: &[u8], member: &Member) -> anyhow::Result<bool> {
        // Extended attributes are what only pax can say.
        let format = if self.options.xattrs { Format::Pax } else { self.options.format };
        match encode(member, format) {
            Ok(blocks) => self.write(&blocks).context("cannot write the archive")?,
            Err(unfit) => {
                self.report.error(path, &format!("{unfit}; not dumped"));
                return Ok(false);
            }
        }
        if self.options.verbose > 0 {
            self.show(member)?;
        }
        Ok(true)
    }

    fn show(&mut self, member: &Member) -> anyhow::Result<()> {
        let entry = Entry {
            path: member.name.clone(),
            link: member.link.clone(),
            kind: member.kind,
            size: member.size,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            user: member.user.clone(),
            group: member.group.clone(),
            mtime: member.mtime,
            device: member.device,
            xattrs: Vec::new(),
            sparse: None,
        };
        let line = self.lister.line(&entry, self.options.verbose > 1);
        if self.options.is_stream() {
            writeln!(io::stderr(), "{line}")?
        } else {
            writeln!(io::stdout(), "{line}")?
        }
        Ok(())
    }
}

impl Report {
    /// Part of a name was taken off; said once of each.
    pub fn cut(&mut self, cut: &[u8], of: &str) {
        let text = format!("Removing leading `{}' from {of}", quoted(cut));
        self.once(&text);
    }
}
