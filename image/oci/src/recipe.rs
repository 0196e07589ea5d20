//! How to write a layer's archive again, bit by bit: `layers/HEX/recipe`, made while the layer is unpacked.
//!
//! The store keeps unpacked layers only, but whoever saves or pushes an image must give the very archive that its `diff_id` is the
//! digest of. A recipe is all of the archive that is not the content of files (headers, padding, order), packed, and names of the files
//! between. What a later member of the archive replaced is kept beside the layer, in `lost`.
//!
//! ```text
//! L LENGTH BYTES               these bytes
//! F LENGTH PATH OFFSET LENGTH  a piece of the file of that path
//! D LENGTH PATH                from here on the path means something else: what it meant is lost/N, N counts these
//! E                            the end
//! ```
//! Numbers are little-endian: lengths of bytes and paths 32 bits, offsets and lengths in files 64 bits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};

use crate::error::{Context, Error, Result};
use crate::fs::open_dir;
use crate::unpack::Budget;

const RECIPE: &str = "recipe";
const LOST: &str = "lost";
/// Bytes that are collected before they are written.
const LITERAL: usize = 64 << 10;
/// Most bytes of paths whose meaning changes. An archive beyond that is not made to be saved.
const DISPLACED_MAX: usize = 4 << 20;

/// Writes a recipe.
pub struct Recorder<'a> {
    out: GzEncoder<Counted<'a>>,
    lost: OwnedFd,
    literal: Vec<u8>,
    /// Bytes that come next and are a file's.
    skip: u64,
    displaced: usize,
    displaced_bytes: usize,
    /// It cannot be said how to write the archive again.
    failed: bool,
}

