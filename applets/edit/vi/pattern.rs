//! Searching, and what `s` puts in a match's place. Patterns are POSIX basic regular expressions.

use super::text::{Position, Text, at};
use crate::text::regex::{Flags, Regex, Spans, Syntax};

/// Compile a pattern.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    let flags = Flags { ignore_case, ..Flags::default() };
    Regex::new(pattern.as_bytes(), Syntax { extended: false, escapes: true }, flags)
        .map_err(|error| format!("{error:#}"))
}

/// The next match from a place, around the text's end if need be.
///
/// # Errors
/// If the pattern takes too long to match.
pub fn search(text: &Text, regex: &Regex, from: Position, back: bool) -> Result<Option<Position>, String> {
    let count = text.count();
    let here = matches(text.line(from.line), regex)?;
    let beside = match back {
        false => here.iter().find(|column| **column > from.column),
        true => here.iter().rev().find(|column| **column < from.column),
    };
    if let Some(column) = beside {
        return Ok(Some(at(from.line, *column)));
    }
    // The line itself comes once more, last.
    for step in 1..=count {
        let line = if back { (from.line + count - step % count) % count } else { (from.line + step) % count };
        let found = matches(text.line(line), regex)?;
        if let Some(column) = if back { found.last() } else { found.first() } {
            return Ok(Some(at(line, *column)));
        }
    }
    Ok(None)
}

/// Where matches begin, in characters.
fn matches(line: &str, regex: &Regex) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    let mut start = 0;
    while start <= line.len() {
        let Some((from, to)) = regex.find_at(line.as_bytes(), start).map_err(|error| format!("{error:#}"))? else {
            break;
        };
        found.push(line[..floor(line, from)].chars().count());
        start = after(line, from, to);
    }
    Ok(found)
}

/// Where to look on behind a match; an empty one is passed by a character.
fn after(line: &str, from: usize, to: usize) -> usize {
    let to = floor(line, to.max(from));
    if to > from { to } else { to + line[to..].chars().next().map_or(1, char::len_utf8) }
}

/// A byte offset at the start of a character.
fn floor(line: &str, byte: usize) -> usize {
    line.floor_char_boundary(byte)
}

/// A substitution that can be done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    /// What to look for.
    pub pattern: String,
    /// What takes its place.
    pub replacement: String,
    /// All in a line, not only the first.
    pub all: bool,
    /// Upper and lower case are the same.
    pub ignore_case: bool,
}

