//! `-printf` and `-ls`.

use std::io::{self, Write};

use rustix::fs::{FileType, Statx};

use super::clock;
use super::entry::{Entry, base_name, device, kind_of, letter, stamp};
use super::expression::{Nanoseconds, Stamp};
use super::names::Names;

/// A parsed format.
pub struct Format {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(Vec<u8>),
    Field {
        layout: Layout,
        field: Field,
    },
    /// `\c`: print no more and flush.
    Stop,
}

#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    left: bool,
    zero: bool,
    alternate: bool,
    sign: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

#[derive(Clone, Copy)]
enum Field {
    /// One of the letters of `is_field`.
    Letter(u8),
    /// `%AK`, `%BK`, `%CK`, `%TK`.
    Time(Stamp, u8),
}

fn is_field(letter: u8) -> bool {
    b"abcdDfFgGhHiklmMnpPsStuUyY".contains(&letter)
}

impl Format {
    /// Parse the argument of `-printf`. Unknown escapes and directives are printed as they are; GNU warns of them, and so do we.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut at = 0;
        while let Some(byte) = text.get(at).copied() {
            let piece = match byte {
                b'\\' => {
                    let Some((byte, length)) = escape(&text[at + 1..]) else { break };
                    at += 1 + length;
                    match byte {
                        Some(byte) => {
                            plain.push(byte);
                            continue;
                        }
                        None => Piece::Stop,
                    }
                }
                b'%' => match directive(&text[at + 1..])? {
                    (Some(piece), length) => {
                        at += 1 + length;
                        piece
                    }
                    (None, length) => {
                        plain.extend(if length == 1 && text[at + 1] == b'%' { b"%" } else { &text[at..=at + length] });
                        at += 1 + length;
                        continue;
                    }
                },
                byte => {
                    plain.push(byte);
                    at += 1;
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// Write what the format makes of a file.
    pub fn print(&self, entry: &Entry<'_>, names: &mut Names, out: &mut dyn Write) -> io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Field { layout, field } => print_field(*layout, *field, entry, names, out)?,
                Piece::Stop => return out.flush(),
            }
        }
        Ok(())
    }
}

fn warn(message: &str) {
    let _ = writeln!(io::stderr(), "find: warning: {message}");
}

/// The byte that an escape stands for, and its length after the backslash; no byte for `\c`. `None` after a warning of a
/// backslash at the end.
fn escape(rest: &[u8]) -> Option<(Option<u8>, usize)> {
    let Some(name) = rest.first() else {
        warn("escape `\\' followed by nothing at all");
        return None;
    };
    let byte = match name {
        b'a' => 7,
        b'b' => 8,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        b'c' => return Some((None, 1)),
        b'0'..=b'7' => {
            let length = rest.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let value = rest[..length].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            return Some((Some(value.to_le_bytes()[0]), length));
        }
        name => {
            warn(&format!("unrecognized escape `\\{}'", name.escape_ascii()));
            return Some((Some(b'\\'), 0));
        }
    };
    Some((Some(byte), 1))
}

/// The directive after a `%` and its length; no piece if it is to be printed as it stands, and for `%%`.
fn directive(rest: &[u8]) -> Result<(Option<Piece>, usize), String> {
    let mut layout = Layout::default();
    let mut at = 0;
    while let Some(flag) = rest.get(at) {
        match flag {
            b'-' => layout.left = true,
            b'0' => layout.zero = true,
            b'#' => layout.alternate = true,
            b'+' => layout.sign = true,
            b' ' => layout.space = true,
            _ => break,
        }
        at += 1;
    }
    let (width, length) = number(&rest[at..])?;
    layout.width = width;
    at += length;
    if rest.get(at) == Some(&b'.') {
        let (precision, length) = number(&rest[at + 1..])?;
        layout.precision = Some(precision);
        at += 1 + length;
    }
    let Some(name) = rest.get(at).copied() else { return Err("% at end of format string".into()) };
    let stamp = match name {
        b'A' => Some(Stamp::Access),
        b'B' => Some(Stamp::Birth),
        b'C' => Some(Stamp::Change),
        b'T' => Some(Stamp::Modification),
        _ => None,
    };
    if let Some(stamp) = stamp
        && let Some(form) = rest.get(at + 1).copied()
        && clock::format(0, form).is_some()
    {
        return Ok((Some(Piece::Field { layout, field: Field::Time(stamp, form) }), at + 2));
    }
    if is_field(name) {
        return Ok((Some(Piece::Field { layout, field: Field::Letter(name) }), at + 1));
    }
    if name != b'%' {
        warn(&format!("unrecognized format directive `%{}'", name.escape_ascii()));
    }
    Ok((None, at + 1))
}

/// The number that begins `rest`, and its length. One that no line could be as long as is refused.
fn number(rest: &[u8]) -> Result<(usize, usize), String> {
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = String::from_utf8_lossy(&rest[..length]);
    let value = if length == 0 { Some(0) } else { digits.parse().ok().filter(|value| *value <= 1 << 20) };
    value.map(|value| (value, length)).ok_or_else(|| format!("the width {digits} is too big"))
}

fn print_field(
    layout: Layout,
    field: Field,
    entry: &Entry<'_>,
    names: &mut Names,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = match field {
        Field::Letter(name) => name,
        Field::Time(which, form) => {
            let time = entry.stat().and_then(|stat| stamp(stat, which));
            return layout.text(time.and_then(|time| clock::format(time, form)).unwrap_or_default().as_bytes(), out);
        }
    };
    let path = entry.path;
    match name {
        b'p' => layout.text(path, out),
        b'f' => layout.text(file_part(path), out),
        b'h' => layout.text(folder_part(path), out),
        b'H' => layout.text(&path[..entry.root], out),
        b'P' => {
            let below = &path[entry.root..];
            layout.text(below.strip_prefix(b"/").unwrap_or(below), out)
        }
        b'd' => layout.number(&entry.depth.to_string(), out),
        b'l' => layout.text(&entry.link_target().unwrap_or_default(), out),
        b'y' => layout.text(&[letter(entry.kind())], out),
        b'Y' => layout.text(&[target_letter(entry)], out),
        name => {
            let Some(stat) = entry.stat() else { return Ok(()) };
            print_stat_field(layout, name, stat, names, out)
        }
    }
}

fn print_stat_field(layout: Layout, name: u8, stat: &Statx, names: &mut Names, out: &mut dyn Write) -> io::Result<()> {
    let mode = u32::from(stat.stx_mode);
    let time = |which| stamp(stat, which).map(clock::long).unwrap_or_default();
    let text = match name {
        b'a' => time(Stamp::Access),
        b'b' => stat.stx_blocks.to_string(),
        b'c' => time(Stamp::Change),
        b'D' => device(stat).to_string(),
        b'F' => names.file_system(device(stat)),
        b'g' => names.group(stat.stx_gid),
        b'G' => stat.stx_gid.to_string(),
        b'i' => stat.stx_ino.to_string(),
        b'k' => stat.stx_blocks.div_ceil(2).to_string(),
        b'm' => {
            let octal = format!("{:o}", mode & 0o7777);
            return layout.number(&if layout.alternate { format!("0{octal}") } else { octal }, out);
        }
        b'M' => mode_text(stat),
        b'n' => stat.stx_nlink.to_string(),
        b's' => stat.stx_size.to_string(),
        b'S' => sparseness(stat),
        b't' => time(Stamp::Modification),
        b'u' => names.user(stat.stx_uid),
        _ => stat.stx_uid.to_string(),
    };
    layout.text(text.as_bytes(), out)
}

impl Layout {
    /// As C's `%s`.
    fn text(self, text: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let text = &text[..self.precision.unwrap_or(text.len()).min(text.len())];
        let padding = vec![b' '; self.width.saturating_sub(text.len())];
        let (first, second) = if self.left { (text, padding.as_slice()) } else { (padding.as_slice(), text) };
        out.write_all(first)?;
        out.write_all(second)
    }

