//! The line editor: history, completion and editing on any ANSI terminal, a serial line included.
//!
//! It never asks the terminal anything (a question such as `ESC [ 6 n` hangs on a line that nobody answers): the cursor is moved
//! relative to where the prompt began, and a terminal that tells no size is taken to be 80 columns wide. On a terminal without
//! cursor movement (`TERM=dumb`) the kernel's own line editing serves.

use std::io::{self, Write};

use super::buffer::Buffer;
use super::engine::Completion;
use super::keys::{self, Key, Source};
use crate::terminal::{self, RawMode};

/// More candidates than this are not listed.
const MAX_LISTED: usize = 200;

/// Proposes completions for a line and a byte offset in it.
pub type Completer<'a> = dyn FnMut(&str, usize) -> Completion + 'a;

/// What the user entered.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its newline.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D in an empty line, or the terminal is gone.
    End,
}

/// Reads lines from the terminal.
pub struct Editor {
    history: Vec<String>,
}

impl Editor {
    /// An editor that knows these past lines, oldest first.
    pub fn new(history: Vec<String>) -> Self {
        Self { history }
    }

    /// Add to the past lines.
    pub fn remember(&mut self, entry: &str) {
        for line in entry.lines().filter(|line| !line.is_empty()) {
            if self.history.last().is_none_or(|last| last != line) {
                self.history.push(line.to_owned());
            }
        }
    }

    /// Show the prompt and read a line.
    ///
    /// # Errors
    /// When the terminal cannot be read or written.
    pub fn read_line(&mut self, prompt: &str, complete: &mut Completer) -> io::Result<Line> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let raw = if dumb { None } else { RawMode::for_line(rustix::stdio::stdin()) };
        if raw.is_none() {
            return read_cooked(prompt);
        }
        let mut out = io::stderr();
        let mut session = Session {
            history: &self.history,
            at: self.history.len(),
            draft: String::new(),
            buffer: Buffer::default(),
            screen: Screen::new(&mut out, prompt, terminal::size(rustix::stdio::stderr()).1),
        };
        session.run(&mut read_byte, complete)
    }
}

fn read_byte() -> io::Result<Option<u8>> {
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut byte)) {
        Ok(1) => Ok(Some(byte[0])),
        Ok(_) => Ok(None),
        // A terminal that was hung up.
        Err(rustix::io::Errno::IO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_cooked(prompt: &str) -> io::Result<Line> {
    write!(io::stderr(), "{prompt}")?;
    let mut bytes = Vec::new();
    while let Some(byte) = read_byte()? {
        if byte == b'\n' {
            return Ok(Line::Text(String::from_utf8_lossy(&bytes).into_owned()));
        }
        bytes.push(byte);
    }
    Ok(if bytes.is_empty() { Line::End } else { Line::Text(String::from_utf8_lossy(&bytes).into_owned()) })
}

/// One line being read.
struct Session<'a, W: Write> {
    history: &'a [String],
    /// Entry shown; `history.len()` is the new line.
    at: usize,
    /// The new line while an entry is shown.
    draft: String,
    buffer: Buffer,
    screen: Screen<'a, W>,
}

impl<W: Write> Session<'_, W> {
    fn run(&mut self, read: &mut Source, complete: &mut Completer) -> io::Result<Line> {
        self.screen.draw(&self.buffer)?;
        loop {
            let mut key = keys::next(read)?;
            if key == Key::Search {
                key = self.search(read)?;
            }
            match key {
                Key::Char(character) => {
                    self.buffer.insert(character);
                    self.screen.typed(character, &self.buffer)?;
                    continue;
                }
                Key::Enter => return self.leave("", Line::Text(self.buffer.text().to_owned())),
                Key::Interrupt => return self.leave("^C", Line::Interrupted),
                Key::Gone => return Ok(Line::End),
                Key::EndOfFile if self.buffer.text().is_empty() => return Ok(Line::End),
                Key::Tab => {
                    self.complete(complete)?;
                    continue;
                }
                Key::Up => self.show(self.at.saturating_sub(1)),
                Key::Down => self.show((self.at + 1).min(self.history.len())),
                Key::ClearScreen => self.screen.clear()?,
                Key::Other | Key::Search => continue,
                key => edit(&mut self.buffer, key),
            }
            self.screen.draw(&self.buffer)?;
        }
    }

    fn leave(&mut self, mark: &str, line: Line) -> io::Result<Line> {
        if !self.buffer.at_end() {
            self.buffer.end();
            self.screen.draw(&self.buffer)?;
        }
        self.screen.write(&format!("{mark}\n"))?;
        Ok(line)
    }

    fn show(&mut self, entry: usize) {
        if entry == self.at {
            return;
        }
        if self.at == self.history.len() {
            self.draft = self.buffer.text().to_owned();
        }
        self.at = entry;
        self.buffer.set(self.history.get(entry).unwrap_or(&self.draft));
    }

    /// Search the history backwards while the user types; gives the key that ended it.
    fn search(&mut self, read: &mut Source) -> io::Result<Key> {
        let mut wanted = String::new();
        let mut below = self.history.len();
        loop {
            let prompt = format!("(reverse-i-search)`{wanted}': ");
            self.screen.draw_with(&prompt, &self.buffer)?;
            match keys::next(read)? {
                Key::Char(character) => wanted.push(character),
                Key::Backspace => {
                    wanted.pop();
                    below = self.history.len();
                }
                Key::Search => below = self.at.min(below),
                key => return Ok(key),
            }
            let found = self.history[..below].iter().rposition(|line| !wanted.is_empty() && line.contains(&wanted));
            match found.or_else(|| self.history.get(below).filter(|line| line.contains(&wanted)).map(|_| below)) {
                Some(entry) => {
                    self.show(entry);
                    below = (entry + 1).min(self.history.len());
                }
                None => self.screen.bell()?,
            }
        }
    }

    fn complete(&mut self, complete: &mut Completer) -> io::Result<()> {
        let found = complete(self.buffer.text(), self.buffer.cursor());
        let (start, end) = (found.start, found.end);
        match found.candidates.as_slice() {
            [] => return self.screen.bell(),
            [only] => self.buffer.replace(start, end, only),
            several => {
                let shared = shared_prefix(several);
                let typed = self.buffer.text().get(start..end).unwrap_or_default();
                if shared.len() > typed.len() {
                    self.buffer.replace(start, end, shared);
                } else {
                    self.screen.list(several)?;
                }
            }
        }
        self.screen.draw(&self.buffer)
    }
}

