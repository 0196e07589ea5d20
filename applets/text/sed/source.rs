//! The text of a script, and where its pieces came from.

use std::path::PathBuf;

/// Where a piece of the script came from.
pub enum Origin {
    /// The `-e` of that number, or the operand.
    Expression(usize),
    /// `-f FILE`
    File(PathBuf),
}

/// The whole script: its pieces, joined by newlines.
#[derive(Default)]
pub struct Source {
    /// The script's text.
    pub text: Vec<u8>,
    /// Where each piece begins.
    pieces: Vec<(usize, Origin)>,
}

impl Source {
    /// A script that is one expression.
    pub fn expression(text: &[u8]) -> Self {
        let mut source = Self::default();
        source.push(text, Origin::Expression(1));
        source
    }

    /// Add a piece.
    pub fn push(&mut self, text: &[u8], origin: Origin) {
        if !self.pieces.is_empty() {
            self.text.push(b'\n');
        }
        self.pieces.push((self.text.len(), origin));
        self.text.extend(text);
    }

    /// The number of expressions so far.
    pub fn expressions(&self) -> usize {
        self.pieces.iter().filter(|(_, origin)| matches!(origin, Origin::Expression(_))).count()
    }

    /// GNU's words for the place `at` of the text.
    pub fn place(&self, at: usize) -> String {
        let at = at.min(self.text.len());
        let Some((start, origin)) = self.pieces.iter().rev().find(|(start, _)| *start <= at) else {
            return "script".into();
        };
        match origin {
            Origin::Expression(number) => format!("-e expression #{number}, char {}", at - start),
            Origin::File(path) => {
                let line = 1 + self.text[*start..at].iter().filter(|byte| **byte == b'\n').count();
                format!("file {} line {line}", path.display())
            }
        }
    }
}
