//! How much room text takes on a terminal.

use unicode_width::UnicodeWidthChar;

/// Columns from one tab stop to the next.
pub const TAB: usize = 8;

/// Stands for a byte that is part of no UTF-8 character: the last code points of plane 16, which are private and seen nowhere.
const RAW: u32 = 0x10_ff00;

/// Text from bytes; what is no UTF-8 becomes private characters, from which `to_bytes` makes the same bytes again. So do the bytes of
/// such characters, should the text hold them.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match raw_byte(character) {
                Some(_) => character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push(raw_char(byte))),
                None => text.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push(raw_char(*byte)));
    }
    text
}

/// The bytes of a text that `from_bytes` made.
pub fn to_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match raw_byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

fn raw_char(byte: u8) -> char {
    char::from_u32(RAW | u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a private character stands for.
pub fn raw_byte(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(RAW)?;
    u8::try_from(byte).ok().filter(|byte| *byte >= 0x80)
}

/// How a character is shown at a column: tabs as spaces, what a terminal would obey as `^X`, a byte that is no text as `\xHH`.
pub fn shown(character: char, column: usize) -> String {
    if let Some(byte) = raw_byte(character) {
        return format!("\\x{byte:02x}");
    }
    match character {
        '\t' => " ".repeat(TAB - column % TAB),
        '\0'..='\x1f' => format!("^{}", char::from(character as u8 | 0x40)),
        '\x7f' => "^?".into(),
        '\u{80}'..='\u{9f}' => format!("\\u{:02x}", u32::from(character)),
        // Zero width or not there: shown as a code point, for an invisible character must not hide.
        _ if character.width().unwrap_or(0) == 0 && !is_combining(character) => format!("<{:x}>", u32::from(character)),
        _ => character.into(),
    }
}

/// A character that joins the one before and is seen there.
fn is_combining(character: char) -> bool {
    matches!(u32::from(character), 0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f | 0x900..=0x903
        | 0x93a..=0x94f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f)
}

/// Columns that a shown text takes.
pub fn of(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_shown() {
        assert_eq!(shown('a', 3), "a");
        assert_eq!(shown('\t', 3), "     ");
        assert_eq!(shown('\x1b', 0), "^[");
        assert_eq!(shown(from_bytes(b"\xff").chars().next().unwrap(), 0), "\\xff");
        assert_eq!(shown('\u{200b}', 0), "<200b>");
        assert_eq!(shown('\u{202e}', 0), "<202e>");
        assert_eq!((of("日本"), of("ä"), of("a\u{301}")), (4, 1, 1));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(to_bytes(&from_bytes(&bytes)), bytes);
        }
    }

    #[test]
    fn a_private_character_comes_back_too() {
        let bytes = "a\u{10ff80}\u{10ffff}b".as_bytes();
        assert_eq!(to_bytes(&from_bytes(bytes)), bytes);
    }
}
