//! `ctr cp`: files and folders between a container and the host, as a tar stream between two folders' descriptors.
//!
//! The container's side is resolved below its root and walked by descriptors, and what is unpacked stays below its folder, so a
//! container that swaps links meanwhile gets nothing else read or written (CVE-2018-15664). No program or library of the container
//! has a part in it (CVE-2019-14271).

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use coracle_image_oci::{Part, write_part};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::format::decimal_size;
use super::record::{self, Record};
use super::rootfs::Rootfs;
use super::{events, options};
use crate::archive::tar;

/// Links that are followed from one to the next before it is a loop (the kernel's MAXSYMLINKS).
const MAX_LINKS: usize = 40;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// `cp`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep owners and groups, by number
    #[arg(short, long)]
    archive: bool,

    /// Follow a link that is the source
    #[arg(short = 'L', long)]
    follow_link: bool,

    /// Do not say how much was copied
    #[arg(short, long)]
    quiet: bool,

    /// CONTAINER:PATH, PATH, or - for a tar archive on standard input
    source: String,

    /// CONTAINER:PATH, PATH, or - for a tar archive on standard output
    target: String,
}

/// One side of a copy.
enum Side<'a> {
    Host(&'a str),
    Container(&'a str, &'a str),
}

impl<'a> Side<'a> {
    /// A path with a colon is the host's if it is absolute or begins with a dot.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => Side::Container(name, path),
            _ => Side::Host(text),
        }
    }
}

/// Copy.
pub fn cp(args: &Args) -> anyhow::Result<i32> {
    let (done, size) = match (Side::parse(&args.source), Side::parse(&args.target)) {
        (Side::Container(name, path), Side::Host(target)) => out_of(args, name, path, target)?,
        (Side::Host(source), Side::Container(name, path)) => into(args, source, name, path)?,
        (Side::Container(..), Side::Container(..)) => bail!("copying between containers is not supported"),
        (Side::Host(_), Side::Host(_)) => bail!("must specify at least one container source"),
    };
    let streams = args.source == "-" || args.target == "-";
    if done && !args.quiet && !streams {
        eprintln!("Successfully copied {} to {}", decimal_size(size), args.target);
    }
    Ok(i32::from(!done))
}

fn out_of(args: &Args, name: &str, path: &str, target: &str) -> anyhow::Result<(bool, u64)> {
    let record = Record::read(&record::resolve(name)?)?;
    let missing = || format!("Could not find the file {path} in container {name}");
    let rootfs = Rootfs::open(&record)?;
    let source = Source::find(&Tree::Container(&rootfs), path, args.follow_link).with_context(missing)?;
    let copied = if target == "-" {
        let mut out = BufWriter::new(io::stdout().lock());
        let name = if source.content { b".".to_vec() } else { source.base.clone() };
        write_part(source.folder.as_fd(), source.part(&name, None), &mut out)?;
        out.flush()?;
        (true, 0)
    } else {
        let place = Target::find(&Tree::Host, target, &source)
            .with_context(|| format!("invalid output path: cannot copy to {target:?}"))?;
        transfer(&source, place, None, args.archive)?
    };
    events::of_container(&record, "archive-path", &[("path", path.to_owned())]);
    rootfs.close()?;
    Ok(copied)
}

fn into(args: &Args, source: &str, name: &str, path: &str) -> anyhow::Result<(bool, u64)> {
    let record = Record::read(&record::resolve(name)?)?;
    check_writable(&record, path)?;
    let from_stream = source == "-";
    let found = if from_stream {
        None
    } else {
        Some(Source::find(&Tree::Host, source, args.follow_link).with_context(|| format!("cannot copy {source}"))?)
    };
    let rootfs = Rootfs::open(&record)?;
    let tree = Tree::Container(&rootfs);
    let copied = match &found {
        Some(found) => {
            let place = Target::find(&tree, path, found)
                .with_context(|| format!("Could not find the file {path} in container {name}"))?;
            transfer(found, place, (!args.archive).then_some((0, 0)), true)?
        }
        None => {
            let folder = rootfs.open_path(path.as_bytes(), FOLDER);
            let folder = folder.with_context(|| format!("destination \"{name}:{path}\" must be a directory"))?;
            (tar::unpack_into(folder, &mut BufReader::new(io::stdin()), "ctr", true)?, 0)
        }
    };
    events::of_container(&record, "extract-to-dir", &[("path", path.to_owned())]);
    rootfs.close()?;
    Ok(copied)
}

/// Refuse what Docker refuses in the same words: a place that the container itself could not write to.
fn check_writable(record: &Record, path: &str) -> anyhow::Result<()> {
    let path = options::normalize(path);
    let holds = |destination: &str| Path::new(&path).starts_with(destination);
    let mount =
        record.mounts.iter().filter(|mount| holds(&mount.destination)).max_by_key(|mount| mount.destination.len());
    match mount {
        Some(mount) => ensure!(mount.rw, "mounted volume is marked read-only"),
        None => ensure!(!record.host_config.readonly_rootfs, "container rootfs is marked read-only"),
    }
    Ok(())
}

/// Where paths are looked up.
enum Tree<'a> {
    Host,
    Container(&'a Rootfs),
}

