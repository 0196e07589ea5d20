//! Operators and the other commands that change text.

use super::editor::{Editor, Mode, Register};
use super::keys::{Operator, Target};
use super::motion::{self, Extent, Motion};
use super::text::{Position, at};

/// Columns of one shift.
const SHIFT: usize = 8;

/// What an operator works on.
enum Span {
    /// Up to a place.
    Chars(Position, Position),
    /// Lines, the last included.
    Lines(usize, usize),
}

impl Editor {
    pub(super) fn operate(
        &mut self,
        operator: Operator,
        target: Target,
        count: Option<usize>,
        register: Option<char>,
    ) -> Result<(), String> {
        let span = match target {
            Target::Lines => {
                let last = self.cursor.line + count.unwrap_or(1).max(1) - 1;
                Span::Lines(self.cursor.line, last.min(self.text.last()))
            }
            Target::Motion(motion) => self.span(operator, motion, count)?,
        };
        match (operator, span) {
            (Operator::ShiftRight | Operator::ShiftLeft, span) => {
                let (first, last) = match span {
                    Span::Lines(first, last) => (first, last),
                    Span::Chars(from, to) => (from.line, to.line),
                };
                self.shift(first, last, operator == Operator::ShiftRight, 1);
                self.cursor = at(first, motion::first_text(&self.text, first));
            }
            (Operator::Yank, Span::Lines(first, last)) => {
                self.store(register, Register::Lines(self.text.lines()[first..=last].to_vec()));
                self.cursor.line = first;
            }
            (Operator::Yank, Span::Chars(from, to)) => {
                self.store(register, Register::Chars(self.text.between(from, to)));
                self.cursor = from;
            }
            (Operator::Delete, Span::Lines(first, last)) => self.delete_lines(first, last, register),
            (Operator::Delete, Span::Chars(from, to)) => {
                let removed = self.text.remove(from, to);
                self.store(register, Register::Chars(removed));
                self.cursor = from;
            }
            (Operator::Change, Span::Lines(first, last)) => {
                let indent = self.indent_of(first);
                self.store(register, Register::Lines(self.text.lines()[first..=last].to_vec()));
                self.cursor = at(first, indent.chars().count());
                self.text.splice(first..last + 1, vec![indent]);
                self.mode = Mode::Insert { over: false, count: 1, typed: Vec::new() };
            }
            (Operator::Change, Span::Chars(from, to)) => {
                let removed = self.text.remove(from, to);
                self.store(register, Register::Chars(removed));
                self.cursor = from;
                self.mode = Mode::Insert { over: false, count: 1, typed: Vec::new() };
            }
        }
        Ok(())
    }

    /// From the cursor to where a motion leads, in order.
    fn span(&mut self, operator: Operator, motion: Motion, count: Option<usize>) -> Result<Span, String> {
        let length = self.text.length(self.cursor.line);
        // Change, delete and yank of nothing: an empty line has no character to take, but can be typed in.
        if length == 0 && matches!(motion, Motion::Right | Motion::LineEnd) && count.is_none_or(|count| count == 1) {
            return match operator {
                Operator::Change => Ok(Span::Chars(self.cursor, self.cursor)),
                _ => Err(String::new()),
            };
        }
        let mut extent = motion::extent(motion);
        let mut motion = motion;
        if let (Operator::Change, Motion::WordForward { big }) = (operator, motion)
            && self.text.chars(self.cursor.line).get(self.cursor.column).is_some_and(|c| !c.is_whitespace())
        {
            // cw changes the word, not the blanks behind it.
            (motion, extent) = (Motion::WordEnd { big }, Extent::Inclusive);
        }
        let to = match motion {
            Motion::WordEnd { big } if operator == Operator::Change => {
                motion::word_end_from_here(&self.text, self.cursor, big, count.unwrap_or(1))
            }
            motion => self.destination(motion, count)?,
        };
        let (from, to) = if to < self.cursor { (to, self.cursor) } else { (self.cursor, to) };
        if extent == Extent::Lines {
            return Ok(Span::Lines(from.line, to.line));
        }
        if extent == Extent::Inclusive {
            let end = (to.column + 1).min(self.text.length(to.line));
            return Ok(Span::Chars(from, at(to.line, end)));
        }
        if matches!(motion, Motion::WordForward { .. }) && to.line > from.line {
            // A word at the end of a line does not take the line's end with it.
            if to.column <= motion::first_text(&self.text, to.line) {
                let line = to.line - 1;
                return Ok(Span::Chars(from, at(line, self.text.length(line))));
            }
        } else if to.column == 0 && to.line > from.line {
            // Up to the start of a line is up to the end of the one before; from the start of one, whole lines.
            let line = to.line - 1;
            if from.column == 0 || from.column <= motion::first_text(&self.text, from.line) && length > 0 {
                return Ok(Span::Lines(from.line, line));
            }
            return Ok(Span::Chars(from, at(line, self.text.length(line))));
        }
        Ok(Span::Chars(from, to))
    }

