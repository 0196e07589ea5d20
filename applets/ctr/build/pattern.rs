//! Patterns of paths: those of ignore files (`**` included), and those of COPY and ADD (Go's `filepath.Match`).

use regex::Regex;

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// `*` and `?` stand for all but slashes, `[...]` for a choice, `**` for any number of folders.
    ///
    /// # Errors
    /// If it is no pattern: a class without an end, a lone backslash at the end.
    pub fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("syntax error in pattern {text:?}");
        let mut regex = String::from("(?s)^");
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    // More stars mean no more than two, and a slash after them may stand for nothing.
                    while chars.next_if_eq(&'*').is_some() {}
                    let folder = chars.next_if_eq(&'/').is_some();
                    regex.push_str(if chars.peek().is_none() && !folder { ".*" } else { "(.*/)?" });
                    if chars.peek().is_none() && folder {
                        regex.push_str(".*");
                    }
                }
                '*' => regex.push_str("[^/]*"),
                '?' => regex.push_str("[^/]"),
                '[' => class(&mut chars, &mut regex).ok_or_else(wrong)?,
                '\\' => regex.push_str(&regex::escape(&chars.next().ok_or_else(wrong)?.to_string())),
                c => regex.push_str(&regex::escape(&c.to_string())),
            }
        }
        regex.push('$');
        regex::RegexBuilder::new(&regex).size_limit(1 << 20).build().map(Pattern).map_err(|_| wrong())
    }

    /// Whether it stands for the whole path.
    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// A class, whose bracket has been read: `^` negates, a backslash takes the next as it is, `-` is a range.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, regex: &mut String) -> Option<()> {
    regex.push('[');
    if chars.next_if_eq(&'^').is_some() {
        // Never a slash.
        regex.push_str("^/");
    }
    let mut count = 0;
    loop {
        let low = match chars.next()? {
            ']' if count > 0 => break,
            '\\' => chars.next()?,
            ']' | '-' => return None,
            c => c,
        };
        let high = match chars.next_if_eq(&'-') {
            None => low,
            Some(_) => match chars.next()? {
                '\\' => chars.next()?,
                ']' => return None,
                c => c,
            },
        };
        regex.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
        count += 1;
    }
    regex.push(']');
    Some(())
}

/// Whether a path has a character that makes it a pattern.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// A path below some root: no empty parts, `.` and `..` resolved, the latter never above the root. Empty for the root.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A name as a pattern for itself.
pub fn escape(name: &str) -> String {
    let is_special = |c| is_pattern(char::encode_utf8(c, &mut [0; 4]));
    name.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_and_docker_match() {
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("[\\]a]", "]", true),
            ("a[^a]b", "a\u{263a}b", true),
            ("a?b", "a/b", false),
            ("a[^x]b", "a/b", false),
            ("**", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("a/**", "a/b", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/d/c", true),
            ("**/*.go", "x/y.go", true),
            ("dir/**/*.txt", "dir/a.txt", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("a.b", "axb", false),
            ("a(b)+$", "a(b)+$", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
        for wrong in ["[", "[]", "[a", "[-]", "[x-]", "a\\", "[]a]"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cleaning() {
        assert_eq!(clean("/a/./b//../c/"), "a/c");
        assert_eq!(clean("../../etc"), "etc");
        assert_eq!(clean("."), "");
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[a-c*?\\[\\]\\\\^/-]{0,12}", path in "[a-c/]{0,8}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                let _ = pattern.matches(&path);
            }
        }

        #[test]
        fn an_escaped_name_stands_for_itself_alone(name in "[a-c*?\\[\\]\\\\]{0,8}", other in "[a-c*?\\[\\]\\\\]{0,8}") {
            let pattern = Pattern::new(&escape(&name)).unwrap();
            prop_assert!(pattern.matches(&name));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }

        #[test]
        fn a_name_stands_for_itself(path in "[a-z./+(){}|^$ ]{0,12}") {
            prop_assert!(Pattern::new(&path).unwrap().matches(&path));
        }
    }
}
