//! The editor without a terminal and without files: keys in, text out. What needs either is a `Request`.

use std::collections::HashMap;
use std::path::PathBuf;

use super::keys::{self, Action, Command, Insert, Parse};
use super::motion::{self, Find, Motion, Place};
use super::pattern::{self, Substitution};
use super::text::{Position, Text, at};
use super::window::Window;
use crate::terminal::keys::Key;

/// What was deleted or yanked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Register {
    /// A piece of text.
    Chars(String),
    /// Whole lines.
    Lines(Vec<String>),
}

/// What keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Commands.
    Command,
    /// Text to insert, or to type over what is there.
    Insert {
        /// Replace mode.
        over: bool,
        /// How often what is typed is inserted.
        count: usize,
        /// What was typed.
        typed: Vec<Key>,
    },
    /// A line below the text: `:`, `/` or `?`.
    Line {
        /// Which.
        kind: char,
        /// What was typed.
        text: String,
    },
}

/// What the editor wants of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Leave; `force` even if there are changes.
    Quit { force: bool },
    /// Save lines, or all of them, and leave if `quit`.
    Write { path: Option<PathBuf>, range: Option<(usize, usize)>, force: bool, quit: bool },
    /// Load a file, or the same again.
    Edit { path: Option<PathBuf>, force: bool },
    /// Insert a file below a line (counted from 1; 0 is above all).
    Read { path: Option<PathBuf>, below: usize },
    /// The next file of the command line, or the one before.
    Next { force: bool, back: bool },
    /// Stop, as Ctrl-Z asks.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Say what is being edited.
    Info,
}

/// What `:set` sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Lines have numbers.
    pub number: bool,
    /// Searches do not tell upper from lower case.
    pub ignore_case: bool,
    /// A new line begins below the text of the one before.
    pub autoindent: bool,
}

/// The editor.
pub struct Editor {
    /// The text.
    pub text: Text,
    /// The cursor.
    pub cursor: Position,
    /// What keys mean.
    pub mode: Mode,
    /// What `:set` set.
    pub options: Options,
    /// The last line of the screen.
    pub message: String,
    /// What of the text is on the screen.
    pub window: Window,
    /// Column that vertical motions lead to.
    pub(super) wanted: Option<usize>,
    /// Keys of a command that is not complete.
    pub(super) pending: Vec<Key>,
    pub(super) registers: HashMap<char, Register>,
    pub(super) unnamed: Option<Register>,
    pub(super) marks: HashMap<char, Position>,
    /// Pattern and direction of the last search.
    pub(super) search: Option<(String, bool)>,
    find: Option<Find>,
    pub(super) substitution: Option<Substitution>,
    /// Keys of the last change, for `.`.
    last_change: Vec<Key>,
    /// Keys since the last command ended.
    recording: Vec<Key>,
    replayed: bool,
    begun_at: Position,
    /// The next key is text, whatever it is.
    pub(super) literal: bool,
}

impl Editor {
    /// Edit a text.
    pub fn new(text: Text) -> Self {
        Self {
            text,
            cursor: Position::default(),
            mode: Mode::Command,
            options: Options::default(),
            message: String::new(),
            window: Window::default(),
            wanted: None,
            pending: Vec::new(),
            registers: HashMap::new(),
            unnamed: None,
            marks: HashMap::new(),
            search: None,
            find: None,
            substitution: None,
            last_change: Vec::new(),
            recording: Vec::new(),
            replayed: false,
            begun_at: Position::default(),
            literal: false,
        }
    }

    /// Edit another text; registers and options stay.
    pub fn replace_text(&mut self, text: Text) {
        self.text = text;
        self.cursor = Position::default();
        self.marks.clear();
        self.window.top = 0;
    }

