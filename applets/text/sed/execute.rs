//! Running a script over its input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};

use super::address::Range;
use super::edit::{substitute, translate, unambiguous};
use super::in_place::Replacement;
use super::input::{Input, Line, Opened, read_line};
use super::output::{Outputs, Target};
use super::script::{Action, Address, BranchWhen, Command, Script, Substitution};
use super::{BAD_INPUT, NoPreviousPattern, Options};
use crate::text::regex::Regex;

/// What follows a command.
enum Flow {
    Next,
    Jump(usize),
    /// End the cycle; print the pattern space first if true.
    EndCycle(bool),
    /// `D`: begin again without reading.
    Restart,
    Quit(i32, bool),
}

/// What waits for the end of the cycle.
enum Pending<'a> {
    Text(&'a [u8]),
    File(&'a [u8]),
    /// A line that `R` has read, with its end.
    Line(Vec<u8>),
}

/// A pattern or hold space.
#[derive(Clone, Default)]
struct Space {
    text: Vec<u8>,
    /// The line that it came from lacked its end.
    unended: bool,
}

impl Space {
    fn append(&mut self, end: u8, more: &Self) {
        self.text.push(end);
        self.text.extend(&more.text);
        self.unended = more.unended;
    }
}

struct Machine<'a> {
    script: &'a Script,
    options: &'a Options,
    input: Input,
    outputs: Outputs<'a>,
    /// The files of `R`; `None` for one that could not be opened.
    line_files: Vec<Option<Box<dyn BufRead>>>,
    pattern: Space,
    hold: Space,
    line: u64,
    /// One for each command.
    ranges: Vec<Range>,
    pending: Vec<Pending<'a>>,
    last_regex: Option<Rc<Regex>>,
    substituted: bool,
}

/// Run `script` over `files`, or standard input, and write to `out`. Gives the exit status.
///
/// # Errors
/// When output cannot be written or a pattern takes too long.
pub fn run<'a>(script: &'a Script, options: &'a Options, files: &[PathBuf], out: impl Write + 'a) -> Result<i32> {
    let standard = [PathBuf::from("-")];
    let files = if files.is_empty() { &standard } else { files };
    let end = if options.null_data { 0 } else { b'\n' };
    let mut machine = Machine {
        script,
        options,
        input: Input::new(files, end),
        outputs: Outputs::open(out, &script.outputs, end)?,
        line_files: open_line_files(script),
        pattern: Space::default(),
        hold: Space::default(),
        line: 0,
        ranges: Vec::new(),
        pending: Vec::new(),
        last_regex: None,
        substituted: false,
    };
    let status = machine.streams()?;
    machine.outputs.flush()?;
    Ok(if machine.input.failed { BAD_INPUT } else { status })
}

/// Open the files of `R`.
fn open_line_files(script: &Script) -> Vec<Option<Box<dyn BufRead>>> {
    script.inputs.iter().map(|name| open_input(name).ok()).collect()
}

/// Open a file that `r` or `R` names.
fn open_input(name: &[u8]) -> io::Result<Box<dyn BufRead>> {
    Ok(match name {
        b"/dev/stdin" => Box::new(BufReader::new(io::stdin())),
        name => Box::new(BufReader::new(File::open(Path::new(std::ffi::OsStr::from_bytes(name)))?)),
    })
}

impl<'a> Machine<'a> {
    fn separate(&self) -> bool {
        self.options.separate || self.options.in_place.is_some()
    }

    fn reset_ranges(&mut self) {
        self.ranges = self.script.commands.iter().map(Range::new).collect();
    }

    fn streams(&mut self) -> Result<i32> {
        self.reset_ranges();
        if !self.separate() {
            return Ok(self.stream()?.unwrap_or(0));
        }
        while let Some(opened) = self.input.open_next() {
            self.input.path.clone_from(&opened.path);
            self.line = 0;
            self.reset_ranges();
            self.hold = Space::default();
            self.line_files = open_line_files(self.script);
            if self.options.in_place.is_some() {
                self.begin_in_place(opened)?;
            }
            let quit = self.stream()?;
            if let Some(suffix) = &self.options.in_place {
                self.outputs.commit_in_place(suffix)?;
            }
            if let Some(status) = quit {
                return Ok(status);
            }
        }
        Ok(0)
    }

    fn begin_in_place(&mut self, opened: Opened) -> Result<()> {
        let meta = opened.meta.context("couldn't edit -: not a regular file")?;
        let followed = if self.options.follow_symlinks { opened.path.canonicalize().ok() } else { None };
        self.outputs.begin_in_place(Replacement::new(&followed.unwrap_or(opened.path), &meta)?);
        Ok(())
    }

