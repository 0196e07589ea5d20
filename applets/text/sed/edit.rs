//! What `s`, `y` and `l` make of a text.

use anyhow::Result;

use super::arguments::units;
use super::script::{Case, Part, Substitution, Unit};
use crate::text::regex::{Regex, Spans};

/// `s`: the text after it; `None` if nothing was replaced.
///
/// # Errors
/// When a pattern with back-references takes too long.
pub fn substitute(command: &Substitution, regex: &Regex, text: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut copied, mut count) = (0, 0, 0);
    let mut last_end = None;
    while at <= text.len() {
        let Some(spans) = regex.captures_at(text, at)? else { break };
        let Some((from, to)) = spans[0] else { break };
        // An empty match right after another is none.
        if from == to && last_end == Some(from) {
            at = from + char_length(text, from);
            continue;
        }
        last_end = Some(to);
        count += 1;
        if count >= command.number {
            out.extend(&text[copied..from]);
            replace(&command.replacement, text, &spans, &mut out);
            copied = to;
            if !command.global {
                break;
            }
        }
        at = if from == to { to + char_length(text, to) } else { to };
    }
    if count < command.number {
        return Ok(None);
    }
    out.extend(text.get(copied..).unwrap_or_default());
    Ok(Some(out))
}

fn char_length(text: &[u8], at: usize) -> usize {
    let rest = &text[at.min(text.len())..];
    let first = rest[..rest.len().min(4)].utf8_chunks().next();
    first.and_then(|chunk| chunk.valid().chars().next()).map_or(1, char::len_utf8)
}

/// Write a replacement, with GNU's case conversions.
fn replace(parts: &[Part], text: &[u8], spans: &Spans, out: &mut Vec<u8>) {
    let (mut all, mut next) = (None, None);
    for part in parts {
        let piece: &[u8] = match part {
            Part::Text(text) => text,
            Part::Group(group) => spans.get(*group).copied().flatten().map_or(&[], |(from, to)| &text[from..to]),
            Part::Case(Case::End) => {
                (all, next) = (None, None);
                continue;
            }
            Part::Case(case @ (Case::Upper | Case::Lower)) => {
                // `\u\L` is `\L`, where `\L\u` is both.
                (all, next) = (Some(*case), None);
                continue;
            }
            Part::Case(case) => {
                next = Some(*case);
                continue;
            }
        };
        if all.is_none() && next.is_none() {
            out.extend(piece);
            continue;
        }
        for unit in units(piece) {
            match unit {
                Ok(c) => push_cased(c, next.take().or(all), out),
                Err(byte) => out.push(byte),
            }
        }
    }
}

fn push_cased(c: char, case: Option<Case>, out: &mut Vec<u8>) {
    let converted: String = match case {
        Some(Case::Upper | Case::NextUpper) => c.to_uppercase().collect(),
        Some(Case::Lower | Case::NextLower) => c.to_lowercase().collect(),
        _ => c.into(),
    };
    out.extend(converted.as_bytes());
}

/// `y`: each character that stands on the left becomes the one on the right.
pub fn translate(text: &[u8], pairs: &[(Unit, Unit)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for unit in units(text) {
        match pairs.iter().find(|(from, _)| *from == unit).map_or(unit, |(_, to)| *to) {
            Ok(c) => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(byte) => out.push(byte),
        }
    }
    out
}

/// The form of `l`: escapes for what does not print, lines folded to `width` (0: not at all), `$` at the end; lines end with `end`.
pub fn unambiguous(text: &[u8], width: usize, end: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut column = 0;
    let mut put = |piece: &[u8]| {
        if width > 0 && column + piece.len() > width - 1 {
            out.extend([b'\\', end]);
            column = 0;
        }
        out.extend(piece);
        column += piece.len();
    };
    for byte in text {
        match byte {
            b'\\' => put(b"\\\\"),
            7 => put(b"\\a"),
            8 => put(b"\\b"),
            0x0c => put(b"\\f"),
            b'\n' => put(b"\\n"),
            b'\r' => put(b"\\r"),
            b'\t' => put(b"\\t"),
            0x0b => put(b"\\v"),
            b' '..=b'~' => put(&[*byte]),
            byte => put(format!("\\{byte:03o}").as_bytes()),
        }
    }
    out.extend([b'$', end]);
    out
}
