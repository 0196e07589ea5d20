//! The forms of output: normal, ed script, unified, context.

use std::io::{self, Write};
use std::ops::Range;

use super::script::Change;
use super::text::Text;
use crate::text::regex::Regex;

/// The form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Normal,
    Ed,
    /// With so many lines around.
    Unified(usize),
    Context(usize),
}

/// How lines are printed.
pub struct Layout {
    pub style: Style,
    /// Tabs of the files are written as blanks.
    pub expand_tabs: bool,
    /// A tab, not a blank, follows the mark.
    pub initial_tab: bool,
    /// The last line before a hunk that matches is shown with it.
    pub function: Option<Regex>,
}

/// Two files and what is different.
pub struct Comparison<'c> {
    pub a: &'c Text,
    pub b: &'c Text,
    pub changes: &'c [Change],
    /// Whether a change does not count.
    pub ignorable: &'c dyn Fn(&Change) -> bool,
    /// What the two are called in headers, with their times.
    pub headers: [Vec<u8>; 2],
}

const NO_NEWLINE: &[u8] = b"\\ No newline at end of file\n";

impl Layout {
    /// Print the differences. An ed script cannot tell of a missing newline.
    pub fn print(&self, comparison: &Comparison<'_>, out: &mut dyn Write) -> io::Result<()> {
        match self.style {
            Style::Normal => self.normal(comparison, out),
            Style::Ed => self.ed(comparison, out),
            Style::Unified(lines) => self.unified(comparison, lines, out),
            Style::Context(lines) => self.context(comparison, lines, out),
        }
    }

    fn line(&self, mark: &[u8], text: &Text, index: usize, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(mark)?;
        let line = text.line(index);
        if self.expand_tabs {
            let mut column = 0;
            for byte in line {
                if *byte == b'\t' {
                    let width = 8 - column % 8;
                    out.write_all(&b"        "[..width])?;
                    column += width;
                } else {
                    out.write_all(&[*byte])?;
                    // The bytes that continue a character take up no column.
                    column += usize::from(*byte & 0xc0 != 0x80);
                }
            }
        } else {
            out.write_all(line)?;
        }
        out.write_all(b"\n")?;
        if text.is_unended(index) && self.style != Style::Ed { out.write_all(NO_NEWLINE) } else { Ok(()) }
    }

    fn mark(&self, mark: u8) -> [u8; 2] {
        [mark, if self.initial_tab { b'\t' } else { b' ' }]
    }

    fn normal(&self, comparison: &Comparison<'_>, out: &mut dyn Write) -> io::Result<()> {
        for change in comparison.changes.iter().filter(|change| !(comparison.ignorable)(change)) {
            let letter = if change.a.is_empty() {
                'a'
            } else if change.b.is_empty() {
                'd'
            } else {
                'c'
            };
            writeln!(out, "{}{letter}{}", normal_range(&change.a), normal_range(&change.b))?;
            for index in change.a.clone() {
                self.line(&self.mark(b'<'), comparison.a, index, out)?;
            }
            if letter == 'c' {
                out.write_all(b"---\n")?;
            }
            for index in change.b.clone() {
                self.line(&self.mark(b'>'), comparison.b, index, out)?;
            }
        }
        Ok(())
    }

    fn ed(&self, comparison: &Comparison<'_>, out: &mut dyn Write) -> io::Result<()> {
        // From the end, so that line numbers stay true.
        for change in comparison.changes.iter().rev().filter(|change| !(comparison.ignorable)(change)) {
            if change.b.is_empty() {
                writeln!(out, "{}d", normal_range(&change.a))?;
                continue;
            }
            writeln!(out, "{}{}", normal_range(&change.a), if change.a.is_empty() { 'a' } else { 'c' })?;
            let mut inserting = true;
            for index in change.b.clone() {
                if !std::mem::replace(&mut inserting, true) {
                    out.write_all(b"a\n")?;
                }
                if comparison.b.line(index) == b"." {
                    // A single dot would end the text: two are put in, and one is taken away.
                    out.write_all(b"..\n.\ns/.//\n")?;
                    inserting = false;
                } else {
                    self.line(b"", comparison.b, index, out)?;
                }
            }
            if inserting {
                out.write_all(b".\n")?;
            }
        }
        Ok(())
    }

    fn unified(&self, comparison: &Comparison<'_>, around: usize, out: &mut dyn Write) -> io::Result<()> {
        let hunks = hunks(comparison, around);
        let mut functions = Functions::new(self.function.as_ref(), comparison.a);
        if !hunks.is_empty() {
            write_header(b"---", &comparison.headers[0], out)?;
            write_header(b"+++", &comparison.headers[1], out)?;
        }
        for hunk in &hunks {
            write!(out, "@@ -{} +{} @@", unified_range(&hunk.a), unified_range(&hunk.b))?;
            write_function(functions.before(hunk.a.start), out)?;
            let mut a = hunk.a.start;
            for change in hunk.changes {
                for index in a..change.a.start {
                    self.line(self.kept_mark(), comparison.a, index, out)?;
                }
                for index in change.a.clone() {
                    self.line(self.unified_mark(b"-\t"), comparison.a, index, out)?;
                }
                for index in change.b.clone() {
                    self.line(self.unified_mark(b"+\t"), comparison.b, index, out)?;
                }
                a = change.a.end;
            }
            for index in a..hunk.a.end {
                self.line(self.kept_mark(), comparison.a, index, out)?;
            }
        }
        Ok(())
    }

