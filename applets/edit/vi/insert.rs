//! Insert and replace mode.

use super::editor::{Editor, Mode};
use super::text::at;
use crate::terminal::keys::Key;

impl Editor {
    /// A key while text is typed.
    pub(super) fn insert_key(&mut self, key: Key) {
        let Mode::Insert { over, typed, .. } = &mut self.mode else { return };
        let over = *over;
        if key != Key::Escape {
            typed.push(key);
        }
        if std::mem::take(&mut self.literal) {
            match key {
                Key::Char(character) => self.type_character(character, over),
                Key::Control(letter) => self.type_character(char::from(letter as u8 & 0x1f), over),
                Key::Escape => self.type_character('\x1b', over),
                Key::Tab => self.type_character('\t', over),
                Key::Enter => self.type_character('\r', over),
                _ => {}
            }
            return;
        }
        match key {
            Key::Escape | Key::Control('c') => self.end_insert(),
            Key::Char(character) => self.type_character(character, over),
            Key::Tab => self.type_character('\t', over),
            Key::Enter => self.break_line(),
            Key::Backspace if over => self.cursor.column = self.cursor.column.saturating_sub(1),
            Key::Backspace => self.rub_out(1),
            Key::Control('w') => {
                let chars = self.text.chars(self.cursor.line);
                let before = &chars[..self.cursor.column.min(chars.len())];
                let blanks = before.iter().rev().take_while(|c| c.is_whitespace()).count();
                let word = before.iter().rev().skip(blanks).take_while(|c| !c.is_whitespace()).count();
                self.rub_out((blanks + word).max(1));
            }
            Key::Control('u') => self.rub_out(self.cursor.column.max(1)),
            Key::Control('v') => self.literal = true,
            Key::Delete => self.delete_forward(),
            Key::Left => self.cursor.column = self.cursor.column.saturating_sub(1),
            Key::Right => self.cursor.column = (self.cursor.column + 1).min(self.text.length(self.cursor.line)),
            Key::Up => self.move_line(self.cursor.line.saturating_sub(1)),
            Key::Down => self.move_line((self.cursor.line + 1).min(self.text.last())),
            Key::Home => self.cursor.column = 0,
            Key::End => self.cursor.column = self.text.length(self.cursor.line),
            _ => {}
        }
    }

    fn move_line(&mut self, line: usize) {
        self.cursor = at(line, self.cursor.column.min(self.text.length(line)));
    }

    fn type_character(&mut self, character: char, over: bool) {
        if over && self.cursor.column < self.text.length(self.cursor.line) {
            let end = at(self.cursor.line, self.cursor.column + 1);
            self.text.remove(self.cursor, end);
        }
        self.text.insert(self.cursor, character.encode_utf8(&mut [0; 4]));
        self.cursor.column += 1;
    }

    fn break_line(&mut self) {
        let indent = self.indent_of(self.cursor.line);
        self.cursor = self.text.insert(self.cursor, &format!("\n{indent}"));
    }

    /// Take out so many characters before the cursor; at a line's start, its newline.
    fn rub_out(&mut self, count: usize) {
        let start = match self.cursor {
            at_start if at_start.column == 0 => match at_start.line.checked_sub(1) {
                Some(line) => at(line, self.text.length(line)),
                None => return,
            },
            cursor => at(cursor.line, cursor.column.saturating_sub(count)),
        };
        self.text.remove(start, self.cursor);
        self.cursor = start;
    }

    fn delete_forward(&mut self) {
        let cursor = self.cursor;
        if cursor.column < self.text.length(cursor.line) {
            self.text.remove(cursor, at(cursor.line, cursor.column + 1));
        } else if cursor.line < self.text.last() {
            self.text.remove(cursor, at(cursor.line + 1, 0));
        }
    }

    /// Escape: what was typed is inserted as often as the count said.
    fn end_insert(&mut self) {
        let Mode::Insert { over, count, typed } = std::mem::replace(&mut self.mode, Mode::Command) else { return };
        if count > 1 {
            self.mode = Mode::Insert { over, count: 1, typed: Vec::new() };
            for _ in 1..count {
                typed.iter().for_each(|key| self.insert_key(*key));
            }
            self.mode = Mode::Command;
        }
        self.cursor.column = self.cursor.column.saturating_sub(1);
    }
}