impl Substitution {
    /// Parse what follows the `s`: `/pattern/replacement/flags`; an empty pattern is the one searched for last.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str, last: Option<&str>) -> Result<Self, String> {
        let mut chars = text.chars();
        let delimiter = chars.next().filter(|c| !c.is_alphanumeric() && !c.is_whitespace() && *c != '\\');
        let delimiter = delimiter.ok_or("usage: s/pattern/replacement/")?;
        let rest = chars.as_str();
        let (pattern, rest) = cut(rest, delimiter);
        let (replacement, flags) = cut(rest, delimiter);
        let pattern = match pattern.is_empty() {
            true => last.ok_or("no previous pattern")?.to_owned(),
            false => pattern,
        };
        let mut this = Self { pattern, replacement, all: false, ignore_case: false };
        for flag in flags.trim().chars() {
            match flag {
                'g' => this.all = true,
                'i' => this.ignore_case = true,
                other => return Err(format!("s: flag {other:?} is not supported (g and i are)")),
            }
        }
        Ok(this)
    }

    /// The line with its matches replaced, newlines dividing lines, and how many there were; `None` without a match.
    ///
    /// # Errors
    /// If the pattern takes too long to match.
    pub fn apply(&self, regex: &Regex, line: &str) -> Result<Option<(String, usize)>, String> {
        let bytes = line.as_bytes();
        let (mut out, mut copied, mut start, mut count) = (Vec::new(), 0, 0, 0);
        while start <= line.len() {
            let Some(spans) = regex.captures_at(bytes, start).map_err(|error| format!("{error:#}"))? else { break };
            let Some(Some((from, to))) = spans.first().copied() else { break };
            // Right behind a match there is no empty one.
            if from == to && from == copied && count > 0 {
                start = after(line, from, to);
                continue;
            }
            count += 1;
            out.extend_from_slice(&bytes[copied..from]);
            self.expand(bytes, &spans, &mut out);
            copied = to;
            start = after(line, from, to);
            if !self.all {
                break;
            }
        }
        out.extend_from_slice(&bytes[copied.min(bytes.len())..]);
        let text = String::from_utf8_lossy(&out).into_owned();
        Ok((count > 0).then_some((text, count)))
    }

    /// `&` is the match, `\1` to `\9` its groups, `\n` and `\r` a new line, `\t` a tab; any other character after `\` is itself.
    fn expand(&self, line: &[u8], spans: &Spans, out: &mut Vec<u8>) {
        let group = |number: usize| match spans.get(number) {
            Some(Some((from, to))) => &line[*from..*to],
            _ => b"",
        };
        let mut chars = self.replacement.chars();
        while let Some(character) = chars.next() {
            match character {
                '&' => out.extend_from_slice(group(0)),
                '\\' => match chars.next() {
                    Some(digit @ '0'..='9') => out.extend_from_slice(group(digit.to_digit(10).unwrap_or(0) as usize)),
                    Some('n' | 'r') => out.push(b'\n'),
                    Some('t') => out.push(b'\t'),
                    Some(other) => out.extend(other.encode_utf8(&mut [0; 4]).bytes()),
                    None => out.push(b'\\'),
                },
                other => out.extend(other.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
    }
}

/// Text up to the delimiter, and what is behind it. `\` before the delimiter takes its meaning, and is taken away.
pub fn cut(text: &str, delimiter: char) -> (String, &str) {
    let mut part = String::new();
    let mut chars = text.chars();
    while let Some(character) = chars.next() {
        match character {
            '\\' => match chars.next() {
                Some(next) if next == delimiter => part.push(next),
                Some(next) => part.extend(['\\', next]),
                None => part.push('\\'),
            },
            end if end == delimiter => break,
            other => part.push(other),
        }
    }
    (part, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituted(command: &str, line: &str) -> Option<(String, usize)> {
        let this = Substitution::parse(command, Some("last")).unwrap();
        this.apply(&compile(&this.pattern, this.ignore_case).unwrap(), line).unwrap()
    }

    #[test]
    fn substitutions() {
        let one = |text: &str, count| Some((text.to_owned(), count));
        assert_eq!(substituted("/o/0/", "foo"), one("f0o", 1));
        assert_eq!(substituted("/o/0/g", "foo"), one("f00", 2));
        assert_eq!(substituted("#a/b#x#", "a/b"), one("x", 1));
        assert_eq!(substituted("/\\(a\\)\\(b\\)/\\2\\1&\\&", "ab"), one("baab&", 1));
        assert_eq!(substituted("/,/\\n/g", "a,ü,"), one("a\nü\n", 2));
        assert_eq!(substituted("/x*/-/g", "aüx"), one("-a-ü-", 3));
        assert_eq!(substituted("//X/", "at last"), one("at X", 1));
        assert_eq!(substituted("/A/x/i", "a"), one("x", 1));
        assert_eq!(substituted("/z/x/", "a"), None);
        assert!(Substitution::parse("/a/b/c", None).is_err() && Substitution::parse("//b/", None).is_err());
    }

    #[test]
    fn around_the_end() {
        let text = Text::new(["ab ab", "ü ab", "x"].map(str::to_owned).to_vec());
        let regex = compile("ab", false).unwrap();
        let next = |line, column, back| search(&text, &regex, at(line, column), back).unwrap().unwrap();
        assert_eq!(next(0, 0, false), at(0, 3));
        assert_eq!(next(0, 3, false), at(1, 2));
        assert_eq!(next(1, 2, false), at(0, 0));
        assert_eq!(next(0, 0, true), at(1, 2));
        assert_eq!(next(1, 2, true), at(0, 3));
        assert_eq!(search(&text, &compile("zz", false).unwrap(), at(0, 0), false).unwrap(), None);
        assert!(compile("\\(", false).is_err());
    }
}
