//! From the bytes of a terminal to keys.

use std::io;

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

/// Read one key.
///
/// # Errors
/// What the terminal's read gave.
pub fn next(read: &mut Source) -> io::Result<Key> {
    let Some(byte) = read()? else { return Ok(Key::Gone) };
    Ok(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x03 => Key::Interrupt,
        0x04 => Key::EndOfFile,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x0b => Key::KillToEnd,
        0x0c => Key::ClearScreen,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x12 => Key::Search,
        0x14 => Key::Transpose,
        0x15 => Key::KillToStart,
        0x17 => Key::KillWord,
        0x19 => Key::Yank,
        0x1b => return escape(read),
        0x00..=0x1f => Key::Other,
        _ => return character(byte, read),
    })
}

/// The rest of a UTF-8 character. A wrong sequence is dropped.
fn character(first: u8, read: &mut Source) -> io::Result<Key> {
    let length = match first {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => return Ok(Key::Other),
    };
    let mut bytes = vec![first];
    while bytes.len() < length {
        match read()? {
            Some(byte) => bytes.push(byte),
            None => return Ok(Key::Gone),
        }
    }
    let decoded = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
    Ok(decoded.map_or(Key::Other, Key::Char))
}

/// What follows ESC: a control sequence (ECMA-48, 5.4), an SS3 key of a keypad, or Meta with a letter.
fn escape(read: &mut Source) -> io::Result<Key> {
    Ok(match read()? {
        None => Key::Gone,
        Some(b'[') => return control_sequence(read),
        Some(b'O') => match read()? {
            Some(byte) => named(byte),
            None => Key::Gone,
        },
        Some(b'b') => Key::WordLeft,
        Some(b'f') => Key::WordRight,
        Some(b'd') => Key::KillWordRight,
        Some(0x7f | 0x08) => Key::KillWord,
        Some(_) => Key::Other,
    })
}

fn control_sequence(read: &mut Source) -> io::Result<Key> {
    let mut parameters = Vec::new();
    loop {
        match read()? {
            None => return Ok(Key::Gone),
            // A final byte ends the sequence, and so does a wrong one.
            Some(byte @ 0x40..=0x7e) => {
                let modified = parameters.windows(2).any(|pair| pair == b";5" || pair == b";3");
                return Ok(match (byte, parameters.as_slice()) {
                    (b'C', _) if modified => Key::WordRight,
                    (b'D', _) if modified => Key::WordLeft,
                    (b'~', b"1" | b"7") => Key::Home,
                    (b'~', b"4" | b"8") => Key::End,
                    (b'~', b"3") => Key::Delete,
                    (b'~', _) => Key::Other,
                    _ => named(byte),
                });
            }
            Some(byte @ 0x20..=0x3f) if parameters.len() < 16 => parameters.push(byte),
            Some(_) => return Ok(Key::Other),
        }
    }
}

fn named(last: u8) -> Key {
    match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
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
