use proptest::prelude::*;

use super::*;

const BASIC: Syntax = Syntax { extended: false, escapes: false };
const EXTENDED: Syntax = Syntax { extended: true, escapes: false };

fn find<'t>(pattern: &str, syntax: Syntax, text: &'t str) -> Option<&'t str> {
    let regex = Regex::new(pattern.as_bytes(), syntax, Flags::default()).unwrap();
    let (from, to) = regex.find_at(text.as_bytes(), 0).unwrap()?;
    Some(&text[from..to])
}

#[test]
fn matches_are_leftmost_longest() {
    assert_eq!(find("a|ab|abc", EXTENDED, "xabcd"), Some("abc"));
    assert_eq!(find("(a|ab)(c|bcd)", EXTENDED, "abcd"), Some("abcd"));
    assert_eq!(find("a?(ab)?", EXTENDED, "ab"), Some("ab"));
    assert_eq!(find("x*", BASIC, "aaa"), Some(""));
    let regex = Regex::new(b"(a|ab)(c|bcd)?", EXTENDED, Flags::default()).unwrap();
    assert_eq!(regex.captures_at(b"abcd", 0).unwrap().unwrap(), [Some((0, 4)), Some((0, 1)), Some((1, 4))]);
}

#[test]
fn back_references() {
    assert_eq!(find(r"\(.\)\1", BASIC, "abccd"), Some("cc"));
    assert_eq!(find(r"^(.*)\1$", EXTENDED, "abab"), Some("abab"));
    assert_eq!(find(r"(a*)*\1b", EXTENDED, "aab"), Some("aab"));
    assert_eq!(find(r"\(ä\)x\1", BASIC, "-äxä-"), Some("äxä"));
    let nocase = Flags { ignore_case: true, ..Flags::default() };
    let regex = Regex::new(br"\(ab\)\1", BASIC, nocase).unwrap();
    assert!(regex.is_match(b"xABab").unwrap());
}

#[test]
fn a_hopeless_back_reference_ends_with_an_error() {
    let regex = Regex::new(br"\(x*\)*\(x*\)*\(x*\)*\(x*\)*\1y", BASIC, Flags::default()).unwrap();
    assert!(regex.is_match(&[b'x'; 200]).is_err());
}

#[test]
fn words() {
    assert_eq!(find(r"\<foo\>", BASIC, "afoo foo"), Some("foo"));
    assert_eq!(find(r"\w\+", BASIC, "-häl_9-"), Some("häl_9"));
    assert_eq!(find(r"\(a\)\b \1", BASIC, "a a"), Some("a a"));
}

#[test]
fn bytes_that_are_no_text() {
    let regex = Regex::new(b"\xff[ab]", BASIC, Flags::default()).unwrap();
    assert_eq!(regex.find_at(b"x\xffb", 0).unwrap(), Some((1, 3)));
}

proptest! {
    #[test]
    fn no_pattern_panics(pattern in r"[\\()|*+?{}\[\]^$.,:=0-9a-c-]{0,16}", text in "[a-c0-9\n]{0,12}", extended: bool) {
        if let Ok(regex) = Regex::new(pattern.as_bytes(), Syntax { extended, escapes: true }, Flags::default()) {
            let _ = regex.captures_at(text.as_bytes(), 0);
        }
    }

    #[test]
    fn any_bytes_parse_or_fail(pattern: Vec<u8>, extended: bool) {
        let _ = Regex::new(&pattern, Syntax { extended, escapes: false }, Flags::default());
    }

    /// Both engines agree on whether a pattern without back-references matches.
    #[test]
    fn engines_agree(pattern in r"(\(?[ab.][*+?]?\)?\|?){1,5}", text in "[abc]{0,8}") {
        let Ok(parsed) = Parsed::new(&[pattern.into_bytes()], EXTENDED) else { return Ok(()) };
        let automaton = parsed.compile(Flags::default()).unwrap();
        let program = backtrack::Program::new(&parsed.node, parsed.groups, Flags::default()).unwrap();
        let start = |spans: Option<Spans>| spans.and_then(|spans| spans[0]).map(|(from, _)| from);
        prop_assert_eq!(
            start(automaton.captures_at(text.as_bytes(), 0).unwrap()),
            start(program.find_at(text.as_bytes(), 0).unwrap())
        );
    }
}