    /// Run cycles to the end of the stream; the status if the script quit.
    fn stream(&mut self) -> Result<Option<i32>> {
        while let Some(line) = self.input.next(self.separate())? {
            self.load(line);
            loop {
                match self.cycle()? {
                    Flow::Restart => {
                        self.end_cycle(false)?;
                        continue;
                    }
                    Flow::Quit(status, print) => {
                        if print {
                            self.end_cycle(true)?;
                            // As GNU does after `q`, though not at the input's end.
                            self.outputs.end_line()?;
                        }
                        return Ok(Some(status));
                    }
                    Flow::EndCycle(print) => self.end_cycle(print)?,
                    Flow::Next | Flow::Jump(_) => self.end_cycle(true)?,
                }
                break;
            }
        }
        Ok(None)
    }

    fn load(&mut self, line: Line) {
        self.pattern = Space { text: line.text, unended: !line.ended };
        self.line += 1;
        self.substituted = false;
    }

    fn cycle(&mut self) -> Result<Flow> {
        let script = self.script;
        let mut at = 0;
        while let Some(command) = script.commands.get(at) {
            let selected = self.selects(at, command)? != command.negated;
            match &command.action {
                Action::Block(end) if !selected => at = *end,
                _ if !selected => at += 1,
                action => match self.execute(action, at)? {
                    Flow::Next => at += 1,
                    Flow::Jump(to) => at = to,
                    flow => return Ok(flow),
                },
            }
        }
        Ok(Flow::EndCycle(true))
    }

    fn selects(&mut self, index: usize, command: &Command) -> Result<bool> {
        let Some(from) = &command.from else { return Ok(true) };
        let Some(to) = &command.to else { return self.matches(from) };
        let mut range = self.ranges[index];
        let selected = range.take(self.line, from, to, |address| self.matches(address))?;
        self.ranges[index] = range;
        Ok(selected)
    }

    fn matches(&mut self, address: &Address) -> Result<bool> {
        Ok(match address {
            Address::Line(line) => *line == self.line,
            Address::Step(first, 0) => *first == self.line,
            Address::Step(first, step) => self.line >= *first && (self.line - first).is_multiple_of(*step),
            Address::Last => self.input.at_end(self.separate())?,
            Address::Pattern(regex) => self.regex(regex.as_ref())?.is_match(&self.pattern.text)?,
            Address::Plus(_) | Address::Multiple(_) => false,
        })
    }

    fn regex(&mut self, regex: Option<&Rc<Regex>>) -> Result<Rc<Regex>> {
        if let Some(regex) = regex {
            self.last_regex = Some(Rc::clone(regex));
        }
        self.last_regex.clone().ok_or_else(|| NoPreviousPattern.into())
    }

    fn execute(&mut self, action: &'a Action, index: usize) -> Result<Flow> {
        let end = self.line_end();
        match action {
            Action::Block(_) | Action::Nothing => {}
            Action::Append(text) => self.pending.push(Pending::Text(text)),
            Action::ReadFile(name) => self.pending.push(Pending::File(name)),
            Action::ReadLine(file) => self.queue_line(*file)?,
            Action::Insert(text) => self.put_text(text)?,
            Action::Change(text) => {
                // In a range, the text takes the place of the whole: it is printed at its end.
                if !self.ranges[index].is_open() {
                    self.put_text(text)?;
                }
                return Ok(Flow::EndCycle(false));
            }
            Action::Branch(when, to) => {
                let taken = match when {
                    BranchWhen::Always => true,
                    BranchWhen::Substituted => std::mem::take(&mut self.substituted),
                    BranchWhen::NotSubstituted => !std::mem::take(&mut self.substituted),
                };
                if taken {
                    return Ok(Flow::Jump(*to));
                }
            }
            Action::Delete => return Ok(Flow::EndCycle(false)),
            Action::DeleteFirstLine => return Ok(self.delete_first_line()),
            Action::FileName => self.outputs.line(Target::Main, self.input.path.as_os_str().as_bytes(), true)?,
            Action::Get => self.pattern.clone_from(&self.hold),
            Action::GetAppend => self.pattern.append(end, &self.hold),
            Action::Hold => self.hold.clone_from(&self.pattern),
            Action::HoldAppend => self.hold.append(end, &self.pattern),
            Action::Exchange => std::mem::swap(&mut self.pattern, &mut self.hold),
            Action::Zap => self.pattern.text.clear(),
            Action::List(width) => {
                let text = unambiguous(&self.pattern.text, width.unwrap_or(self.options.line_length), end);
                self.outputs.text(&text)?;
            }
            Action::Number => self.outputs.line(Target::Main, self.line.to_string().as_bytes(), true)?,
            Action::Print => self.print_pattern(Target::Main)?,
            Action::PrintFirstLine => self.print_first_line(Target::Main)?,
            Action::WriteFile(file) => self.print_pattern(Target::File(*file))?,
            Action::WriteFirstLine(file) => self.print_first_line(Target::File(*file))?,
            Action::Next => return self.next_line(false),
            Action::NextAppend => return self.next_line(true),
            Action::Quit(status, print) => return Ok(Flow::Quit(*status, *print)),
            Action::Substitute(substitution) => self.substitute(substitution)?,
            Action::Translate(pairs) => self.pattern.text = translate(&self.pattern.text, pairs),
        }
        Ok(Flow::Next)
    }

