//! File name patterns: `fnmatch` of POSIX XCU 2.14, for find, grep and tar.

use super::regex::ast::{Class, ClassItem, Named};

/// What else a pattern obeys.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobFlags {
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// `*`, `?` and brackets do not match `/`.
    pub pathname: bool,
}

enum Token {
    Star,
    Any,
    Char(char),
    Byte(u8),
    Class(Class),
}

/// A compiled file name pattern.
pub struct Glob {
    tokens: Vec<Token>,
    flags: GlobFlags,
}

impl Glob {
    /// Compile `pattern`. Every string is a pattern: a bracket that is not closed stands for itself.
    pub fn new(pattern: &[u8], flags: GlobFlags) -> Self {
        let symbols = units(pattern);
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(unit) = symbols.get(at) {
            at += 1;
            tokens.push(match unit {
                Ok('*') => Token::Star,
                Ok('?') => Token::Any,
                Ok('[') => match bracket(&symbols[at..]) {
                    Some((class, length)) => {
                        at += length;
                        Token::Class(class)
                    }
                    None => Token::Char('['),
                },
                Ok('\\') if at < symbols.len() => {
                    at += 1;
                    literal(symbols[at - 1])
                }
                unit => literal(*unit),
            });
        }
        Self { tokens, flags }
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        let text = units(text);
        let (mut token, mut at) = (0, 0);
        // Where to go on when the text after the last star does not match: the star takes one more.
        let mut star: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Star) => {
                    star = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(expected) if text.get(at).is_some_and(|unit| self.fits(expected, *unit)) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                None if at == text.len() => return true,
                _ => {}
            }
            match star {
                Some((after, from)) if from < text.len() && !(self.flags.pathname && text[from] == Ok('/')) => {
                    star = Some((after, from + 1));
                    (token, at) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }

    fn fits(&self, token: &Token, unit: Result<char, u8>) -> bool {
        let hidden = self.flags.pathname && unit == Ok('/');
        match (token, unit) {
            (Token::Any, _) => !hidden,
            (Token::Char(a), Ok(b)) => *a == b || self.flags.ignore_case && a.to_lowercase().eq(b.to_lowercase()),
            (Token::Byte(a), Err(b)) => *a == b,
            (Token::Class(class), Ok(c)) => !hidden && class.contains(c, self.flags.ignore_case),
            _ => false,
        }
    }
}

fn literal(unit: Result<char, u8>) -> Token {
    match unit {
        Ok(c) => Token::Char(c),
        Err(byte) => Token::Byte(byte),
    }
}

/// Characters, and bytes that belong to none.
fn units(text: &[u8]) -> Vec<Result<char, u8>> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.extend(chunk.valid().chars().map(Ok));
        out.extend(chunk.invalid().iter().map(|byte| Err(*byte)));
    }
    out
}

/// The class after a `[`, and how much of the pattern it takes; `None` if it is not closed.
fn bracket(rest: &[Result<char, u8>]) -> Option<(Class, usize)> {
    let negated = matches!(rest.first()?, Ok('!' | '^'));
    let mut class = Class { negated, items: Vec::new() };
    let first = usize::from(negated);
    let mut at = first;
    loop {
        let mut c = (*rest.get(at)?).ok()?;
        at += 1;
        if c == ']' && at - 1 > first {
            return Some((class, at));
        }
        if c == '[' && rest.get(at) == Some(&Ok(':')) {
            let name: String = rest[at + 1..].iter().map_while(|unit| unit.ok().filter(|c| *c != ':')).collect();
            let end = at + 1 + name.chars().count();
            if rest.get(end + 1) == Some(&Ok(']'))
                && let Some(named) = Named::from_name(&name)
            {
                class.items.push(ClassItem::Named(named));
                at = end + 2;
                continue;
            }
        }
        if c == '\\' {
            c = (*rest.get(at)?).ok()?;
            at += 1;
        }
        let mut high = c;
        if rest.get(at) == Some(&Ok('-')) && !matches!(rest.get(at + 1), Some(Ok(']')) | None) {
            high = (*rest.get(at + 1)?).ok()?;
            at += 2;
        }
        class.items.push(ClassItem::Range(c, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes(), GlobFlags::default()).matches(text.as_bytes())
    }

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("*.c", "a.c"),
            ("*", ""),
            ("a*b*c", "a-b-b-c"),
            ("[a-c]?", "bx"),
            ("[!a]", "b"),
            ("[]]", "]"),
            ("[[:digit:]]*", "9x"),
            ("\\*", "*"),
            ("[a", "[a"),
            ("ä?", "äö"),
            ("*/b", "a/x/b"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("*.c", "a.h"), ("?", ""), ("[!a]", "a"), ("a*b", "a-b-"), ("\\*", "x")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_may_stop_at_slashes() {
        let glob = Glob::new(b"*/b", GlobFlags { pathname: true, ignore_case: true });
        assert!(glob.matches(b"A/B"));
        assert!(!glob.matches(b"a/x/b"));
    }
}
