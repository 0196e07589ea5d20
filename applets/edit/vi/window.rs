//! What of the text is on the screen, and how it is laid out there: long lines go on in the rows below.

use super::editor::{Editor, Mode};
use super::keys::Scroll;
use super::motion::{self, Place};
use super::text::{Position, Text, at};
use crate::terminal::width;

/// Columns of a line's number and the blank behind it.
const NUMBER: usize = 8;

/// Part of the text that is seen.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// First line.
    pub top: usize,
    /// Rows of the first line that are above the window: for lines longer than the window.
    pub skip: usize,
    /// Rows for text.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { top: 0, skip: 0, rows: 23, columns: 80 }
    }
}

/// A whole screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Rows from the top, without newlines.
    pub rows: Vec<String>,
    /// Row and column of the cursor, from 0.
    pub cursor: (usize, usize),
}

/// A line in rows, and where its characters are.
struct Layout {
    rows: Vec<String>,
    places: Vec<(usize, usize)>,
    /// Where a character behind the last would be.
    end: (usize, usize),
}

fn lay_out(line: &str, columns: usize) -> Layout {
    let columns = columns.max(1);
    let mut layout = Layout { rows: vec![String::new()], places: Vec::new(), end: (0, 0) };
    let (mut x, mut column) = (0, 0);
    for character in line.chars() {
        let shown = width::shown(character, column);
        let wide = width::of(&shown);
        if x + wide > columns && x > 0 {
            layout.rows.push(String::new());
            x = 0;
        }
        layout.places.push((layout.rows.len() - 1, x));
        if let Some(row) = layout.rows.last_mut() {
            row.push_str(&shown);
        }
        x += wide;
        column += wide;
    }
    if x >= columns {
        layout.end = (layout.rows.len(), 0);
    } else {
        layout.end = (layout.rows.len() - 1, x);
    }
    layout
}

impl Window {
    fn text_columns(&self, number: bool) -> usize {
        if number { self.columns.saturating_sub(NUMBER).max(1) } else { self.columns }
    }

    fn rows_of(&self, text: &Text, line: usize, number: bool) -> usize {
        let columns = self.text_columns(number);
        // Most lines are short: no layout for those that cannot be longer than a row.
        match text.line(line).len() * 4 <= columns {
            true => 1,
            false => lay_out(text.line(line), columns).rows.len(),
        }
    }

    /// First and last line that are seen whole.
    pub fn visible(&self, text: &Text, number: bool) -> (usize, usize) {
        let (mut rows, mut last) = (0, self.top);
        for line in self.top..text.count() {
            rows += self.rows_of(text, line, number);
            if rows > self.rows + self.skip {
                break;
            }
            last = line;
        }
        (self.top.min(text.last()), last.min(text.last()))
    }

    /// Move so that the cursor is seen.
    pub fn follow(&mut self, text: &Text, cursor: Position, number: bool) {
        let layout = lay_out(text.line(cursor.line), self.text_columns(number));
        let row = layout.places.get(cursor.column).map_or(layout.end.0, |place| place.0);
        let distance = cursor.line.abs_diff(self.top);
        if distance > 2 * self.rows {
            // In the middle, but not with a window half empty below the end.
            let middle = cursor.line.saturating_sub(self.rows / 2);
            (self.top, self.skip) = (middle.min(text.count().saturating_sub(self.rows)), 0);
        } else if cursor.line < self.top {
            (self.top, self.skip) = (cursor.line, 0);
        }
        if cursor.line == self.top && row < self.skip {
            self.skip = row;
        }
        loop {
            let above: usize = (self.top..cursor.line).map(|line| self.rows_of(text, line, number)).sum();
            if above + row < self.skip + self.rows {
                break;
            }
            if self.top < cursor.line {
                (self.top, self.skip) = (self.top + 1, 0);
            } else {
                self.skip = row + 1 - self.rows;
                break;
            }
        }
    }
}

impl Editor {
    /// Draw: `rows` of the whole screen, the last one for messages.
    pub fn frame(&mut self, rows: usize, columns: usize) -> Frame {
        let number = self.options.number;
        self.window.rows = rows.saturating_sub(1).max(1);
        self.window.columns = columns;
        self.window.follow(&self.text, self.cursor, number);
        let mut frame = Frame::default();
        let mut skip = self.window.skip;
        let mut line = self.window.top;
        while frame.rows.len() < self.window.rows && line < self.text.count() {
            let layout = lay_out(self.text.line(line), self.window.text_columns(number));
            let margin = if number { NUMBER } else { 0 };
            if line == self.cursor.line {
                let place = layout.places.get(self.cursor.column).copied().unwrap_or(layout.end);
                let row = (frame.rows.len() + place.0).saturating_sub(skip).min(self.window.rows - 1);
                frame.cursor = (row, (place.1 + margin).min(columns.saturating_sub(1)));
            }
            for (index, row) in layout.rows.into_iter().enumerate().skip(skip) {
                if frame.rows.len() == self.window.rows {
                    break;
                }
                let label = match (number, index) {
                    (true, 0) => format!("{:>7} ", line + 1),
                    (true, _) => " ".repeat(NUMBER),
                    (false, _) => String::new(),
                };
                frame.rows.push(label + &row);
            }
            skip = 0;
            line += 1;
        }
        frame.rows.resize(self.window.rows, "~".into());
        frame.rows.push(self.last_row(columns));
        if let Mode::Line { .. } = self.mode {
            let end = width::of(frame.rows.last().map_or("", String::as_str));
            frame.cursor = (self.window.rows, end.min(columns.saturating_sub(1)));
        }
        frame
    }

