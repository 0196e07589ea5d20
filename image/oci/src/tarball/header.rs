//! The 512-byte header block.

use super::sparse::Extent;
use super::{Entry, damaged};
use crate::error::{Error, Result};

/// Size of a block.
pub const BLOCK: usize = 512;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name for a member before it.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// A header whose checksum was right.
pub struct Header([u8; BLOCK]);

impl Header {
    pub fn new(block: [u8; BLOCK]) -> Result<Header> {
        let stored = number(&block[148..156]).ok_or_else(|| damaged("a header has no checksum"))?;
        // The sum counts its own field as spaces; ancient writers summed signed bytes.
        let sum = |add: fn(u8) -> i64| -> i64 {
            let bytes = block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte });
            bytes.map(add).sum()
        };
        let stored = i64::try_from(stored).unwrap_or(-1);
        if stored != sum(i64::from) && stored != sum(|byte| i64::from(byte.cast_signed())) {
            return Err(damaged("a header does not match its checksum"));
        }
        Ok(Header(block))
    }

    pub fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub fn size(&self) -> Result<u64> {
        // Beyond 2^62 is no file, and sums with it must not overflow.
        number(&self.0[124..136]).filter(|&size| size < 1 << 62).ok_or_else(|| damaged("a header has a bad size"))
    }

    /// Does the file system format's magic say that the prefix field holds a part of the name?
    fn has_prefix(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    fn is_gnu(&self) -> bool {
        &self.0[257..265] == b"ustar  \0"
    }

    /// What the header alone says.
    pub fn entry(&self) -> Result<Entry> {
        let path = self.path();
        let bad = |field: &str| Error::entry(&path, format!("bad {field} in its header"));
        let kind = match self.typeflag() {
            // Before POSIX a directory was a file whose name ends in a slash.
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(Error::entry(&path, format!("unsupported kind of member {:?}", char::from(other)))),
        };
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let device = |range: std::ops::Range<usize>| {
            let value = number(&self.0[range]).and_then(|value| u32::try_from(value).ok());
            if is_device { value.ok_or_else(|| bad("device number")) } else { Ok(0) }
        };
        Ok(Entry {
            kind,
            mode: number(&self.0[100..108]).map(|mode| (mode & 0o7777) as u32).ok_or_else(|| bad("mode"))?,
            uid: self.id(108).unwrap_or(u32::MAX),
            gid: self.id(116).unwrap_or(u32::MAX),
            user: self.owner_name(265),
            group: self.owner_name(297),
            mtime: (signed(&self.0[136..148]).unwrap_or(0), 0),
            device: (device(329..337)?, device(337..345)?),
            link: text(&self.0[157..257]).to_vec(),
            size: 0,
            xattrs: Vec::new(),
            sparse: None,
            path,
        })
    }

    /// An owner; `None` if it does not fit, which a pax header may mend.
    fn id(&self, at: usize) -> Option<u32> {
        number(&self.0[at..at + 8]).and_then(|id| u32::try_from(id).ok())
    }

    /// Before POSIX there was something else in the field.
    fn owner_name(&self, at: usize) -> Vec<u8> {
        if self.has_prefix() || self.is_gnu() { text(&self.0[at..at + 32]).to_vec() } else { Vec::new() }
    }

    fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if self.has_prefix() { text(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// Old GNU sparse: the first four extents and whether more follow in extension blocks.
    pub fn sparse_map(&self) -> Result<(Vec<Extent>, bool)> {
        if !self.is_gnu() {
            return Err(damaged("a sparse file in an archive that is not of GNU's format"));
        }
        let mut map = Vec::new();
        read_extents(&self.0[386..482], &mut map)?;
        Ok((map, self.0[482] != 0))
    }

    /// Old GNU sparse: the length with holes.
    pub fn real_size(&self) -> Result<u64> {
        number(&self.0[483..495]).filter(|&size| size < 1 << 62).ok_or_else(|| damaged("a sparse file has a bad size"))
    }
}

/// An extension block of the old GNU sparse format; says whether another follows.
pub fn sparse_extension(block: &[u8; BLOCK], map: &mut Vec<Extent>) -> Result<bool> {
    read_extents(&block[..504], map)?;
    Ok(block[504] != 0)
}

fn read_extents(field: &[u8], map: &mut Vec<Extent>) -> Result<()> {
    for pair in field.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        match (number(&pair[..12]), number(&pair[12..])) {
            (Some(offset), Some(length)) => map.push(Extent { offset, length }),
            _ => return Err(damaged("a sparse map has a bad number")),
        }
    }
    Ok(())
}

fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

/// A number field: octal digits padded with spaces or NULs, or GNU's base-256 (first bit set).
fn number(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|value| u64::try_from(value).ok())
}

fn signed(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement, the first byte's top bit being the mark.
        let start = if first & 0x40 != 0 { i128::from(first) - 0x100 } else { i128::from(first & 0x3f) };
        let mut value = start;
        for &byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        }
        return i64::try_from(value).ok();
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_blank) {
        return None;
    }
    digits[..end].iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"12 34\0\0\0", None),
            (b"9\0\0\0\0\0\0\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(signed(field), value, "{field:?}");
        }
    }
}
