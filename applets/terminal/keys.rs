//! From the bytes of a terminal to keys.

use std::io;

/// Where bytes come from.
pub trait Source {
    /// The next byte; `None` at the end of input.
    ///
    /// # Errors
    /// What the terminal's read gave.
    fn byte(&mut self) -> io::Result<Option<u8>>;

    /// Whether a byte follows at once: what tells the Escape key from the sequences that other keys send. A source that cannot know
    /// says yes, and Escape alone waits for the next key.
    ///
    /// # Errors
    /// What the terminal's poll gave.
    fn follows(&mut self) -> io::Result<bool>;
}

/// What the user pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A character.
    Char(char),
    /// Control and a letter, or one of ``@[\]^_``, in lower case: `Control('c')`.
    Control(char),
    /// Alt (or Escape before) and a character.
    Meta(char),
    /// Return.
    Enter,
    /// Tab.
    Tab,
    /// Delete before the cursor.
    Backspace,
    /// Alt and Backspace.
    MetaBackspace,
    /// Escape alone.
    Escape,
    /// Delete at the cursor.
    Delete,
    /// Insert.
    Insert,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Cursor left with Control or Alt.
    WordLeft,
    /// Cursor right with Control or Alt.
    WordRight,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// A sequence that means nothing here.
    Other,
    /// The terminal has another size now.
    Resized,
    /// The terminal is gone, or the process is asked to end.
    Gone,
}

/// Read one key.
///
/// # Errors
/// What the source gave.
pub fn next(source: &mut dyn Source) -> io::Result<Key> {
    let Some(byte) = source.byte()? else { return Ok(Key::Gone) };
    Ok(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x1b => return escape(source),
        // Control takes bit 6 off; letters are named in lower case.
        0x00..=0x1f => Key::Control(char::from(byte | 0x40).to_ascii_lowercase()),
        _ => return character(byte, source),
    })
}

/// The rest of a UTF-8 character. A wrong sequence is dropped.
fn character(first: u8, source: &mut dyn Source) -> io::Result<Key> {
    let length = match first {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => return Ok(Key::Other),
    };
    let mut bytes = vec![first];
    while bytes.len() < length {
        match source.byte()? {
            Some(byte) => bytes.push(byte),
            None => return Ok(Key::Gone),
        }
    }
    let decoded = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
    Ok(decoded.map_or(Key::Other, Key::Char))
}

/// What follows ESC: a control sequence (ECMA-48, 5.4), an SS3 key of a keypad, or Meta with a character.
fn escape(source: &mut dyn Source) -> io::Result<Key> {
    if !source.follows()? {
        return Ok(Key::Escape);
    }
    Ok(match source.byte()? {
        None => Key::Gone,
        Some(b'[') => return control_sequence(source),
        Some(b'O') => match source.byte()? {
            Some(byte) => named(byte),
            None => Key::Gone,
        },
        Some(0x7f | 0x08) => Key::MetaBackspace,
        Some(byte @ 0x20..=0x7e) => Key::Meta(char::from(byte)),
        Some(0x1b) => Key::Escape,
        Some(_) => Key::Other,
    })
}

fn control_sequence(source: &mut dyn Source) -> io::Result<Key> {
    let mut parameters = Vec::new();
    loop {
        match source.byte()? {
            None => return Ok(Key::Gone),
            // A final byte ends the sequence, and so does a wrong one.
            Some(byte @ 0x40..=0x7e) => {
                let modified = parameters.windows(2).any(|pair| pair == b";5" || pair == b";3");
                return Ok(match (byte, parameters.as_slice()) {
                    (b'C', _) if modified => Key::WordRight,
                    (b'D', _) if modified => Key::WordLeft,
                    (b'~', b"1" | b"7") => Key::Home,
                    (b'~', b"2") => Key::Insert,
                    (b'~', b"3") => Key::Delete,
                    (b'~', b"4" | b"8") => Key::End,
                    (b'~', b"5") => Key::PageUp,
                    (b'~', b"6") => Key::PageDown,
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
pub mod tests {
    use super::*;

    /// Bytes that are all there at once.
    struct Typed<'a> {
        bytes: &'a [u8],
        /// Escape and a letter is Alt and the letter, not two keys.
        meta: bool,
    }

    impl Source for Typed<'_> {
        fn byte(&mut self) -> io::Result<Option<u8>> {
            Ok(self.bytes.split_off_first().copied())
        }

        fn follows(&mut self) -> io::Result<bool> {
            Ok(self.bytes.first().is_some_and(|byte| *byte == b'[' || (self.meta && *byte != 0x1b)))
        }
    }

    fn keys(bytes: &[u8]) -> Vec<Key> {
        read(Typed { bytes, meta: true })
    }

    /// All keys in these bytes, as if typed by hand: Escape is a key of its own unless `[` follows.
    pub fn keys_typed(bytes: &[u8]) -> Vec<Key> {
        read(Typed { bytes, meta: false })
    }

    fn read(mut source: Typed) -> Vec<Key> {
        let mut keys = Vec::new();
        loop {
            match next(&mut source).unwrap() {
                Key::Gone => return keys,
                key => keys.push(key),
            }
        }
    }

    #[test]
    fn letters_controls_and_sequences() {
        assert_eq!(
            keys("aé\x01\x1d\0\x1b[A\x1bOB\x1b[3~\x1b[5~\x1b[1;5C\x1bb\x1b\x7f\r\x1b\x1b".as_bytes()),
            [
                Key::Char('a'),
                Key::Char('é'),
                Key::Control('a'),
                Key::Control(']'),
                Key::Control('@'),
                Key::Up,
                Key::Down,
                Key::Delete,
                Key::PageUp,
                Key::WordRight,
                Key::Meta('b'),
                Key::MetaBackspace,
                Key::Enter,
                Key::Escape,
                Key::Escape
            ]
        );
    }

    #[test]
    fn noise_is_dropped() {
        assert_eq!(keys(b"\x1b[24;80R\xffa\xc3("), [Key::Other, Key::Other, Key::Char('a'), Key::Other]);
        assert_eq!(keys(b"\x1b["), []);
    }
}