    /// As C's `%d`: `digits` with a sign, padded with blanks or zeros.
    fn number(self, digits: &str, out: &mut dyn Write) -> io::Result<()> {
        let sign = if self.sign { "+" } else { &" "[..usize::from(self.space)] };
        let zeros = if self.zero && !self.left { self.width.saturating_sub(sign.len()) } else { 0 };
        let zeros = zeros.max(self.precision.unwrap_or(0)).saturating_sub(digits.len());
        let text = format!("{sign}{}{digits}", "0".repeat(zeros));
        Self { precision: None, ..self }.text(text.as_bytes(), out)
    }
}

/// The last part of a path, with the slashes at its end.
pub fn file_part(path: &[u8]) -> &[u8] {
    let base = base_name(path);
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(path.len(), |at| at + 1);
    &path[end.saturating_sub(base.len())..]
}

/// All before the last slash.
fn folder_part(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b".", |at| &path[..at])
}

/// `%Y`: the type of what a link leads to; `N` for nothing, `L` for a ring.
fn target_letter(entry: &Entry<'_>) -> u8 {
    if entry.kind() != FileType::Symlink {
        return letter(entry.kind());
    }
    let flags = rustix::fs::AtFlags::empty();
    match rustix::fs::statx(entry.folder, entry.at, flags, rustix::fs::StatxFlags::BASIC_STATS) {
        Ok(stat) => letter(kind_of(&stat)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => b'N',
        Err(rustix::io::Errno::LOOP) => b'L',
        Err(_) => b'?',
    }
}

/// The form of `ls -l`.
fn mode_text(stat: &Statx) -> String {
    let mode = u32::from(stat.stx_mode);
    let kind = match letter(kind_of(stat)) {
        b'f' => '-',
        kind => char::from(kind),
    };
    let mut text = String::from(kind);
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// The share of the file's size that takes up space, as C's `%g` writes it.
fn sparseness(stat: &Statx) -> String {
    #[expect(clippy::cast_precision_loss, reason = "six digits are printed")]
    let (space, size) = (stat.stx_blocks.saturating_mul(512) as f64, stat.stx_size as f64);
    if stat.stx_size == 0 {
        return if stat.stx_blocks == 0 { "1".into() } else { "inf".into() };
    }
    general(space / size)
}

/// C's `%g`, for numbers that are not negative.
fn general(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trim(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

/// The line of `-ls`: the form of `ls -dils`.
pub fn list(entry: &Entry<'_>, names: &mut Names, now: Nanoseconds, out: &mut dyn Write) -> io::Result<()> {
    let Some(stat) = entry.stat() else { return Ok(()) };
    let size = match kind_of(stat) {
        FileType::BlockDevice | FileType::CharacterDevice => {
            format!("{:3}, {:3}", stat.stx_rdev_major, stat.stx_rdev_minor)
        }
        _ => stat.stx_size.to_string(),
    };
    write!(
        out,
        "{:9} {:6} {} {:3} {:8} {:8} {size:>8} {} ",
        stat.stx_ino,
        stat.stx_blocks.div_ceil(2),
        mode_text(stat),
        stat.stx_nlink,
        names.user(stat.stx_uid),
        names.group(stat.stx_gid),
        stamp(stat, Stamp::Modification).map(|time| clock::short(time, now)).unwrap_or_default(),
    )?;
    out.write_all(&escaped(entry.path))?;
    if kind_of(stat) == FileType::Symlink {
        match rustix::fs::readlinkat(entry.folder, entry.at, Vec::new()) {
            Ok(target) => {
                out.write_all(b" -> ")?;
                out.write_all(&escaped(target.as_bytes()))?;
            }
            Err(error) => entry.report.path(entry.path, error),
        }
    }
    out.write_all(b"\n")
}

/// A name with C's escapes for what does not print.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b' ' | b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\t' => out.extend(b"\\t"),
            b'\r' => out.extend(b"\\r"),
            8 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            b'!'..=b'~' => out.push(*byte),
            byte => out.extend(format!("\\{byte:03o}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths() {
        for (path, file, folder) in [
            ("d/", "d/", "d"),
            ("d/b", "b", "d"),
            ("/", "/", ""),
            (".", ".", "."),
            ("d//e", "e", "d/"),
            ("a", "a", "."),
        ] {
            assert_eq!(file_part(path.as_bytes()), file.as_bytes(), "{path}");
            assert_eq!(folder_part(path.as_bytes()), folder.as_bytes(), "{path}");
        }
    }

    #[test]
    fn general_numbers() {
        for (value, text) in
            [(1.0, "1"), (1365.3333333, "1365.33"), (0.5, "0.5"), (1e-7, "1e-07"), (1234567.0, "1.23457e+06")]
        {
            assert_eq!(general(value), text);
        }
    }

    #[test]
    fn bad_formats_are_refused() {
        assert!(Format::parse(b"%").is_err());
        assert!(Format::parse(b"%5").is_err());
        assert!(Format::parse(b"%99999999999999999999p").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_format_panics(text: Vec<u8>) {
            let _ = Format::parse(&text);
        }
    }
}