struct Counted<'a> {
    file: File,
    budget: &'a Budget,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.budget.write(bytes.len() as u64).map_err(Error::into_io)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<'a> Recorder<'a> {
    /// Begin a recipe in the directory that also gets the layer.
    pub(crate) fn new(dir: &Path, budget: &'a Budget) -> Result<Recorder<'a>> {
        let (path, lost) = (dir.join(RECIPE), dir.join(LOST));
        let file = File::create_new(&path).at("creating", &path)?;
        std::fs::create_dir(&lost).at("creating", &lost)?;
        Ok(Recorder {
            out: GzEncoder::new(Counted { file, budget }, Compression::fast()),
            lost: open_dir(&lost)?,
            literal: Vec::new(),
            skip: 0,
            displaced: 0,
            displaced_bytes: 0,
            failed: false,
        })
    }

    /// The next `length` bytes of the archive are what the file has from `offset` on.
    pub(crate) fn file(&mut self, path: &[u8], offset: u64, length: u64) -> Result<()> {
        self.skip = length;
        if length == 0 {
            return Ok(());
        }
        self.flush()?;
        self.put(b'F', path, &[&offset.to_le_bytes(), &length.to_le_bytes()])
    }

    /// Take away what is called `name` in `parent`, so that something else may have the name.
    pub(crate) fn displace(&mut self, path: &[u8], parent: BorrowedFd<'_>, name: &CString) -> Result<bool> {
        self.displaced_bytes += path.len() + 32;
        if self.displaced_bytes > DISPLACED_MAX {
            self.failed = true;
        }
        if self.failed {
            return Ok(false);
        }
        let target = self.displaced.to_string();
        if rustix::fs::renameat_with(parent, name.as_c_str(), &self.lost, target, RenameFlags::NOREPLACE).is_err() {
            self.failed = true;
            return Ok(false);
        }
        self.displaced += 1;
        self.flush()?;
        self.put(b'D', path, &[])?;
        Ok(true)
    }

    /// The recipe is complete, or was given up; what is of no use goes.
    pub(crate) fn finish(mut self, dir: &Path) -> Result<()> {
        self.flush()?;
        let writing = || "writing the layer's recipe".to_owned();
        self.out.write_all(b"E").doing(writing)?;
        self.out.try_finish().doing(writing)?;
        if self.failed {
            let path = dir.join(RECIPE);
            std::fs::remove_file(&path).at("removing", &path)?;
        }
        if self.failed || self.displaced == 0 {
            crate::fs::remove_tree(open_dir(dir)?.as_fd(), c"lost").at("removing", &dir.join(LOST))?;
        }
        Ok(())
    }

    /// Bytes of the archive go by.
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        for piece in bytes[skipped..].chunks(LITERAL) {
            self.literal.extend_from_slice(piece);
            if self.literal.len() >= LITERAL {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.literal.is_empty() {
            return Ok(());
        }
        let literal = std::mem::take(&mut self.literal);
        self.put(b'L', &literal, &[])?;
        self.literal = literal;
        self.literal.clear();
        Ok(())
    }

    fn put(&mut self, tag: u8, bytes: &[u8], numbers: &[&[u8; 8]]) -> Result<()> {
        if tag != b'L' {
            // A sparse file of a million pieces has its name in here a million times.
            self.out.get_ref().budget.stream(bytes.len() as u64)?;
        }
        let mut write = || -> io::Result<()> {
            self.out.write_all(&[tag])?;
            self.out.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
            self.out.write_all(bytes)?;
            numbers.iter().try_for_each(|number| self.out.write_all(*number))
        };
        write().doing(|| "writing the layer's recipe".into())
    }
}

/// Shows an archive to its recorder while it is read.
pub(crate) struct Tee<'r, 'a, R> {
    source: R,
    recorder: Option<&'r RefCell<Recorder<'a>>>,
    /// `consume` cannot fail: the next read does.
    error: Option<Error>,
}

impl<'r, 'a, R: BufRead> Tee<'r, 'a, R> {
    pub(crate) fn new(source: R, recorder: Option<&'r RefCell<Recorder<'a>>>) -> Self {
        Tee { source, recorder, error: None }
    }
}

impl<R: BufRead> BufRead for Tee<'_, '_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.error.take() {
            Some(error) => Err(error.into_io()),
            None => self.source.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let Some(recorder) = self.recorder
            && amount > 0
        {
            let recorded = match self.source.fill_buf() {
                Ok(buffer) => recorder.borrow_mut().bytes(&buffer[..amount]),
                Err(error) => Err(Error::from_io(|| "reading the archive".into(), error)),
            };
            self.error = recorded.err();
        }
        self.source.consume(amount);
    }
}

impl<R: BufRead> Read for Tee<'_, '_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// A layer's archive as it was, as a stream. Whoever reads it checks that its digest is the layer's.
pub(crate) struct Rewriter {
    recipe: BufReader<GzDecoder<BufReader<File>>>,
    diff: OwnedFd,
    lost: Option<OwnedFd>,
    displaced: Displaced,
    pieces: usize,
    now: Now,
}

/// Paths whose meaning changed: each time the number of pieces of files that came before, and of the changes of any path.
type Displaced = HashMap<Vec<u8>, Vec<(usize, usize)>>;

/// Where the bytes come from.
enum Now {
    Tag,
    Literal(u64),
    File { file: File, offset: u64, left: u64 },
    End,
}

