//! Headers of a new archive: POSIX ustar, pax (pax(1), EXTENDED DESCRIPTION) and GNU's (GNU tar manual, "Basic Tar Format").

use super::header::{BLOCK, Kind};

/// Format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GNU tar's own: names and numbers of any length.
    Gnu,
    /// POSIX 2001: any length, times to the nanosecond, extended attributes.
    Pax,
    /// POSIX 1988: names up to 256 bytes, files up to 8 GiB.
    Ustar,
}

/// What a header says.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name; a folder's ends in a slash.
    pub name: Vec<u8>,
    /// Where a link leads to.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, empty if unknown.
    pub user: Vec<u8>,
    /// Group's name.
    pub group: Vec<u8>,
    /// Bytes of data that follow.
    pub size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number.
    pub device: (u32, u32),
    /// Extended attributes; pax alone can hold them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a member does not fit in a format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} does not fit in the ustar format; use --format=pax or gnu")]
pub struct Unfit {
    what: &'static str,
}

const NAME: usize = 100;
const PREFIX: usize = 155;
const OWNER: usize = 32;
/// Largest numbers of fields of 7 and 11 octal digits.
const OCTAL_7: u64 = 0o7_777_777;
const OCTAL_11: u64 = 0o77_777_777_777;

/// The blocks that stand before the member's data.
///
/// # Errors
/// If the format cannot say it.
pub fn encode(member: &Member, format: Format) -> Result<Vec<u8>, Unfit> {
    let mut blocks = Vec::new();
    match format {
        Format::Gnu => {
            for (name, typeflag) in [(&member.link, b'K'), (&member.name, b'L')] {
                if name.len() > NAME {
                    blocks.extend(long_name(name, typeflag));
                }
            }
        }
        Format::Pax => blocks.extend(pax(member)),
        Format::Ustar => check_ustar(member)?,
    }
    let mut header = Header::new(format);
    header.names(member, format);
    header.numbers(member, format);
    blocks.extend(header.finish(typeflag(member.kind)));
    Ok(blocks)
}

fn typeflag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

fn check_ustar(member: &Member) -> Result<(), Unfit> {
    let unfit = |what| Err(Unfit { what });
    if split(&member.name).is_none() {
        return unfit("the name");
    }
    if member.link.len() > NAME {
        return unfit("the link's target");
    }
    if member.size > OCTAL_11 {
        return unfit("the size");
    }
    if u64::from(member.uid) > OCTAL_7 || u64::from(member.gid) > OCTAL_7 {
        return unfit("the owner");
    }
    match u64::try_from(member.mtime.0) {
        Ok(seconds) if seconds <= OCTAL_11 => Ok(()),
        _ => unfit("the time"),
    }
}

/// A name as prefix and name, divided at a slash; `None` if it cannot be.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME {
        return Some((b"", name));
    }
    // A folder's own slash divides nothing.
    let last = name.len() - 1;
    let fits = |at: &usize| *at > 0 && *at <= PREFIX && name.len() - at - 1 <= NAME;
    let slash = (0..last).rev().filter(|at| name[*at] == b'/').find(fits)?;
    Some((&name[..slash], &name[slash + 1..]))
}

fn long_name(name: &[u8], typeflag: u8) -> Vec<u8> {
    let mut header = Header::new(Format::Gnu);
    header.put(0, b"././@LongLink");
    header.octal(100..108, 0o644);
    header.octal(108..116, 0);
    header.octal(116..124, 0);
    header.octal(124..136, name.len() as u64 + 1);
    header.octal(136..148, 0);
    let mut blocks = header.finish(typeflag);
    blocks.extend(name);
    blocks.push(0);
    pad(&mut blocks);
    blocks
}

fn pad(blocks: &mut Vec<u8>) {
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
}

