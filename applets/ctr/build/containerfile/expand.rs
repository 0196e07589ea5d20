//! Variables and quotes, as Docker has them: a small part of the shell's word expansion (POSIX XCU 2.6).

/// Deepest nesting of `${a:-${b:-...}}`.
const DEPTH_MAX: usize = 100;
/// Most bytes that variables bring into one text: no program can be given more, and a line can double what the one before it made.
const VALUES_MAX: usize = 1 << 20;
/// Most steps of one pattern over one value. Each replacement looks as far ahead as a star reaches.
const STEPS_MAX: usize = 1 << 26;

/// What is looked up by a name; `None` if it is not set.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Expands text.
pub struct Expander<'a> {
    /// The escape character of the file.
    pub escape: char,
    /// Values of variables.
    pub lookup: &'a Lookup<'a>,
    /// Leave quotes in.
    pub raw_quotes: bool,
    /// Leave escape characters in.
    pub raw_escapes: bool,
    /// Quotes are characters like any other.
    pub plain_quotes: bool,
}

impl<'a> Expander<'a> {
    /// Quotes and escapes are taken away.
    pub fn new(escape: char, lookup: &'a Lookup<'a>) -> Self {
        Expander { escape, lookup, raw_quotes: false, raw_escapes: false, plain_quotes: false }
    }

    /// Expand to one text, its spaces kept.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn word(&self, text: &str) -> Result<String, String> {
        self.expand(text).map(|expanded| expanded.text)
    }

    /// Expand, then split at white space that is neither quoted nor escaped.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn words(&self, text: &str) -> Result<Vec<String>, String> {
        self.expand(text).map(Expanded::into_words)
    }

    fn expand(&self, text: &str) -> Result<Expanded, String> {
        let mut state = State { expander: self, chars: text.chars().collect(), at: 0, depth: 0, values: 0 };
        state.until(None, self.raw_escapes).map_err(|why| format!("failed to process {text:?}: {why}"))
    }
}

/// Text, and the same in words.
#[derive(Default)]
struct Expanded {
    text: String,
    words: Vec<String>,
    word: String,
    in_word: bool,
}

impl Expanded {
    fn add(&mut self, c: char) {
        self.text.push(c);
        if !c.is_whitespace() {
            self.word.push(c);
            self.in_word = true;
        } else if self.in_word && !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    fn add_raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
        self.in_word = true;
    }

