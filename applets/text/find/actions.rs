//! What find does with files: print, run commands, delete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command as Process, Stdio};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::entry::{Entry, Report, folder_name, quoted};
use super::expression::{Action, BatchCommand, Command, Nanoseconds, Plan};
use super::format::{file_part, list};
use super::names::Names;
use crate::text::command_line::{cost, room};
use crate::text::reason;

/// Command lines are kept to this length, as GNU does: longer ones gain nothing.
const BATCH_MAX: usize = 128 << 10;

/// All that actions need, and what they leave for later.
pub struct Actions<'a> {
    outputs: Vec<Box<dyn Write + 'a>>,
    batches: Vec<Batch<'a>>,
    pub names: Names,
    report: &'a Report,
    now: Nanoseconds,
    ignore_races: bool,
    /// Standard output is a terminal, which file names must not steer.
    terminal: bool,
}

/// A command and the files collected for it.
struct Batch<'a> {
    command: &'a BatchCommand,
    arguments: Vec<OsString>,
    used: usize,
    room: usize,
}

impl<'a> Actions<'a> {
    /// Open the outputs; the first is `standard`.
    ///
    /// # Errors
    /// When one cannot be created.
    pub fn new(plan: &'a Plan, report: &'a Report, standard: impl Write + 'a) -> Result<Self> {
        let mut outputs: Vec<Box<dyn Write + 'a>> = vec![Box::new(standard)];
        for path in &plan.outputs[1..] {
            outputs.push(open_output(path)?);
        }
        let room = room();
        let batch = |command: &'a BatchCommand| {
            let fixed: usize = command.words.iter().map(|word| cost(word)).sum();
            Batch { command, arguments: Vec::new(), used: 0, room: room.min(BATCH_MAX).saturating_sub(fixed) }
        };
        Ok(Self {
            outputs,
            batches: plan.batches.iter().map(batch).collect(),
            names: Names::default(),
            report,
            now: plan.now,
            ignore_races: plan.ignore_races,
            terminal: io::stdout().is_terminal(),
        })
    }

    /// Do `action` with a file; whether it succeeded.
    pub fn run(&mut self, action: &Action, entry: &Entry<'_>) -> Result<bool> {
        match action {
            Action::Print { output, end } => {
                let out = &mut self.outputs[*output];
                if self.terminal && *output == 0 && *end == b'\n' {
                    out.write_all(&printable(entry.path))?;
                } else {
                    out.write_all(entry.path)?;
                }
                out.write_all(&[*end])?;
                Ok(true)
            }
            Action::Format { output, format } => {
                format.print(entry, &mut self.names, &mut *self.outputs[*output])?;
                Ok(true)
            }
            Action::List { output } => {
                list(entry, &mut self.names, self.now, &mut *self.outputs[*output])?;
                Ok(true)
            }
            Action::Execute(command) => self.execute(command, entry),
            Action::Batch(index) => {
                self.collect(*index, entry)?;
                Ok(true)
            }
            Action::Delete => Ok(self.delete(entry)),
            Action::Prune | Action::Quit => Ok(true),
        }
    }

    /// Write out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outputs.iter_mut().try_for_each(Write::flush)
    }

    fn delete(&self, entry: &Entry<'_>) -> bool {
        // The working folder cannot be removed by that name; GNU takes it for done.
        if entry.path == b"." {
            return true;
        }
        let folder = entry.kind() == FileType::Directory;
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(entry.folder, entry.at, flags) {
            Ok(()) => true,
            Err(Errno::NOENT) if self.ignore_races => true,
            Err(error) => {
                self.report.message(&format!("cannot delete {}: {}", quoted(entry.path), reason(&error.into())));
                false
            }
        }
    }

    fn execute(&mut self, command: &Command, entry: &Entry<'_>) -> Result<bool> {
        let (folder, name) = if command.in_folder { in_folder(entry)? } else { (None, entry.path.to_vec()) };
        if command.ask && !ask(&command.words[0], entry.path)? {
            return Ok(false);
        }
        self.flush()?;
        let mut words = command.words.iter().map(|word| OsString::from_vec(replaced(word, &name)));
        let mut process = Process::new(words.next().unwrap_or_default());
        process.args(words);
        if command.ask {
            process.stdin(Stdio::null());
        }
        Ok(self.wait(process, folder.as_ref().map(AsFd::as_fd)))
    }

    /// Run a command in `folder`; whether it succeeded.
    fn wait(&self, mut process: Process, folder: Option<BorrowedFd<'_>>) -> bool {
        if let Some(folder) = folder {
            process.current_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        }
        match process.status() {
            Ok(status) => status.success(),
            Err(error) => {
                // As if the command had failed, which is no failure of ours.
                self.report.note(process.get_program().as_bytes(), error);
                false
            }
        }
    }

    fn collect(&mut self, index: usize, entry: &Entry<'_>) -> Result<()> {
        let batch = &mut self.batches[index];
        let in_folder_of = batch.command.in_folder;
        let name = if in_folder_of { [b"./", file_part(entry.path)].concat() } else { entry.path.to_vec() };
        let size = cost(&name);
        if batch.used + size > batch.room && !batch.arguments.is_empty() {
            let folder = if in_folder_of { in_folder(entry)?.0 } else { None };
            self.run_batch(index, folder.as_ref().map(AsFd::as_fd))?;
        }
        let batch = &mut self.batches[index];
        batch.used += size;
        batch.arguments.push(OsString::from_vec(name));
        if in_folder_of && entry.depth == 0 {
            let folder = in_folder(entry)?.0;
            self.run_batch(index, folder.as_ref().map(AsFd::as_fd))?;
        }
        Ok(())
    }

    fn run_batch(&mut self, index: usize, folder: Option<BorrowedFd<'_>>) -> Result<()> {
        self.flush()?;
        let batch = &mut self.batches[index];
        batch.used = 0;
        let words = &batch.command.words;
        let mut process = Process::new(OsStr::from_bytes(&words[0]));
        process.args(words[1..].iter().map(|word| OsStr::from_bytes(word)));
        process.args(std::mem::take(&mut batch.arguments));
        if !self.wait(process, folder) {
            self.report.fail();
        }
        Ok(())
    }

    /// Run what has been collected for commands that run in the files' folder, before the walk leaves that.
    pub fn leave_folder(&mut self, folder: BorrowedFd<'_>) -> Result<()> {
        for index in 0..self.batches.len() {
            if self.batches[index].command.in_folder && !self.batches[index].arguments.is_empty() {
                self.run_batch(index, Some(folder))?;
            }
        }
        Ok(())
    }

    /// Run what has been collected for the others.
    ///
    /// # Errors
    /// When output cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        for index in 0..self.batches.len() {
            if !self.batches[index].arguments.is_empty() {
                self.run_batch(index, None)?;
            }
        }
        Ok(self.flush()?)
    }
}

