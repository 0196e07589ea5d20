//! A directory as a tar archive: an overlay's upper directory as a layer (image-spec layer.md), or a plain tree.
//!
//! The same content gives the same bytes: names in order, owners by number, times in whole seconds as Docker writes them. Whoever
//! changes the tree meanwhile cannot lead the walk elsewhere: every name is resolved below the root, links are not followed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::pipe::fill;
use crate::tarball::{BLOCK, Format, Kind, Member, encode};

/// Longest value and longest list of names of extended attributes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX` of linux/limits.h).
const XATTR_MAX: usize = 64 << 10;
/// Pieces in which files are copied.
const PIECE: usize = 256 << 10;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What marks of overlayfs in the tree mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// A layer: whiteouts and opaque directories are written as the image specification has them.
    Layer {
        /// The layer hides everything below it.
        opaque_root: bool,
    },
    /// A whole root file system: there are none.
    Plain,
}

/// Write what is below `root` as an archive.
///
/// # Errors
/// If the kernel refuses something, `out` fails, or a layer has what no image can say: names that begin with `.wh.`, or files whose
/// data overlayfs has left in a lower layer.
pub fn write_tree(root: BorrowedFd<'_>, marks: Marks, out: &mut dyn Write) -> Result<()> {
    let mut walk = Walk { root, marks, out, links: HashMap::new(), buffer: vec![0; PIECE], as_other: None };
    if marks == (Marks::Layer { opaque_root: true }) {
        walk.mark(OPAQUE.to_vec())?;
    }
    let pending = walk.children(b"")?;
    walk.all(pending)
}

/// One entry of a directory, to be archived under another name.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name in the directory; empty for the directory itself.
    pub entry: &'a [u8],
    /// Its name in the archive; what is below it follows. Empty: only what is below it is archived.
    pub name: &'a [u8],
    /// Owner and group of all members, in place of their own.
    pub owner: Option<(u32, u32)>,
}

/// Write one entry of a directory, with all that is below it.
///
/// # Errors
/// See [`write_tree`].
pub fn write_part(folder: BorrowedFd<'_>, part: Part<'_>, out: &mut dyn Write) -> Result<()> {
    let buffer = vec![0; PIECE];
    let mut walk = Walk { root: folder, marks: Marks::Plain, out, links: HashMap::new(), buffer, as_other: Some(part) };
    let pending = if part.name.is_empty() { walk.children(part.entry)? } else { vec![part.entry.to_vec()] };
    walk.all(pending)
}

fn writing() -> String {
    "writing the archive".into()
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    marks: Marks,
    out: &'a mut dyn Write,
    /// The first name of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    as_other: Option<Part<'a>>,
}