/// The extended header of what ustar cannot say; empty if there is nothing.
fn pax(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| records.extend(record(key, value));
    if split(&member.name).is_none() {
        add(b"path", &member.name);
    }
    if member.link.len() > NAME {
        add(b"linkpath", &member.link);
    }
    if member.size > OCTAL_11 {
        add(b"size", member.size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if u64::from(id) > OCTAL_7 {
            add(key, id.to_string().as_bytes());
        }
    }
    for (key, name) in [(&b"uname"[..], &member.user), (b"gname", &member.group)] {
        if name.len() >= OWNER {
            add(key, name);
        }
    }
    let (seconds, nanos) = member.mtime;
    if nanos != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= OCTAL_11) {
        add(b"mtime", time(seconds, nanos).as_bytes());
    }
    for (name, value) in &member.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    if records.is_empty() {
        return records;
    }
    let mut header = Header::new(Format::Pax);
    let base = member.name.strip_suffix(b"/").unwrap_or(&member.name);
    let (folder, file) = match base.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&base[..slash], &base[slash + 1..]),
        None => (&b"."[..], base),
    };
    let name = [folder, b"/PaxHeaders/", file].concat();
    header.put(0, &name[..name.len().min(NAME)]);
    header.octal(100..108, 0o644);
    header.octal(108..116, 0);
    header.octal(116..124, 0);
    header.octal(124..136, records.len() as u64);
    header.octal(136..148, u64::try_from(seconds).unwrap_or(0).min(OCTAL_11));
    let mut blocks = header.finish(b'x');
    blocks.extend(records);
    pad(&mut blocks);
    blocks
}

