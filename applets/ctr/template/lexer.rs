//! From a template's text to tokens: Go's `text/template/parse/lex.go`, for the delimiters `{{` and `}}`.

use serde_json::{Number, Value};

use super::Error;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Text outside of actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// White space within an action, which keeps arguments apart.
    Space,
    /// `.` alone.
    Dot,
    /// `.NAME`, without its dot.
    Field(String),
    /// `$NAME`, with its dollar.
    Variable(String),
    /// A keyword or a function.
    Identifier(String),
    /// A constant: text, number, character, boolean; null for `nil`.
    Constant(Value),
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    /// `,`.
    Comma,
    /// `|`.
    Pipe,
    /// `(`.
    LeftParen,
    /// `)`.
    RightParen,
}

/// A token and the byte at which it starts.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is.
    pub token: Token,
    /// Where it starts.
    pub pos: usize,
}

/// White space of Go's lexer.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

/// All tokens of a template.
pub fn lex(source: &str) -> Result<Vec<Item>, Error> {
    let mut lexer = Lexer { source, pos: 0, items: Vec::new() };
    lexer.text()?;
    Ok(lexer.items)
}

struct Lexer<'a> {
    source: &'a str,
    pos: usize,
    items: Vec<Item>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.pos..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, token: Token, length: usize) {
        self.items.push(Item { token, pos: self.pos });
        self.pos += length;
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        let line = 1 + self.source.bytes().take(self.pos).filter(|&byte| byte == b'\n').count();
        Error::new(format!("template: :{line}: {what}"))
    }

    /// Text and the actions in it, to the end.
    fn text(&mut self) -> Result<(), Error> {
        let mut trim = false;
        while !self.rest().is_empty() {
            let rest = self.rest();
            let end = rest.find("{{").unwrap_or(rest.len());
            let marked = rest.get(end + 2..).is_some_and(|after| {
                let mut letters = after.chars();
                letters.next() == Some('-') && letters.next().is_some_and(is_space)
            });
            let mut text = rest.get(..end).unwrap_or_default();
            if trim {
                text = text.trim_start_matches(is_space);
            }
            if marked {
                text = text.trim_end_matches(is_space);
            }
            if !text.is_empty() {
                self.items.push(Item { token: Token::Text(text.into()), pos: self.pos });
            }
            self.pos += end;
            if self.rest().is_empty() {
                break;
            }
            trim = match self.comment(marked)? {
                Some(trims) => trims,
                None => {
                    self.push(Token::Open, 2);
                    self.pos += if marked { 2 } else { 0 };
                    self.action()?
                }
            };
        }
        Ok(())
    }

    /// Skip a comment, if there is one; whether the text after it is trimmed.
    fn comment(&mut self, marked: bool) -> Result<Option<bool>, Error> {
        let start = self.pos + 2 + if marked { 2 } else { 0 };
        let body = self.source.get(start..).unwrap_or_default();
        if !body.starts_with("/*") {
            return Ok(None);
        }
        let end = body.find("*/").ok_or_else(|| self.error("unclosed comment"))?;
        let after = body.get(end + 2..).unwrap_or_default();
        let trimmed = after.trim_start_matches(is_space);
        self.pos = start + end + 2;
        if after.starts_with("}}") {
            self.pos += 2;
            Ok(Some(false))
        } else if trimmed.len() < after.len() && trimmed.starts_with("-}}") {
            self.pos += after.len() - trimmed.len() + 3;
            Ok(Some(true))
        } else {
            Err(self.error("comment ends before closing delimiter"))
        }
    }

    /// Tokens up to the end of an action; whether the text after it is trimmed.
    fn action(&mut self) -> Result<bool, Error> {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            let spaces = rest.len() - rest.trim_start_matches(is_space).len();
            let trims = spaces > 0 && rest.get(spaces..).is_some_and(|after| after.starts_with("-}}"));
            if trims || rest.starts_with("}}") {
                if depth > 0 {
                    return Err(self.error("unclosed left paren"));
                }
                self.pos += if trims { spaces + 1 } else { 0 };
                self.push(Token::Close, 2);
                return Ok(trims);
            }
            if spaces > 0 {
                self.push(Token::Space, spaces);
                continue;
            }
            let Some(letter) = self.peek() else { return Err(self.error("unclosed action")) };
            match letter {
                ':' if rest.starts_with(":=") => self.push(Token::Declare, 2),
                ':' => return Err(self.error("expected :=")),
                '=' => self.push(Token::Assign, 1),
                ',' => self.push(Token::Comma, 1),
                '|' => self.push(Token::Pipe, 1),
                '(' => {
                    depth += 1;
                    self.push(Token::LeftParen, 1);
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or_else(|| self.error("unexpected right paren"))?;
                    self.push(Token::RightParen, 1);
                }
                '"' => self.quoted()?,
                '`' => {
                    let body = rest.get(1..).unwrap_or_default();
                    let end = body.find('`').ok_or_else(|| self.error("unterminated raw quoted string"))?;
                    self.push(Token::Constant(body.get(..end).unwrap_or_default().into()), end + 2);
                }
                '\'' => self.character()?,
                '$' => {
                    let length = self.word_length(1);
                    self.push(Token::Variable(rest.get(..length).unwrap_or_default().into()), length);
                }
                '.' if !rest.get(1..).is_some_and(|after| after.starts_with(|digit: char| digit.is_ascii_digit())) => {
                    let length = self.word_length(1);
                    let name = rest.get(1..length).unwrap_or_default();
                    self.push(if name.is_empty() { Token::Dot } else { Token::Field(name.into()) }, length);
                }
                '+' | '-' | '.' | '0'..='9' => self.number()?,
                letter if is_alphanumeric(letter) => {
                    let length = self.word_length(0);
                    let word = rest.get(..length).unwrap_or_default();
                    let token = match word {
                        "true" => Token::Constant(true.into()),
                        "false" => Token::Constant(false.into()),
                        "nil" => Token::Constant(Value::Null),
                        _ => Token::Identifier(word.into()),
                    };
                    self.push(token, length);
                }
                other => {
                    return Err(self.error(format!("unexpected {:?} in operand", other.to_string())));
                }
            }
        }
    }

    /// The length of a word after its first `start` bytes, those included.
    fn word_length(&self, start: usize) -> usize {
        let after = self.rest().get(start..).unwrap_or_default();
        start + after.find(|letter| !is_alphanumeric(letter)).unwrap_or(after.len())
    }

    fn quoted(&mut self) -> Result<(), Error> {
        let body = self.rest().get(1..).unwrap_or_default();
        let mut text = String::new();
        let mut letters = body.char_indices();
        loop {
            match letters.next() {
                None | Some((_, '\n')) => return Err(self.error("unterminated quoted string")),
                Some((at, '"')) => {
                    self.push(Token::Constant(text.into()), at + 2);
                    return Ok(());
                }
                Some((at, '\\')) => {
                    let escape = body.get(at..).unwrap_or_default();
                    let (letter, length) = unescape(escape).ok_or_else(|| self.error("invalid syntax"))?;
                    text.push(letter);
                    for _ in 1..escape.get(..length).map_or(1, |taken| taken.chars().count()) {
                        letters.next();
                    }
                }
                Some((_, letter)) => text.push(letter),
            }
        }
    }

    fn character(&mut self) -> Result<(), Error> {
        let body = self.rest().get(1..).unwrap_or_default();
        let (letter, length) = match body.chars().next() {
            Some('\\') => unescape(body).ok_or_else(|| self.error("malformed character constant"))?,
            Some(letter) if letter != '\'' => (letter, letter.len_utf8()),
            _ => return Err(self.error("malformed character constant")),
        };
        if !body.get(length..).is_some_and(|after| after.starts_with('\'')) {
            return Err(self.error("unterminated character constant"));
        }
        self.push(Token::Constant(u32::from(letter).into()), length + 2);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let mut previous = ' ';
        let end = rest.char_indices().find(|&(at, letter)| {
            let sign = matches!(letter, '+' | '-') && (at == 0 || matches!(previous, 'e' | 'E'));
            previous = letter;
            !(sign || letter == '.' || is_alphanumeric(letter))
        });
        let text = rest.get(..end.map_or(rest.len(), |(at, _)| at)).unwrap_or_default();
        let number = parse_number(text).ok_or_else(|| self.error(format!("bad number syntax: {text:?}")))?;
        self.push(Token::Constant(Value::Number(number)), text.len());
        Ok(())
    }
}

