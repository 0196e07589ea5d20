//! The gzip format (RFC 1952): any number of members, and what gzip(1) makes of what follows the last one.

use std::io::{self, BufRead, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::{Compression, CrcReader, GzBuilder};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// `OS` of a header: Unix (RFC 1952, 2.3.1).
const OS_UNIX: u8 = 3;

/// Bytes of a header without name, comment and extra field, and of the trailer (RFC 1952, 2.3).
pub const FRAME: u64 = 18;

/// What was found out while decompressing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes read and written.
    pub bytes_in: u64,
    /// Uncompressed length.
    pub bytes_out: u64,
    /// The first member's file name, without folders.
    pub name: Option<Vec<u8>>,
    /// The first member's time, if it has one.
    pub mtime: Option<u32>,
    /// Bytes of the first member's header and trailer.
    pub frame: u64,
    /// CRC-32 of the last member.
    pub crc: u32,
    /// Something that is no member follows the last one.
    pub trailing_garbage: bool,
}

/// Why it cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are not gzip's.
    #[error("not in gzip format")]
    NotGzip,
    /// The end is missing.
    #[error("unexpected end of file")]
    Truncated,
    /// A checksum or the code is wrong.
    #[error("invalid compressed data--{0}")]
    Damaged(String),
    /// It cannot be read.
    #[error("{}", super::compressor::kernel_text(.0))]
    Read(io::Error),
    /// The result cannot be written.
    #[error("{}", super::compressor::kernel_text(.0))]
    Write(io::Error),
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}

/// Does it begin as gzip does?
///
/// # Errors
/// If it cannot be read.
pub fn is_gzip(source: &mut impl BufRead) -> io::Result<bool> {
    Ok(source.fill_buf()?.starts_with(&MAGIC))
}

/// The file name in the header that the buffer begins with, without folders.
pub fn name_in_header(source: &mut impl BufRead) -> Option<Vec<u8>> {
    GzDecoder::new(source.fill_buf().ok()?).header()?.filename().and_then(base_name)
}

/// What a name says of the file itself; a header's folders are nobody's business.
fn base_name(name: &[u8]) -> Option<Vec<u8>> {
    let name = name.rsplit(|byte| *byte == b'/').next()?;
    (!matches!(name, b"" | b"." | b"..")).then(|| name.to_vec())
}

/// Decompress all members.
///
/// # Errors
/// If there is none, or one is damaged.
pub fn decompress(source: impl BufRead, out: &mut dyn Write) -> Result<Summary, DecodeError> {
    let mut source = Counted { inner: source, count: 0 };
    let mut summary = Summary::default();
    let mut first = true;
    loop {
        let head = source.fill_buf().map_err(DecodeError::Read)?;
        if head.is_empty() {
            match first {
                true => return Err(DecodeError::Truncated),
                false => break,
            }
        }
        // A header cut between two buffers is no sign of garbage: one byte is enough to go on.
        let looks_right = head[0] == MAGIC[0] && head.get(1).is_none_or(|byte| *byte == MAGIC[1]);
        if !looks_right {
            if first {
                return Err(DecodeError::NotGzip);
            }
            summary.trailing_garbage = !only_zeros(&mut source).map_err(DecodeError::Read)?;
            break;
        }
        member(&mut source, out, &mut summary, first)?;
        first = false;
    }
    summary.bytes_in = source.count;
    Ok(summary)
}

fn member(
    source: &mut Counted<impl BufRead>,
    out: &mut dyn Write,
    summary: &mut Summary,
    first: bool,
) -> Result<(), DecodeError> {
    let mut decoder = CrcReader::new(GzDecoder::new(source));
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(sort_out(error)),
        };
        summary.bytes_out += count as u64;
        out.write_all(&buffer[..count]).map_err(DecodeError::Write)?;
    }
    summary.crc = decoder.crc().sum();
    if first && let Some(header) = decoder.get_ref().header() {
        let field = |field: Option<&[u8]>, around: u64| field.map_or(0, |bytes| bytes.len() as u64 + around);
        summary.frame = FRAME + field(header.filename(), 1) + field(header.comment(), 1) + field(header.extra(), 2);
        summary.name = header.filename().and_then(base_name);
        summary.mtime = Some(header.mtime()).filter(|mtime| *mtime != 0);
    }
    Ok(())
}