    fn last_row(&self, columns: usize) -> String {
        let text = match &self.mode {
            Mode::Line { kind, text } => format!("{kind}{text}"),
            Mode::Insert { over: false, .. } => "-- INSERT --".into(),
            Mode::Insert { over: true, .. } => "-- REPLACE --".into(),
            Mode::Command => self.message.clone(),
        };
        let mut shown = String::new();
        let mut pieces: Vec<String> = text.chars().map(|c| width::shown(c, 1)).collect();
        // The end of what is typed is what must be seen.
        let mut room = columns.saturating_sub(1);
        let from_end = matches!(self.mode, Mode::Line { .. });
        if from_end {
            pieces.reverse();
        }
        let fits: Vec<String> = pieces
            .into_iter()
            .take_while(|piece| {
                let wide = width::of(piece);
                let fits = wide <= room;
                room = room.saturating_sub(wide);
                fits
            })
            .collect();
        if from_end {
            fits.iter().rev().for_each(|piece| shown.push_str(piece))
        } else {
            shown = fits.concat()
        }
        shown
    }

    pub(super) fn scroll(&mut self, scroll: Scroll, count: Option<usize>) {
        let rows = self.window.rows;
        let times = count.unwrap_or(1).max(1);
        let last = self.text.last();
        self.window.skip = 0;
        match scroll {
            Scroll::PageDown => {
                let step = rows.saturating_sub(2).max(1) * times;
                self.window.top = (self.window.top + step).min(last);
                self.cursor.line = self.cursor.line.max(self.window.top);
            }
            Scroll::PageUp => {
                let step = rows.saturating_sub(2).max(1) * times;
                self.window.top = self.window.top.saturating_sub(step);
                let bottom = self.window.visible(&self.text, self.options.number).1;
                self.cursor.line = self.cursor.line.min(bottom);
            }
            Scroll::HalfDown | Scroll::HalfUp => {
                let step = count.unwrap_or(rows / 2).max(1);
                let move_by = |line: usize| match scroll {
                    Scroll::HalfDown => (line + step).min(last),
                    _ => line.saturating_sub(step),
                };
                self.cursor.line = move_by(self.cursor.line);
                self.window.top = move_by(self.window.top);
            }
            Scroll::LineDown => {
                self.window.top = (self.window.top + times).min(last);
                self.cursor.line = self.cursor.line.max(self.window.top);
            }
            Scroll::LineUp => {
                self.window.top = self.window.top.saturating_sub(times);
                let bottom = self.window.visible(&self.text, self.options.number).1;
                self.cursor.line = self.cursor.line.min(bottom);
            }
            Scroll::CursorTo(place) => {
                if let Some(line) = count {
                    self.cursor.line = (line.max(1) - 1).min(last);
                }
                let above = match place {
                    Place::Top => 0,
                    Place::Middle => rows / 2,
                    Place::Bottom => rows - 1,
                };
                self.window.top = self.cursor.line.saturating_sub(above);
            }
        }
        self.cursor = at(self.cursor.line, motion::first_text(&self.text, self.cursor.line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::keys::tests::keys_typed as keys;

    fn editor(text: &str) -> Editor {
        Editor::new(Text::new(text.split('\n').map(str::to_owned).collect()))
    }

    #[test]
    fn long_lines_wrap_and_short_texts_end_in_tildes() {
        let mut editor = editor("abcdefgh\n日本語x\n\tz");
        let frame = editor.frame(8, 5);
        assert_eq!(frame.rows, ["abcde", "fgh", "日本", "語x", "        ", "z", "~", ""]);
        keys(b"$").into_iter().for_each(|key| drop(editor.key(key)));
        assert_eq!(editor.frame(8, 5).cursor, (1, 2));
        keys(b"j$").into_iter().for_each(|key| drop(editor.key(key)));
        assert_eq!(editor.frame(8, 5).cursor, (3, 2));
    }

    #[test]
    fn the_cursor_is_always_seen() {
        let text: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
        let mut editor = Editor::new(Text::new(text));
        for (typed, first) in
            [("20G", "11"), ("G", "91"), ("1G", "1"), ("\x06", "9"), ("\x02", "1"), ("50Gzt", "50"), ("50Gz-", "41")]
        {
            keys(typed.as_bytes()).into_iter().for_each(|key| drop(editor.key(key)));
            let frame = editor.frame(11, 20);
            assert_eq!(frame.rows[0], first, "{typed:?}");
        }
        let mut long = Editor::new(Text::new(vec!["x".repeat(1000)]));
        keys(b"$").into_iter().for_each(|key| drop(long.key(key)));
        assert_eq!(long.frame(5, 10).cursor, (3, 9));
    }

    #[test]
    fn numbers_and_the_last_row() {
        let mut editor = editor("a\nb");
        keys(b":set nu\r:foo \x1b[31m").into_iter().for_each(|key| drop(editor.key(key)));
        let frame = editor.frame(4, 40);
        assert_eq!(frame.rows[0], "      1 a");
        assert_eq!(frame.rows[3], ":foo ");
        assert_eq!(frame.cursor, (3, 5));
    }
}