/// A number of Go's: decimal, `0x`, `0o`, `0b`, with underscores, or floating.
fn parse_number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = |prefix: &str, radix| lower.strip_prefix(prefix).map(|digits| i64::from_str_radix(digits, radix));
    let whole = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2));
    let whole = match whole {
        Some(parsed) => Some(parsed.ok()?),
        None => lower.parse::<i64>().ok(),
    };
    match whole {
        Some(_) if digits.starts_with(['+', '-']) => None,
        Some(whole) => Some(Number::from(if negative { -whole } else { whole })),
        None if digits.starts_with(|digit: char| digit.is_ascii_digit() || digit == '.') => {
            let float: f64 = digits.parse().ok()?;
            Number::from_f64(if negative { -float } else { float })
        }
        None => None,
    }
}

/// An escape of a Go string, which starts with a backslash: what it means and its length in bytes.
fn unescape(text: &str) -> Option<(char, usize)> {
    let mut letters = text.chars();
    letters.next()?;
    let code = |digits: usize, radix| {
        let digits = text.get(2..2 + digits)?;
        let valid = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
        let code = valid.then(|| u32::from_str_radix(digits, radix).ok())??;
        Some((char::from_u32(code)?, 2 + digits.len()))
    };
    let simple = match letters.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        letter @ ('\\' | '\'' | '"') => letter,
        'x' => return code(2, 16),
        'u' => return code(4, 16),
        'U' => return code(8, 16),
        '0'..='7' => {
            let digits = text.get(1..4)?;
            let valid = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            let code = valid.then(|| u32::from_str_radix(digits, 8).ok())??;
            return Some((char::from_u32(code)?, 4));
        }
        _ => return None,
    };
    Some((simple, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(source: &str) -> Vec<Token> {
        lex(source).unwrap().into_iter().map(|item| item.token).collect()
    }

    #[test]
    fn fields_variables_and_space() {
        use Token as T;
        assert_eq!(
            tokens("a{{.B.C}}"),
            [T::Text("a".into()), T::Open, T::Field("B".into()), T::Field("C".into()), T::Close]
        );
        assert_eq!(
            tokens("{{ $x := . }}")[1..],
            [T::Space, T::Variable("$x".into()), T::Space, T::Declare, T::Space, T::Dot, T::Space, T::Close]
        );
    }

    #[test]
    fn trimming_and_comments() {
        assert_eq!(tokens("a \n{{- /* x */ -}}\n b"), [Token::Text("a".into()), Token::Text("b".into())]);
        assert_eq!(
            tokens("a {{- 1 -}} b"),
            [Token::Text("a".into()), Token::Open, Token::Constant(1.into()), Token::Close, Token::Text("b".into())]
        );
    }

    #[test]
    fn constants() {
        let constant = |text: &str| match &tokens(&format!("{{{{{text}}}}}"))[1] {
            Token::Constant(value) => value.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(constant(r#""a\t\"\x41é""#), Value::from("a\t\"A\u{e9}"));
        assert_eq!(constant("`a\\n`"), Value::from("a\\n"));
        assert_eq!(constant("'a'"), Value::from(97));
        assert_eq!(constant("0x1F"), Value::from(31));
        assert_eq!(constant("-2.5e1"), Value::from(-25.0));
        assert_eq!(constant(".5"), Value::from(0.5));
        assert_eq!(constant("true"), Value::from(true));
        assert_eq!(constant("nil"), Value::Null);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (source, wanted) in [
            ("{{.A", "unclosed action"),
            ("x\n{{\"a}}", ":2: unterminated quoted string"),
            ("{{(.A}}", "unclosed left paren"),
            ("{{.A)}}", "unexpected right paren"),
            ("{{/* x}}", "unclosed comment"),
            ("{{12x}}", "bad number syntax"),
            ("{{}x}}", "unexpected \"}\" in operand"),
        ] {
            let error = lex(source).unwrap_err().to_string();
            assert!(error.contains(wanted), "{source}: {error}");
        }
    }
}
