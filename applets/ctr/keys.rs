//! The keys that leave a terminal while its container runs on, in Docker's notation: `ctrl-p,ctrl-q`.

/// A sequence of keys, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

/// Docker's.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Read keys: single characters, or `ctrl-` and one of `a` to `z`, `@`, `[`, `\`, `]`, `^`, `_`, separated by commas.
pub fn parse(text: &str) -> Result<Keys, String> {
    text.split(',').map(key).collect::<Option<_>>().map(Keys).ok_or_else(|| {
        format!("{text:?}: wanted keys such as a, ctrl-p, ctrl-@, ctrl-[, ctrl-\\, ctrl-], ctrl-^ or ctrl-_, separated by commas")
    })
}

fn key(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [key] => Some(*key),
        [b'c', b't', b'r', b'l', b'-', key @ (b'a'..=b'z' | b'@' | b'['..=b'_')] => Some(key & 0x1f),
        _ => None,
    }
}

/// Looks for the keys in what is typed.
pub struct Watch {
    keys: Keys,
    /// How many of the keys came last; they are held back until it is clear what they mean.
    held: usize,
}

impl Watch {
    /// Start with nothing typed.
    pub fn new(keys: Keys) -> Self {
        Watch { keys, held: 0 }
    }

    /// Take what was typed, and append to `passed` what is meant for the payload. True when the keys are complete.
    pub fn take(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        let keys = &self.keys.0;
        for &byte in typed {
            // After a wrong key the held ones may end with a beginning of the sequence again.
            while self.held > 0 && keys[self.held] != byte {
                let next = (0..self.held).rev().find(|&n| keys[..n] == keys[self.held - n..self.held]).unwrap_or(0);
                passed.extend_from_slice(&keys[..self.held - next]);
                self.held = next;
            }
            if keys[self.held] != byte {
                passed.push(byte);
                continue;
            }
            self.held += 1;
            if self.held == keys.len() {
                self.held = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn notation() {
        assert_eq!(parse(DEFAULT), Ok(Keys(vec![0x10, 0x11])));
        assert_eq!(parse("ctrl-@,ctrl-[,d"), Ok(Keys(vec![0, 0x1b, b'd'])));
        for wrong in ["", "ctrl-", "ctrl-P", "ctrl-1", "a,", "ab", "é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_the_sequence_is_passed_on() {
        let mut watch = Watch::new(parse("ctrl-p,ctrl-q").unwrap());
        let mut passed = Vec::new();
        assert!(!watch.take(b"a\x10", &mut passed));
        assert!(!watch.take(b"b\x10\x10", &mut passed));
        assert_eq!(passed, b"a\x10b\x10");
        assert!(watch.take(b"\x11never", &mut passed));
    }

    proptest! {
        #[test]
        fn all_but_the_keys_arrives(keys in "[ab]{1,4}", typed in "[abc]{0,20}", cut in 0usize..20) {
            let mut watch = Watch::new(Keys(keys.clone().into_bytes()));
            let mut passed = Vec::new();
            let (first, second) = typed.split_at(cut.min(typed.len()));
            let left = watch.take(first.as_bytes(), &mut passed) || watch.take(second.as_bytes(), &mut passed);
            prop_assert_eq!(left, typed.contains(&keys));
            let expected = typed.find(&keys).map_or(typed.as_str(), |at| &typed[..at]);
            passed.extend_from_slice(&keys.as_bytes()[..watch.held]);
            prop_assert_eq!(passed, expected.as_bytes());
        }
    }
}
