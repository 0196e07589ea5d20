//! `hexdump`, `hd` and `xxd`: bytes as numbers (BSD hexdump(1), xxd(1) of vim).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;

use crate::common;
use crate::registry::{Applet, Dir};

/// `hexdump`.
pub const HEXDUMP: Applet =
    Applet { name: "hexdump", aliases: &["hd"], dir: Dir::Bin, summary: "show bytes as numbers", run: run_hexdump };

/// `xxd`.
pub const XXD: Applet = Applet {
    name: "xxd",
    aliases: &[],
    dir: Dir::Bin,
    summary: "show bytes as hexadecimal numbers, or the other way round",
    run: run_xxd,
};

#[derive(Parser)]
#[command(name = "hexdump", about = "Show bytes as hexadecimal numbers of two bytes, in the machine's order")]
struct HexdumpOptions {
    /// Single bytes and characters
    #[arg(short = 'C', long)]
    canonical: bool,
    /// So many bytes
    #[arg(short = 'n', long, value_name = "BYTES", value_parser = number)]
    length: Option<u64>,
    /// Pass over so many
    #[arg(short, long, value_name = "BYTES", value_parser = number, default_value = "0")]
    skip: u64,
    /// Rows like the one before too
    #[arg(short = 'v', long)]
    no_squeezing: bool,
    /// Files, one after the other; none is standard input
    files: Vec<OsString>,
}

#[derive(Parser)]
#[command(name = "xxd", about = "Show bytes as hexadecimal numbers")]
struct XxdOptions {
    /// The other way round: numbers to bytes
    #[arg(short, long)]
    revert: bool,
    /// Numbers alone
    #[arg(short, long, visible_alias = "plain")]
    postscript: bool,
    /// Upper-case digits
    #[arg(short)]
    upper: bool,
    /// Bytes in a row
    #[arg(short, long, value_parser = number)]
    cols: Option<u64>,
    /// Bytes in a group, 0 for no groups
    #[arg(short, long, value_parser = number, default_value = "2")]
    groupsize: u64,
    /// So many bytes
    #[arg(short, long, value_parser = number)]
    len: Option<u64>,
    /// Pass over so many
    #[arg(short, long, value_parser = number, default_value = "0")]
    seek: u64,
    /// File; none or - is standard input
    file: Option<OsString>,
}

/// Decimal, `0x` hexadecimal or `0` octal, with k, m or g behind it or not.
fn number(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.to_ascii_lowercase() {
        lower if lower.starts_with("0x") => (lower, 1),
        lower => match lower.strip_suffix(['k', 'm', 'g']) {
            Some(digits) => {
                (digits.to_owned(), [1 << 10, 1 << 20, 1 << 30]["kmg".find(&lower[digits.len()..]).unwrap_or(0)])
            }
            None => (lower, 1),
        },
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(&digits, 8),
        None => digits.parse(),
    };
    value.ok().and_then(|value| value.checked_mul(unit)).ok_or_else(|| "not a number".to_owned())
}

fn run_hexdump(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let mut options: HexdumpOptions = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    options.canonical |= name == "hd";
    common::finish(&name, hexdump(&name, &options))
}

fn run_xxd(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options: XxdOptions = match common::parse(args, 1) {
        Ok(options) => options,
        Err(status) => return status,
    };
    common::finish(&name, xxd(&options).map(|()| 0))
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
}

fn hexdump(name: &str, options: &HexdumpOptions) -> anyhow::Result<i32> {
    let mut status = 0;
    let mut source: Box<dyn Read> =
        if options.files.is_empty() { Box::new(io::stdin()) } else { Box::new(io::empty()) };
    let mut opened = options.files.is_empty();
    for file in &options.files {
        match open(Path::new(file)) {
            Ok(file) => {
                source = Box::new(source.chain(file));
                opened = true;
            }
            Err(error) => {
                writeln!(io::stderr(), "{name}: {}: {}", file.to_string_lossy(), super::reason(&error))?;
                status = 1;
            }
        }
    }
    ensure!(opened, "all input file arguments failed");
    let out = BufWriter::new(io::stdout().lock());
    dump(BufReader::with_capacity(64 << 10, source), out, options)?;
    Ok(status)
}

fn dump(mut source: impl Read, mut out: impl Write, options: &HexdumpOptions) -> anyhow::Result<()> {
    let skipped = io::copy(&mut (&mut source).take(options.skip), &mut io::sink())?;
    ensure!(skipped == options.skip, "cannot skip past the end of the input");
    let mut source = source.take(options.length.unwrap_or(u64::MAX));
    let width = if options.canonical { 8 } else { 7 };
    let (mut offset, mut before, mut squeezed) = (options.skip, None, false);
    loop {
        let row = read_row(&mut source, 16)?;
        if row.is_empty() {
            break;
        }
        let end = offset + row.len() as u64;
        if !options.no_squeezing && before.as_ref() == Some(&row) && row.len() == 16 {
            if !squeezed {
                writeln!(out, "*")?;
            }
            squeezed = true;
        } else {
            squeezed = false;
            let text = if options.canonical { canonical(&row) } else { pairs(&row) };
            writeln!(out, "{offset:0width$x}{text}")?;
        }
        before = Some(row);
        offset = end;
    }
    if offset > options.skip || options.skip > 0 {
        writeln!(out, "{offset:0width$x}")?;
    }
    out.flush()?;
    Ok(())
}

