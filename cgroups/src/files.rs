//! Reading and writing control files relative to a group's directory, and the formats that they share.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, openat};

/// The largest control file that is read: cgroup.procs of a large group is a page per 500 processes.
const MAX_FILE: u64 = 16 << 20;

/// Read a control file whole.
pub(crate) fn read(dir: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let file = File::from(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?);
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Write a control file with one `write`, as the kernel wants it.
pub(crate) fn write(dir: BorrowedFd<'_>, name: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::TRUNC;
    let mut file = File::from(openat(dir.as_fd(), name, flags, Mode::empty())?);
    file.write_all(value.as_bytes())
}

/// A number or `max`: the form of every `*.max`, `*.high` and `*.low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Ceiling {
    /// No limit.
    Max,
    /// A limit, in the controller's unit.
    Value(u64),
}

impl fmt::Display for Ceiling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ceiling::Max => out.write_str("max"),
            Ceiling::Value(value) => value.fmt(out),
        }
    }
}

impl Ceiling {
    /// Read `max` or a decimal number.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim_end() {
            "max" => Some(Ceiling::Max),
            number => number.parse().ok().map(Ceiling::Value),
        }
    }
}

/// The pairs of a flat-keyed file (`KEY VALUE` per line); lines of another form are skipped.
pub(crate) fn flat_keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// The rows of a nested-keyed file (`KEY SUB=VALUE SUB=VALUE` per line).
pub(crate) fn nested_keyed(text: &str) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, &str)>)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let key = words.next()?;
        Some((key, words.filter_map(|word| word.split_once('='))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_keyed_skips_what_it_does_not_know() {
        let pairs: Vec<_> = flat_keyed("low 1\nodd\nhigh 22\nword max\n").collect();
        assert_eq!(pairs, [("low", 1), ("high", 22)]);
    }

    #[test]
    fn nested_keyed_rows() {
        let rows: Vec<_> =
            nested_keyed("8:0 rbytes=1 wbytes=2\n\n8:16 rbytes=3\n").map(|(key, subs)| (key, subs.count())).collect();
        assert_eq!(rows, [("8:0", 2), ("8:16", 1)]);
    }

    proptest::proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,200}") {
            let _ = flat_keyed(&text).count();
            let _ = nested_keyed(&text).map(|(_, subs)| subs.count()).sum::<usize>();
            let _ = Ceiling::parse(&text);
        }

        #[test]
        fn ceiling_round_trips(value: u64) {
            proptest::prop_assert_eq!(Ceiling::parse(&Ceiling::Value(value).to_string()), Some(Ceiling::Value(value)));
        }
    }
}