fn sort_out(error: io::Error) -> DecodeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DecodeError::Truncated,
        io::ErrorKind::InvalidInput if error.to_string().contains("checksum") => {
            DecodeError::Damaged("crc error".into())
        }
        io::ErrorKind::InvalidInput if error.to_string().contains("header") => DecodeError::NotGzip,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => DecodeError::Damaged("format violated".into()),
        _ => DecodeError::Read(error),
    }
}

/// Tapes are padded with zeros.
fn only_zeros(source: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let rest = source.fill_buf()?;
        if rest.is_empty() {
            return Ok(true);
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let length = rest.len();
        source.consume(length);
    }
}

impl Remembered<'_> {
    /// Bytes of the header and trailer.
    pub fn frame(&self) -> u64 {
        FRAME + self.name.map_or(0, |name| name.len() as u64 + 1)
    }
}

/// What the header remembers of the file.
#[derive(Default)]
pub struct Remembered<'a> {
    /// Its name.
    pub name: Option<&'a [u8]>,
    /// Seconds since 1970; 0 means none.
    pub mtime: u32,
}

/// Why it cannot be compressed.
#[derive(Debug, thiserror::Error)]
#[error("{}", super::compressor::kernel_text(.0))]
pub struct EncodeError(pub io::Error);

/// Compress to one member; gives bytes read and written.
///
/// # Errors
/// If it cannot be read or written.
pub fn compress(
    mut source: impl Read,
    out: impl Write,
    level: u32,
    remembered: &Remembered,
) -> Result<(u64, u64), EncodeError> {
    let mut builder = GzBuilder::new().mtime(remembered.mtime).operating_system(OS_UNIX);
    if let Some(name) = remembered.name {
        builder = builder.filename(name);
    }
    let mut encoder = builder.write(CountedWrite { inner: out, count: 0 }, Compression::new(level));
    let bytes_in = io::copy(&mut source, &mut encoder).map_err(EncodeError)?;
    let mut out = encoder.finish().map_err(EncodeError)?;
    out.inner.flush().map_err(EncodeError)?;
    Ok((bytes_in, out.count))
}

struct CountedWrite<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for CountedWrite<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(data: &[u8], name: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        compress(data, &mut out, 6, &Remembered { name, mtime: 7 }).unwrap();
        out
    }

    fn unpacked(data: &[u8]) -> Result<(Vec<u8>, Summary), DecodeError> {
        let mut out = Vec::new();
        // One byte at a time: a header may be cut anywhere.
        let summary = decompress(io::BufReader::with_capacity(1, data), &mut out)?;
        Ok((out, summary))
    }

    #[test]
    fn members_names_and_what_follows() {
        let two = [packed(b"hello ", Some(b"x/../y")), packed(b"world", None)].concat();
        let (out, summary) = unpacked(&two).unwrap();
        assert_eq!(out, b"hello world");
        assert_eq!(summary.name.as_deref(), Some(&b"y"[..]));
        assert_eq!((summary.mtime, summary.bytes_in, summary.trailing_garbage), (Some(7), two.len() as u64, false));
        assert!(!unpacked(&[&two[..], &[0; 700]].concat()).unwrap().1.trailing_garbage);
        assert!(unpacked(&[&two[..], &[0; 7], b"x"].concat()).unwrap().1.trailing_garbage);
        assert!(unpacked(&[&two[..], b"garbage"].concat()).unwrap().1.trailing_garbage);
    }

    #[test]
    fn damage() {
        let whole = packed(&[7; 100_000], Some(b"name"));
        for cut in 0..whole.len() {
            assert!(matches!(unpacked(&whole[..cut]), Err(DecodeError::Truncated)), "cut at {cut}");
        }
        assert!(matches!(unpacked(b"PK"), Err(DecodeError::NotGzip)));
        let mut wrong = whole.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert!(matches!(unpacked(&wrong), Err(DecodeError::Damaged(_))));
        // A folder, or nothing, is no name to restore.
        for name in [&b".."[..], b".", b"a/"] {
            assert_eq!(unpacked(&packed(b"", Some(name))).unwrap().1.name, None);
        }
    }
}
