//! What grep prints for a file.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Result;
use grep_searcher::{Searcher, Sink, SinkContext, SinkMatch};

use super::Options;
use super::lines::LineMatcher;

/// Output over all files.
pub struct Printer<W: Write> {
    out: W,
    names: bool,
    color: bool,
    /// Whether a line was selected anywhere.
    pub any_selected: bool,
    /// Whether a line was printed: groups of lines are divided after that.
    printed: bool,
}

impl<W: Write> Printer<W> {
    /// Print to `out`, with file names and colour if asked for.
    pub fn new(out: W, names: bool, color: bool) -> Self {
        Self { out, names, color, any_selected: false, printed: false }
    }

    /// The receiver of what is found in one file.
    pub fn file<'a>(
        &'a mut self,
        path: &'a Path,
        options: &'a Options,
        matcher: &'a LineMatcher,
        program: &'a str,
    ) -> FileSink<'a, W> {
        let grouped = options.context.is_some() || options.before_context.is_some() || options.after_context.is_some();
        FileSink {
            grouped: grouped && !options.only_matching,
            printer: self,
            path,
            options,
            matcher,
            program,
            count: 0,
            surplus: 0,
            binary: false,
            first: true,
            write_failed: false,
        }
    }

    /// Write what is still buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn colored(&mut self, code: &str, text: &[u8]) -> io::Result<()> {
        if !self.color {
            return self.out.write_all(text);
        }
        write!(self.out, "\x1b[{code}m\x1b[K")?;
        self.out.write_all(text)?;
        self.out.write_all(b"\x1b[m\x1b[K")
    }

    fn separator(&mut self, mark: u8) -> io::Result<()> {
        self.colored("36", &[mark])
    }

    fn file_name(&mut self, path: &Path) -> io::Result<()> {
        self.colored("35", path.as_os_str().as_bytes())
    }
}

/// What is found in one file.
pub struct FileSink<'a, W: Write> {
    printer: &'a mut Printer<W>,
    path: &'a Path,
    options: &'a Options,
    matcher: &'a LineMatcher,
    program: &'a str,
    count: u64,
    /// Lines printed after -m was reached.
    surplus: usize,
    binary: bool,
    first: bool,
    grouped: bool,
    /// The error that ended the search is one of writing.
    pub write_failed: bool,
}

