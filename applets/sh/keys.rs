//! What keys mean to the line editor.

use std::io;

use crate::terminal;

/// Where bytes come from: `None` at the end of input.
pub type Source<'a> = dyn FnMut() -> io::Result<Option<u8>> + 'a;

/// What the user pressed, by what it means in a line editor (emacs bindings, as in readline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character to insert.
    Char(char),
    /// Return.
    Enter,
    /// Complete the word.
    Tab,
    /// Delete before the cursor.
    Backspace,
    /// Delete at the cursor.
    Delete,
    /// Ctrl-D: delete at the cursor, or end of file in an empty line.
    EndOfFile,
    /// Ctrl-C.
    Interrupt,
    /// One character to the left.
    Left,
    /// One character to the right.
    Right,
    /// One word to the left.
    WordLeft,
    /// One word to the right.
    WordRight,
    /// Start of the line.
    Home,
    /// End of the line.
    End,
    /// Previous entry of the history.
    Up,
    /// Next entry.
    Down,
    /// Search the history backwards.
    Search,
    /// Delete to the end of the line.
    KillToEnd,
    /// Delete to the start.
    KillToStart,
    /// Delete the word before the cursor.
    KillWord,
    /// Delete the word after it.
    KillWordRight,
    /// Insert what was deleted last.
    Yank,
    /// Swap two characters.
    Transpose,
    /// Redraw on an empty screen.
    ClearScreen,
    /// Nothing that an editor knows.
    Other,
    /// The terminal is gone.
    Gone,
}

/// A byte source that is asked for whole keys only: Escape is never a key of its own here.
struct Blocking<'a, 'b>(&'a mut Source<'b>);

impl terminal::keys::Source for Blocking<'_, '_> {
    fn byte(&mut self) -> io::Result<Option<u8>> {
        (self.0)()
    }

    fn follows(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}

/// Read one key.
///
/// # Errors
/// What the terminal's read gave.
pub fn next(read: &mut Source) -> io::Result<Key> {
    Ok(meaning(terminal::keys::next(&mut Blocking(read))?))
}

fn meaning(key: terminal::keys::Key) -> Key {
    use terminal::keys::Key as Pressed;
    match key {
        Pressed::Char(character) => Key::Char(character),
        Pressed::Enter => Key::Enter,
        Pressed::Tab => Key::Tab,
        Pressed::Backspace => Key::Backspace,
        Pressed::Control('a') | Pressed::Home => Key::Home,
        Pressed::Control('b') | Pressed::Left => Key::Left,
        Pressed::Control('c') => Key::Interrupt,
        Pressed::Control('d') => Key::EndOfFile,
        Pressed::Control('e') | Pressed::End => Key::End,
        Pressed::Control('f') | Pressed::Right => Key::Right,
        Pressed::Control('k') => Key::KillToEnd,
        Pressed::Control('l') => Key::ClearScreen,
        Pressed::Control('n') | Pressed::Down => Key::Down,
        Pressed::Control('p') | Pressed::Up => Key::Up,
        Pressed::Control('r') => Key::Search,
        Pressed::Control('t') => Key::Transpose,
        Pressed::Control('u') => Key::KillToStart,
        Pressed::Control('w') | Pressed::MetaBackspace => Key::KillWord,
        Pressed::Control('y') => Key::Yank,
        Pressed::Meta('b') | Pressed::WordLeft => Key::WordLeft,
        Pressed::Meta('f') | Pressed::WordRight => Key::WordRight,
        Pressed::Meta('d') => Key::KillWordRight,
        Pressed::Delete => Key::Delete,
        Pressed::Gone => Key::Gone,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut bytes = bytes.iter().copied();
        let mut read = || Ok(bytes.next());
        let mut keys = Vec::new();
        loop {
            match next(&mut read).unwrap() {
                Key::Gone => return keys,
                key => keys.push(key),
            }
        }
    }

    #[test]
    fn letters_controls_and_sequences() {
        assert_eq!(
            keys("aé\u{1F980}\x01\x1b[A\x1bOB\x1b[3~\x1b[1;5C\x1bb\r".as_bytes()),
            [
                Key::Char('a'),
                Key::Char('é'),
                Key::Char('\u{1F980}'),
                Key::Home,
                Key::Up,
                Key::Down,
                Key::Delete,
                Key::WordRight,
                Key::WordLeft,
                Key::Enter
            ]
        );
    }

    #[test]
    fn noise_and_reports_of_the_terminal_are_dropped() {
        assert_eq!(keys(b"\x1b[24;80R"), [Key::Other]);
        assert_eq!(keys(b"\xffa\xc3("), [Key::Other, Key::Char('a'), Key::Other]);
        assert_eq!(keys(b"\x1b["), []);
    }
}