    fn into_words(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct State<'a> {
    expander: &'a Expander<'a>,
    chars: Vec<char>,
    at: usize,
    depth: usize,
    /// Bytes that came of variables.
    values: usize,
}

impl State<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    /// Expand up to a character that is neither quoted nor escaped, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<Expanded, String> {
        let mut out = Expanded::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                return Ok(out);
            }
            match c {
                '$' => self.dollar()?.chars().for_each(|c| out.add(c)),
                '\'' if !self.expander.plain_quotes => out.add_raw(&self.single_quoted()?),
                '"' if !self.expander.plain_quotes => out.add_raw(&self.double_quoted(raw_escapes)?),
                _ => {
                    self.at += 1;
                    if c != self.expander.escape {
                        out.add(c);
                        continue;
                    }
                    if raw_escapes {
                        out.add_raw(&c.to_string());
                    }
                    if let Some(escaped) = self.next() {
                        out.add_raw(&escaped.to_string());
                    }
                }
            }
        }
        match stop {
            None => Ok(out),
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let rest = &self.chars[self.at..];
        let length = rest.iter().position(|&c| c == '\'');
        let length = length.ok_or("unexpected end of statement while looking for matching single-quote")?;
        let text: String = rest[..length].iter().collect();
        self.at += length + 1;
        Ok(if self.expander.raw_quotes { format!("'{text}'") } else { text })
    }

    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek().ok_or("unexpected end of statement while looking for matching double-quote")? {
                '"' => break self.at += 1,
                '$' => text.push_str(&self.dollar()?),
                c if c == self.expander.escape => {
                    self.at += 1;
                    if raw_escapes {
                        text.push(c);
                    }
                    // Others than these keep their backslash.
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == c => {
                            self.at += 1;
                            text.push(next);
                        }
                        Some(_) => text.push(c),
                    }
                }
                c => {
                    self.at += 1;
                    text.push(c);
                }
            }
        }
        Ok(if self.expander.raw_quotes { format!("\"{text}\"") } else { text })
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            return if name.is_empty() { Ok("$".into()) } else { Ok(self.get(&name)?.unwrap_or_default()) };
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("substitutions are nested too deeply".into());
        }
        let value = self.braces();
        self.depth -= 1;
        value
    }

    fn get(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = (self.expander.lookup)(name);
        self.values += value.as_ref().map_or(0, String::len);
        if self.values > VALUES_MAX {
            return Err(format!("its variables come to more than {VALUES_MAX} bytes"));
        }
        Ok(value)
    }

    fn braces(&mut self) -> Result<String, String> {
        match self.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.get(&name)?;
        let operator = self.next().ok_or("syntax error: missing '}'")?;
        match operator {
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let Some(operator) = self.next() else { return Err("syntax error: missing '}'".into()) };
                // With a colon an empty value counts as none.
                self.modified(&name, value, operator, true)
            }
            '/' => self.replaced(value.unwrap_or_default()),
            _ => self.modified(&name, value, operator, false),
        }
    }

    fn modified(&mut self, name: &str, value: Option<String>, operator: char, colon: bool) -> Result<String, String> {
        let shown = if colon { format!(":{operator}") } else { operator.to_string() };
        if !matches!(operator, '+' | '-' | '?' | '#' | '%') {
            return Err(format!("unsupported modifier ({shown}) in substitution"));
        }
        let word = self.argument('}', matches!(operator, '#' | '%'))?;
        let is_set = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
        let why = if value.is_none() { "is not allowed to be unset" } else { "is not allowed to be empty" };
        let value = value.unwrap_or_default();
        match operator {
            '-' => Ok(if is_set { value } else { word }),
            '+' => Ok(if is_set { word } else { String::new() }),
            '?' if is_set => Ok(value),
            '?' => Err(format!("{name}: {}", if word.is_empty() { why } else { &word })),
            _ => {
                let (greedy, word) = match word.strip_prefix(operator) {
                    Some(rest) => (true, rest),
                    None => (false, word.as_str()),
                };
                let pattern = Pattern::parse(word)?;
                if operator == '#' { pattern.trim_start(&value, greedy) } else { pattern.trim_end(&value, greedy) }
            }
        }
    }

    /// `/PATTERN/TEXT` or `//PATTERN/TEXT`, of which the first slash has been read.
    fn replaced(&mut self, value: String) -> Result<String, String> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let pattern = self.argument('/', true).map_err(|why| why.replace("missing '/'", "missing '/' in ${}"))?;
        let text = self.argument('}', true)?;
        let mut left = VALUES_MAX.saturating_sub(self.values);
        let replaced = Pattern::parse(&pattern)?.replace(&value, &text, all, &mut left);
        self.values = VALUES_MAX - left;
        replaced
    }

    fn argument(&mut self, stop: char, raw_escapes: bool) -> Result<String, String> {
        match self.until(Some(stop), raw_escapes) {
            Ok(expanded) => Ok(expanded.text),
            Err(_) if self.peek().is_none() => Err(format!("syntax error: missing '{stop}'")),
            Err(why) => Err(why),
        }
    }

    /// Letters, digits and `_`; a number; or one of the shell's special parameters, none of which is ever set.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while self.peek().is_some_and(char::is_numeric) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }
}