fn open_output(path: &[u8]) -> Result<Box<dyn Write>> {
    Ok(match path {
        b"/dev/stdout" => Box::new(io::stdout()),
        b"/dev/stderr" => Box::new(io::stderr()),
        path => {
            let file = File::create(OsStr::from_bytes(path));
            let file = file.map_err(|error| anyhow!("{}: {}", quoted(path), reason(&error)))?;
            Box::new(BufWriter::new(file))
        }
    })
}

/// The folder that holds the file, and the name that it has there.
fn in_folder(entry: &Entry<'_>) -> Result<(Option<OwnedFd>, Vec<u8>)> {
    let name = if entry.path == b"/" { b"/".to_vec() } else { [b"./", file_part(entry.path)].concat() };
    let folder = if entry.depth > 0 {
        entry.folder.try_clone_to_owned().context("keep the folder open")?
    } else {
        let path = folder_name(entry.path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())
            .map_err(|error| anyhow!("{}: {}", quoted(path), reason(&error.into())))?
    };
    Ok((Some(folder), name))
}

/// `word` with the name in place of each `{}`.
fn replaced(word: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if word[at..].starts_with(b"{}") {
            out.extend(name);
            at += 2;
        } else {
            out.push(word[at]);
            at += 1;
        }
    }
    out
}

/// Ask on standard error; an answer that begins with y or Y is yes.
fn ask(program: &[u8], path: &[u8]) -> Result<bool> {
    let mut error = io::stderr();
    let program = String::from_utf8_lossy(program);
    // Nobody may be there to see the question; the answer then comes from the input all the same.
    let _ = write!(error, "< {program} ... {} > ? ", String::from_utf8_lossy(path)).and_then(|()| error.flush());
    let mut answer = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut answer).context("read the answer")?;
    Ok(matches!(answer.trim_ascii_start().first(), Some(b'y' | b'Y')))
}

/// A name without what a terminal could take for a command.
fn printable(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            out.extend(if c.is_control() { '?' } else { c }.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    out
}
