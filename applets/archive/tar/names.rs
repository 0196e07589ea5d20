//! Names of members: how they are shown, made harmless, chosen and left out.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context as _;

use super::options::Options;
use crate::text::glob::{Glob, GlobFlags};

/// A name as GNU tar shows it: on one line, with nothing that a terminal would obey.
pub fn quoted(name: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => shown.push_str("\\\\"),
                '\x07' => shown.push_str("\\a"),
                '\x08' => shown.push_str("\\b"),
                '\x0c' => shown.push_str("\\f"),
                '\n' => shown.push_str("\\n"),
                '\r' => shown.push_str("\\r"),
                '\t' => shown.push_str("\\t"),
                '\x0b' => shown.push_str("\\v"),
                control if control.is_control() => {
                    let mut bytes = [0; 4];
                    control.encode_utf8(&mut bytes).bytes().for_each(|byte| shown.push_str(&format!("\\{byte:03o}")));
                }
                other => shown.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\{byte:03o}")));
    }
    shown
}

/// The part of a name that stays within the folder: what stands before and with the last `..`, and slashes at the front, goes.
/// Gives what was taken off and what is left, `.` if that is nothing.
pub fn harmless(name: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    let mut at = 0;
    for part in name.split(|byte| *byte == b'/') {
        let end = at + part.len();
        if part == b".." {
            start = end;
        }
        at = end + 1;
    }
    while name.get(start) == Some(&b'/') {
        start += 1;
    }
    let left = &name[start..];
    (&name[..start], if left.is_empty() { b"." } else { left })
}

/// The path's parts; empty ones and `.` mean nothing.
pub fn parts(name: &[u8]) -> Vec<&[u8]> {
    name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}

/// A name without its first `count` folders; `None` if nothing is left.
pub fn strip_components(name: &[u8], count: usize) -> Option<Vec<u8>> {
    if count == 0 {
        return Some(name.to_vec());
    }
    let mut rest = name;
    for _ in 0..count {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        rest = &rest[slash..];
        rest = &rest[rest.iter().take_while(|byte| **byte == b'/').count()..];
    }
    (!rest.is_empty()).then(|| rest.to_vec())
}

/// What is left out: a pattern fits a whole name or the end of one after a slash, and with a folder goes all that is in it.
pub struct Excludes(Vec<Glob>);

impl Excludes {
    /// From `--exclude` and the files of `-X`.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let mut patterns: Vec<Vec<u8>> = options.exclude.iter().map(|text| text.as_bytes().to_vec()).collect();
        for path in &options.exclude_from {
            let text = fs::read(path).with_context(|| format!("{}: cannot read patterns", path.display()))?;
            patterns.extend(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        }
        let compile = |pattern: &Vec<u8>| Glob::new(without_slash(pattern), GlobFlags::default());
        Ok(Self(patterns.iter().map(compile).collect()))
    }

    /// Is this name, or a folder that it lies in, left out?
    pub fn fits(&self, name: &[u8]) -> bool {
        !self.0.is_empty() && prefixes(without_slash(name)).any(|prefix| self.fits_end(prefix))
    }

    fn fits_end(&self, name: &[u8]) -> bool {
        let starts =
            std::iter::once(0).chain(name.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at + 1));
        starts.into_iter().any(|start| self.0.iter().any(|glob| glob.matches(&name[start..])))
    }
}

/// `a/b/c`: `a`, `a/b`, `a/b/c`.
fn prefixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = name.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| at);
    ends.chain([name.len()]).map(|end| &name[..end])
}

fn without_slash(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| *byte != b'/').map_or(name.len().min(1), |at| at + 1);
    &name[..end]
}

/// Which members were asked for.
pub struct Selection {
    wanted: Vec<Wanted>,
}

struct Wanted {
    name: Vec<u8>,
    pattern: Option<Glob>,
    found: bool,
}

impl Selection {
    /// These names, or, if there are none, all members.
    pub fn new(names: Vec<Vec<u8>>, wildcards: bool) -> Self {
        let wanted = |name: Vec<u8>| Wanted {
            pattern: wildcards.then(|| Glob::new(without_slash(&name), GlobFlags::default())),
            name: without_slash(&name).to_vec(),
            found: false,
        };
        Self { wanted: names.into_iter().map(wanted).collect() }
    }

    /// Is it, or a folder that it lies in, asked for?
    pub fn takes(&mut self, member: &[u8]) -> bool {
        let member = without_slash(member);
        let mut takes = self.wanted.is_empty();
        for wanted in &mut self.wanted {
            let fits = match &wanted.pattern {
                Some(glob) => prefixes(member).any(|prefix| glob.matches(prefix)),
                None => prefixes(member).any(|prefix| prefix == wanted.name),
            };
            wanted.found |= fits;
            takes |= fits;
        }
        takes
    }

    /// Names that no member had.
    pub fn missing(&self) -> impl Iterator<Item = &[u8]> {
        self.wanted.iter().filter(|wanted| !wanted.found).map(|wanted| wanted.name.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_harmlessly() {
        assert_eq!(quoted("a\\b\n\x1b[2Jä".as_bytes()), "a\\\\b\\n\\033[2Jä");
        assert_eq!(quoted(b"\xff\x7f"), "\\377\\177");
    }

    #[test]
    fn made_harmless() {
        let harmless = |name: &'static str| {
            let (cut, left) = harmless(name.as_bytes());
            (std::str::from_utf8(cut).unwrap(), std::str::from_utf8(left).unwrap())
        };
        assert_eq!(harmless("a/b"), ("", "a/b"));
        assert_eq!(harmless("/etc"), ("/", "etc"));
        assert_eq!(harmless("//x/../../y/"), ("//x/../../", "y/"));
        assert_eq!(harmless("../.."), ("../..", "."));
        assert_eq!(harmless("..a/b.."), ("", "..a/b.."));
        assert_eq!(harmless("/"), ("/", "."));
    }

    #[test]
    fn stripped() {
        assert_eq!(strip_components(b"a//b/c", 1).unwrap(), b"b/c");
        assert_eq!(strip_components(b"a/b/", 2), None);
        assert_eq!(strip_components(b"a", 1), None);
        assert_eq!(strip_components(b"a", 0).unwrap(), b"a");
    }

    #[test]
    fn left_out() {
        let excludes = |patterns: &[&str]| {
            Excludes(patterns.iter().map(|p| Glob::new(p.as_bytes(), GlobFlags::default())).collect())
        };
        assert!(excludes(&["*.o"]).fits(b"a/b/c.o"));
        assert!(excludes(&["b"]).fits(b"a/b/c"));
        assert!(excludes(&["a/b"]).fits(b"x/a/b/"));
        assert!(!excludes(&["a"]).fits(b"xa/ba"));
        assert!(excludes(&["a*c"]).fits(b"a/b/c"));
    }

    #[test]
    fn asked_for() {
        let mut some = Selection::new(vec![b"a/".to_vec(), b"b/c".to_vec(), b"z".to_vec()], false);
        assert!(some.takes(b"a/x") && some.takes(b"b/c") && !some.takes(b"b/d") && !some.takes(b"ab"));
        assert_eq!(some.missing().collect::<Vec<_>>(), [b"z"]);
        assert!(Selection::new(Vec::new(), false).takes(b"x"));
        assert!(Selection::new(vec![b"*.c".to_vec()], true).takes(b"a/b.c"));
    }
}