impl Tree<'_> {
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        match self {
            Tree::Host => {
                openat(CWD, if path.is_empty() { b"." } else { path }, flags | OFlags::CLOEXEC, Mode::empty())
            }
            Tree::Container(rootfs) => rootfs.open_path(path, flags),
        }
    }

    /// The folder and the name that a path means once its last part is no link any more. What is not there is fine.
    fn follow(&self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Errno> {
        let mut path = path.to_vec();
        for _ in 0..MAX_LINKS {
            let (parent, name) = split(&path);
            let folder = self.open(parent, FOLDER)?;
            match readlinkat(&folder, name, Vec::new()) {
                Ok(link) if link.to_bytes().starts_with(b"/") => path = link.into_bytes(),
                Ok(link) => path = [parent, b"/", link.to_bytes()].concat(),
                Err(_) => return Ok((folder, name.to_vec())),
            }
        }
        Err(Errno::LOOP)
    }
}

/// Parent and last part of a path that does not end in a slash.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// What is copied.
struct Source {
    /// The folder that it is in, or it itself.
    folder: OwnedFd,
    /// Its name there; empty for the folder itself.
    entry: Vec<u8>,
    /// The name that it takes along.
    base: Vec<u8>,
    is_folder: bool,
    /// Only what is in it is copied.
    content: bool,
}

impl Source {
    fn find(tree: &Tree<'_>, path: &str, follow: bool) -> anyhow::Result<Self> {
        let content = path == "." || path.ends_with("/.") || path.trim_matches('/').is_empty();
        let trimmed = path.trim_end_matches("/.").trim_end_matches('/');
        let base = match Path::new(trimmed).file_name() {
            Some(name) => name.as_bytes().to_vec(),
            // `..` has the name of what it leads to.
            None => match std::fs::canonicalize(trimmed) {
                Ok(path) if matches!(tree, Tree::Host) => {
                    path.file_name().map_or(Vec::new(), |name| name.as_bytes().to_vec())
                }
                _ => Vec::new(),
            },
        };
        let whole = |folder| Source { folder, entry: Vec::new(), base: base.clone(), is_folder: true, content };
        if content || path.ends_with('/') || base.is_empty() || trimmed.ends_with("..") {
            let mut source = whole(tree.open(path.as_bytes(), FOLDER)?);
            source.content |= base.is_empty();
            return Ok(source);
        }
        let (folder, entry) = if follow {
            tree.follow(trimmed.as_bytes())?
        } else {
            let (parent, name) = split(trimmed.as_bytes());
            (tree.open(parent, FOLDER)?, name.to_vec())
        };
        let stat = statat(&folder, entry.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Ok(Source { folder, entry, base, is_folder, content: false })
    }

    fn part<'a>(&'a self, name: &'a [u8], owner: Option<(u32, u32)>) -> Part<'a> {
        Part { entry: &self.entry, name, owner }
    }
}

/// Where it goes: Docker's rules, which are those of `cp -r`.
struct Target {
    folder: OwnedFd,
    /// The name that it gets there; empty for what is in the source to go into the folder.
    name: Vec<u8>,
}

impl Target {
    fn find(tree: &Tree<'_>, path: &str, source: &Source) -> anyhow::Result<Self> {
        let base = || if source.content { Vec::new() } else { source.base.clone() };
        let (folder, name) = match tree.open(path.as_bytes(), OFlags::PATH) {
            Ok(found) if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Directory => {
                return Ok(Target { folder: found, name: base() });
            }
            Ok(_) if source.is_folder => bail!("cannot copy directory"),
            Ok(_) => tree.follow(path.as_bytes())?,
            Err(Errno::NOENT) if path.ends_with('/') && !source.is_folder => {
                bail!("the destination directory must exist")
            }
            Err(Errno::NOENT) => tree.follow(path.trim_end_matches('/').as_bytes())?,
            Err(errno) => return Err(errno.into()),
        };
        ensure!(!name.is_empty(), "the destination has no name");
        if source.is_folder && source.content {
            // What is in it goes into a new folder.
            match rustix::fs::mkdirat(&folder, name.as_slice(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = FOLDER | OFlags::NOFOLLOW;
            return Ok(Target { folder: openat(&folder, name.as_slice(), flags, Mode::empty())?, name: Vec::new() });
        }
        Ok(Target { folder, name })
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count += length as u64;
        Ok(length)
    }
}

/// From the source to the target; whether all went well, and the bytes of the stream.
fn transfer(
    source: &Source,
    target: Target,
    owner: Option<(u32, u32)>,
    same_owner: bool,
) -> anyhow::Result<(bool, u64)> {
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let part = source.part(&target.name, owner);
    std::thread::scope(|scope| {
        let write = scope.spawn(move || -> anyhow::Result<()> {
            let mut out = BufWriter::with_capacity(64 << 10, writer);
            write_part(source.folder.as_fd(), part, &mut out)?;
            Ok(out.flush()?)
        });
        let mut reader = BufReader::with_capacity(64 << 10, Counted { inner: reader, count: 0 });
        let unpacked = tar::unpack_into(target.folder, &mut reader, "ctr", same_owner);
        let count = reader.get_ref().count;
        // What was not read would be waited for.
        drop(reader);
        let written = write.join().unwrap_or_else(|_| bail!("internal error while reading the source"));
        let unpacked = unpacked?;
        written?;
        Ok((unpacked, count))
    })
}
