//! How an instruction's rest is cut into words, before anything is expanded.

/// Split at white space that is neither quoted nor escaped; quotes and escapes stay, [`super::Expander`] takes them away.
pub fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        if c == escape && quote != Some('\'') {
            // One at the very end escapes nothing.
            if let Some(escaped) = chars.next() {
                word.extend([c, escaped]);
            }
            continue;
        }
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Split at white space.
pub fn plain_words(rest: &str) -> Vec<String> {
    rest.split([' ', '\t', '\r', '\x0b', '\x0c']).filter(|word| !word.is_empty()).map(Into::into).collect()
}

/// A JSON array of strings; `None` if it is none, so that a shell form may begin with a bracket.
///
/// # Errors
/// If it is an array of something else.
pub fn json_strings(rest: &str) -> Result<Option<Vec<String>>, String> {
    let rest = rest.trim_start();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err("when using JSON array syntax, arrays must be comprised of strings only".to_owned()),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// The options that begin an instruction's rest (`--name=value`, without the dashes), and what follows them.
pub fn take_flags(rest: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut left = rest.trim_start();
    while left.starts_with("--") {
        let (flag, after) = take_flag(left);
        left = after.trim_start();
        if flag == "--" {
            break;
        }
        flags.push(flag[2..].to_owned());
    }
    (flags, left)
}

fn take_flag(text: &str) -> (String, &str) {
    let mut flag = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (flag, &text[at..]),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ if c == '\\' => flag.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => flag.push(c),
        }
    }
    (flag, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(quoted_words("a='x y' b=\"1 \\\" 2\" c\\ d", '\\'), ["a='x y'", "b=\"1 \\\" 2\"", "c\\ d"]);
        assert_eq!(quoted_words("a\\", '\\'), ["a"]);
        assert_eq!(quoted_words("'a\\' b", '\\'), ["'a\\'", "b"]);
        assert_eq!(plain_words(" a \t b "), ["a", "b"]);
    }

    #[test]
    fn json_or_shell() {
        assert_eq!(json_strings(" [\"a\", \"b c\"] ").unwrap().unwrap(), ["a", "b c"]);
        assert_eq!(json_strings("[ -f x ] && y"), Ok(None));
        assert_eq!(json_strings("['a']"), Ok(None));
        assert!(json_strings("[1]").is_err());
    }

    #[test]
    fn flags_come_first() {
        assert_eq!(take_flags("--from=a --chown='x y' b --c"), (vec!["from=a".into(), "chown=x y".into()], "b --c"));
        assert_eq!(take_flags("--link -- --x"), (vec!["link".into()], "--x"));
        assert_eq!(take_flags("a"), (vec![], "a"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = quoted_words(&text, '\\');
            let _ = take_flags(&text);
            let _ = json_strings(&text);
        }
    }
}