/// `LENGTH KEY=VALUE\n`; the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn time(seconds: i64, nanos: u32) -> String {
    // Before 1970 the fraction counts away from zero.
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (false, _) => ("", seconds.unsigned_abs(), nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    let fraction = format!("{nanos:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{seconds}"),
        digits => format!("{sign}{seconds}.{digits}"),
    }
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(format: Format) -> Self {
        let mut header = Self([0; BLOCK]);
        header.put(257, if format == Format::Gnu { b"ustar  \0" } else { b"ustar\x0000" });
        header
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Digits padded with zeros to the field's length, then NUL.
    fn octal(&mut self, field: std::ops::Range<usize>, value: u64) {
        let width = field.len() - 1;
        let text = format!("{value:0width$o}");
        self.put(field.start, &text.as_bytes()[text.len() - width..]);
    }

    /// Octal where it fits, else, as GNU has it, base 256 with the first bit set. The pax format has the number in its own header.
    fn number(&mut self, field: std::ops::Range<usize>, value: i64, format: Format) {
        let limit = if field.len() == 8 { OCTAL_7 } else { OCTAL_11 };
        match u64::try_from(value) {
            Ok(value) if value <= limit => self.octal(field, value),
            _ if format != Format::Gnu => self.octal(field, 0),
            _ => {
                let fill = if value < 0 { 0xff } else { 0 };
                self.0[field.clone()].fill(fill);
                let tail = &value.to_be_bytes()[8 - 8.min(field.len() - 1)..];
                self.put(field.end - tail.len(), tail);
                self.0[field.start] |= 0x80;
            }
        }
    }

    fn names(&mut self, member: &Member, format: Format) {
        let cut = |name: &[u8], to: usize| name[..name.len().min(to)].to_vec();
        // A GNU header has no prefix; a name that pax says in its own header is cut here.
        let whole = (&b""[..], member.name.as_slice());
        let (prefix, name) = if format == Format::Gnu { whole } else { split(&member.name).unwrap_or(whole) };
        self.put(0, &cut(name, NAME));
        self.put(345, prefix);
        self.put(157, &cut(&member.link, NAME));
        self.put(265, &cut(&member.user, OWNER - 1));
        self.put(297, &cut(&member.group, OWNER - 1));
    }

    fn numbers(&mut self, member: &Member, format: Format) {
        self.octal(100..108, u64::from(member.mode & 0o7777));
        self.number(108..116, member.uid.into(), format);
        self.number(116..124, member.gid.into(), format);
        self.number(124..136, i64::try_from(member.size).unwrap_or(i64::MAX), format);
        self.number(136..148, member.mtime.0, format);
        let is_device = matches!(member.kind, Kind::CharDevice | Kind::BlockDevice);
        if is_device || format != Format::Gnu {
            self.octal(329..337, member.device.0.into());
            self.octal(337..345, member.device.1.into());
        }
    }

    fn finish(mut self, typeflag: u8) -> Vec<u8> {
        self.0[156] = typeflag;
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        // Six digits, NUL, space: the one field that is written so.
        self.octal(148..155, sum);
        self.0[154] = 0;
        self.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Archive, Entry};
    use proptest::prelude::*;

    fn member() -> Member {
        Member {
            name: b"a/b".to_vec(),
            link: Vec::new(),
            kind: Kind::File,
            mode: 0o644,
            uid: 1,
            gid: 2,
            user: b"root".to_vec(),
            group: b"wheel".to_vec(),
            size: 0,
            mtime: (1, 0),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    fn read(blocks: &[u8]) -> Entry {
        Archive::new(blocks).next_entry().unwrap().unwrap()
    }

    #[test]
    fn ustar_has_limits() {
        let fits = Member { name: [vec![b'd'; 150], vec![b'/'], vec![b'f'; 100]].concat(), ..member() };
        assert_eq!(read(&encode(&fits, Format::Ustar).unwrap()).path, fits.name);
        for unfit in [
            Member { name: vec![b'x'; 101], ..member() },
            Member { link: vec![b'x'; 101], kind: Kind::Symlink, ..member() },
            Member { uid: 1 << 21, ..member() },
            Member { mtime: (-1, 0), ..member() },
            Member { size: 1 << 33, ..member() },
        ] {
            assert!(encode(&unfit, Format::Ustar).is_err());
            let entry = read(&encode(&unfit, Format::Gnu).unwrap());
            assert_eq!((entry.path, entry.link, entry.uid), (unfit.name, unfit.link, unfit.uid));
            assert_eq!((entry.mtime, entry.size), (unfit.mtime, unfit.size));
        }
    }

    #[test]
    fn lengths_count_themselves() {
        assert_eq!(record(b"a", b"b"), b"6 a=b\n");
        assert_eq!(record(b"path", &[b'x'; 89]).len(), 98);
        assert!(record(b"path", &[b'x'; 90]).starts_with(b"99 "));
        assert!(record(b"path", &[b'x'; 91]).starts_with(b"101 "));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "[a-z/ä]{1,300}", link in "[a-z/]{0,300}", uid in 0..u32::MAX, size: u32,
            seconds in -10_000_000_000i64..10_000_000_000, nanos in 0u32..1_000_000_000, value in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            prop_assume!(!name.ends_with('/'));
            let member = Member {
                name: name.into_bytes(), link: link.into_bytes(), uid, gid: uid, size: size.into(), mtime: (seconds, nanos),
                xattrs: vec![(b"user.a".to_vec(), value)], ..member()
            };
            let entry = read(&encode(&member, Format::Pax).unwrap());
            prop_assert_eq!((&entry.path, &entry.link, entry.uid, entry.gid), (&member.name, &member.link, uid, uid));
            prop_assert_eq!((entry.size, entry.mtime, &entry.xattrs), (member.size, member.mtime, &member.xattrs));
            prop_assert_eq!((&entry.user[..], &entry.group[..]), (&b"root"[..], &b"wheel"[..]));
            let entry = read(&encode(&member, Format::Gnu).unwrap());
            prop_assert_eq!((&entry.path, &entry.link, entry.uid), (&member.name, &member.link, uid));
            prop_assert_eq!((entry.size, entry.mtime), (member.size, (seconds, 0)));
        }
    }
}