impl Rewriter {
    /// Read the recipe of the layer in `dir`; `None` if it has none.
    pub(crate) fn open(dir: &Path) -> Result<Option<Rewriter>> {
        let path = dir.join(RECIPE);
        let open = || match File::open(&path) {
            Ok(file) => Ok(Some(BufReader::new(GzDecoder::new(BufReader::with_capacity(64 << 10, file))))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("opening", &path),
        };
        let Some(first) = open()? else { return Ok(None) };
        let lost = dir.join(LOST);
        let (lost, displaced) = match lost.exists() {
            true => (Some(open_dir(&lost)?), displacements(first).at("reading", &path)?),
            false => (None, Displaced::new()),
        };
        let Some(recipe) = open()? else { return Ok(None) };
        Ok(Some(Rewriter { recipe, diff: open_dir(&dir.join("diff"))?, lost, displaced, pieces: 0, now: Now::Tag }))
    }

    /// Open the file that a path meant when this piece was written.
    fn file(&self, path: &[u8]) -> rustix::io::Result<File> {
        // The path itself and the directories above it; of those that moved later, where the first went is where it is.
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at).chain([path.len()]);
        let moved = ends.filter_map(|end| {
            let changes = self.displaced.get(&path[..end])?;
            let later = changes.partition_point(|&(pieces, _)| pieces <= self.pieces);
            changes.get(later).map(|&(_, number)| (number, end))
        });
        let (dir, path) = match (moved.min(), &self.lost) {
            (Some((number, end)), Some(lost)) => (lost, [number.to_string().as_bytes(), &path[end..]].concat()),
            _ => (&self.diff, path.to_vec()),
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(dir, path.as_slice(), flags, Mode::empty(), resolve) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return other.map(File::from),
            }
        }
    }

    fn next(&mut self) -> io::Result<Now> {
        Ok(match tag(&mut self.recipe)? {
            b'L' => Now::Literal(u64::from(length(&mut self.recipe)?)),
            b'F' => {
                let path = path(&mut self.recipe)?;
                let (offset, left) = (number(&mut self.recipe)?, number(&mut self.recipe)?);
                let file = self.file(&path).map_err(|error| lost(&path, error))?;
                self.pieces += 1;
                Now::File { file, offset, left }
            }
            b'D' => {
                path(&mut self.recipe)?;
                Now::Tag
            }
            b'E' => Now::End,
            _ => return Err(damaged()),
        })
    }
}

impl Read for Rewriter {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let most = |left: u64| usize::try_from(left).unwrap_or(usize::MAX);
            match &mut self.now {
                Now::End => return Ok(0),
                Now::Tag | Now::Literal(0) | Now::File { left: 0, .. } => self.now = self.next()?,
                Now::Literal(left) => {
                    let end = most(*left).min(out.len());
                    let length = self.recipe.read(&mut out[..end])?;
                    if length == 0 {
                        return Err(damaged());
                    }
                    *left -= length as u64;
                    return Ok(length);
                }
                Now::File { file, offset, left } => {
                    let end = most(*left).min(out.len());
                    let length = file.read_at(&mut out[..end], *offset)?;
                    if length == 0 {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "a file of the layer is shorter than it was",
                        ));
                    }
                    *offset += length as u64;
                    *left -= length as u64;
                    return Ok(length);
                }
            }
        }
    }
}

fn displacements(mut recipe: impl Read) -> io::Result<Displaced> {
    let (mut all, mut changes, mut pieces) = (Displaced::new(), 0, 0);
    loop {
        match tag(&mut recipe)? {
            b'L' => {
                let length = u64::from(length(&mut recipe)?);
                io::copy(&mut (&mut recipe).take(length), &mut io::sink())?;
            }
            b'F' => {
                path(&mut recipe)?;
                number(&mut recipe)?;
                number(&mut recipe)?;
                pieces += 1;
            }
            b'D' => {
                all.entry(path(&mut recipe)?).or_default().push((pieces, changes));
                changes += 1;
            }
            b'E' => return Ok(all),
            _ => return Err(damaged()),
        }
    }
}

fn tag(source: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    source.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn length(source: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn number(source: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    source.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn path(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u64::from(length(source)?);
    let mut path = Vec::new();
    source.take(length).read_to_end(&mut path)?;
    if path.len() as u64 == length { Ok(path) } else { Err(damaged()) }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the layer's recipe is damaged")
}

fn lost(path: &[u8], error: rustix::io::Errno) -> io::Error {
    io::Error::other(format!("/{} of the layer cannot be opened: {error}", String::from_utf8_lossy(path)))
}

#[cfg(test)]
mod tests;