/// Keys that change or move in the line alone.
fn edit(buffer: &mut Buffer, key: Key) {
    match key {
        Key::Backspace => buffer.backspace(),
        Key::Delete | Key::EndOfFile => buffer.delete(),
        Key::Left => buffer.left(),
        Key::Right => buffer.right(),
        Key::WordLeft => buffer.word_back(),
        Key::WordRight => buffer.word_forward(),
        Key::Home => buffer.home(),
        Key::End => buffer.end(),
        Key::KillToEnd => buffer.kill_to_end(),
        Key::KillToStart => buffer.kill_to_start(),
        Key::KillWord => buffer.kill_word(),
        Key::KillWordRight => buffer.kill_word_right(),
        Key::Yank => buffer.yank(),
        Key::Transpose => buffer.transpose(),
        _ => {}
    }
}

fn shared_prefix(words: &[String]) -> &str {
    let first = words.first().map_or("", String::as_str);
    let length = words.iter().fold(first.len(), |length, word| {
        first.bytes().zip(word.bytes()).take(length).take_while(|(a, b)| a == b).count()
    });
    let boundary = (0..=length).rev().find(|at| first.is_char_boundary(*at)).unwrap_or(0);
    &first[..boundary]
}

/// The prompt and the line on the terminal.
struct Screen<'a, W: Write> {
    out: &'a mut W,
    /// What stands above the line being edited: all of the prompt but its last line.
    head: &'a str,
    prompt: &'a str,
    columns: usize,
    /// Rows from where the last line of the prompt began to the cursor.
    row: usize,
    begun: bool,
}

