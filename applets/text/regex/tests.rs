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
fn a_match_with_back_references_is_the_longest() {
    assert_eq!(find(r"(a|ab)(c|b)*\1?", EXTENDED, "abab"), Some("abab"));
    assert_eq!(find(r"(a)\1|a*", EXTENDED, "aaaa"), Some("aaaa"));
    // The last repetition of the group may match nothing, where that lets the rest match.
    assert_eq!(find(r"^(b?)*\1", EXTENDED, "ba"), Some("b"));
    let regex = Regex::new(br"(a*)*\1b", EXTENDED, Flags::default()).unwrap();
    assert_eq!(regex.captures_at(b"aab", 0).unwrap().unwrap()[0], Some((0, 3)));
}

/// A pattern of text that matches has been found when the search for a longer match becomes hopeless: it counts.
#[test]
fn a_hopeless_search_for_a_longer_match_keeps_what_it_has() {
    let pattern = br"\(x*\)\1\|\(x*\)*\(x*\)*\(x*\)*\(x*\)*\2y";
    let regex = Regex::new(pattern, BASIC, Flags::default()).unwrap();
    let text = [[b'x'; 200].as_slice(), b"z"].concat();
    assert_eq!(regex.find_at(&text, 0).unwrap(), Some((0, 200)));
}

#[test]
fn a_hopeless_back_reference_ends_with_an_error() {
    let regex = Regex::new(br"\(x*\)*\(x*\)*\(x*\)*\(x*\)*\1y", BASIC, Flags::default()).unwrap();
    assert!(regex.is_match(&[b'x'; 200]).is_err());
}

#[test]
fn spans_of_matches_and_groups() {
    let mut wrong = Vec::new();
    for (cases, syntax) in [(conformance::EXTENDED, EXTENDED), (conformance::BASIC, BASIC)] {
        for (pattern, text, expected) in cases {
            let regex = Regex::new(pattern.as_bytes(), syntax, Flags::default()).unwrap();
            let spans = regex.captures_at(text.as_bytes(), 0).unwrap();
            let span = |span: &Option<(usize, usize)>| span.map_or("?".into(), |(from, to)| format!("{from},{to}"));
            let got = spans.map_or("-".into(), |spans| spans.iter().map(span).collect::<Vec<_>>().join(" "));
            if got != *expected {
                wrong.push(format!("{pattern} on {text}: {got}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn basic_operators_with_nothing_to_repeat_are_plain() {
    assert_eq!(find(r"^\+", BASIC, "+a"), Some("+"));
    assert_eq!(find(r"\<\?a", BASIC, "?a a"), None);
    assert_eq!(find(r"^*\{2\}", BASIC, "**"), Some("**"));
    assert_eq!(find(r"a\|*b", BASIC, "*b"), Some("*b"));
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

    /// Both engines agree on where a pattern without back-references matches.
    #[test]
    fn engines_agree(pattern in r"(\(?[ab.][*+?]?\)?\|?){1,5}", text in "[abc]{0,8}") {
        let Ok(parsed) = Parsed::new(&[pattern.into_bytes()], EXTENDED) else { return Ok(()) };
        let automaton = parsed.compile(Flags::default()).unwrap();
        let program = backtrack::Program::new(&parsed.node, parsed.groups, Flags::default()).unwrap();
        let span = |spans: Option<Spans>| spans.and_then(|spans| spans[0]);
        prop_assert_eq!(
            span(automaton.captures_at(text.as_bytes(), 0).unwrap()),
            span(program.find_at(text.as_bytes(), 0).unwrap())
        );
    }

    /// A match begins where the `regex` crate's does, and ends at the last place where its pattern can be made to end.
    #[test]
    fn matches_are_those_of_the_regex_crate(pattern in r"(\(?[ab.][*+?]?\)?\|?){1,5}", text in "[abc]{0,8}") {
        let (Ok(ours), Ok(theirs)) =
            (Regex::new(pattern.as_bytes(), EXTENDED, Flags::default()), regex::Regex::new(&pattern))
        else {
            return Ok(());
        };
        let start = theirs.find(&text).map(|found| found.start());
        let expected = start.map(|start| {
            let whole = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            let ends = (start..=text.len()).rev().find(|end| whole.is_match(&text[start..*end]));
            (start, ends.unwrap())
        });
        prop_assert_eq!(ours.find_at(text.as_bytes(), 0).unwrap(), expected);
    }
}
