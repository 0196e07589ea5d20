//! The lines of files, and which of them count as equal.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// What does not count when lines are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore {
    pub case: bool,
    pub all_space: bool,
    pub space_change: bool,
    pub trailing_space: bool,
    pub tab_expansion: bool,
    /// A carriage return before the newline.
    pub trailing_return: bool,
    /// A newline that is missing at the end of the file.
    pub missing_newline: bool,
}

impl Ignore {
    fn nothing(self) -> bool {
        !(self.case
            || self.all_space
            || self.space_change
            || self.trailing_space
            || self.tab_expansion
            || self.trailing_return)
    }

    /// Whether a newline that is missing at the end of the file counts.
    fn missing_newline_counts(self) -> bool {
        !(self.missing_newline || self.all_space || self.space_change || self.trailing_space)
    }

    /// What of a line counts.
    fn essence(self, line: &[u8]) -> Vec<u8> {
        let mut line = line;
        if self.trailing_return {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        if self.trailing_space || self.space_change || self.all_space {
            line = line.trim_ascii_end();
        }
        let mut out = Vec::with_capacity(line.len());
        let mut column = 0;
        for byte in line {
            let space = byte.is_ascii_whitespace() || *byte == 0x0b;
            match byte {
                _ if space && self.all_space => {}
                _ if space && self.space_change => {
                    if out.last() != Some(&b' ') {
                        out.push(b' ');
                    }
                }
                b'\t' if self.tab_expansion => {
                    let width = 8 - column % 8;
                    out.extend(vec![b' '; width]);
                    column += width - 1;
                }
                byte if self.case => out.push(byte.to_ascii_lowercase()),
                byte => out.push(*byte),
            }
            column += 1;
        }
        if self.case && !out.is_ascii() {
            return String::from_utf8(out)
                .map_or_else(|error| error.into_bytes(), |text| text.to_lowercase().into_bytes());
        }
        out
    }
}

/// A file's content by lines.
pub struct Text {
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
    /// The last line does not end with a newline.
    pub unended: bool,
}

impl Text {
    /// Find the lines of a content.
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut lines = Vec::new();
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| start + at);
            lines.push(start..end);
            start = end + 1;
        }
        let unended = bytes.last().is_some_and(|byte| *byte != b'\n');
        Self { bytes, lines, unended }
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// A line without its newline.
    pub fn line(&self, index: usize) -> &[u8] {
        &self.bytes[self.lines[index].clone()]
    }

    /// Whether a line is the last and lacks its newline.
    pub fn is_unended(&self, index: usize) -> bool {
        self.unended && index + 1 == self.lines.len()
    }
}

/// Number the lines of two files so that equal ones have the same number.
pub fn classes(a: &Text, b: &Text, ignore: Ignore) -> (Vec<u32>, Vec<u32>) {
    let mut known: HashMap<(Cow<'_, [u8]>, bool), u32> = HashMap::new();
    let (mut of_a, mut of_b) = (vec![0; a.len()], vec![0; b.len()]);
    for (text, out) in [(a, &mut of_a), (b, &mut of_b)] {
        for (index, class) in out.iter_mut().enumerate() {
            let line = text.line(index);
            let essence = if ignore.nothing() { line.into() } else { ignore.essence(line).into() };
            let unended = ignore.missing_newline_counts() && text.is_unended(index);
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            *class = *known.entry((essence, unended)).or_insert(next);
        }
    }
    (of_a, of_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str, ignore: Ignore) -> bool {
        let (a, b) = (Text::new(a.into()), Text::new(b.into()));
        let (a, b) = classes(&a, &b, ignore);
        a == b
    }

    #[test]
    fn lines_that_count_as_equal() {
        let none = Ignore::default();
        assert!(same("a\nb\n", "a\nb\n", none) && !same("a\n", "a", none) && !same("a\n", "A\n", none));
        assert!(same("ÄB\n", "äb\n", Ignore { case: true, ..none }));
        assert!(same("a  b\t\n", "a b\n", Ignore { space_change: true, ..none }));
        assert!(!same("ab\n", "a b\n", Ignore { space_change: true, ..none }));
        assert!(same("a b\n", "ab\n", Ignore { all_space: true, ..none }));
        assert!(same("a \n", "a", Ignore { trailing_space: true, ..none }));
        assert!(same("a\tb\n", "a       b\n", Ignore { tab_expansion: true, ..none }));
        assert!(same("a\r\n", "a\n", Ignore { trailing_return: true, ..none }));
    }
}
