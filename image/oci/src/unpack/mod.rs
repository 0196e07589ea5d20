//! Layers on disk: a tar stream becomes a directory that overlayfs can stack.
//!
//! An image is hostile until shown otherwise. Every name is resolved by the kernel below the layer's own root
//! (openat2(2), `RESOLVE_IN_ROOT`), so no symbolic link in the layer, earlier or later, leads out of it; what would forge the
//! overlay's own marks is refused; what would fill the disk meets a [`Budget`]. The directory is made in a staging place and
//! thrown away on any error, so nothing here cleans up after itself.

mod attributes;
mod budget;
mod file;
mod root;
mod whiteout;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

pub use budget::{Budget, Limits};

use crate::error::{Context, Error, Result};
use crate::recipe::{Recorder, Tee};
use crate::tarball::{Archive, Entry, Kind};
use attributes::Metadata;
use root::{Root, split};

/// Most bytes after an archive's end. tar pads to its blocks, which its user may choose; nothing is read there, but all is hashed.
const TAIL_MAX: u64 = 64 << 20;

/// Most memory for the attributes of directories: some 300,000 of them.
const DIRECTORIES_MAX: usize = 64 << 20;

/// What to do with device nodes in a layer. They are of no use in a container, which gets a `/dev` of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Refuse the layer.
    #[default]
    Refuse,
    /// Make them.
    Create,
}

/// What a layer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Members of the archive.
    pub entries: u64,
    /// Sum of the files' lengths.
    pub bytes: u64,
    /// The layer hides everything below it. Overlayfs knows no such mark on the topmost directory: the caller leaves out the
    /// layers below.
    pub opaque_root: bool,
}

/// Unpack the archive `source` into the empty directory `dir` and read `source` to its end.
///
/// # Errors
/// If the archive is damaged, breaks a rule or exceeds the budget, or the kernel refuses something. The directory is then of no use.
pub fn unpack<R: BufRead>(source: R, dir: OwnedFd, devices: DevicePolicy, budget: &Budget) -> Result<Report> {
    unpack_recorded(source, dir, devices, budget, None)
}

/// The same, and record how to write the archive again.
pub(crate) fn unpack_recorded<R: BufRead>(
    source: R,
    dir: OwnedFd,
    devices: DevicePolicy,
    budget: &Budget,
    recorder: Option<&RefCell<Recorder<'_>>>,
) -> Result<Report> {
    let mut archive = Archive::new(Tee::new(source, recorder));
    let mut layer = Layer {
        recorder,
        root: Root::new(dir, budget),
        owners: rustix::process::geteuid().is_root(),
        devices,
        budget,
        directories: BTreeMap::new(),
        remembered: 0,
        report: Report::default(),
    };
    while let Some(entry) = archive.next_entry()? {
        layer.entry(&mut archive, entry)?;
    }
    if !archive.drain_at_most(TAIL_MAX).doing(|| "reading the rest of the archive".into())? {
        return Err(Error::Limit {
            what: "what comes after the archive's end".into(),
            limit: format!("{TAIL_MAX} bytes"),
        });
    }
    layer.finish()
}

struct Layer<'a, 'r> {
    recorder: Option<&'a RefCell<Recorder<'r>>>,
    root: Root<'a>,
    /// Privileged: owners are kept. Otherwise everything belongs to who unpacks.
    owners: bool,
    devices: DevicePolicy,
    budget: &'a Budget,
    /// Attributes of directories are set at the end: making entries in them would change their times, or be forbidden.
    directories: BTreeMap<Vec<u8>, Metadata>,
    /// Bytes of memory that these take, about.
    remembered: usize,
    report: Report,
}

impl Layer<'_, '_> {
    fn entry<R: BufRead>(&mut self, archive: &mut Archive<R>, entry: Entry) -> Result<()> {
        self.budget.entry(&entry.path)?;
        self.report.entries += 1;
        let path = relative(&entry.path)?;
        match whiteout::classify(&path).map_err(|reason| Error::entry(&entry.path, reason))? {
            whiteout::Name::Ordinary => {}
            whiteout::Name::Ignored => return Ok(()),
            whiteout::Name::Hide(target) => return self.hide(&target),
            whiteout::Name::Opaque(target) => return self.make_opaque(&target),
        }
        if path.is_empty() {
            return match entry.kind {
                Kind::Directory => self.remember(path, entry),
                _ => Err(Error::entry(&entry.path, "only a directory can be the root")),
            };
        }
        match entry.kind {
            Kind::Directory => {
                self.directory(&path)?;
                self.remember(path, entry)
            }
            Kind::File => self.file(archive, &path, entry),
            Kind::HardLink => self.hard_link(&path, &entry),
            Kind::Symlink => self.symlink(&path, entry),
            Kind::CharDevice | Kind::BlockDevice => self.device(&path, entry),
            Kind::Fifo => self.node(&path, entry, FileType::Fifo, 0),
        }
    }

    fn remember(&mut self, path: Vec<u8>, entry: Entry) -> Result<()> {
        let metadata = Metadata::new(entry, self.owners)?;
        self.remembered += path.len() + metadata.memory();
        if self.remembered > DIRECTORIES_MAX {
            return Err(Error::Limit {
                what: "the memory for the layer's directories".into(),
                limit: format!("{DIRECTORIES_MAX} bytes"),
            });
        }
        self.directories.insert(path, metadata);
        Ok(())
    }

