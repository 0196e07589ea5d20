//! The log of a container in Docker's json-file form: one JSON object per line of output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::time;
use super::wire::CHUNK;

/// When a log is turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of one file.
    pub max_size: u64,
    /// Files that are kept, the current one among them; at least one.
    pub max_files: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation { max_size: 10 << 20, max_files: 2 }
    }
}

/// Which of the payload's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The writing end.
pub struct Writer {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: Rotation,
    /// The unfinished line of each stream.
    partial: [Vec<u8>; 2],
    line: Vec<u8>,
}

impl Writer {
    /// Open a log, to go on at its end.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Writer { path: path.into(), file, size, rotation, partial: [Vec::new(), Vec::new()], line: Vec::new() })
    }

    /// Log output. Lines are written when they are complete or as long as [`CHUNK`].
    pub fn write(&mut self, stream: Stream, mut data: &[u8]) -> io::Result<()> {
        let slot = stream as usize;
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = data.split_at(end + 1);
            data = rest;
            if self.partial[slot].is_empty() {
                self.emit(stream, line)?;
            } else {
                self.partial[slot].extend_from_slice(line);
                self.flush(stream)?;
            }
        }
        self.partial[slot].extend_from_slice(data);
        if self.partial[slot].len() >= CHUNK { self.flush(stream) } else { Ok(()) }
    }

    /// Write unfinished lines: there will be no more.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush(Stream::Stdout)?;
        self.flush(Stream::Stderr)
    }

    fn flush(&mut self, stream: Stream) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.partial[stream as usize]);
        let result = if text.is_empty() { Ok(()) } else { self.emit(stream, &text) };
        text.clear();
        self.partial[stream as usize] = text;
        result
    }

    fn emit(&mut self, stream: Stream, text: &[u8]) -> io::Result<()> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.extend_from_slice(b"{\"log\":\"");
        escape(&mut line, text);
        writeln!(line, "\",\"stream\":\"{}\",\"time\":\"{}\"}}", stream.name(), time::now())?;
        let result = self.append_line(&line);
        self.line = line;
        result
    }

    fn append_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.rotation.max_size {
            self.turn_over()?;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }
}

impl Writer {
    fn turn_over(&mut self) -> io::Result<()> {
        let last = self.rotation.max_files.saturating_sub(1);
        for number in (1..last).rev() {
            match std::fs::rename(old(&self.path, number), old(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if last > 0 {
            std::fs::rename(&self.path, old(&self.path, 1))?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Where the log before the previous `number - 1` ones is kept.
fn old(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The files of a log, the oldest first.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    all.extend((1..).map(|number| old(path, number)).take_while(|old| old.exists()));
    all.reverse();
    all
}

/// Escape as JSON (RFC 8259, section 7); what is no UTF-8 becomes U+FFFD, as Docker has it.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => {
                    out.extend_from_slice(b"\\u00");
                    out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// One line of the log, as it is read back.
#[derive(Debug, serde::Deserialize)]
pub struct Entry {
    /// The text, usually with its newline.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339.
    pub time: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(path: &Path) -> Vec<Entry> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_joined_and_streams_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Writer::open(&path, Rotation::default()).unwrap();
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"bad\n").unwrap();
        log.write(Stream::Stdout, b"o\nrest").unwrap();
        log.finish().unwrap();
        let found: Vec<_> = entries(&path).into_iter().map(|entry| (entry.stream, entry.log)).collect();
        let wanted = [("stdout", "one\n"), ("stderr", "bad\n"), ("stdout", "two\n"), ("stdout", "rest")];
        assert_eq!(found, wanted.map(|(stream, log)| (stream.to_owned(), log.to_owned())));
    }

    #[test]
    fn turns_over_and_keeps_as_many_as_wanted() {
        for (max_files, kept) in [(1, 1), (2, 2), (4, 4)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let mut log = Writer::open(&path, Rotation { max_size: 500, max_files }).unwrap();
            for number in 0..60 {
                log.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
            }
            let files = files(&path);
            assert!(files.iter().all(|file| std::fs::metadata(file).unwrap().len() <= 500));
            assert_eq!((files.len(), std::fs::read_dir(dir.path()).unwrap().count()), (kept, kept));
            let lines: Vec<_> = files.iter().flat_map(|file| entries(file)).map(|entry| entry.log).collect();
            let wanted: Vec<_> = (60 - lines.len()..60).map(|number| format!("line {number}\n")).collect();
            assert_eq!(lines, wanted);
        }
    }

    #[test]
    fn an_endless_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Writer::open(&path, Rotation::default()).unwrap();
        for _ in 0..5 {
            log.write(Stream::Stdout, &[b'x'; CHUNK / 2]).unwrap();
        }
        log.finish().unwrap();
        assert_eq!(entries(&path).iter().map(|entry| entry.log.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, CHUNK / 2]);
    }

    proptest! {
        #[test]
        fn any_bytes_become_valid_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = b"\"".to_vec();
            escape(&mut out, &bytes);
            out.push(b'"');
            let text: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
