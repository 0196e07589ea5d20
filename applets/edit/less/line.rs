//! One line as it is shown: characters with their styles, in rows.

use crate::terminal::width;
use crate::text::regex::Regex;

/// A character on the screen.
#[derive(Clone, Debug)]
struct Cell {
    shown: String,
    wide: usize,
    /// Control sequences that set its style, from a reset on.
    style: String,
}

/// A line.
pub struct Line {
    cells: Vec<Cell>,
    /// What it says, for searches; one character for each cell.
    plain: String,
}

const REVERSE: &str = "\x1b[7m";
const RESET: &str = "\x1b[m";

impl Line {
    /// From its bytes. With `raw`, control sequences for colours (ECMA-48 SGR) are obeyed, and nothing else.
    pub fn new(bytes: &[u8], raw: bool) -> Self {
        let chars: Vec<char> = width::from_bytes(bytes.strip_suffix(b"\r").unwrap_or(bytes)).chars().collect();
        let mut line = Self { cells: Vec::new(), plain: String::new() };
        let (mut at, mut column, mut colour) = (0, 0, String::new());
        while let Some(character) = chars.get(at).copied() {
            if raw && let Some(length) = colour_sequence(&chars[at..]) {
                let sequence: String = chars[at..at + length].iter().collect();
                if matches!(sequence.as_str(), "\x1b[m" | "\x1b[0m") {
                    colour.clear()
                } else {
                    colour.push_str(&sequence)
                }
                at += length;
                continue;
            }
            // What printers did with a backspace: bold is twice the same, underlined has _ below.
            let (character, extra, length) = match (chars.get(at + 1), chars.get(at + 2)) {
                (Some('\x08'), Some(second)) if *second == character => (character, "\x1b[1m", 3),
                (Some('\x08'), Some(second)) if character == '_' => (*second, "\x1b[4m", 3),
                _ => (character, "", 1),
            };
            let shown = width::shown(character, column);
            let is_control = shown.chars().count() > 1 && character != '\t';
            let wide = width::of(&shown);
            let style = format!("{colour}{extra}{}", if is_control { REVERSE } else { "" });
            line.cells.push(Cell { shown, wide, style });
            line.plain.push(character);
            column += wide;
            at += length;
        }
        line
    }

    /// Does it match?
    pub fn matches(&self, regex: &Regex) -> bool {
        regex.is_match(self.plain.as_bytes()).unwrap_or(false)
    }

    /// Show what matches.
    pub fn highlight(&mut self, regex: &Regex) {
        let mut start = 0;
        while start <= self.plain.len() {
            let Ok(Some((from, to))) = regex.find_at(self.plain.as_bytes(), start) else { return };
            let index = |byte: usize| self.plain[..self.plain.floor_char_boundary(byte)].chars().count();
            for cell in index(from)..index(to) {
                if let Some(cell) = self.cells.get_mut(cell) {
                    cell.style.push_str(REVERSE);
                }
            }
            start = if to > from { to } else { to + 1 };
        }
    }

    /// In rows of so many columns; one row at least.
    pub fn rows(&self, columns: usize) -> Vec<String> {
        let mut rows = vec![Row::default()];
        let mut x = 0;
        for cell in &self.cells {
            if x + cell.wide > columns && x > 0 {
                rows.push(Row::default());
                x = 0;
            }
            if let Some(row) = rows.last_mut() {
                row.push(cell);
            }
            x += cell.wide;
        }
        rows.into_iter().map(Row::finish).collect()
    }

    /// One row that begins at a column; `>` at the end if there is more.
    pub fn chopped(&self, left: usize, columns: usize) -> String {
        let mut row = Row::default();
        let (mut column, mut x) = (0, 0);
        for cell in &self.cells {
            let end = column + cell.wide;
            if column >= left {
                if x + cell.wide > columns {
                    row.push(&Cell { shown: "\x08>".into(), wide: 0, style: REVERSE.into() });
                    break;
                }
                row.push(cell);
                x += cell.wide;
            } else if end > left {
                // The part of a wide character that is seen.
                let part = (end - left).min(columns);
                row.push(&Cell { shown: " ".repeat(part), wide: part, style: cell.style.clone() });
                x += part;
            }
            column = end;
        }
        row.finish()
    }
}

#[derive(Default)]
struct Row {
    text: String,
    style: String,
}

impl Row {
    fn push(&mut self, cell: &Cell) {
        if cell.style != self.style {
            if !self.style.is_empty() {
                self.text.push_str(RESET);
            }
            self.text.push_str(&cell.style);
            self.style.clone_from(&cell.style);
        }
        self.text.push_str(&cell.shown);
    }

    fn finish(mut self) -> String {
        if !self.style.is_empty() {
            self.text.push_str(RESET);
        }
        self.text
    }
}

/// Length of a sequence `ESC [ digits and ; m`.
fn colour_sequence(chars: &[char]) -> Option<usize> {
    if !chars.starts_with(&['\x1b', '[']) {
        return None;
    }
    let digits = chars[2..].iter().take(64).take_while(|c| c.is_ascii_digit() || matches!(c, ';' | ':')).count();
    (chars.get(2 + digits) == Some(&'m')).then_some(digits + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::regex::{Flags, Syntax};

    fn rows(bytes: &[u8], raw: bool, columns: usize) -> Vec<String> {
        Line::new(bytes, raw).rows(columns)
    }

    #[test]
    fn wrapped_and_chopped() {
        assert_eq!(rows("abcdefg".as_bytes(), false, 3), ["abc", "def", "g"]);
        assert_eq!(rows("日本語".as_bytes(), false, 5), ["日本", "語"]);
        assert_eq!(rows(b"", false, 5), [""]);
        assert_eq!(rows(b"a\tb", false, 80), ["a       b"]);
        let line = Line::new("ab日cdef".as_bytes(), false);
        assert_eq!(line.chopped(0, 20), "ab日cdef");
        assert_eq!(line.chopped(3, 20), " cdef");
        assert_eq!(line.chopped(4, 3), "cde\x1b[7m\x08>\x1b[m");
        assert_eq!(line.chopped(99, 3), "");
    }

    #[test]
    fn nothing_but_colours_is_obeyed() {
        assert_eq!(rows(b"\x1b[31mred\x1b[0m.", true, 80), ["\x1b[31mred\x1b[m."]);
        assert_eq!(rows(b"\x1b[31mabcd", true, 2), ["\x1b[31mab\x1b[m", "\x1b[31mcd\x1b[m"]);
        assert_eq!(rows(b"\x1b[2J", true, 80), ["\x1b[7m^[\x1b[m[2J"]);
        assert_eq!(rows(b"\x1b[31m", false, 80), ["\x1b[7m^[\x1b[m[31m"]);
        assert_eq!(rows(b"\xff", false, 80), ["\x1b[7m\\xff\x1b[m"]);
        assert_eq!(rows(b"a\x08ab_\x08c", false, 80), ["\x1b[1ma\x1b[mb\x1b[4mc\x1b[m"]);
    }

    #[test]
    fn matches_are_shown() {
        let regex = Regex::new("ä.".as_bytes(), Syntax::default(), Flags::default()).unwrap();
        let mut line = Line::new("xäbäcx".as_bytes(), false);
        assert!(line.matches(&regex));
        line.highlight(&regex);
        assert_eq!(line.rows(80), ["x\x1b[7mäbäc\x1b[mx"]);
        let empty = Regex::new(b"z*", Syntax::default(), Flags::default()).unwrap();
        Line::new("äx".as_bytes(), false).highlight(&empty);
    }
}