    /// Take a key.
    pub fn key(&mut self, key: Key) -> Option<Request> {
        if self.recording.is_empty() {
            self.begun_at = self.cursor;
        }
        self.recording.push(key);
        let request = self.dispatch(key);
        if self.mode == Mode::Command && self.pending.is_empty() {
            self.end_command();
        }
        request
    }

    fn dispatch(&mut self, key: Key) -> Option<Request> {
        match &self.mode {
            Mode::Command => self.command_key(key),
            Mode::Insert { .. } => {
                self.insert_key(key);
                None
            }
            Mode::Line { .. } => self.line_key(key),
        }
    }

    fn end_command(&mut self) {
        let keys = std::mem::take(&mut self.recording);
        let is_change =
            self.text.is_open() && !std::mem::take(&mut self.replayed) && keys.first() != Some(&Key::Char(':'));
        self.replayed = false;
        if is_change {
            self.last_change = keys;
        }
        self.text.commit(self.begun_at);
        self.clamp();
    }

    /// The cursor stands on a character, if there is one.
    pub fn clamp(&mut self) {
        self.cursor.line = self.cursor.line.min(self.text.last());
        self.cursor.column = self.cursor.column.min(self.text.length(self.cursor.line).saturating_sub(1));
    }

    fn command_key(&mut self, key: Key) -> Option<Request> {
        self.message.clear();
        self.pending.push(key);
        let command = match keys::parse(&self.pending) {
            Parse::Incomplete => return None,
            Parse::Wrong => {
                self.pending.clear();
                self.complain("no such command");
                return None;
            }
            Parse::Command(command) => command,
        };
        self.pending.clear();
        match self.perform(command) {
            Ok(request) => request,
            Err(message) => {
                self.complain(&message);
                None
            }
        }
    }

    pub(super) fn complain(&mut self, message: &str) {
        self.message = message.to_owned();
    }

    fn perform(&mut self, command: Command) -> Result<Option<Request>, String> {
        let Command { count, register, action } = command;
        let times = count.unwrap_or(1).max(1);
        if !matches!(action, Action::Move(Motion::Up | Motion::Down)) {
            self.wanted = None;
        }
        match action {
            Action::Nothing => {}
            Action::Move(motion) => self.go(motion, count)?,
            Action::Operate(operator, target) => self.operate(operator, target, count, register)?,
            Action::Insert(how) => self.begin_insert(how, times),
            Action::Replace(character) => self.replace_characters(character, times)?,
            Action::Join => self.join(self.cursor.line, times.max(2))?,
            Action::ToggleCase => self.toggle_case(times),
            Action::Put { before } => self.put(before, times, register)?,
            Action::Undo => self.undo(times)?,
            Action::Redo => self.redo(times)?,
            Action::Repeat => return self.repeat(count),
            Action::SetMark(name) => {
                self.marks.insert(name, self.cursor);
            }
            Action::Scroll(scroll) => self.scroll(scroll, count),
            Action::CommandLine(kind) => {
                let text = match (kind, count) {
                    // 3: is the three lines from here.
                    (':', Some(1)) => ".".into(),
                    (':', Some(count)) => format!(".,.+{}", count - 1),
                    _ => String::new(),
                };
                self.mode = Mode::Line { kind, text };
            }
            Action::SubstituteAgain => self.substitute_again()?,
            Action::SaveAndQuit => return Ok(Some(self.save_and_quit())),
            Action::Quit => return Ok(Some(Request::Quit { force: true })),
            Action::Redraw => return Ok(Some(Request::Redraw)),
            Action::FileInfo => return Ok(Some(Request::Info)),
            Action::Suspend => return Ok(Some(Request::Suspend)),
        }
        Ok(None)
    }

    /// Save if there is something to save, and leave.
    pub(super) fn save_and_quit(&self) -> Request {
        match self.text.is_changed() {
            true => Request::Write { path: None, range: None, force: false, quit: true },
            false => Request::Quit { force: false },
        }
    }