impl<W: Write> FileSink<'_, W> {
    /// Only the fact of a match matters.
    fn silent(&self) -> bool {
        let options = self.options;
        options.quiet || options.files_with_matches || options.files_without_match || options.count
    }

    fn on_match(&mut self, found: &SinkMatch<'_>) -> Result<bool> {
        if self.binary && self.options.skip_binary {
            return Ok(false);
        }
        if self.options.max_count.is_some_and(|most| self.count >= most) {
            return self.on_surplus(found);
        }
        self.count += 1;
        self.printer.any_selected = true;
        let options = self.options;
        if options.quiet || options.files_with_matches || options.files_without_match {
            return Ok(false);
        }
        if options.count {
            return Ok(true);
        }
        if self.binary {
            self.printer.flush()?;
            let _ = writeln!(io::stderr(), "{}: {}: binary file matches", self.program, self.path.display());
            return Ok(false);
        }
        if options.only_matching {
            self.print_parts(found)?;
        } else {
            self.divide()?;
            self.print_line(b':', found.bytes(), found.absolute_byte_offset(), found.line_number())?;
        }
        if options.line_buffered {
            self.printer.flush()?;
        }
        Ok(true)
    }

    /// With -v, the searcher takes the lines that follow the last one to be selected for selected as well: they are its context.
    fn on_surplus(&mut self, found: &SinkMatch<'_>) -> Result<bool> {
        let after = self.options.after_context.or(self.options.context).unwrap_or(0);
        if self.surplus >= after || self.silent() || self.binary || self.options.only_matching {
            return Ok(false);
        }
        self.surplus += 1;
        self.print_line(b'-', found.bytes(), found.absolute_byte_offset(), found.line_number())?;
        Ok(true)
    }

    /// `--` between groups of lines of different files.
    fn divide(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.first) && self.grouped && self.printer.printed {
            self.print_divider()?;
        }
        self.printer.printed = true;
        Ok(())
    }

    fn print_divider(&mut self) -> io::Result<()> {
        self.printer.colored("36", b"--")?;
        self.printer.out.write_all(b"\n")
    }

    fn print_parts(&mut self, found: &SinkMatch<'_>) -> Result<()> {
        if self.options.invert_match {
            return Ok(());
        }
        let line = self.without_end(found.bytes());
        for (from, to) in self.matcher.spans(line)? {
            self.prefix(b':', found.absolute_byte_offset() + from as u64, found.line_number())?;
            self.printer.colored("01;31", &line[from..to])?;
            self.end_line()?;
        }
        Ok(())
    }

    fn without_end<'l>(&self, line: &'l [u8]) -> &'l [u8] {
        line.strip_suffix(&[self.line_end()]).unwrap_or(line)
    }

    fn line_end(&self) -> u8 {
        if self.options.null_data { 0 } else { b'\n' }
    }

    fn end_line(&mut self) -> io::Result<()> {
        let end = self.line_end();
        self.printer.out.write_all(&[end])
    }

    fn prefix(&mut self, mark: u8, offset: u64, number: Option<u64>) -> io::Result<()> {
        if self.printer.names {
            self.printer.file_name(self.path)?;
            if self.options.null {
                self.printer.out.write_all(b"\0")?;
            } else {
                self.printer.separator(mark)?;
            }
        }
        if let Some(number) = number {
            self.printer.colored("32", number.to_string().as_bytes())?;
            self.printer.separator(mark)?;
        }
        if self.options.byte_offset {
            self.printer.colored("32", offset.to_string().as_bytes())?;
            self.printer.separator(mark)?;
        }
        Ok(())
    }

    fn print_line(&mut self, mark: u8, line: &[u8], offset: u64, number: Option<u64>) -> Result<()> {
        self.prefix(mark, offset, number)?;
        let line = self.without_end(line);
        let marked = self.printer.color && (mark == b':') != self.options.invert_match;
        let mut at = 0;
        for (from, to) in if marked { self.matcher.spans(line)? } else { Vec::new() } {
            self.printer.out.write_all(&line[at..from])?;
            self.printer.colored("01;31", &line[from..to])?;
            at = to;
        }
        self.printer.out.write_all(&line[at..])?;
        Ok(self.end_line()?)
    }

    /// Print what is told once per file.
    pub fn finish(self) -> Result<()> {
        let options = self.options;
        if options.quiet {
            return Ok(());
        }
        if options.count && !options.files_with_matches && !options.files_without_match {
            if self.printer.names {
                self.printer.file_name(self.path)?;
                if options.null {
                    self.printer.out.write_all(b"\0")?;
                } else {
                    self.printer.separator(b':')?;
                }
            }
            writeln!(self.printer.out, "{}", self.count)?;
        }
        let listed = if self.count > 0 { options.files_with_matches } else { options.files_without_match };
        if listed {
            self.printer.file_name(self.path)?;
            self.printer.out.write_all(if options.null { b"\0" } else { b"\n" })?;
        }
        Ok(())
    }

    fn note<T>(&mut self, result: Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => {
                self.write_failed = true;
                error
            }
            Err(error) => io::Error::other(format!("{error:#}")),
        })
    }
}

impl<W: Write> Sink for FileSink<'_, W> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let result = self.on_match(found);
        self.note(result)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        if self.silent() || self.binary {
            return Ok(true);
        }
        let result = self.divide().map_err(anyhow::Error::from).and_then(|()| {
            self.print_line(b'-', context.bytes(), context.absolute_byte_offset(), context.line_number())
        });
        self.note(result.map(|()| true))
    }

    fn context_break(&mut self, _: &Searcher) -> io::Result<bool> {
        if self.grouped && !self.silent() && !self.binary {
            self.first = false;
            let result = self.print_divider().map_err(Into::into);
            self.note(result)?;
        }
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> io::Result<bool> {
        self.binary = true;
        Ok(!self.options.skip_binary)
    }
}