impl Walk<'_> {
    /// Write members and what is below them, the last first, and the archive's end: a tree of any depth takes one descriptor at a time.
    fn all(&mut self, mut pending: Vec<Vec<u8>>) -> Result<()> {
        while let Some(path) = pending.pop() {
            if self.member(&path)? {
                pending.extend(self.children(&path)?);
            }
        }
        self.out.write_all(&[0; 2 * BLOCK]).doing(writing)
    }

    /// A path by its name in the archive.
    fn renamed(&self, path: &[u8]) -> Vec<u8> {
        let Some(part) = &self.as_other else { return path.to_vec() };
        let below = path.strip_prefix(part.entry).unwrap_or(path);
        let below = below.strip_prefix(b"/").unwrap_or(below);
        match (part.name, below) {
            (b"", below) => below.to_vec(),
            (name, b"") => name.to_vec(),
            // A folder's own name has its slash already.
            (name, below) => [name, b"/", below].concat(),
        }
    }

    /// The paths in a directory, the first by name at the end.
    fn children(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let fd = match self.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            fd => fd.doing(|| doing("opening", path))?,
        };
        let mut all = Vec::new();
        let mut entries = Dir::read_from(&fd).doing(|| doing("listing", path))?;
        while let Some(entry) = entries.read() {
            let entry = entry.doing(|| doing("listing", path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                all.push(if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() });
            }
        }
        all.sort_unstable_by(|one, other| other.cmp(one));
        Ok(all)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Write one member. Says whether it is a directory to go into.
    fn member(&mut self, path: &[u8]) -> Result<bool> {
        let handle = match self.open(path, OFlags::PATH) {
            // Gone since its directory was read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            handle => handle.doing(|| doing("opening", path))?,
        };
        let stat = rustix::fs::fstat(&handle).doing(|| doing("looking at", path))?;
        let is_layer = self.marks != Marks::Plain;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if is_layer && stat.st_rdev == 0 => {
                return self.mark(whiteout(path)).map(|()| false);
            }
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            // A socket means nothing without the process that listens.
            _ => return Ok(false),
        };
        if is_layer && base(path).starts_with(WHITEOUT) {
            return Err(Error::entry(path, "a name that begins with .wh. means a deleted file in an image"));
        }
        let mut member = describe(&self.renamed(path), kind, &stat);
        if let Some((uid, gid)) = self.as_other.and_then(|part| part.owner) {
            (member.uid, member.gid) = (uid, gid);
        }
        if kind != Kind::Directory && stat.st_nlink > 1 {
            let first = self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_vec());
            if first != path {
                let first = first.clone();
                member.link = self.renamed(&first);
                self.header(&Member { kind: Kind::HardLink, size: 0, ..member })?;
                return Ok(false);
            }
        }
        match kind {
            Kind::Directory => self.directory(path, member),
            Kind::File => self.file(path, member).map(|()| false),
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(&handle, c"", Vec::new()).doing(|| doing("reading", path))?;
                member.link = target.into_bytes();
                self.header(&member).map(|()| false)
            }
            _ => self.header(&member).map(|()| false),
        }
    }

    fn directory(&mut self, path: &[u8], mut member: Member) -> Result<bool> {
        let fd = match self.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            fd => fd.doing(|| doing("opening", path))?,
        };
        let mut all = xattrs(fd.as_fd()).doing(|| doing("reading the attributes of", path))?;
        let is_opaque = self.overlay_marks(path, &all)?;
        all.retain(|name, _| is_kept_xattr(name));
        member.xattrs = all.into_iter().collect();
        self.header(&member)?;
        if is_opaque {
            self.mark([path, b"/", OPAQUE].concat())?;
        }
        Ok(true)
    }

    /// Whether overlayfs' attributes say that a directory hides what is below it.
    fn overlay_marks(&self, path: &[u8], all: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<bool> {
        if self.marks == Marks::Plain {
            return Ok(false);
        }
        let of = |name: &str| {
            ["trusted", "user"].iter().find_map(|space| all.get(format!("{space}.overlay.{name}").as_bytes()))
        };
        for (name, what) in [("redirect", "was renamed without being copied"), ("metacopy", "has its data elsewhere")] {
            if of(name).is_some() {
                let reason = format!("it {what} (overlayfs, {name}), which no layer can say");
                return Err(Error::entry(path, reason));
            }
        }
        Ok(of("opaque").is_some_and(|value| value == b"y"))
    }

    fn file(&mut self, path: &[u8], mut member: Member) -> Result<()> {
        let fd = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            fd => fd.doing(|| doing("opening", path))?,
        };
        let stat = rustix::fs::fstat(&fd).doing(|| doing("looking at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut all = xattrs(fd.as_fd()).doing(|| doing("reading the attributes of", path))?;
        self.overlay_marks(path, &all)?;
        all.retain(|name, _| is_kept_xattr(name));
        member.xattrs = all.into_iter().collect();
        member.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.header(&member)?;
        self.data(&mut File::from(fd), path, member.size)
    }

    /// As many bytes as the header says, whatever becomes of the file meanwhile.
    fn data(&mut self, file: &mut File, path: &[u8], size: u64) -> Result<()> {
        let mut left = size;
        let mut source = file.take(size);
        while left > 0 {
            let length = fill(&mut source, &mut self.buffer).doing(|| doing("reading", path))?;
            if length == 0 {
                io::copy(&mut io::repeat(0).take(left), self.out).doing(writing)?;
                break;
            }
            self.out.write_all(&self.buffer[..length]).doing(writing)?;
            left -= length as u64;
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..padding]).doing(writing)
    }

    fn header(&mut self, member: &Member) -> Result<()> {
        let blocks = encode(member, Format::Pax).map_err(|unfit| Error::entry(&member.name, unfit.to_string()))?;
        self.out.write_all(&blocks).doing(writing)
    }

    /// An empty file whose name says something about layers below.
    fn mark(&mut self, name: Vec<u8>) -> Result<()> {
        self.header(&Member {
            name,
            link: Vec::new(),
            kind: Kind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            size: 0,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: Vec::new(),
        })
    }
}

fn describe(path: &[u8], kind: Kind, stat: &Stat) -> Member {
    let slash: &[u8] = if kind == Kind::Directory { b"/" } else { b"" };
    let device = if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
    } else {
        (0, 0)
    };
    Member {
        name: [path, slash].concat(),
        link: Vec::new(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: Vec::new(),
        group: Vec::new(),
        size: 0,
        mtime: (stat.st_mtime as _, 0),
        device,
        xattrs: Vec::new(),
    }
}

/// Names and values of all extended attributes that can be seen, in order of the names.
///
/// # Errors
/// Of the kernel; a file system without them has none.
pub fn xattrs(fd: BorrowedFd<'_>) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; XATTR_MAX];
    let length = match rustix::fs::flistxattr(fd, list.as_mut_slice()) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let mut found = BTreeMap::new();
    for name in list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_MAX];
        match rustix::fs::fgetxattr(fd, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                found.insert(name.to_vec(), value);
            }
            // Gone since, or not for us to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether an extended attribute is part of an image: what unpacking lets in again.
pub fn is_kept_xattr(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")) || name == b"security.capability"
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn whiteout(path: &[u8]) -> Vec<u8> {
    let name = base(path);
    [&path[..path.len() - name.len()], WHITEOUT, name].concat()
}

fn doing(verb: &str, path: &[u8]) -> String {
    format!("{verb} /{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
