//! Identifiers and names of containers.

use std::fs::File;
use std::io::{self, Read};

const ADJECTIVES: [&str; 32] = [
    "able", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "deft", "eager", "fair", "gentle", "glad",
    "happy", "hardy", "jolly", "keen", "kind", "lively", "merry", "mild", "neat", "nimble", "proud", "quick", "quiet",
    "sharp", "steady", "stout", "sunny", "swift", "wise",
];

/// Boats and what sails with them.
const NOUNS: [&str; 32] = [
    "anchor", "barge", "beacon", "buoy", "canoe", "clipper", "cutter", "dhow", "dinghy", "ferry", "galley", "harbour",
    "helm", "jetty", "junk", "kayak", "keel", "ketch", "lantern", "mast", "oar", "packet", "paddle", "pilot",
    "pinnace", "punt", "raft", "rudder", "schooner", "skiff", "sloop", "wherry",
];

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A new identifier: 64 hexadecimal digits. Its short form is not all digits, so that it is never taken for a number.
pub fn new_id() -> io::Result<String> {
    loop {
        let id: String = random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        if !short(&id).bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// The first twelve digits, which is what people see.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Whether a text is a whole identifier.
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name such as `nimble_ferry`; from the second attempt on with a number, so that one is free sooner or later.
pub fn generate(attempt: u32) -> io::Result<String> {
    let [adjective, noun, digit] = random::<3>()?;
    let pick = |list: &[&'static str; 32], byte: u8| list[usize::from(byte) % list.len()];
    let name = format!("{}_{}", pick(&ADJECTIVES, adjective), pick(&NOUNS, noun));
    Ok(if attempt == 0 { name } else { format!("{name}{}", u32::from(digit) + attempt) })
}

/// Check a name by Docker's rule.
pub fn parse(text: &str) -> Result<String, String> {
    let body = text.strip_prefix('/').unwrap_or(text);
    let mut bytes = body.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && body.len() >= 2 && body.len() <= 255 {
        Ok(body.to_owned())
    } else {
        Err(format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names() {
        let id = new_id().unwrap();
        assert!(is_id(&id) && short(&id).len() == 12);
        assert_ne!(id, new_id().unwrap());
        parse(&generate(0).unwrap()).unwrap();
        parse(&generate(9).unwrap()).unwrap();
        for wrong in ["", "a", "-ab", "a/b", "../x", "a b", "ä1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("/web.1").unwrap(), "web.1");
    }
}