impl<'a, W: Write> Screen<'a, W> {
    fn new(out: &'a mut W, prompt: &'a str, columns: usize) -> Self {
        let (head, prompt) = prompt.rsplit_once('\n').unwrap_or(("", prompt));
        Self { out, head, prompt, columns, row: 0, begun: false }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn bell(&mut self) -> io::Result<()> {
        self.write("\x07")
    }

    fn clear(&mut self) -> io::Result<()> {
        self.row = 0;
        self.begun = false;
        self.write("\x1b[H\x1b[2J")
    }

    fn draw(&mut self, buffer: &Buffer) -> io::Result<()> {
        self.draw_with(self.prompt, buffer)
    }

    /// Redraw the line and put the cursor in its place.
    fn draw_with(&mut self, prompt: &str, buffer: &Buffer) -> io::Result<()> {
        let mut text = String::new();
        if !self.begun && !self.head.is_empty() {
            text.push_str(self.head);
            text.push('\n');
        }
        let first = !self.begun;
        self.begun = true;
        if self.row > 0 {
            text.push_str(&format!("\x1b[{}A", self.row));
        }
        // The first time nothing has to be erased: a log of the serial line stays readable.
        text.push_str(if first { "" } else { "\r" });
        text.push_str(prompt);
        text.push_str(buffer.text());
        text.push_str(if first { "" } else { "\x1b[J" });
        let width = visible(prompt);
        let all = width + buffer.text().chars().count();
        // At the right edge a terminal waits with the wrap until the next character: force it, so that the row is known.
        if all > 0 && all.is_multiple_of(self.columns) {
            text.push('\n');
        }
        let cursor = width + buffer.before().chars().count();
        self.row = cursor / self.columns;
        if !buffer.at_end() {
            let up = all / self.columns - self.row;
            if up > 0 {
                text.push_str(&format!("\x1b[{up}A"));
            }
            text.push('\r');
            if !cursor.is_multiple_of(self.columns) {
                text.push_str(&format!("\x1b[{}C", cursor % self.columns));
            }
        }
        self.write(&text)
    }

    /// A character was inserted: at the end of the line it need only be printed.
    fn typed(&mut self, character: char, buffer: &Buffer) -> io::Result<()> {
        let all = visible(self.prompt) + buffer.text().chars().count();
        if buffer.at_end() && !all.is_multiple_of(self.columns) {
            return self.write(character.encode_utf8(&mut [0; 4]));
        }
        self.draw(buffer)
    }

    /// List candidates below the line, in columns; the prompt is drawn anew below them.
    fn list(&mut self, candidates: &[String]) -> io::Result<()> {
        let mut text = String::from("\n");
        let names: Vec<&str> = candidates.iter().map(|word| last_part(word.trim_end())).collect();
        let cell = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) + 2;
        let across = (self.columns / cell).max(1);
        for row in names[..names.len().min(MAX_LISTED)].chunks(across) {
            for name in row {
                text.push_str(&format!("{name:<cell$}"));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        if names.len() > MAX_LISTED {
            text.push_str(&format!("... and {} more\n", names.len() - MAX_LISTED));
        }
        self.row = 0;
        self.write(&text)
    }
}

/// The file's name in a path, its slash kept if it is a directory.
fn last_part(word: &str) -> &str {
    let body = word.strip_suffix('/').unwrap_or(word);
    body.rfind('/').map_or(word, |at| &word[at + 1..])
}

/// Characters of a prompt that take room: all but control sequences.
fn visible(prompt: &str) -> usize {
    let mut count = 0;
    let mut characters = prompt.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            if characters.next() == Some('[') {
                characters.find(|c| ('\x40'..='\x7e').contains(c));
            }
        } else if !character.is_control() {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type `bytes` into an editor that knows `history`; gives the line and what the terminal saw.
    fn typed(history: &[&str], bytes: &[u8], columns: usize) -> (Line, String) {
        let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
        let mut out = Vec::new();
        let mut bytes = bytes.iter().copied();
        let line = Session {
            history: &history,
            at: history.len(),
            draft: String::new(),
            buffer: Buffer::default(),
            screen: Screen::new(&mut out, "# ", columns),
        }
        .run(&mut || Ok(bytes.next()), &mut |line, cursor| {
            let start = line[..cursor].rfind(' ').map_or(0, |at| at + 1);
            let words = ["mount ", "mountpoint ", "umount "];
            let fits = words.iter().filter(|word| word.starts_with(&line[start..cursor]));
            Completion { start, end: cursor, candidates: fits.map(|word| (*word).to_owned()).collect() }
        })
        .unwrap();
        (line, String::from_utf8(out).unwrap())
    }

    fn text(bytes: &[u8]) -> Line {
        typed(&["first", "second"], bytes, 80).0
    }

    #[test]
    fn plain_typing_prints_plain_text() {
        assert_eq!(typed(&[], b"ls\r", 80), (Line::Text("ls".into()), "# ls\n".into()));
    }

    #[test]
    fn no_question_is_ever_put_to_the_terminal() {
        let (_, output) = typed(&["a"], b"abc\x1b[A\x1b[B\t\x0c\x12a\r", 80);
        assert!(!output.contains("\x1b[6n") && !output.contains("\x1b[c"), "{output:?}");
    }

    #[test]
    fn history_goes_up_and_down_and_keeps_the_draft() {
        assert_eq!(text(b"\x1b[A\r"), Line::Text("second".into()));
        assert_eq!(text(b"dra\x1b[A\x1b[A\x1b[A\x1b[B\x1b[Bft\r"), Line::Text("draft".into()));
        assert_eq!(text(b"\x12fir\r"), Line::Text("first".into()));
    }

    #[test]
    fn completion_of_one_of_many_and_of_none() {
        assert_eq!(text(b"um\t/mnt\r"), Line::Text("umount /mnt".into()));
        let (line, output) = typed(&[], b"mo\t\t\r", 80);
        assert_eq!(line, Line::Text("mount".into()));
        assert!(output.contains("mount       mountpoint\n"), "{output:?}");
        assert!(typed(&[], b"x\t\r", 80).1.contains('\x07'));
    }

    #[test]
    fn ends() {
        assert_eq!(text(b"\x04"), Line::End);
        assert_eq!(text(b"abc\x03"), Line::Interrupted);
        assert_eq!(text(b"abc"), Line::End);
        assert_eq!(text(b"ab\x01\x04\r"), Line::Text("b".into()));
    }

    #[test]
    fn a_long_line_wraps() {
        let (line, output) = typed(&[], b"12345678\x1b[Dx\r", 10);
        assert_eq!(line, Line::Text("1234567x8".into()));
        assert!(output.contains("# 12345678\x1b[J\n"), "{output:?}");
        assert!(output.contains("\x1b[1A"), "{output:?}");
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(visible("\x1b[1;31m#\x1b[0m "), 2);
    }
}
