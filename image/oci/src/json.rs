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
