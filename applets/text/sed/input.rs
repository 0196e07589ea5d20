//! The lines that sed reads, file after file.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::text::reason;

/// One line without its end.
pub struct Line {
    pub text: Vec<u8>,
    /// It ended with the line end; only the last of a file may not.
    pub ended: bool,
}

/// A file that has been opened.
pub struct Opened {
    pub path: PathBuf,
    /// What is known of it, unless it is standard input.
    pub meta: Option<Metadata>,
}

/// The files as one stream, or each as its own.
pub struct Input {
    files: VecDeque<PathBuf>,
    current: Option<Box<dyn BufRead>>,
    ahead: Option<Line>,
    end: u8,
    /// The file that the current line came from.
    pub path: PathBuf,
    /// A file could not be read.
    pub failed: bool,
}

impl Input {
    /// Read `files`; lines end with `end`.
    pub fn new(files: &[PathBuf], end: u8) -> Self {
        Self {
            files: files.iter().cloned().collect(),
            current: None,
            ahead: None,
            end,
            path: "-".into(),
            failed: false,
        }
    }

    /// Open the next file that can be.
    pub fn open_next(&mut self) -> Option<Opened> {
        while let Some(path) = self.files.pop_front() {
            if path == Path::new("-") {
                self.current = Some(Box::new(BufReader::new(io::stdin())));
                return Some(Opened { path, meta: None });
            }
            match File::open(&path).and_then(|file| file.metadata().map(|meta| (file, meta))) {
                Ok((file, meta)) => {
                    self.current = Some(Box::new(BufReader::with_capacity(64 << 10, file)));
                    return Some(Opened { path, meta: Some(meta) });
                }
                Err(error) => self.complain(&format!("can't read {}: {}", path.display(), reason(&error))),
            }
        }
        None
    }

    /// Say what is wrong with a file, and go on.
    fn complain(&mut self, message: &str) {
        self.failed = true;
        let _ = writeln!(io::stderr(), "sed: {message}");
    }

    /// The next line: of the current file only if `separate`.
    ///
    /// # Errors
    /// When a file cannot be read to its end.
    pub fn next(&mut self, separate: bool) -> Result<Option<Line>> {
        if let Some(line) = self.ahead.take() {
            return Ok(Some(line));
        }
        loop {
            if let Some(reader) = &mut self.current {
                let line = read_line(reader, self.end);
                let line =
                    line.map_err(|error| anyhow!("read error on {}: {}", self.path.display(), reason(&error)))?;
                if line.is_some() {
                    return Ok(line);
                }
            }
            self.current = None;
            if separate {
                return Ok(None);
            }
            match self.open_next() {
                Some(opened) => self.path = opened.path,
                None => return Ok(None),
            }
        }
    }

    /// Whether no line follows.
    ///
    /// # Errors
    /// As `next`.
    pub fn at_end(&mut self, separate: bool) -> Result<bool> {
        if self.ahead.is_none() {
            self.ahead = self.next(separate)?;
        }
        Ok(self.ahead.is_none())
    }
}

/// Read a line that ends with `end`; `None` at the end.
pub fn read_line(reader: &mut dyn BufRead, end: u8) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    if reader.read_until(end, &mut text)? == 0 {
        return Ok(None);
    }
    let ended = text.last() == Some(&end);
    if ended {
        text.pop();
    }
    Ok(Some(Line { text, ended }))
}