    fn undo(&mut self, times: usize) -> Result<(), String> {
        for _ in 0..times {
            self.cursor = self.text.undo().ok_or("already at the oldest change")?;
        }
        Ok(())
    }

    fn redo(&mut self, times: usize) -> Result<(), String> {
        for _ in 0..times {
            self.cursor = self.text.redo().ok_or("already at the newest change")?;
        }
        Ok(())
    }

    /// `.`: the keys of the last change again; a count takes the place of the one they had.
    fn repeat(&mut self, count: Option<usize>) -> Result<Option<Request>, String> {
        let mut keys = self.last_change.clone();
        if keys.is_empty() {
            return Err("no change to repeat".into());
        }
        if let Some(count) = count {
            let digits = keys.iter().take_while(|key| matches!(key, Key::Char('0'..='9'))).count();
            keys.splice(..digits, count.to_string().chars().map(Key::Char));
        }
        let mut request = None;
        for key in keys {
            request = self.dispatch(key).or(request);
        }
        self.replayed = true;
        Ok(request)
    }

    /// Move the cursor.
    fn go(&mut self, motion: Motion, count: Option<usize>) -> Result<(), String> {
        let vertical = matches!(motion, Motion::Up | Motion::Down);
        let wanted = self.wanted.unwrap_or(self.cursor.column);
        let mut place = self.destination(motion, count)?;
        if vertical {
            place.column = wanted;
            self.wanted = Some(wanted);
        }
        if motion == Motion::LineEnd {
            self.wanted = Some(usize::MAX);
        }
        if matches!(
            motion,
            Motion::Line
                | Motion::First
                | Motion::SearchAgain { .. }
                | Motion::WordUnderCursor { .. }
                | Motion::Mark { .. }
        ) {
            self.marks.insert('\'', self.cursor);
        }
        // At the last character there is no further right to go.
        if motion == Motion::Right && self.cursor.column + 1 >= self.text.length(self.cursor.line) {
            return Err(String::new());
        }
        self.cursor = place;
        self.clamp();
        Ok(())
    }

    /// Where a motion leads.
    pub(super) fn destination(&mut self, motion: Motion, count: Option<usize>) -> Result<Position, String> {
        let nowhere = || String::new();
        match motion {
            Motion::Find(find) => {
                self.find = Some(find);
                motion::go(motion, &self.text, self.cursor, count).ok_or_else(nowhere)
            }
            Motion::FindAgain { reverse } => {
                let find = self.find.ok_or("no character was looked for")?;
                let find = Find { back: find.back != reverse, ..find };
                motion::find_character(&self.text, self.cursor, find, count.unwrap_or(1), true).ok_or_else(nowhere)
            }
            Motion::SearchAgain { reverse } => {
                let (pattern, back) = self.search.clone().ok_or("no previous pattern")?;
                self.find_pattern(&pattern, back != reverse, count.unwrap_or(1))
            }
            Motion::WordUnderCursor { back } => {
                let word = self.word_under_cursor().ok_or("no word here")?;
                // Whole words only.
                let pattern = format!("\\<{word}\\>");
                self.search = Some((pattern.clone(), back));
                self.find_pattern(&pattern, back, count.unwrap_or(1))
            }
            Motion::Mark { name, line } => {
                let name = if name == '`' { '\'' } else { name };
                let place = *self.marks.get(&name).ok_or_else(|| format!("mark {name} is not set"))?;
                let line_start = at(place.line.min(self.text.last()), 0);
                Ok(if line { at(line_start.line, motion::first_text(&self.text, line_start.line)) } else { place })
            }
            Motion::Window(place) => {
                let (first, last) = self.window.visible(&self.text, self.options.number);
                let offset = count.unwrap_or(1).max(1) - 1;
                let line = match place {
                    Place::Top => (first + offset).min(last),
                    Place::Middle => (first + last) / 2,
                    Place::Bottom => last.saturating_sub(offset).max(first),
                };
                Ok(at(line, motion::first_text(&self.text, line)))
            }
            _ => motion::go(motion, &self.text, self.cursor, count).ok_or_else(nowhere),
        }
    }