    fn unified_mark<'m>(&self, mark: &'m [u8; 2]) -> &'m [u8] {
        &mark[..1 + usize::from(self.initial_tab)]
    }

    fn kept_mark(&self) -> &'static [u8] {
        if self.initial_tab { b"\t" } else { b" " }
    }

    fn context(&self, comparison: &Comparison<'_>, around: usize, out: &mut dyn Write) -> io::Result<()> {
        let hunks = hunks(comparison, around);
        let mut functions = Functions::new(self.function.as_ref(), comparison.a);
        if !hunks.is_empty() {
            write_header(b"***", &comparison.headers[0], out)?;
            write_header(b"---", &comparison.headers[1], out)?;
        }
        for hunk in &hunks {
            out.write_all(b"***************")?;
            write_function(functions.before(hunk.a.start), out)?;
            writeln!(out, "*** {} ****", normal_range(&hunk.a))?;
            if hunk.changes.iter().any(|change| !change.a.is_empty()) {
                let changes = hunk.changes.iter().map(|change| (change.a.clone(), change.b.is_empty()));
                self.context_side(comparison.a, hunk.a.clone(), changes, b'-', out)?;
            }
            writeln!(out, "--- {} ----", normal_range(&hunk.b))?;
            if hunk.changes.iter().any(|change| !change.b.is_empty()) {
                let changes = hunk.changes.iter().map(|change| (change.b.clone(), change.a.is_empty()));
                self.context_side(comparison.b, hunk.b.clone(), changes, b'+', out)?;
            }
        }
        Ok(())
    }

    /// One file's part of a hunk. Each change tells its lines, and whether the other file has none for them.
    fn context_side(
        &self,
        text: &Text,
        lines: Range<usize>,
        changes: impl Iterator<Item = (Range<usize>, bool)>,
        alone: u8,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut at = lines.start;
        for (changed, is_alone) in changes {
            for index in at..changed.start {
                self.line(&self.mark(b' '), text, index, out)?;
            }
            for index in changed.clone() {
                self.line(&self.mark(if is_alone { alone } else { b'!' }), text, index, out)?;
            }
            at = changed.end;
        }
        for index in at..lines.end {
            self.line(&self.mark(b' '), text, index, out)?;
        }
        Ok(())
    }
}

fn write_header(mark: &[u8], header: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[mark, b" ", header, b"\n"].concat())
}

fn write_function(function: Option<&[u8]>, out: &mut dyn Write) -> io::Result<()> {
    if let Some(function) = function {
        out.write_all(b" ")?;
        out.write_all(function)?;
    }
    out.write_all(b"\n")
}

/// `first,last`, counted from 1; of no lines, the one before.
fn normal_range(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => lines.start.to_string(),
        1 => lines.end.to_string(),
        _ => format!("{},{}", lines.start + 1, lines.end),
    }
}

/// `first,count`; of no lines, the one before and 0.
fn unified_range(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => lines.end.to_string(),
        count => format!("{},{count}", lines.start + 1),
    }
}

/// Changes that are shown together, with the lines around them.
struct Hunk<'c> {
    changes: &'c [Change],
    a: Range<usize>,
    b: Range<usize>,
}

/// Group changes between which there are not more lines than are shown around both. Groups of changes that do not count are left
/// out.
fn hunks<'c>(comparison: &Comparison<'c>, around: usize) -> Vec<Hunk<'c>> {
    let changes = comparison.changes;
    let mut hunks = Vec::new();
    let mut start = 0;
    while start < changes.len() {
        let mut end = start + 1;
        while end < changes.len() {
            let gap = changes[end].a.start - changes[end - 1].a.end;
            let most =
                if (comparison.ignorable)(&changes[end]) { around } else { around.saturating_mul(2).saturating_add(1) };
            if gap >= most {
                break;
            }
            end += 1;
        }
        let group = &changes[start..end];
        if !group.iter().all(|change| (comparison.ignorable)(change)) {
            let (first, last) = (&group[0], &group[group.len() - 1]);
            let before = around.min(first.a.start).min(first.b.start);
            let after = around.min(comparison.a.len() - last.a.end).min(comparison.b.len() - last.b.end);
            hunks.push(Hunk {
                changes: group,
                a: first.a.start - before..last.a.end + after,
                b: first.b.start - before..last.b.end + after,
            });
        }
        start = end;
    }
    hunks
}

/// Finds the lines that tell in which function a hunk is.
struct Functions<'f> {
    pattern: Option<&'f Regex>,
    text: &'f Text,
    /// Lines before this one have been looked at.
    looked: usize,
    found: Option<usize>,
}

impl<'f> Functions<'f> {
    fn new(pattern: Option<&'f Regex>, text: &'f Text) -> Self {
        Self { pattern, text, looked: 0, found: None }
    }

    /// The last line before `line` that matches, cut to 40 bytes.
    fn before(&mut self, line: usize) -> Option<&'f [u8]> {
        let pattern = self.pattern?;
        let matches = |index: &usize| pattern.is_match(self.text.line(*index)).unwrap_or(false);
        if let Some(found) = (self.looked..line).rev().find(matches) {
            self.found = Some(found);
        }
        self.looked = self.looked.max(line);
        let text = self.text.line(self.found?).trim_ascii_start();
        Some(text[..text.len().min(40)].trim_ascii_end())
    }
}
