//! Extended headers: what they override in the header that follows.

use super::header::{Header, Kind};
use super::sparse;
use super::{Entry, damaged};
use crate::error::{Error, Result};

/// Collected from pax headers and GNU long names before a member.
#[derive(Default)]
pub struct Overrides {
    pub gnu_path: Option<Vec<u8>>,
    pub gnu_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pub size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<sparse::Pax>,
    seen_pax: bool,
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        !self.seen_pax && self.gnu_path.is_none() && self.gnu_link.is_none()
    }

    pub fn read_pax(&mut self, data: &[u8]) -> Result<()> {
        if self.seen_pax {
            return Err(damaged("two extended headers before one member; readers differ on what that means"));
        }
        self.seen_pax = true;
        records(data, |key, value| self.record(key, value))
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bad = || damaged(&format!("bad {} in an extended header", String::from_utf8_lossy(key)));
        let known = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime");
        // An empty value takes an override back: the header's own field counts.
        if value.is_empty() && known {
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(name(value).ok_or_else(bad)?),
            b"linkpath" => self.link = Some(name(value).ok_or_else(bad)?),
            b"size" => self.size = Some(decimal(value).filter(|&size| size < 1 << 62).ok_or_else(bad)?),
            b"uid" => self.uid = Some(decimal(value).ok_or_else(bad)?),
            b"gid" => self.gid = Some(decimal(value).ok_or_else(bad)?),
            b"uname" => self.user = name(value),
            b"gname" => self.group = name(value),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(bad)?),
            _ => {
                if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((attribute.to_vec(), value.to_vec()));
                } else if let Some(field) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().record(field, value).map_err(|()| bad())?;
                }
            }
        }
        Ok(())
    }

    /// Merge into what the header said.
    pub fn apply(&mut self, entry: &mut Entry, header: &Header) -> Result<()> {
        if (self.path.is_some() && self.gnu_path.is_some()) || (self.link.is_some() && self.gnu_link.is_some()) {
            return Err(damaged("a pax and a GNU long name before one member; readers differ on which counts"));
        }
        if let Some(path) = self.path.take().or(self.gnu_path.take()) {
            entry.path = path;
            // The header's own name is a part of the long one, and may have been cut at a slash.
            if matches!(header.typeflag(), b'0' | 0) {
                entry.kind = if entry.path.ends_with(b"/") { Kind::Directory } else { Kind::File };
            }
        }
        if let Some(link) = self.link.take().or(self.gnu_link.take()) {
            entry.link = link;
        }
        entry.user = self.user.take().unwrap_or_else(|| std::mem::take(&mut entry.user));
        entry.group = self.group.take().unwrap_or_else(|| std::mem::take(&mut entry.group));
        if let Some(mtime) = self.mtime {
            entry.mtime = mtime;
        }
        // The last number is "leave as it is" to chown(2), which would give the file to root.
        let id = |pax: Option<u64>, header: u32, what: &str| match pax.map_or(Ok(header), u32::try_from) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(Error::entry(&entry.path, format!("{what} does not fit in 32 bits"))),
        };
        (entry.uid, entry.gid) = (id(self.uid, entry.uid, "owner")?, id(self.gid, entry.gid, "group")?);
        entry.xattrs = std::mem::take(&mut self.xattrs);
        Ok(())
    }
}

/// A global header may carry comments (git's commit), nothing that changes the members: readers differ on whether it counts.
pub fn check_global(data: &[u8]) -> Result<()> {
    records(data, |key, _| {
        let changes = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid")
            || key.starts_with(b"SCHILY.")
            || key.starts_with(b"GNU.sparse.");
        if changes {
            Err(damaged("a global extended header that changes members; readers differ on whether it counts"))
        } else {
            Ok(())
        }
    })
}

/// `LENGTH KEY=VALUE\n`, LENGTH counting the whole record.
fn records(mut data: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let bad = || damaged("a malformed extended header");
    while !data.is_empty() {
        let space = data.iter().position(|&byte| byte == b' ').filter(|&at| at < 12).ok_or_else(bad)?;
        let length = decimal(&data[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(bad)?;
        if length <= space + 1 || length > data.len() {
            return Err(bad());
        }
        let record = data[space + 1..length].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|&byte| byte == b'=').filter(|&at| at > 0).ok_or_else(bad)?;
        each(&record[..equals], &record[equals + 1..])?;
        data = &data[length..];
    }
    Ok(())
}

fn name(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// `[-]SECONDS[.FRACTION]`; digits beyond nanoseconds are cut.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..dot])?).ok()?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0u32, |value, at| value * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    match (negative, nanos) {
        (false, _) => Some((seconds, nanos)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        for bad in [&b""[..], b".", b"x", b"1.x", b"--1", b"99999999999999999999"] {
            assert_eq!(time(bad), None);
        }
    }

    #[test]
    fn malformed_records() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=b\n6",
            b"99 a=b\n",
            b"0 a=b\n",
            b"2 \n",
            b"5 ab\n",
            b"6 =ab\n",
            b"99999999999999 a=b\n",
        ] {
            assert!(records(bad, |_, _| Ok(())).is_err(), "{bad:?}");
        }
        let mut seen = 0;
        records(b"6 a=b\n8 cd=e\n\n", |_, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 2);
    }
}