/// A pattern of `?`, `*` and characters.
struct Pattern(Vec<Token>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Is(char),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Is(c),
                    other => {
                        let escape = other.map_or_else(String::new, |c| c.to_string());
                        return Err(format!("invalid pattern ({text}) in substitution: invalid escape '\\{escape}'"));
                    }
                },
                c => Token::Is(c),
            });
        }
        // Two stars are one.
        tokens.dedup_by(|one, other| *one == Token::Any && *other == Token::Any);
        Ok(Pattern(tokens))
    }

    /// Lengths of the shortest and the longest beginning that matches; `steps` are those that are left.
    fn ends(tokens: &[Token], text: &[char], steps: &mut usize) -> Result<Option<(usize, usize)>, String> {
        // An automaton whose states are places in the pattern; a star keeps its state.
        let mut states = vec![false; tokens.len() + 1];
        let enter = |states: &mut Vec<bool>, mut at: usize| {
            states[at] = true;
            while tokens.get(at) == Some(&Token::Any) {
                at += 1;
                states[at] = true;
            }
        };
        enter(&mut states, 0);
        let mut found: Option<(usize, usize)> = None;
        for length in 0..=text.len() {
            if states[tokens.len()] {
                found = Some((found.map_or(length, |(first, _)| first), length));
            }
            let Some(&c) = text.get(length) else { break };
            *steps =
                steps.checked_sub(tokens.len() + 1).ok_or("the value is too long for the pattern in substitution")?;
            let mut next = vec![false; tokens.len() + 1];
            for at in (0..tokens.len()).filter(|&at| states[at]) {
                match tokens[at] {
                    Token::Any => enter(&mut next, at),
                    Token::One => enter(&mut next, at + 1),
                    Token::Is(wanted) if wanted == c => enter(&mut next, at + 1),
                    Token::Is(_) => {}
                }
            }
            if !next.contains(&true) {
                break;
            }
            states = next;
        }
        Ok(found)
    }

    fn trim_start(&self, value: &str, longest: bool) -> Result<String, String> {
        let chars: Vec<char> = value.chars().collect();
        let ends = Self::ends(&self.0, &chars, &mut { STEPS_MAX })?;
        let cut = ends.map_or(0, |(short, long)| if longest { long } else { short });
        Ok(chars[cut..].iter().collect())
    }

    fn trim_end(&self, value: &str, longest: bool) -> Result<String, String> {
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let chars: Vec<char> = value.chars().rev().collect();
        let ends = Self::ends(&tokens, &chars, &mut { STEPS_MAX })?;
        let cut = ends.map_or(0, |(short, long)| if longest { long } else { short });
        Ok(chars[cut..].iter().rev().collect())
    }

    /// Put `text` in the place of what matches; all that is put in counts against `left`.
    fn replace(&self, value: &str, text: &str, all: bool, left: &mut usize) -> Result<String, String> {
        let mut steps = STEPS_MAX;
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut at, mut done) = (0, false);
        while at < chars.len() {
            let found = if done { None } else { Self::ends(&self.0, &chars[at..], &mut steps)? };
            match found {
                Some((_, length)) if length > 0 => {
                    *left = left.checked_sub(text.len()).ok_or("what replaces the pattern comes to too many bytes")?;
                    out.push_str(text);
                    at += length;
                    done = !all;
                }
                _ => {
                    out.push(chars[at]);
                    at += 1;
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "PWD" => "/home",
            "SHELL" => "bash",
            "KOREAN" => "한국어",
            "NULL" => "",
            "FILE" => "archive.tar.gz",
            "URL" => "a/b/a/b",
            "SPACES" => " x  y ",
            "1" => "",
            _ => return None,
        };
        Some(value.into())
    }

    fn word(text: &str) -> Result<String, String> {
        Expander::new('\\', &lookup).word(text)
    }

    #[test]
    fn quotes_and_escapes() {
        for (text, expected) in [
            ("hello", "hello"),
            ("he'll'o", "hello"),
            ("he\\'llo", "he'llo"),
            ("he\\\\'llo'", "he\\llo"),
            ("abc\\tdef", "abctdef"),
            ("'abc\\tdef'", "abc\\tdef"),
            ("\"abc\\tdef\"", "abc\\tdef"),
            ("\"he\\\"llo\"", "he\"llo"),
            ("\"$PWD\"", "/home"),
            ("'$PWD'", "$PWD"),
            ("\\$PWD", "$PWD"),
            ("he\\", "he"),
            ("$", "$"),
            ("a$", "a$"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, part) in [("he'llo", "single-quote"), ("he\"llo", "double-quote")] {
            assert!(word(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn substitutions() {
        for (text, expected) in [
            ("$PWD", "/home"),
            ("${PWD}x", "/homex"),
            ("he${KOREAN}x", "he한국어x"),
            ("${NONE}", ""),
            ("${NONE:-default}", "default"),
            ("${NULL:-default}", "default"),
            ("${NULL-default}", ""),
            ("${NONE-default}", "default"),
            ("${PWD:+alt}", "alt"),
            ("${NULL:+alt}", ""),
            ("${NULL+alt}", "alt"),
            ("${NONE:-${PWD}/x}", "/home/x"),
            ("${NONE:-'a b'}", "a b"),
            ("${PWD:?no}", "/home"),
            ("${FILE#*.}", "tar.gz"),
            ("${FILE##*.}", "gz"),
            ("${FILE%.*}", "archive.tar"),
            ("${FILE%%.*}", "archive"),
            ("${FILE#x}", "archive.tar.gz"),
            ("${FILE%.?z}", "archive.tar"),
            ("${URL/b/x}", "a/x/a/b"),
            ("${URL//b/x}", "a/x/a/x"),
            ("${URL//\\//-}", "a-b-a-b"),
            ("${FILE/a*t/X}", "Xar.gz"),
            ("$1x", "x"),
            ("$@", ""),
        ] {
            assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("${", "missing '}'"),
            ("${}", "bad substitution"),
            ("${PWD", "missing '}'"),
            ("${PWD:x}", "unsupported modifier (:x)"),
            ("${PWD:-x", "missing '}'"),
            ("${NONE:?stop here}", "NONE: stop here"),
            ("${NULL:?}", "is not allowed to be empty"),
            ("${PWD^}", "unsupported modifier (^)"),
        ] {
            assert!(word(text).unwrap_err().contains(part), "{text}: {:?}", word(text));
        }
        let deep = "${a:-".repeat(5000);
        assert!(word(&deep).is_err());
    }

    #[test]
    fn words_split_after_expansion() {
        let words = |text| Expander::new('\\', &lookup).words(text).unwrap();
        assert_eq!(words("a  b"), ["a", "b"]);
        assert_eq!(words("$SPACES z"), ["x", "y", "z"]);
        assert_eq!(words("\"$SPACES\" a\\ b"), [" x  y ", "a b"]);
        assert_eq!(words("''"), [""; 0]);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let long = |name: &str| Some(if name == "A" { "a".repeat(60_000) } else { "a".repeat(40) });
        let word = |text: &str| Expander::new('\\', &long).word(text);
        assert!(word(&"$A".repeat(18)).unwrap_err().contains("more than 1048576 bytes"));
        assert!(word("${A//a*b/x}").unwrap_err().contains("too long for the pattern"));
        assert!(word("${A//a/$A}").unwrap_err().contains("too many bytes"));
        assert_eq!(word("${A//a/b}").unwrap(), "b".repeat(60_000));
        assert_eq!(word(&"$B".repeat(1000)).unwrap().len(), 40_000);
    }

    #[test]
    fn the_other_escape() {
        assert_eq!(Expander::new('`', &lookup).word("C:\\x`$PWD").unwrap(), "C:\\x$PWD");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-zA-Z$\\{\\}:+?#%/'\"\\\\ *-]{0,40}") {
            let _ = word(&text);
            let _ = Expander { raw_quotes: true, raw_escapes: true, ..Expander::new('\\', &lookup) }.words(&text);
        }

        #[test]
        fn single_quotes_keep_all(text in "[^']{0,30}") {
            prop_assert_eq!(word(&format!("'{text}'")), Ok(text));
        }

        #[test]
        fn patterns_agree_with_their_meaning(value in "[ab.]{0,8}", pattern in "[ab.?*]{0,5}") {
            let tokens = Pattern::parse(&pattern).unwrap();
            let chars: Vec<char> = value.chars().collect();
            let slow: Vec<usize> = (0..=chars.len()).filter(|&end| slow(&tokens.0, &chars[..end])).collect();
            let expected = slow.first().map(|&first| (first, slow[slow.len() - 1]));
            prop_assert_eq!(Pattern::ends(&tokens.0, &chars, &mut { STEPS_MAX }), Ok(expected));
        }
    }

    fn slow(tokens: &[Token], text: &[char]) -> bool {
        match (tokens.first(), text.first()) {
            (None, None) => true,
            (Some(Token::Any), _) => slow(&tokens[1..], text) || (!text.is_empty() && slow(tokens, &text[1..])),
            (Some(Token::One), Some(_)) => slow(&tokens[1..], &text[1..]),
            (Some(Token::Is(wanted)), Some(c)) => wanted == c && slow(&tokens[1..], &text[1..]),
            _ => false,
        }
    }
}