    fn directory(&mut self, path: &[u8]) -> Result<()> {
        let (dir, name) = split(path);
        let parent = self.root.parent(dir)?;
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing(|| root::doing("making the directory", path)),
        }
        let there = kind_of(parent, path)?;
        if there == There::Directory {
            return Ok(());
        }
        self.displace(path)?;
        let parent = self.root.parent(dir)?;
        rustix::fs::mkdirat(parent, name, Mode::RWXU).doing(|| root::doing("making the directory", path))?;
        if there == There::Whiteout {
            whiteout::set_opaque(parent, name).doing(|| root::doing("marking as opaque", path))?;
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let target = relative(&entry.link).map_err(|_| Error::entry(&entry.path, "hard link to outside the layer"))?;
        if target.is_empty() {
            return Err(Error::entry(&entry.path, "hard link to the root"));
        }
        if target == path {
            return Err(Error::entry(&entry.path, "hard link to itself"));
        }
        let (target_dir, target_name) = split(&target);
        let missing =
            || Error::entry(&entry.path, format!("hard link to {:?}, which is not in the layer", lossy(&target)));
        let from = self.root.open(target_dir).map_err(|_| missing())?;
        match kind_of(from.as_fd(), &target) {
            Ok(There::Directory) => return Err(Error::entry(&entry.path, "hard link to a directory")),
            Ok(There::Other) => {}
            Ok(There::Whiteout) | Err(_) => return Err(missing()),
        }
        self.make(path, |parent, name| rustix::fs::linkat(&from, target_name, parent, name, AtFlags::empty()))
    }

    fn symlink(&mut self, path: &[u8], entry: Entry) -> Result<()> {
        self.make(path, |parent, name| rustix::fs::symlinkat(&*entry.link, parent, name))?;
        let (dir, name) = split(path);
        let metadata = Metadata::new(entry, self.owners)?;
        metadata.set_on_name(self.root.parent(dir)?, name).doing(|| root::doing("setting attributes of", path))
    }

    fn device(&mut self, path: &[u8], entry: Entry) -> Result<()> {
        let (major, minor) = entry.device;
        if (major, minor) == (0, 0) && entry.kind == Kind::CharDevice {
            return Err(Error::entry(&entry.path, "device 0:0 would forge a whiteout"));
        }
        if self.devices == DevicePolicy::Refuse {
            let reason = format!("device node {major}:{minor}; images need none, --allow-devices lets it in");
            return Err(Error::entry(&entry.path, reason));
        }
        let kind = if entry.kind == Kind::CharDevice { FileType::CharacterDevice } else { FileType::BlockDevice };
        self.node(path, entry, kind, rustix::fs::makedev(major, minor))
    }

    fn node(&mut self, path: &[u8], entry: Entry, kind: FileType, device: rustix::fs::Dev) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        self.make(path, |parent, name| rustix::fs::mknodat(parent, name, kind, mode, device))?;
        let (dir, name) = split(path);
        let metadata = Metadata::new(entry, self.owners)?;
        metadata.set_on_name(self.root.parent(dir)?, name).doing(|| root::doing("setting attributes of", path))
    }

    /// Make something that is no directory; the last entry of a name counts, so what is there gives way.
    fn make<T>(&mut self, path: &[u8], make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>) -> Result<T> {
        let (dir, name) = split(path);
        match make(self.root.parent(dir)?, name) {
            Err(Errno::EXIST) => {}
            other => return other.doing(|| root::doing("making", path)),
        }
        self.displace(path)?;
        make(self.root.parent(dir)?, name).doing(|| root::doing("making", path))
    }

    fn displace(&mut self, path: &[u8]) -> Result<()> {
        let (dir, name) = split(path);
        let name = std::ffi::CString::new(name).map_err(|_| Error::entry(path, "name with a NUL"))?;
        let parent = self.root.parent(dir)?;
        let is_kept = match self.recorder {
            Some(recorder) => recorder.borrow_mut().displace(path, parent, &name)?,
            None => false,
        };
        if !is_kept {
            crate::fs::remove_tree(parent, &name).doing(|| root::doing("replacing", path))?;
        }
        self.root.forget();
        Ok(())
    }

    /// Set the attributes of all directories, children before parents: a parent may be closed by its mode.
    fn finish(mut self) -> Result<Report> {
        for (path, metadata) in std::mem::take(&mut self.directories).into_iter().rev() {
            let set = |fd: &OwnedFd| metadata.set(fd.as_fd()).doing(|| root::doing("setting attributes of", &path));
            if let Some(fd) = self.root.open_directory(&path)? {
                set(&fd)?;
            }
        }
        Ok(self.report)
    }
}

/// What a name in the layer stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Directory,
    Whiteout,
    Other,
}

fn kind_of(parent: BorrowedFd<'_>, path: &[u8]) -> Result<There> {
    let (_, name) = split(path);
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).doing(|| root::doing("looking at", path))?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => There::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => There::Whiteout,
        _ => There::Other,
    })
}

/// A name below the layer's root: absolute names lose their root, `.` and doubled slashes go, `..` is refused.
fn relative(name: &[u8]) -> Result<Vec<u8>> {
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Error::entry(name, "`..` in its name")),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
