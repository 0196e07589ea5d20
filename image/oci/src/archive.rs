//! Where `load` reads from: a folder, or a tar archive whose members are read in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::decompress;
use crate::error::{Context, Error, Result};
use crate::pipe::fill;
use crate::tarball::{Archive, Kind};
use crate::unpack::{Budget, Limits};

/// Most members of an archive of images.
const MEMBERS_MAX: usize = 100_000;
/// Most bytes of their names and links.
const NAMES_MAX: usize = 16 << 20;
/// Pieces in which a packed archive is written; those of zeros become holes.
const PIECE: usize = 64 << 10;

/// A source of named files.
pub(crate) enum Source {
    /// An OCI layout folder.
    Folder(PathBuf),
    /// A tar archive and where its files are in it.
    Tar { file: File, members: BTreeMap<String, Member> },
}

/// A member of an archive.
pub(crate) enum Member {
    Data {
        offset: u64,
        size: u64,
    },
    /// Docker writes a layer that occurs twice as a link.
    Link(String),
}

impl Source {
    /// Read a tar archive, perhaps compressed. It is read twice, so what is compressed or cannot seek goes through a nameless
    /// file in `temp`, within `limits`.
    pub(crate) fn tar(input: File, temp: &Path, limits: Limits) -> Result<Source> {
        let file = seekable(input, temp, limits)?;
        let mut names = 0;
        let mut archive = Archive::new(BufReader::with_capacity(256 << 10, &file));
        let mut members = BTreeMap::new();
        while let Some(entry) = archive.next_entry()? {
            let name = normal(&String::from_utf8_lossy(&entry.path));
            let target = String::from_utf8_lossy(&entry.link).into_owned();
            let member = match entry.kind {
                Kind::File if entry.sparse.is_none() => Member::Data { offset: archive.position(), size: entry.size },
                Kind::Symlink => Member::Link(normal(&format!("{}/../{target}", name))),
                Kind::HardLink => Member::Link(normal(&target)),
                _ => continue,
            };
            names += name.len() + if let Member::Link(target) = &member { target.len() } else { 0 };
            if names > NAMES_MAX {
                let what = "the names of the members".into();
                return Err(Error::Limit { what, limit: format!("{NAMES_MAX} bytes") });
            }
            members.insert(name, member);
            if members.len() > MEMBERS_MAX {
                return Err(Error::Limit { what: "the number of members".into(), limit: MEMBERS_MAX.to_string() });
            }
        }
        drop(archive);
        Ok(Source::Tar { file, members })
    }

    /// Open a file by its name, with its size; `None` if there is none.
    pub(crate) fn open(&self, name: &str) -> Result<Option<(Box<dyn Read + Send + '_>, u64)>> {
        match self {
            Source::Folder(folder) => {
                let dir = crate::fs::open_dir(folder)?;
                // A pipe in the folder must not make us wait for its writer.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
                    Ok(fd) => {
                        let file = File::from(fd);
                        let meta = file.metadata().doing(|| format!("reading {name}"))?;
                        if !meta.is_file() {
                            return Err(Error::invalid("layout", format!("{name:?} is no regular file")));
                        }
                        Ok(Some((Box::new(file), meta.len())))
                    }
                    Err(rustix::io::Errno::NOENT) => Ok(None),
                    Err(error) => Err(error).doing(|| format!("opening {name} in {}", folder.display())),
                }
            }
            Source::Tar { file, members } => {
                let mut name = normal(name);
                for _ in 0..8 {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Member::Link(target)) => name.clone_from(target),
                        Some(Member::Data { offset, size }) => {
                            let window = Window { file, offset: *offset, left: *size };
                            return Ok(Some((Box::new(window), *size)));
                        }
                    }
                }
                Err(Error::invalid("archive", format!("too many links at {name:?}")))
            }
        }
    }

    /// Read a small file.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((file, _)) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).doing(|| format!("reading {name}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::Limit { what: name.into(), limit: format!("{limit} bytes") });
        }
        Ok(Some(bytes))
    }

    /// Read a small file that must be there.
    pub(crate) fn need(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(name, limit)?.ok_or_else(|| Error::invalid("archive", format!("{name:?} is missing")))
    }
}

fn seekable(mut input: File, temp: &Path, limits: Limits) -> Result<File> {
    let mut head = [0; 6];
    let reading = || "reading the archive".to_owned();
    if input.stream_position().is_ok() {
        let length = input.read(&mut head).doing(reading)?;
        input.seek(SeekFrom::Start(0)).doing(reading)?;
        if decompress::Compression::detect(&head[..length]) == decompress::Compression::Plain {
            return Ok(input);
        }
    }
    let (_, plain) = decompress::reader(BufReader::with_capacity(256 << 10, input)).doing(reading)?;
    let fd = rustix::fs::open(temp, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        .at("making a temporary file in", temp)?;
    let mut file = File::from(fd);
    write_sparse(plain, &file, limits, &Budget::new(limits, temp)?)?;
    file.seek(SeekFrom::Start(0)).doing(reading)?;
    Ok(file)
}

/// Copy all of `source` to the file, zeros as holes: neither a bomb nor a large image fills the disk.
fn write_sparse(mut source: impl Read, file: &File, limits: Limits, budget: &Budget) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut position = 0u64;
    loop {
        let length = fill(&mut source, &mut buffer).doing(|| "reading the archive".into())?;
        if length == 0 {
            break;
        }
        if position + length as u64 > limits.bytes {
            return Err(Error::Limit { what: "the archive".into(), limit: format!("{} bytes", limits.bytes) });
        }
        if buffer[..length].iter().any(|&byte| byte != 0) {
            budget.write(length as u64)?;
            file.write_all_at(&buffer[..length], position).doing(|| "writing the unpacked archive".into())?;
        }
        position += length as u64;
    }
    file.set_len(position).doing(|| "writing the unpacked archive".into())
}

/// `a/./b/../c` to `a/c`; never above the top.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

struct Window<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
