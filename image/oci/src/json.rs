//! Foreign JSON documents.

use serde::de::DeserializeOwned;

/// Read a document that must be an object. serde reads a struct from an array of its fields' values just as well, and another reader
/// would not: what has two meanings is refused.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        _ => Err("it is no JSON object".into()),
    }
}

/// How many marks that begin or divide values (`{`, `[`, `,`) are outside of its strings, which bounds its values
/// before they are in memory.
pub(crate) fn marks(bytes: &[u8]) -> usize {
    let (mut count, mut rest) = (0, bytes.iter());
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'[' | b',' => count += 1,
            b'"' => {
                while let Some(byte) = rest.next() {
                    match byte {
                        b'\\' => drop(rest.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    count
}
