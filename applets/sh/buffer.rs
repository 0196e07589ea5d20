//! The line being edited: text and cursor, without a terminal.

/// Text with a cursor, which is a byte offset at a character's boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    text: String,
    cursor: usize,
    killed: String,
}

impl Buffer {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The cursor's byte offset.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Whether the cursor stands behind the text.
    pub fn at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// Characters before the cursor.
    pub fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Replace the whole text; the cursor goes to its end.
    pub fn set(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        self.cursor = self.text.len();
    }

    /// Replace a range of bytes; the cursor goes behind the new text. A range that cuts a character is ignored.
    pub fn replace(&mut self, start: usize, end: usize, new: &str) {
        if start <= end && self.text.is_char_boundary(start) && self.text.is_char_boundary(end) {
            self.text.replace_range(start..end, new);
            self.cursor = start + new.len();
        }
    }

    /// Insert at the cursor.
    pub fn insert(&mut self, character: char) {
        self.text.insert(self.cursor, character);
        self.cursor += character.len_utf8();
    }

    /// Start of the character before the cursor.
    fn left_of_cursor(&self) -> usize {
        self.before().char_indices().next_back().map_or(0, |(at, _)| at)
    }

    /// End of the character at the cursor.
    fn right_of_cursor(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    /// Start of the word before the cursor; words are divided as `divides` says.
    fn word_left(&self, divides: fn(char) -> bool) -> usize {
        let before = self.before().trim_end_matches(divides);
        before.rfind(divides).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8))
    }

    fn word_right(&self) -> usize {
        let rest = &self.text[self.cursor..];
        let gap = rest.len() - rest.trim_start_matches(is_gap).len();
        self.cursor + rest[gap..].find(is_gap).map_or(rest.len(), |at| gap + at)
    }

    /// Move the cursor.
    pub fn left(&mut self) {
        self.cursor = self.left_of_cursor();
    }

    /// Move the cursor.
    pub fn right(&mut self) {
        self.cursor = self.right_of_cursor();
    }

    /// Move the cursor a word to the left.
    pub fn word_back(&mut self) {
        self.cursor = self.word_left(is_gap);
    }

    /// Move the cursor a word to the right.
    pub fn word_forward(&mut self) {
        self.cursor = self.word_right();
    }

    /// Move the cursor to the start.
    pub fn home(&mut self) {
        self.cursor = 0;
    }

    /// Move the cursor to the end.
    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Delete the character before the cursor.
    pub fn backspace(&mut self) {
        let start = self.left_of_cursor();
        self.replace(start, self.cursor, "");
    }

    /// Delete the character at the cursor.
    pub fn delete(&mut self) {
        let end = self.right_of_cursor();
        self.replace(self.cursor, end, "");
    }

    /// Delete to the end of the line.
    pub fn kill_to_end(&mut self) {
        self.kill(self.cursor, self.text.len());
    }

    /// Delete to the start of the line.
    pub fn kill_to_start(&mut self) {
        self.kill(0, self.cursor);
    }

    /// Delete the word before the cursor, words being what spaces divide.
    pub fn kill_word(&mut self) {
        self.kill(self.word_left(char::is_whitespace), self.cursor);
    }

    /// Delete the word after the cursor.
    pub fn kill_word_right(&mut self) {
        self.kill(self.cursor, self.word_right());
    }

    fn kill(&mut self, start: usize, end: usize) {
        if start < end {
            self.killed = self.text[start..end].to_owned();
            self.replace(start, end, "");
        }
    }

    /// Insert what was deleted last.
    pub fn yank(&mut self) {
        let killed = self.killed.clone();
        self.replace(self.cursor, self.cursor, &killed);
    }

    /// Swap the characters around the cursor, or the last two.
    pub fn transpose(&mut self) {
        if self.at_end() {
            self.left();
        }
        let (start, end) = (self.left_of_cursor(), self.right_of_cursor());
        if start < self.cursor {
            let swapped: String = self.text[start..end].chars().rev().collect();
            self.replace(start, end, &swapped);
        }
    }
}

fn is_gap(character: char) -> bool {
    !character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(text: &str) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.set(text);
        buffer
    }

    #[test]
    fn deletes_whole_characters() {
        let mut line = buffer("aé");
        line.backspace();
        assert_eq!(line.text(), "a");
        line.home();
        line.delete();
        line.delete();
        line.backspace();
        assert_eq!((line.text(), line.cursor()), ("", 0));
    }

    #[test]
    fn words() {
        let mut line = buffer("ls /usr/lib  ");
        line.kill_word();
        assert_eq!(line.text(), "ls ");
        line.yank();
        assert_eq!(line.text(), "ls /usr/lib  ");
        line.word_back();
        assert_eq!(line.before(), "ls /usr/");
        line.word_back();
        line.word_back();
        assert_eq!(line.cursor(), 0);
        line.word_forward();
        assert_eq!(line.before(), "ls");
        line.kill_word_right();
        assert_eq!(line.text(), "ls/lib  ");
    }

    #[test]
    fn transpose_and_kill() {
        let mut line = buffer("abc");
        line.transpose();
        assert_eq!(line.text(), "acb");
        line.home();
        line.transpose();
        assert_eq!(line.text(), "acb");
        line.right();
        line.kill_to_end();
        assert_eq!(line.text(), "a");
        line.kill_to_start();
        assert_eq!(line.text(), "");
    }
}
