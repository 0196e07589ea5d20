//! The commands that xargs runs, some at once.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow};
use rustix::process::{WaitOptions, wait};

use crate::text::reason;

/// A command failed with a status up to 125.
const SOME_FAILED: i32 = 123;
/// A command exited with 255: no more are run.
const ABORTED: i32 = 124;
/// A command was killed.
const KILLED: i32 = 125;
/// The command cannot be run.
const CANNOT_RUN: i32 = 126;
/// There is no such command.
const NOT_FOUND: i32 = 127;

/// How commands are run.
pub struct Settings {
    /// How many at once; 0 for any number.
    pub most: usize,
    /// Print each before.
    pub verbose: bool,
    /// Ask before each.
    pub interactive: bool,
    /// Standard input of the commands is the terminal.
    pub open_tty: bool,
    /// Standard input is the commands', as items come from elsewhere.
    pub keep_stdin: bool,
    /// The environment variable that tells a command its slot.
    pub slot_variable: Option<OsString>,
}

/// The commands that run, each in its slot.
pub struct Jobs {
    settings: Settings,
    /// The command's name, for messages.
    name: Vec<u8>,
    slots: Vec<Option<Child>>,
    /// The exit status so far.
    status: i32,
    /// No more are to be run.
    stopped: bool,
}

impl Jobs {
    /// None so far.
    pub fn new(settings: Settings, name: Vec<u8>) -> Self {
        Self { settings, name, slots: Vec::new(), status: 0, stopped: false }
    }

    /// Whether a command has ended in a way that ends xargs.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Run the command `words`, when there is room for it.
    ///
    /// # Errors
    /// When the terminal cannot be asked, or waiting fails.
    pub fn run(&mut self, words: &[Vec<u8>]) -> Result<()> {
        while self.settings.most > 0 && self.running() >= self.settings.most {
            self.reap()?;
        }
        if self.stopped || !self.announce(words)? {
            return Ok(());
        }
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let mut command = Command::new(OsStr::from_bytes(&words[0]));
        command.args(words[1..].iter().map(|word| OsStr::from_bytes(word)));
        if let Some(name) = &self.settings.slot_variable {
            command.env(name, slot.to_string());
        }
        if self.settings.open_tty {
            command.stdin(open_tty()?);
        } else if !self.settings.keep_stdin {
            command.stdin(Stdio::null());
        }
        match command.spawn() {
            Ok(child) if slot == self.slots.len() => self.slots.push(Some(child)),
            Ok(child) => self.slots[slot] = Some(child),
            Err(error) => {
                self.complain(&words[0], &reason(&error));
                self.status = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
                self.stopped = true;
            }
        }
        Ok(())
    }

    /// Wait for all, and give the exit status of xargs.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn finish(mut self) -> Result<i32> {
        while self.running() > 0 {
            self.reap()?;
        }
        Ok(self.status)
    }

    fn running(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Wait for one to end.
    fn reap(&mut self) -> Result<()> {
        let Some((ended, status)) = wait(WaitOptions::empty()).context("wait for a command")? else { return Ok(()) };
        let ended = u32::try_from(ended.as_raw_nonzero().get()).unwrap_or(0);
        let slot = self.slots.iter_mut().find(|slot| slot.as_ref().is_some_and(|child| child.id() == ended));
        // Anything else was inherited from whoever executed us.
        let Some(slot) = slot else { return Ok(()) };
        *slot = None;
        self.note(ExitStatus::from_raw(status.as_raw()));
        Ok(())
    }

    fn note(&mut self, status: ExitStatus) {
        match (status.code(), status.signal()) {
            (Some(0), _) => {}
            (Some(255), _) => {
                self.complain(&self.name, "exited with status 255; aborting");
                self.stop(ABORTED);
            }
            (None, Some(signal)) => {
                self.complain(&self.name, &format!("terminated by signal {signal}"));
                self.stop(KILLED);
            }
            _ if !self.stopped => self.status = SOME_FAILED,
            _ => {}
        }
    }

    fn stop(&mut self, status: i32) {
        if !self.stopped {
            self.status = status;
        }
        self.stopped = true;
    }

    fn complain(&self, name: &[u8], what: &str) {
        let _ = writeln!(io::stderr(), "xargs: {}: {what}", String::from_utf8_lossy(name));
    }

    /// Print the command, if that is wanted, and ask. False if it is not to be run.
    fn announce(&self, words: &[Vec<u8>]) -> Result<bool> {
        if !self.settings.verbose && !self.settings.interactive {
            return Ok(true);
        }
        let mut line: Vec<u8> = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(&b' ');
        line.extend(if self.settings.interactive { b"?...".as_slice() } else { b"\n" });
        let mut error = io::stderr();
        // Nobody may be there to see it.
        let _ = error.write_all(&line).and_then(|()| error.flush());
        if !self.settings.interactive {
            return Ok(true);
        }
        let mut answer = Vec::new();
        BufReader::new(open_tty()?).read_until(b'\n', &mut answer).context("read the answer")?;
        Ok(matches!(answer.first(), Some(b'y' | b'Y')))
    }
}

fn open_tty() -> Result<File> {
    File::open("/dev/tty").map_err(|error| anyhow!("failed to open /dev/tty for reading: {}", reason(&error)))
}

/// A word as one writes it to a shell.
fn quoted(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"%+,-./:=@_{}".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    if word.contains(&b'\'') && !word.iter().any(|byte| b"\"$`\\!".contains(byte) || byte.is_ascii_control()) {
        return [b"\"", word, b"\""].concat();
    }
    let mut out = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => out.extend(b"'\\''"),
            b'\n' => out.extend(b"'$'\\n''"),
            b'\t' => out.extend(b"'$'\\t''"),
            byte if byte.is_ascii_control() => out.extend(format!("'$'\\{byte:03o}''").as_bytes()),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
    // After a control character at the end, an empty pair of quotes is left.
    if word.last().is_some_and(u8::is_ascii_control) {
        out.truncate(out.len() - 2);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        for (word, text) in [
            ("a-b/c.d", "a-b/c.d"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "\"it's\""),
            ("x\ty", "'x'$'\\t''y'"),
            ("a'$", "'a'\\''$'"),
            ("x\n", "'x'$'\\n'"),
        ] {
            assert_eq!(String::from_utf8(quoted(word.as_bytes())).unwrap(), text);
        }
    }
}
