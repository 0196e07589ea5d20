//! The text being edited: lines, and every change to them so that it can be undone.

use std::ops::Range;

/// A place in the text: line, and character in it, both from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Character.
    pub column: usize,
}

/// A place in the text.
pub fn at(line: usize, column: usize) -> Position {
    Position { line, column }
}

/// Lines that took the place of others.
#[derive(Clone, Debug)]
struct Change {
    line: usize,
    removed: Vec<String>,
    inserted: Vec<String>,
}

/// What one undo takes back.
#[derive(Clone, Debug, Default)]
struct Step {
    changes: Vec<Change>,
    cursor: Position,
}

/// Lines without their newlines; there is one at least.
#[derive(Debug)]
pub struct Text {
    lines: Vec<String>,
    open: Step,
    undone: Vec<Step>,
    done: Vec<Step>,
    /// Length of `done` when the text was saved; `None` if no undo leads there any more.
    saved: Option<usize>,
}

impl Text {
    /// From its lines.
    pub fn new(mut lines: Vec<String>) -> Self {
        if lines.is_empty() {
            lines.push(String::new());
        }
        Self { lines, open: Step::default(), undone: Vec::new(), done: Vec::new(), saved: Some(0) }
    }

    /// All lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A line; empty beyond the end.
    pub fn line(&self, line: usize) -> &str {
        self.lines.get(line).map_or("", String::as_str)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// The last one.
    pub fn last(&self) -> usize {
        self.lines.len() - 1
    }

    /// Characters of a line.
    pub fn chars(&self, line: usize) -> Vec<char> {
        self.line(line).chars().collect()
    }

    /// Length of a line in characters.
    pub fn length(&self, line: usize) -> usize {
        self.line(line).chars().count()
    }

    /// Put lines in the place of others. If none would be left, an empty one is.
    pub fn splice(&mut self, range: Range<usize>, mut with: Vec<String>) {
        let range = range.start.min(self.lines.len())..range.end.min(self.lines.len());
        if with.is_empty() && range.len() == self.lines.len() {
            with.push(String::new());
        }
        // Typing in one line is one change, not one for each letter.
        let again = self.open.changes.last_mut().filter(|last| {
            last.line == range.start
                && last.inserted.len() == 1
                && last.removed.len() == 1
                && range.len() == 1
                && with.len() == 1
        });
        if let Some(last) = again {
            last.inserted.clone_from(&with);
            self.lines[range.start].clone_from(&with[0]);
            return;
        }
        let line = range.start;
        let removed = self.lines.splice(range, with.iter().cloned()).collect();
        self.open.changes.push(Change { line, removed, inserted: with });
    }

    /// Replace one line.
    pub fn set(&mut self, line: usize, text: String) {
        self.splice(line..line + 1, vec![text]);
    }

    /// Put text at a place; newlines in it divide lines. Gives the place behind it.
    pub fn insert(&mut self, place: Position, text: &str) -> Position {
        let (before, after) = self.divide(place);
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let last = lines.len() - 1;
        lines[0].insert_str(0, &before);
        let end = at(place.line + last, lines[last].chars().count());
        lines[last].push_str(&after);
        self.splice(place.line..place.line + 1, lines);
        end
    }

    /// The text from one place up to another.
    pub fn between(&self, from: Position, to: Position) -> String {
        if from.line == to.line {
            return self
                .line(from.line)
                .chars()
                .skip(from.column)
                .take(to.column.saturating_sub(from.column))
                .collect();
        }
        let mut text: String = self.line(from.line).chars().skip(from.column).collect();
        for line in from.line + 1..to.line {
            text.push('\n');
            text.push_str(self.line(line));
        }
        text.push('\n');
        text.extend(self.line(to.line).chars().take(to.column));
        text
    }

    /// Take out the text from one place up to another.
    pub fn remove(&mut self, from: Position, to: Position) -> String {
        let removed = self.between(from, to);
        let joined = self.divide(from).0 + &self.divide(to).1;
        self.splice(from.line..to.line + 1, vec![joined]);
        removed
    }

    /// A line's two parts.
    fn divide(&self, place: Position) -> (String, String) {
        let line = self.line(place.line);
        let byte = line.char_indices().nth(place.column).map_or(line.len(), |(byte, _)| byte);
        (line[..byte].to_owned(), line[byte..].to_owned())
    }

    /// End a step: what changed since the last end is undone together, and the cursor then stands at `cursor`.
    pub fn commit(&mut self, cursor: Position) {
        if self.open.changes.is_empty() {
            return;
        }
        let mut step = std::mem::take(&mut self.open);
        step.cursor = cursor;
        if self.saved.is_some_and(|saved| saved > self.done.len()) {
            self.saved = None;
        }
        self.undone.clear();
        self.done.push(step);
    }

    /// Take back the last step; gives where the cursor was.
    pub fn undo(&mut self) -> Option<Position> {
        let step = self.done.pop()?;
        for change in step.changes.iter().rev() {
            self.lines.splice(change.line..change.line + change.inserted.len(), change.removed.iter().cloned());
        }
        let cursor = step.cursor;
        self.undone.push(step);
        Some(cursor)
    }

    /// Do again what was taken back last.
    pub fn redo(&mut self) -> Option<Position> {
        let step = self.undone.pop()?;
        for change in &step.changes {
            self.lines.splice(change.line..change.line + change.removed.len(), change.inserted.iter().cloned());
        }
        let cursor = at(step.changes.first().map_or(0, |change| change.line), 0);
        self.done.push(step);
        Some(cursor)
    }

    /// The text as it is now is what the file holds.
    pub fn mark_saved(&mut self) {
        self.saved = Some(self.done.len());
    }

    /// Has anything changed since the last step ended?
    pub fn is_open(&self) -> bool {
        !self.open.changes.is_empty()
    }

    /// Does it differ from the file?
    pub fn is_changed(&self) -> bool {
        self.saved != Some(self.done.len()) || !self.open.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &str) -> Text {
        Text::new(lines.split('\n').map(str::to_owned).collect())
    }

    #[test]
    fn insert_and_remove_over_lines() {
        let mut text = text("abc\ndef\nghi");
        assert_eq!(text.insert(at(1, 1), "X\nYä"), at(2, 2));
        assert_eq!(text.lines(), ["abc", "dX", "Yäef", "ghi"]);
        assert_eq!(text.remove(at(0, 2), at(2, 2)), "c\ndX\nYä");
        assert_eq!(text.lines(), ["abef", "ghi"]);
    }

    #[test]
    fn undo_to_the_start_and_back() {
        let mut text = text("one\ntwo");
        text.insert(at(0, 3), "!");
        text.insert(at(0, 4), "!");
        text.commit(at(0, 2));
        text.splice(0..2, Vec::new());
        text.commit(at(1, 0));
        assert_eq!(text.lines(), [""]);
        text.mark_saved();
        assert_eq!(text.undo(), Some(at(1, 0)));
        assert!(text.is_changed());
        assert_eq!(text.lines(), ["one!!", "two"]);
        assert_eq!(text.undo(), Some(at(0, 2)));
        assert_eq!(text.lines(), ["one", "two"]);
        assert_eq!(text.undo(), None);
        text.redo();
        text.redo();
        assert_eq!(text.redo(), None);
        assert_eq!((text.lines(), text.is_changed()), (&[String::new()][..], false));
        // A way that leads to the saved text no more.
        text.undo();
        text.insert(at(0, 0), "x");
        text.commit(at(0, 0));
        text.undo();
        text.redo();
        assert!(text.is_changed());
    }
}
