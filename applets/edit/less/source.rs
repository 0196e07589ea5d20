//! The lines of a file or pipe, read only as far as they are wanted.
//!
//! A file is never held in memory: every 64th line's offset is known, the lines between are found by reading on from there. A pipe's
//! bytes cannot be had again and are kept.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Lines from one known offset to the next.
const STRIDE: usize = 64;
/// A longer line counts as several: what has no newlines can be paged too.
pub const LONGEST: usize = 32 << 10;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Bytes read without a look at the keyboard.
const STRETCH: u64 = 8 << 20;

enum Store {
    File(File),
    Pipe { input: Option<OwnedFd>, data: Vec<u8> },
}

/// Lines.
pub struct Source {
    store: Store,
    /// Offset of line 0, 64, 128 and so on.
    marks: Vec<u64>,
    /// Lines that begin before `scanned`.
    known: usize,
    /// Offset where the line that was begun last begins.
    begun: u64,
    /// Everything before was looked at.
    scanned: u64,
    complete: bool,
    /// Wait for a pipe, until a key is pressed; else only what is there already is taken.
    patient: bool,
    /// A key that waits here ends a long read.
    keyboard: Option<OwnedFd>,
    cache: (u64, Vec<u8>),
}

impl Source {
    /// A file that can be read anywhere.
    pub fn file(file: File) -> Self {
        Self::new(Store::File(file))
    }

    /// What can be read once only.
    pub fn pipe(input: OwnedFd) -> Self {
        Self::new(Store::Pipe { input: Some(input), data: Vec::new() })
    }

    fn new(store: Store) -> Self {
        Self {
            store,
            marks: vec![0],
            known: 0,
            begun: 0,
            scanned: 0,
            complete: false,
            patient: false,
            keyboard: None,
            cache: (0, Vec::new()),
        }
    }

    /// Stop reading when a key is pressed there.
    pub fn watch(&mut self, keyboard: OwnedFd) {
        self.keyboard = Some(keyboard);
    }

