//! The items that xargs reads.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};

/// How items are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// Blanks and newlines; quotes and backslashes keep what they enclose together.
    Blanks,
    /// Newlines only; blanks before an item are left out. Quotes are as above.
    Lines,
    /// This byte; nothing is special.
    Byte(u8),
}

/// Reads items.
pub struct Items<R> {
    input: R,
    separator: Separator,
    /// The item that ends the input (`-E`).
    end: Option<Vec<u8>>,
    /// Lines that have ended; empty ones do not count, and one that ends with a blank goes on.
    pub lines: usize,
    previous: u8,
    done: bool,
    warned: bool,
}

impl<R: BufRead> Items<R> {
    /// Read from `input`.
    pub fn new(input: R, separator: Separator, end: Option<Vec<u8>>) -> Self {
        Self { input, separator, end, lines: 0, previous: b'\n', done: false, warned: false }
    }

    /// The next item.
    ///
    /// # Errors
    /// When the input cannot be read or a quote is not closed.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.done {
            return Ok(None);
        }
        let item = match self.separator {
            Separator::Byte(separator) => self.delimited(separator)?,
            Separator::Blanks | Separator::Lines => self.quoted()?,
        };
        self.done = item.is_none();
        Ok(item.map(|item| self.without_zero(item)))
    }

    /// No argument can hold a zero byte.
    fn without_zero(&mut self, mut item: Vec<u8>) -> Vec<u8> {
        if let Some(zero) = item.iter().position(|byte| *byte == 0) {
            item.truncate(zero);
            if !std::mem::replace(&mut self.warned, true) {
                let _ = writeln!(
                    io::stderr(),
                    "xargs: WARNING: a NUL character occurred in the input.  It cannot be passed through in the argument \
                     list.  Did you mean to use the --null option?"
                );
            }
        }
        item
    }

    fn delimited(&mut self, separator: u8) -> Result<Option<Vec<u8>>> {
        let mut item = Vec::new();
        if self.input.read_until(separator, &mut item).context("read the input")? == 0 {
            return Ok(None);
        }
        if item.last() == Some(&separator) {
            item.pop();
        }
        self.lines += 1;
        Ok(Some(item))
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        let byte = self.input.fill_buf().context("read the input")?.first().copied();
        self.input.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    fn quoted(&mut self) -> Result<Option<Vec<u8>>> {
        let mut item = Vec::new();
        // Something has been seen, if only an empty pair of quotes.
        let mut begun = false;
        loop {
            let Some(byte) = self.byte()? else {
                self.done = true;
                break;
            };
            let previous = std::mem::replace(&mut self.previous, byte);
            match byte {
                b'\n' => {
                    if begun {
                        self.lines += usize::from(!matches!(previous, b' ' | b'\t'));
                        break;
                    }
                }
                b' ' | b'\t' if !begun || self.separator == Separator::Blanks => {
                    if begun {
                        break;
                    }
                }
                b'\\' => {
                    begun = true;
                    item.extend(self.byte()?);
                    // An escaped blank or newline is no end of a line.
                    self.previous = b'\\';
                }
                quote @ (b'\'' | b'"') => {
                    begun = true;
                    self.quotation(quote, &mut item)?;
                    self.previous = quote;
                }
                byte => {
                    begun = true;
                    item.push(byte);
                }
            }
        }
        if !begun {
            return Ok(None);
        }
        let is_end = self.end.as_ref() == Some(&item);
        self.done |= is_end;
        Ok((!is_end).then_some(item))
    }

    fn quotation(&mut self, quote: u8, item: &mut Vec<u8>) -> Result<()> {
        loop {
            match self.byte()? {
                Some(byte) if byte == quote => return Ok(()),
                None | Some(b'\n') => {
                    let kind = if quote == b'"' { "double" } else { "single" };
                    bail!(
                        "unmatched {kind} quote; by default quotes are special to xargs unless you use the -0 option"
                    );
                }
                Some(byte) => item.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str, separator: Separator) -> Vec<String> {
        let mut items = Items::new(text.as_bytes(), separator, None);
        std::iter::from_fn(|| items.next().unwrap()).map(|item| String::from_utf8(item).unwrap()).collect()
    }

    #[test]
    fn separators() {
        assert_eq!(items("a 'b c'\n\"d\"e\\ f ''\n\n", Separator::Blanks), ["a", "b c", "de f", ""]);
        assert_eq!(items("  a b \n\nc\\\nd", Separator::Lines), ["a b ", "c\nd"]);
        assert_eq!(items("a,b,,c\n,", Separator::Byte(b',')), ["a", "b", "", "c\n"]);
    }

    #[test]
    fn quotes_must_be_closed() {
        for text in ["'a", "\"a\n\"", "b 'c\n'"] {
            let mut items = Items::new(text.as_bytes(), Separator::Blanks, None);
            assert!((0..3).any(|_| items.next().is_err()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(text: Vec<u8>, lines: bool) {
            let separator = if lines { Separator::Lines } else { Separator::Blanks };
            let mut items = Items::new(text.as_slice(), separator, None);
            while let Ok(Some(_)) = items.next() {}
        }
    }
}
