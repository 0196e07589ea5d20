//! The dialects of `-regextype`.

use anyhow::{Result, bail};

use crate::text::regex::{Flags, Parsed, Regex, Syntax};

/// A dialect of regular expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// GNU find's own: basic, with `+` and `?` as operators and no intervals.
    Emacs,
    Basic,
    Extended,
}

impl Flavour {
    /// The dialect of a name of `-regextype`.
    pub fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "findutils-default" | "emacs" => Self::Emacs,
            "posix-basic" | "posix-minimal-basic" | "ed" | "sed" | "grep" => Self::Basic,
            "posix-extended" | "posix-egrep" | "egrep" | "posix-awk" | "awk" | "gnu-awk" => Self::Extended,
            name => bail!(
                "Unknown regular expression type ‘{name}’; valid types are ‘findutils-default’, ‘ed’, ‘emacs’, \
                 ‘gnu-awk’, ‘grep’, ‘posix-awk’, ‘awk’, ‘posix-basic’, ‘posix-egrep’, ‘egrep’, ‘posix-extended’, \
                 ‘posix-minimal-basic’, ‘sed’."
            ),
        })
    }

    /// Compile a pattern that a whole path must match.
    pub fn compile(self, pattern: &[u8], ignore_case: bool) -> Result<Regex> {
        let syntax = Syntax { extended: self == Self::Extended, escapes: false };
        let pattern = if self == Self::Emacs { emacs_to_basic(pattern) } else { pattern.to_vec() };
        let flags = Flags { ignore_case, multi_line: false, dot_newline: true };
        Parsed::new(&[pattern], syntax)?.whole_line().compile(flags)
    }
}

/// `+` and `?` get a backslash, `\+ \? \{ \}` lose theirs.
fn emacs_to_basic(pattern: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' => {
                let next = pattern.get(at + 1).copied();
                if !matches!(next, Some(b'+' | b'?' | b'{' | b'}')) {
                    out.push(b'\\');
                }
                out.extend(next);
                at += 1;
            }
            b'[' => {
                let length = bracket_length(&pattern[at..]);
                out.extend(&pattern[at..at + length]);
                at += length - 1;
            }
            b'+' | b'?' => out.extend([b'\\', *byte]),
            byte => out.push(*byte),
        }
        at += 1;
    }
    out
}

/// The length of the bracket expression that begins `pattern`; 1 if it is not closed.
fn bracket_length(pattern: &[u8]) -> usize {
    let negated = usize::from(pattern.get(1) == Some(&b'^'));
    let mut at = 1 + negated + usize::from(pattern.get(1 + negated) == Some(&b']'));
    while let Some(byte) = pattern.get(at) {
        match byte {
            b']' => return at + 1,
            b'[' if matches!(pattern.get(at + 1), Some(b':' | b'.' | b'=')) => {
                let mark = pattern[at + 1];
                match pattern[at + 2..].windows(2).position(|pair| pair == [mark, b']']) {
                    Some(length) => at += length + 4,
                    None => return 1,
                }
            }
            _ => at += 1,
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(flavour: Flavour, pattern: &str, path: &str) -> bool {
        flavour.compile(pattern.as_bytes(), false).unwrap().is_match(path.as_bytes()).unwrap()
    }

    #[test]
    fn dialects() {
        assert!(matches(Flavour::Emacs, "./a+b?", "./aa"));
        assert!(matches(Flavour::Emacs, r"./a\+", "./a+"));
        assert!(matches(Flavour::Emacs, r".*\(a\|b\)", "./b"));
        assert!(matches(Flavour::Emacs, r"./[+?]", "./?"));
        assert!(!matches(Flavour::Emacs, "a", "./a"));
        assert!(matches(Flavour::Extended, "./(a|ab)", "./ab"));
        assert!(matches(Flavour::Basic, r"./a\{2\}", "./aa"));
        assert!(matches(Flavour::Emacs, r".*\(a\).*\1", "./a-a"));
    }
}