    /// Do something that waits for a pipe, until a key is pressed.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn patiently<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.patient = true;
        let result = work(self);
        self.patient = false;
        result
    }

    /// Lines that are known of.
    pub fn known(&self) -> usize {
        // The one that was begun counts when something is in it.
        self.known + usize::from(self.scanned > self.begun)
    }

    /// Whether all of it was read.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Bytes, if that is known.
    pub fn size(&self) -> Option<u64> {
        match &self.store {
            Store::File(file) => file.metadata().ok().map(|meta| meta.len()),
            Store::Pipe { data, .. } => self.complete.then_some(data.len() as u64),
        }
    }

    /// Read on until the line is known, the end is reached, or a key is pressed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn reach(&mut self, line: usize) -> io::Result<()> {
        let mut since_look = 0;
        // One more: only then is the line's own end known.
        while !self.complete && self.known() <= line.saturating_add(1) {
            let before = self.scanned;
            if !self.scan_more()? {
                break;
            }
            since_look += self.scanned - before;
            if since_look >= STRETCH {
                since_look = 0;
                if self.key_waits() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A line without its newline; `None` beyond the end, or beyond what was read.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn line(&mut self, line: usize) -> io::Result<Option<Vec<u8>>> {
        self.reach(line)?;
        if line >= self.known() {
            return Ok(None);
        }
        let mut offset = self.marks.get(line / STRIDE).copied().unwrap_or(0);
        for _ in 0..line % STRIDE {
            offset += self.piece(offset)?.1;
        }
        Ok(Some(self.piece(offset)?.0))
    }

    /// The line at an offset, and its length with the newline.
    fn piece(&mut self, offset: u64) -> io::Result<(Vec<u8>, u64)> {
        let mut line = Vec::new();
        let mut position = offset;
        loop {
            let room = LONGEST - line.len();
            let chunk = self.bytes_at(position)?;
            let chunk = &chunk[..chunk.len().min(room)];
            if let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&chunk[..end]);
                return Ok((line, position + end as u64 + 1 - offset));
            }
            if chunk.is_empty() {
                return Ok((line, position - offset));
            }
            line.extend_from_slice(chunk);
            position += chunk.len() as u64;
            if line.len() == LONGEST {
                // A newline right behind belongs to the line.
                let newline = u64::from(self.bytes_at(position)?.first() == Some(&b'\n'));
                return Ok((line, position + newline - offset));
            }
        }
    }

    /// Bytes from an offset on; none at the end.
    fn bytes_at(&mut self, offset: u64) -> io::Result<&[u8]> {
        match &self.store {
            Store::Pipe { data, .. } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
                Ok(&data[start..])
            }
            Store::File(file) => {
                let (start, bytes) = &mut self.cache;
                if offset < *start || offset >= *start + bytes.len() as u64 {
                    bytes.resize(CHUNK, 0);
                    let count = read_at(file, bytes, offset)?;
                    bytes.truncate(count);
                    *start = offset;
                }
                Ok(&bytes[usize::try_from(offset - *start).unwrap_or(0)..])
            }
        }
    }

    /// Look at one more line; false if that must wait because a key is pressed.
    fn scan_more(&mut self) -> io::Result<bool> {
        // A pipe is first asked for all that a line may need.
        while let Store::Pipe { input: Some(_), data } = &self.store {
            let rest = data.get(usize::try_from(self.begun).unwrap_or(usize::MAX)..).unwrap_or_default();
            if rest.contains(&b'\n') || rest.len() > LONGEST {
                break;
            }
            if !self.read_pipe()? {
                // What there is of the line can be shown.
                self.scanned = self.begun + rest_length(&self.store, self.begun);
                return Ok(false);
            }
        }
        let (_, length) = self.piece(self.begun)?;
        let end = self.begun + length;
        let follows = !self.bytes_at(end)?.is_empty();
        let is_open = matches!(&self.store, Store::Pipe { input: Some(_), .. });
        if length == 0 || (!follows && !is_open) {
            self.scanned = end;
            self.complete = true;
            // The last line counts, whether it ends in a newline or not.
            if length > 0 {
                self.known += 1;
                self.begun = end;
            }
            return Ok(true);
        }
        self.known += 1;
        self.begun = end;
        self.scanned = end;
        if self.known.is_multiple_of(STRIDE) {
            self.marks.push(end);
        }
        Ok(true)
    }

    /// Wait for the pipe or a key; false if it was a key, or if nothing is there and waiting is not wanted.
    fn read_pipe(&mut self) -> io::Result<bool> {
        let Store::Pipe { input, data } = &mut self.store else { return Ok(true) };
        let Some(fd) = input else { return Ok(true) };
        let mut fds = vec![PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        if let Some(keyboard) = &self.keyboard {
            fds.push(PollFd::new(keyboard.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, if self.patient { PollTimeout::NONE } else { PollTimeout::ZERO }) {
            // A new size of the terminal, for one.
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            other => other?,
        };
        if !fds[0].any().unwrap_or(false) {
            return Ok(false);
        }
        let mut buffer = vec![0; CHUNK];
        match rustix::io::retry_on_intr(|| rustix::io::read(&*fd, &mut buffer))? {
            0 => *input = None,
            count => data.extend_from_slice(&buffer[..count]),
        }
        Ok(true)
    }

    fn key_waits(&self) -> bool {
        self.keyboard.as_ref().is_some_and(|keyboard| {
            let mut fds = [PollFd::new(keyboard.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
        })
    }
}

fn rest_length(store: &Store, offset: u64) -> u64 {
    match store {
        Store::Pipe { data, .. } => (data.len() as u64).saturating_sub(offset),
        Store::File(_) => 0,
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Copy a whole input to a writer: what a pager does without a terminal.
///
/// # Errors
/// If it cannot be read or written.
pub fn copy(mut input: impl Read, out: &mut impl io::Write) -> io::Result<()> {
    io::copy(&mut input, out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn on_file(bytes: &[u8]) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Source::file(file)
    }

    fn on_pipe(bytes: &[u8]) -> Source {
        let (reader, mut writer) = io::pipe().unwrap();
        let bytes = bytes.to_vec();
        std::thread::spawn(move || writer.write_all(&bytes));
        Source::pipe(reader.into())
    }

    fn all(source: &mut Source) -> Vec<Vec<u8>> {
        source.patiently(|source| Ok((0..).map_while(|line| source.line(line).unwrap()).collect())).unwrap()
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(text in "[ab\\n]{0,400}") {
            let mut expected: Vec<Vec<u8>> = text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
            if text.is_empty() || text.ends_with('\n') {
                expected.pop();
            }
            for mut source in [on_file(text.as_bytes()), on_pipe(text.as_bytes())] {
                prop_assert_eq!(&all(&mut source), &expected);
                prop_assert!(source.is_complete());
                prop_assert_eq!(source.known(), expected.len());
                for line in (0..expected.len()).rev() {
                    let found = source.line(line).unwrap();
                    prop_assert_eq!(found.as_ref(), expected.get(line));
                }
            }
        }
    }

    #[test]
    fn long_lines_are_divided() {
        let text = [vec![b'x'; LONGEST * 2], b"\ny\n".to_vec(), vec![b'z'; LONGEST + 1]].concat();
        for mut source in [on_file(&text), on_pipe(&text)] {
            let lengths: Vec<usize> = all(&mut source).iter().map(Vec::len).collect();
            assert_eq!(lengths, [LONGEST, LONGEST, 1, LONGEST, 1]);
        }
    }

    #[test]
    fn no_more_is_read_than_is_wanted() {
        let text: Vec<u8> = (0..1_000_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let mut source = on_file(&text);
        assert_eq!(source.line(10).unwrap().unwrap(), b"10");
        assert!(source.known() < 20 && !source.is_complete());
        assert_eq!(source.line(999_999).unwrap().unwrap(), b"999999");
        assert_eq!(source.line(1_000_000).unwrap(), None);
        assert_eq!(source.line(500_000).unwrap().unwrap(), b"500000");
    }

    #[test]
    fn a_key_ends_the_wait_for_a_pipe() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (keyboard, mut typist) = io::pipe().unwrap();
        let mut source = Source::pipe(reader.into());
        source.watch(keyboard.into());
        writer.write_all(b"one\ntwo").unwrap();
        typist.write_all(b"q").unwrap();
        assert_eq!(source.patiently(|source| source.line(5)).unwrap(), None);
        assert_eq!(
            (source.line(0).unwrap().unwrap(), source.line(1).unwrap().unwrap()),
            (b"one".to_vec(), b"two".to_vec())
        );
        assert!(!source.is_complete());
    }
}
