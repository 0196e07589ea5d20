//! The parts of the parser for what `a i c s y` are given.

use anyhow::{Context, Result, anyhow, bail};

use super::parse::Parser;
use super::script::{Action, Case, Part, Substitution, Unit};
use crate::text::regex::Flags;

impl Parser<'_> {
    /// The text up to `mark`; `None` if it does not end. An escaped mark stands for itself, without a special meaning
    /// (POSIX.1-2024; GNU sed 4.9 lets it keep one); in a pattern, one in brackets does not end it.
    pub(super) fn delimited(&mut self, mark: u8, pattern: bool) -> Result<Option<Vec<u8>>> {
        if mark == b'\n' || mark == b'\\' {
            bail!("the delimiter cannot be a newline or a backslash");
        }
        let mut out = Vec::new();
        while let Some(byte) = self.peek() {
            self.at += usize::from(byte != b'\n');
            match byte {
                b'\\' => match self.take() {
                    None => return Ok(None),
                    Some(byte) if byte == mark => self.escaped_mark(mark, pattern, &mut out),
                    Some(b'\n') if pattern => out.push(b'\n'),
                    Some(byte) => out.extend([b'\\', byte]),
                },
                byte if byte == mark => return Ok(Some(out)),
                b'[' if pattern => {
                    out.push(b'[');
                    self.bracket(&mut out);
                }
                b'\n' => return Ok(None),
                byte => out.push(byte),
            }
        }
        Ok(None)
    }

    fn escaped_mark(&self, mark: u8, pattern: bool, out: &mut Vec<u8>) {
        if pattern && b".*[]^$+?(){}|".contains(&mark) {
            out.extend(if mark == b'^' { vec![b'\\', mark] } else { vec![b'[', mark, b']'] });
        } else if !pattern && (mark == b'&' || mark.is_ascii_digit()) {
            // In a replacement `\&` is plain; so is a digit, which cannot be written as `\1` there any more.
            out.extend(if mark == b'&' { vec![b'\\', mark] } else { vec![mark] });
        } else {
            out.push(mark);
        }
    }

    /// Copy a bracket expression, if it is closed.
    fn bracket(&mut self, out: &mut Vec<u8>) {
        let mut end = self.at;
        if self.text.get(end) == Some(&b'^') {
            end += 1;
        }
        if self.text.get(end) == Some(&b']') {
            end += 1;
        }
        while let Some(byte) = self.text.get(end) {
            match byte {
                b']' => {
                    out.extend(&self.text[self.at..=end]);
                    self.at = end + 1;
                    return;
                }
                b'\n' => return,
                b'[' if matches!(self.text.get(end + 1), Some(b':' | b'.' | b'=')) => {
                    let mark = self.text[end + 1];
                    let Some(length) = self.text[end + 2..].windows(2).position(|pair| pair == [mark, b']']) else {
                        return;
                    };
                    end += length + 4;
                }
                _ => end += 1,
            }
        }
    }

    /// The text of `a`, `i`, `c`: `a text` or `a\` and lines; ends at the first newline without a backslash.
    pub(super) fn text_argument(&mut self) -> Result<Vec<u8>> {
        self.skip(b" \t");
        if self.peek() == Some(b'\\') {
            self.at += 1;
            // In the one-line form the blanks after the backslash belong to the text.
            let text = self.at;
            self.skip(b" \t");
            match self.peek() {
                Some(b'\n') => self.at += 1,
                None => return Ok(Vec::new()),
                Some(_) => self.at = text,
            }
        }
        if self.peek().is_none() {
            bail!("expected \\ after `a', `c' or `i'");
        }
        let mut out = Vec::new();
        while let Some(byte) = self.take() {
            match byte {
                b'\\' => match self.take() {
                    None => {}
                    Some(name) => {
                        let (byte, length) = escape(name, &self.text[self.at..]);
                        out.push(byte);
                        self.at += length;
                    }
                },
                b'\n' => break,
                byte => out.push(byte),
            }
        }
        out.push(b'\n');
        Ok(out)
    }

    pub(super) fn substitution(&mut self) -> Result<Action> {
        let unterminated = || anyhow!("unterminated `s' command");
        let mark = self.take().ok_or_else(unterminated)?;
        let pattern = self.delimited(mark, true)?.ok_or_else(unterminated)?;
        let replacement = self.delimited(mark, false)?.ok_or_else(unterminated)?;
        let mut flags = Flags { dot_newline: true, ..Flags::default() };
        let mut out =
            Substitution { pattern: None, replacement: Vec::new(), global: false, number: 0, print: false, file: None };
        while self.substitution_flag(&mut out, &mut flags)? {}
        out.number = out.number.max(1);
        out.pattern = self.regex(&pattern, flags)?;
        out.replacement = parse_replacement(&replacement);
        let groups = out.pattern.as_ref().map(|regex| regex.groups());
        for part in &out.replacement {
            if let (Part::Group(group), Some(groups)) = (part, groups)
                && *group > groups
            {
                bail!("invalid reference \\{group} on `s' command's RHS");
            }
        }
        Ok(Action::Substitute(Box::new(out)))
    }

    /// Take one flag of `s`; false when there is none left.
    fn substitution_flag(&mut self, out: &mut Substitution, flags: &mut Flags) -> Result<bool> {
        let Some(flag) = self.peek() else { return Ok(false) };
        if flag.is_ascii_digit() {
            if out.number > 0 {
                self.at += 1;
                bail!("multiple number options to `s' command");
            }
            let number = self.number()?.unwrap_or(0);
            out.number = usize::try_from(number).map_err(|_| anyhow!("number is too big"))?;
            if out.number == 0 {
                bail!("number option to `s' command may not be zero");
            }
            return Ok(true);
        }
        if b"\n;}#".contains(&flag) {
            return Ok(false);
        }
        self.at += 1;
        match flag {
            b'g' if out.global => bail!("multiple `g' options to `s' command"),
            b'p' if out.print => bail!("multiple `p' options to `s' command"),
            b'g' => out.global = true,
            b'p' => out.print = true,
            b'i' | b'I' => flags.ignore_case = true,
            b'm' | b'M' => flags.multi_line = true,
            b'w' => {
                out.file = Some(self.output_file()?);
                return Ok(false);
            }
            b' ' | b'\t' | b'\r' => return Ok(false),
            b'e' => bail!("the option `e' of `s' is not supported: a script runs no commands here"),
            _ => bail!("unknown option to `s'"),
        }
        Ok(true)
    }

    pub(super) fn translation(&mut self) -> Result<Action> {
        let unterminated = || anyhow!("unterminated `y' command");
        let mark = self.take().ok_or_else(unterminated)?;
        let from = translation_side(&self.delimited(mark, false)?.ok_or_else(unterminated)?)?;
        let to = translation_side(&self.delimited(mark, false)?.ok_or_else(unterminated)?)?;
        if from.len() != to.len() {
            bail!("strings for `y' command are different lengths");
        }
        Ok(Action::Translate(from.into_iter().zip(to).collect()))
    }
}