    /// Keep text in a register; a capital letter adds to the one of the small letter.
    pub(super) fn store(&mut self, register: Option<char>, content: Register) {
        self.unnamed = Some(content.clone());
        let Some(name) = register.filter(|name| name.is_ascii_alphabetic()) else { return };
        let old = if name.is_ascii_uppercase() { self.registers.remove(&name.to_ascii_lowercase()) } else { None };
        let all = match (old, content) {
            (Some(Register::Lines(mut lines)), Register::Lines(more)) => {
                lines.extend(more);
                Register::Lines(lines)
            }
            (Some(Register::Chars(text)), Register::Chars(more)) => Register::Chars(text + &more),
            (Some(Register::Chars(text)), Register::Lines(more)) => {
                Register::Lines(text.split('\n').map(str::to_owned).chain(more).collect())
            }
            (Some(Register::Lines(mut lines)), Register::Chars(more)) => {
                lines.extend(more.split('\n').map(str::to_owned));
                Register::Lines(lines)
            }
            (None, content) => content,
        };
        self.registers.insert(name.to_ascii_lowercase(), all);
    }

    /// Delete whole lines.
    pub(super) fn delete_lines(&mut self, first: usize, last: usize, register: Option<char>) {
        self.store(register, Register::Lines(self.text.lines()[first..=last].to_vec()));
        self.text.splice(first..last + 1, Vec::new());
        let line = first.min(self.text.last());
        self.cursor = at(line, motion::first_text(&self.text, line));
    }

    /// Move lines by so many shifts; an empty one stays.
    pub(super) fn shift(&mut self, first: usize, last: usize, right: bool, times: usize) {
        for line in first..=last {
            let mut text = self.text.line(line).to_owned();
            for _ in 0..times {
                if right {
                    if !text.is_empty() {
                        text.insert(0, '\t');
                    }
                } else if let Some(rest) = text.strip_prefix('\t') {
                    text = rest.to_owned();
                } else {
                    let blanks = text.bytes().take(SHIFT).take_while(|byte| *byte == b' ').count();
                    text = text[blanks..].to_owned();
                }
            }
            if text != self.text.line(line) {
                self.text.set(line, text);
            }
        }
    }

    pub(super) fn put(&mut self, before: bool, times: usize, register: Option<char>) -> Result<(), String> {
        let content = match register.filter(|name| name.is_ascii_alphabetic()) {
            Some(name) => self.registers.get(&name.to_ascii_lowercase()),
            None => self.unnamed.as_ref(),
        };
        match content.cloned().ok_or("nothing in the register")? {
            Register::Lines(lines) => {
                let line = self.cursor.line + usize::from(!before);
                let all: Vec<String> = std::iter::repeat_n(lines, times).flatten().collect();
                self.text.splice(line..line, all);
                self.cursor = at(line, motion::first_text(&self.text, line));
            }
            Register::Chars(text) => {
                let column = self.cursor.column + usize::from(!before);
                let place = at(self.cursor.line, column.min(self.text.length(self.cursor.line)));
                let end = self.text.insert(place, &text.repeat(times));
                self.cursor = if text.contains('\n') { place } else { at(end.line, end.column.saturating_sub(1)) };
            }
        }
        Ok(())
    }

    /// Join lines, with a blank where there was a newline.
    pub(super) fn join(&mut self, line: usize, count: usize) -> Result<(), String> {
        if line == self.text.last() {
            return Err("no line to join".into());
        }
        let last = (line + count - 1).min(self.text.last());
        let mut joined = self.text.line(line).to_owned();
        let mut column = joined.chars().count().saturating_sub(1);
        for next in line + 1..=last {
            let next = self.text.line(next).trim_start();
            column = joined.chars().count();
            let blank =
                !joined.is_empty() && !joined.ends_with([' ', '\t']) && !next.is_empty() && !next.starts_with(')');
            if blank {
                joined.push(' ');
            }
            joined.push_str(next);
        }
        self.text.splice(line..last + 1, vec![joined]);
        self.cursor = at(line, column);
        Ok(())
    }

    pub(super) fn replace_characters(&mut self, character: char, times: usize) -> Result<(), String> {
        let end = self.cursor.column + times;
        if end > self.text.length(self.cursor.line) {
            return Err(String::new());
        }
        self.text.remove(self.cursor, at(self.cursor.line, end));
        if character == '\n' {
            self.cursor = self.text.insert(self.cursor, "\n");
        } else {
            let after = self.text.insert(self.cursor, &String::from(character).repeat(times));
            self.cursor.column = after.column - 1;
        }
        Ok(())
    }

    pub(super) fn toggle_case(&mut self, times: usize) {
        let end = (self.cursor.column + times).min(self.text.length(self.cursor.line));
        let end = at(self.cursor.line, end);
        let toggled: String = self
            .text
            .between(self.cursor, end)
            .chars()
            .flat_map(|c| -> Vec<char> {
                if c.is_lowercase() { c.to_uppercase().collect() } else { c.to_lowercase().collect() }
            })
            .collect();
        self.text.remove(self.cursor, end);
        self.cursor = self.text.insert(self.cursor, &toggled);
    }
}
