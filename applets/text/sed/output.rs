//! Where sed writes: standard output or the file edited in place, and the files of `w` and `W`.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, anyhow};

use super::in_place::Replacement;
use crate::text::reason;

/// Which output a command writes to.
#[derive(Clone, Copy)]
pub enum Target {
    /// The file edited in place, else standard output.
    Main,
    /// What a `w` names, by its index in the script.
    File(usize),
}

/// A stream that knows that the line last written lacks its end, as the input's last line may.
struct Sink<'w> {
    writer: Box<dyn Write + 'w>,
    unended: bool,
}

impl<'w> Sink<'w> {
    fn new(writer: impl Write + 'w) -> Self {
        Self { writer: Box::new(writer), unended: false }
    }
}

/// A file that a script writes, under its name.
enum Named {
    Standard,
    Error,
    File(Sink<'static>),
}

/// All outputs of a run.
pub struct Outputs<'w> {
    standard: Sink<'w>,
    error: Sink<'static>,
    in_place: Option<(Replacement, bool)>,
    files: Vec<Named>,
    end: u8,
}

impl<'w> Outputs<'w> {
    /// Write to `standard` and the files `names`, which are emptied; lines end with `end`.
    ///
    /// # Errors
    /// When a file cannot be created.
    pub fn open(standard: impl Write + 'w, names: &[Vec<u8>], end: u8) -> Result<Self> {
        let files = names.iter().map(|name| open(name)).collect::<Result<_>>()?;
        Ok(Self { standard: Sink::new(standard), error: Sink::new(io::stderr()), in_place: None, files, end })
    }

    /// Write a line to `target`. One that had no end in the input gets none, unless more follows.
    pub fn line(&mut self, target: Target, text: &[u8], ended: bool) -> io::Result<()> {
        let end = [self.end];
        self.put(target, &[text, if ended { &end } else { &[] }], !ended)
    }

    /// Write `text` as it is to the main output.
    pub fn text(&mut self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { self.put(Target::Main, &[text], false) }
    }

    /// Give the line last written to the main output its end, if it lacks that.
    pub fn end_line(&mut self) -> io::Result<()> {
        self.put(Target::Main, &[], false)
    }

    fn put(&mut self, target: Target, pieces: &[&[u8]], unended: bool) -> io::Result<()> {
        let end = [self.end];
        let (writer, flag, flush): (&mut dyn Write, _, _) = match (target, &mut self.in_place) {
            (Target::Main, Some((replacement, flag))) => (&mut replacement.file, flag, false),
            (Target::Main, None) => (&mut self.standard.writer, &mut self.standard.unended, false),
            (Target::File(index), _) => match &mut self.files[index] {
                Named::Standard => (&mut self.standard.writer, &mut self.standard.unended, false),
                Named::Error => (&mut self.error.writer, &mut self.error.unended, true),
                // At once, so that an `r` of the same file finds it.
                Named::File(sink) => (&mut sink.writer, &mut sink.unended, true),
            },
        };
        let missing: &[u8] = if std::mem::replace(flag, unended) { &end } else { &[] };
        writer.write_all(&[&[missing], pieces].concat().concat())?;
        if flush { writer.flush() } else { Ok(()) }
    }

    /// Write what follows to the file that takes the place of another.
    pub fn begin_in_place(&mut self, replacement: Replacement) {
        self.in_place = Some((replacement, false));
    }

    /// Put the edited file in its place.
    ///
    /// # Errors
    /// When that fails; the original is then as it was.
    pub fn commit_in_place(&mut self, suffix: &std::ffi::OsStr) -> Result<()> {
        self.in_place.take().map_or(Ok(()), |(replacement, _)| replacement.commit(suffix))
    }

    /// Write out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.standard.writer.flush()
    }
}

fn open(name: &[u8]) -> Result<Named> {
    match name {
        b"/dev/stdout" => Ok(Named::Standard),
        b"/dev/stderr" => Ok(Named::Error),
        name => {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            let file = File::create(path)
                .map_err(|error| anyhow!("couldn't open file {}: {}", path.display(), reason(&error)))?;
            Ok(Named::File(Sink::new(file)))
        }
    }
}