/// The characters of one side of `y`.
fn translation_side(text: &[u8]) -> Result<Vec<Unit>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        let name = *text.get(at).context("unterminated `y' command")?;
        let (byte, length) = escape(name, &text[at + 1..]);
        plain.push(byte);
        at += 1 + length;
    }
    Ok(units(&plain).collect())
}

/// Characters, and bytes that belong to none.
pub(super) fn units(text: &[u8]) -> impl Iterator<Item = Unit> + '_ {
    text.utf8_chunks()
        .flat_map(|chunk| chunk.valid().chars().map(Ok).chain(chunk.invalid().iter().map(|byte| Err(*byte))))
}

/// Split a replacement into its parts.
fn parse_replacement(text: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut plain = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        let part = match byte {
            b'&' => Part::Group(0),
            b'\\' => {
                let Some(next) = text.get(at) else { break };
                at += 1;
                match next {
                    b'0'..=b'9' => Part::Group(usize::from(next - b'0')),
                    b'U' => Part::Case(Case::Upper),
                    b'L' => Part::Case(Case::Lower),
                    b'u' => Part::Case(Case::NextUpper),
                    b'l' => Part::Case(Case::NextLower),
                    b'E' => Part::Case(Case::End),
                    next => {
                        let (byte, length) = escape(*next, &text[at..]);
                        plain.push(byte);
                        at += length;
                        continue;
                    }
                }
            }
            byte => {
                plain.push(*byte);
                continue;
            }
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(part);
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    parts
}

/// The byte that an escape stands for, and how much of `rest` belongs to it.
fn escape(name: u8, rest: &[u8]) -> (u8, usize) {
    let coded = |radix: u32, most: usize| {
        let length = rest.iter().take(most).take_while(|byte| char::from(**byte).is_digit(radix)).count();
        let digits = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        u8::from_str_radix(digits, radix).map_or((name, 0), |byte| (byte, length))
    };
    match name {
        b'n' => (b'\n', 0),
        b't' => (b'\t', 0),
        b'r' => (b'\r', 0),
        b'f' => (0x0c, 0),
        b'v' => (0x0b, 0),
        b'a' => (7, 0),
        b'c' => rest.first().map_or((name, 0), |key| (key.to_ascii_uppercase() ^ 0x40, 1)),
        b'x' => coded(16, 2),
        b'o' => coded(8, 3),
        b'd' => coded(10, 3),
        byte => (byte, 0),
    }
}