    pub(super) fn find_pattern(&self, text: &str, back: bool, times: usize) -> Result<Position, String> {
        let regex = pattern::compile(text, self.options.ignore_case)?;
        let mut place = self.cursor;
        for _ in 0..times.min(self.text.count() * 1000) {
            place = pattern::search(&self.text, &regex, place, back)?
                .ok_or_else(|| format!("pattern not found: {text}"))?;
        }
        Ok(place)
    }

    fn word_under_cursor(&self) -> Option<String> {
        let chars = self.text.chars(self.cursor.line);
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        let start = self.cursor.column + chars.iter().skip(self.cursor.column).position(is_word)?;
        let start = start - chars[..start].iter().rev().take_while(|c| is_word(c)).count();
        Some(chars[start..].iter().take_while(|c| is_word(c)).collect())
    }

    fn begin_insert(&mut self, how: Insert, count: usize) {
        let line = self.cursor.line;
        match how {
            Insert::Before | Insert::Over => {}
            Insert::After => self.cursor.column = (self.cursor.column + 1).min(self.text.length(line)),
            Insert::FirstText => {
                let chars = self.text.chars(line);
                self.cursor.column = chars.iter().position(|c| !c.is_whitespace()).unwrap_or(chars.len());
            }
            Insert::LineEnd => self.cursor.column = self.text.length(line),
            Insert::LineBelow | Insert::LineAbove => {
                let indent = self.indent_of(line);
                let new = if how == Insert::LineBelow { line + 1 } else { line };
                self.cursor = at(new, indent.chars().count());
                self.text.splice(new..new, vec![indent]);
            }
        }
        self.mode = Mode::Insert { over: how == Insert::Over, count, typed: Vec::new() };
    }

    /// With autoindent, the blanks that a line begins with.
    pub(super) fn indent_of(&self, line: usize) -> String {
        match self.options.autoindent {
            true => self.text.line(line).chars().take_while(|c| c.is_whitespace()).collect(),
            false => String::new(),
        }
    }

    fn line_key(&mut self, key: Key) -> Option<Request> {
        let Mode::Line { kind, text } = &mut self.mode else { return None };
        let literal = std::mem::take(&mut self.literal);
        match key {
            Key::Char(character) => text.push(character),
            Key::Tab => text.push('\t'),
            Key::Control('v') if !literal => self.literal = true,
            Key::Control(letter) if literal => text.push(char::from(letter as u8 & 0x1f)),
            Key::Backspace if text.pop().is_some() => {}
            Key::Control('u') => text.clear(),
            Key::Control('w') => {
                let end = text.trim_end().rfind(' ').map_or(0, |space| space + 1);
                text.truncate(end);
            }
            Key::Escape | Key::Control('c') | Key::Backspace => self.mode = Mode::Command,
            Key::Enter => {
                let (kind, text) = (*kind, std::mem::take(text));
                self.mode = Mode::Command;
                return match self.finish_line(kind, &text) {
                    Ok(request) => request,
                    Err(message) => {
                        self.complain(&message);
                        None
                    }
                };
            }
            _ => {}
        }
        None
    }

    fn finish_line(&mut self, kind: char, text: &str) -> Result<Option<Request>, String> {
        if kind == ':' {
            return self.execute(text);
        }
        let back = kind == '?';
        let (pattern, _) = pattern::cut(text, kind);
        let pattern = match (pattern.is_empty(), &self.search) {
            (false, _) => pattern,
            (true, Some((last, _))) => last.clone(),
            (true, None) => return Err("no previous pattern".into()),
        };
        self.search = Some((pattern.clone(), back));
        let place = self.find_pattern(&pattern, back, 1)?;
        self.marks.insert('\'', self.cursor);
        self.cursor = place;
        Ok(None)
    }
}