    /// Write the text of `i` or `c`, with the line end that is in force in place of its last newline.
    fn put_text(&mut self, text: &[u8]) -> Result<()> {
        match text.strip_suffix(b"\n") {
            Some(line) => Ok(self.outputs.line(Target::Main, line, true)?),
            None => Ok(self.outputs.text(text)?),
        }
    }

    fn line_end(&self) -> u8 {
        if self.options.null_data { 0 } else { b'\n' }
    }

    fn first_line_length(&self) -> Option<usize> {
        let end = self.line_end();
        self.pattern.text.iter().position(|byte| *byte == end)
    }

    fn delete_first_line(&mut self) -> Flow {
        match self.first_line_length() {
            None => Flow::EndCycle(false),
            Some(length) => {
                self.pattern.text.drain(..=length);
                Flow::Restart
            }
        }
    }

    /// `n` and `N`. Without a next line GNU prints the pattern space and ends, without running the rest.
    fn next_line(&mut self, append_line: bool) -> Result<Flow> {
        if self.input.at_end(self.separate())? {
            return Ok(Flow::EndCycle(true));
        }
        if !append_line && !self.quiet() {
            self.print_pattern(Target::Main)?;
        }
        self.release_pending()?;
        if let Some(line) = self.input.next(self.separate())? {
            self.substituted = false;
            let line = Space { text: line.text, unended: !line.ended };
            if append_line {
                self.pattern.append(self.line_end(), &line);
            } else {
                self.pattern = line;
            }
            self.line += 1;
        }
        Ok(Flow::Next)
    }

    fn quiet(&self) -> bool {
        self.options.quiet || self.script.quiet
    }

    fn end_cycle(&mut self, print: bool) -> Result<()> {
        if print && !self.quiet() {
            self.print_pattern(Target::Main)?;
        }
        self.release_pending()?;
        if self.options.unbuffered {
            self.outputs.flush()?;
        }
        Ok(())
    }

    /// `R`: queue the next line of a file, if there is one.
    fn queue_line(&mut self, file: usize) -> Result<()> {
        let end = self.line_end();
        let Some(reader) = &mut self.line_files[file] else { return Ok(()) };
        if let Some(mut line) = read_line(reader, end).context("read the file of R")? {
            if line.ended {
                line.text.push(end);
            }
            self.pending.push(Pending::Line(line.text));
        }
        Ok(())
    }

    fn release_pending(&mut self) -> Result<()> {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Text(text) => self.outputs.text(text)?,
                Pending::Line(line) => self.outputs.text(&line)?,
                Pending::File(name) => self.copy_file(name)?,
            }
        }
        Ok(())
    }

    /// Write a file out, chunk by chunk. One that cannot be read is as an empty one, says POSIX.
    fn copy_file(&mut self, name: &[u8]) -> Result<()> {
        let Ok(mut file) = open_input(name) else { return Ok(()) };
        let mut chunk = vec![0; 64 << 10];
        while let Ok(length @ 1..) = file.read(&mut chunk) {
            self.outputs.text(&chunk[..length])?;
        }
        Ok(())
    }

    fn print_pattern(&mut self, target: Target) -> Result<()> {
        Ok(self.outputs.line(target, &self.pattern.text, !self.pattern.unended)?)
    }

    fn print_first_line(&mut self, target: Target) -> Result<()> {
        match self.first_line_length() {
            None => self.print_pattern(target),
            Some(length) => Ok(self.outputs.line(target, &self.pattern.text[..length], true)?),
        }
    }

    fn substitute(&mut self, command: &Substitution) -> Result<()> {
        let regex = self.regex(command.pattern.as_ref())?;
        let Some(text) = substitute(command, &regex, &self.pattern.text)? else { return Ok(()) };
        self.pattern.text = text;
        self.substituted = true;
        if command.print {
            self.print_pattern(Target::Main)?;
        }
        command.file.map_or(Ok(()), |file| self.print_pattern(Target::File(file)))
    }
}