fn read_row(source: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut row = Vec::with_capacity(length);
    source.take(length as u64).read_to_end(&mut row)?;
    Ok(row)
}

fn canonical(row: &[u8]) -> String {
    let mut text = String::from(" ");
    for at in 0..16 {
        if at == 8 {
            text.push(' ');
        }
        text.push_str(&row.get(at).map_or("   ".into(), |byte| format!(" {byte:02x}")));
    }
    format!("{text}  |{}|", printable(row))
}

fn pairs(row: &[u8]) -> String {
    let mut text = String::new();
    for pair in row.chunks(2) {
        text.push_str(&format!(" {:04x}", u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    }
    format!("{text:<40}")
}

fn printable(row: &[u8]) -> String {
    row.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect()
}

fn xxd(options: &XxdOptions) -> anyhow::Result<()> {
    let path = options.file.clone().unwrap_or_else(|| "-".into());
    let shown = path.to_string_lossy().into_owned();
    let source = open(Path::new(&path)).map_err(|error| anyhow::anyhow!("{shown}: {}", super::reason(&error)))?;
    let mut source = BufReader::with_capacity(64 << 10, source);
    let mut out = BufWriter::new(io::stdout().lock());
    if options.revert {
        revert(source, &mut out, options.postscript).with_context(|| shown)?;
        out.flush()?;
        return Ok(());
    }
    io::copy(&mut (&mut source).take(options.seek), &mut io::sink())?;
    let mut source = source.take(options.len.unwrap_or(u64::MAX));
    let columns = options.cols.unwrap_or(if options.postscript { 30 } else { 16 });
    let columns =
        usize::try_from(columns).ok().filter(|columns| (1..=256).contains(columns)).context("-c: from 1 to 256")?;
    let mut offset = options.seek;
    loop {
        let row = read_row(&mut source, columns)?;
        if row.is_empty() {
            break;
        }
        match options.postscript {
            true => writeln!(out, "{}", digits(&row, options.upper))?,
            false => writeln!(out, "{offset:08x}: {}", grouped(&row, columns, options))?,
        }
        offset += row.len() as u64;
    }
    out.flush()?;
    Ok(())
}

fn digits(row: &[u8], upper: bool) -> String {
    row.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
}

fn grouped(row: &[u8], columns: usize, options: &XxdOptions) -> String {
    let group = match usize::try_from(options.groupsize) {
        Ok(0) | Err(_) => columns,
        Ok(group) => group.min(columns),
    };
    let text = row.chunks(group).map(|part| digits(part, options.upper)).collect::<Vec<_>>().join(" ");
    let width = columns * 2 + columns.div_ceil(group) - 1;
    format!("{text:<width$}  {}", printable(row))
}

/// Numbers to bytes: `OFFSET: NUMBERS  TEXT`, or numbers alone. Offsets that go forward leave zeros.
fn revert(source: impl io::BufRead, out: &mut impl Write, plain: bool) -> anyhow::Result<()> {
    let mut position = 0;
    for line in source.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        let numbers = match (plain, line.split_once(':')) {
            (true, _) => line.as_str(),
            (false, Some((offset, rest))) => {
                let offset =
                    u64::from_str_radix(offset.trim(), 16).with_context(|| format!("{offset}: not an offset"))?;
                if offset < position {
                    bail!("offset {offset:#x} goes backwards");
                }
                io::copy(&mut io::repeat(0).take(offset - position), out)?;
                position = offset;
                // The text behind two blanks is not numbers.
                rest.trim_start().split("  ").next().unwrap_or_default()
            }
            (false, None) => continue,
        };
        let hex: Vec<u8> = numbers.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        for pair in hex.chunks(2) {
            let text = std::str::from_utf8(pair).unwrap_or_default();
            let byte = u8::from_str_radix(text, 16).ok().filter(|_| pair.len() == 2);
            out.write_all(&[byte.with_context(|| format!("{text}: not a number of two digits"))?])?;
            position += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [("10", 10), ("0x10", 16), ("010", 8), ("1k", 1024), ("2m", 2 << 20), ("0", 0)] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for bad in ["", "x", "-1", "0xg", "09", "99999999999999999999", "1t"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn back_to_bytes() {
        let reverted = |text: &str, plain| {
            let mut out = Vec::new();
            revert(text.as_bytes(), &mut out, plain).map(|()| out)
        };
        assert_eq!(reverted("00000000: 6865 6c6c 6f0a   hello.\n", false).unwrap(), b"hello\n");
        assert_eq!(reverted("0: 61\n4: 62\n", false).unwrap(), b"a\0\0\0b");
        assert_eq!(reverted("68 65\n6c", true).unwrap(), b"hel");
        for bad in ["0: 6\n", "0: zz\n", "x: 61\n", "4: 61\n0: 62\n"] {
            assert!(reverted(bad, false).is_err(), "{bad}");
        }
    }
}
