//! `vi`: edit text (POSIX vi(1), with multi-level undo and arrow keys).
//!
//! `editor` is the whole of it but terminal and files: keys in, text out. This file gives it both.

mod change;
mod editor;
mod ex;
mod file;
mod insert;
mod keys;
mod motion;
mod pattern;
#[cfg(test)]
mod tests;
mod text;
mod window;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use crate::common;
use crate::registry::{Applet, Dir};
use crate::terminal::Screen;
use crate::terminal::keys::Key;
use editor::{Editor, Request};
use file::Stamp;
use text::{Text, at};
use window::Frame;

/// `vi`.
pub const APPLET: Applet = Applet { name: "vi", aliases: &["view"], dir: Dir::Bin, summary: "edit text", run };

#[derive(Parser)]
#[command(name = "vi", about = "Edit text", disable_help_flag = true)]
struct Options {
    /// Run a command when the first file is loaded; +N goes to a line, + to the last
    #[arg(short, value_name = "COMMAND")]
    command: Option<String>,
    /// Refuse to save without !
    #[arg(short = 'R')]
    read_only: bool,
    /// Print help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Files
    files: Vec<OsString>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |name, mut options: Options| {
        options.read_only |= name == "view";
        edit(options)
    })
}

fn edit(mut options: Options) -> anyhow::Result<i32> {
    let first = options.files.first().and_then(|word| word.to_str()).and_then(|word| word.strip_prefix('+'));
    if let Some(line) = first {
        options.command = Some(if line.is_empty() { "$".into() } else { line.into() });
        options.files.remove(0);
    }
    let files: Vec<PathBuf> = options.files.iter().map(PathBuf::from).collect();
    let mut session = Session {
        editor: Editor::new(Text::new(Vec::new())),
        path: None,
        stamp: None,
        files,
        current: 0,
        read_only: options.read_only,
        drawn: None,
    };
    match session.files.first().cloned() {
        Some(path) => session.load(&path).with_context(|| format!("{}: cannot edit", path.display()))?,
        None => session.editor.message = "new text without a name".into(),
    }
    let mut screen = Screen::open(true).context("vi needs a terminal")?;
    if let Some(command) = &options.command {
        let typed = format!(":{command}").chars().map(Key::Char).chain([Key::Enter]).collect::<Vec<_>>();
        for key in typed {
            if session.press(key, &mut screen)? {
                return Ok(0);
            }
        }
    }
    let result = session.run(&mut screen);
    drop(screen);
    if let Ok(Some(rescued)) = &result {
        writeln!(io::stderr(), "vi: the terminal is gone; changes are in {}", rescued.display())?;
        return Ok(1);
    }
    result.map(|_| 0)
}

/// An editor with a terminal and files.
struct Session {
    editor: Editor,
    path: Option<PathBuf>,
    /// The file as it was read or written last.
    stamp: Option<Stamp>,
    files: Vec<PathBuf>,
    current: usize,
    read_only: bool,
    /// What is on the screen.
    drawn: Option<(usize, Frame)>,
}

impl Session {
    /// Until the user leaves. If the terminal goes first, gives the file where changes were rescued to.
    fn run(&mut self, screen: &mut Screen) -> anyhow::Result<Option<PathBuf>> {
        loop {
            self.draw(screen)?;
            let leave = match screen.key(None)? {
                Some(Key::Gone) => return self.rescue(),
                Some(Key::Resized) => {
                    self.drawn = None;
                    false
                }
                // vi has no Alt: it was Escape, and the next key right behind.
                Some(Key::Meta(character)) => {
                    self.press(Key::Escape, screen)? || self.press(Key::Char(character), screen)?
                }
                Some(key) => self.press(key, screen)?,
                None => false,
            };
            if leave {
                return Ok(None);
            }
        }
    }

    /// Take a key; true to leave.
    fn press(&mut self, key: Key, screen: &mut Screen) -> anyhow::Result<bool> {
        match self.editor.key(key) {
            Some(request) => self.serve(request, screen),
            None => Ok(false),
        }
    }

    /// Put on the screen what has changed there.
    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let (rows, columns) = screen.size();
        let frame = self.editor.frame(rows, columns);
        let old = self.drawn.take().filter(|(width, old)| *width == columns && old.rows.len() == frame.rows.len());
        let mut out = String::from("\x1b[?25l");
        if old.is_none() {
            out.push_str("\x1b[H\x1b[2J");
        }
        for (row, text) in frame.rows.iter().enumerate() {
            if old.as_ref().and_then(|(_, old)| old.rows.get(row)) != Some(text) {
                out.push_str(&format!("\x1b[{};1H\x1b[K{text}", row + 1));
            }
        }
        out.push_str(&format!("\x1b[{};{}H\x1b[?25h", frame.cursor.0 + 1, frame.cursor.1 + 1));
        screen.draw(&out)?;
        self.drawn = Some((columns, frame));
        Ok(())
    }

    /// Do what the editor asks for; true to leave.
    fn serve(&mut self, request: Request, screen: &mut Screen) -> anyhow::Result<bool> {
        let done: anyhow::Result<bool> = match request {
            Request::Quit { force } => self.may_leave(force).map(|()| true),
            Request::Write { path, range, force, quit } => self.write(path, range, force).map(|()| quit),
            Request::Edit { path, force } => self.edit(path, force).map(|()| false),
            Request::Read { path, below } => self.read(path, below).map(|()| false),
            Request::Next { force, back } => self.next(force, back).map(|()| false),
            Request::Info => {
                self.say_info();
                Ok(false)
            }
            Request::Redraw => {
                self.drawn = None;
                Ok(false)
            }
            Request::Suspend => {
                screen.suspend()?;
                self.drawn = None;
                Ok(false)
            }
        };
        match done {
            Ok(leave) => Ok(leave),
            Err(error) => {
                self.editor.message = format!("{error:#}");
                Ok(false)
            }
        }
    }

    fn may_leave(&self, force: bool) -> anyhow::Result<()> {
        anyhow::ensure!(
            force || !self.editor.text.is_changed(),
            "there are changes; save them with :w, or add ! to lose them"
        );
        Ok(())
    }

    fn load(&mut self, path: &Path) -> anyhow::Result<()> {
        let loaded = file::load(path).map_err(|error| anyhow::anyhow!(crate::text::reason(&error)))?;
        let shown = path.display();
        self.editor.message = match loaded.stamp {
            None => format!("{shown}: new file"),
            Some(_) => {
                let end = if loaded.unended { ", no newline at the end" } else { "" };
                format!("{shown}: {} lines, {} bytes{end}", loaded.lines.len(), loaded.size)
            }
        };
        self.editor.replace_text(Text::new(loaded.lines));
        (self.path, self.stamp) = (Some(path.to_owned()), loaded.stamp);
        Ok(())
    }

    fn write(&mut self, path: Option<PathBuf>, range: Option<(usize, usize)>, force: bool) -> anyhow::Result<()> {
        let own = path.is_none() || path == self.path || self.path.is_none();
        let path = path.or_else(|| self.path.clone()).context("no file name; use :w NAME")?;
        let lines = self.editor.text.lines();
        let lines = range.map_or(lines, |(first, last)| &lines[first..=last]);
        let part = range.is_some_and(|_| lines.len() < self.editor.text.count());
        anyhow::ensure!(!(part && own && !force), "this would leave only a part in the file; add ! to do it");
        anyhow::ensure!(force || !self.read_only || !own, "read-only; add ! to save all the same");
        let content = file::bytes(lines);
        let stamp = file::save(&path, &content, self.stamp.filter(|_| own), force)?;
        self.editor.message = format!("{}: {} lines, {} bytes written", path.display(), lines.len(), content.len());
        if own {
            (self.path, self.stamp) = (Some(path), Some(stamp));
            if !part {
                self.editor.text.mark_saved();
            }
        }
        Ok(())
    }

    fn edit(&mut self, path: Option<PathBuf>, force: bool) -> anyhow::Result<()> {
        self.may_leave(force)?;
        let path = path.or_else(|| self.path.clone()).context("no file name; use :e NAME")?;
        self.load(&path)
    }

    fn read(&mut self, path: Option<PathBuf>, below: usize) -> anyhow::Result<()> {
        let path = path.or_else(|| self.path.clone()).context("no file name; use :r NAME")?;
        let loaded = file::load(&path)
            .map_err(|error| anyhow::anyhow!("{}: {}", path.display(), crate::text::reason(&error)))?;
        anyhow::ensure!(loaded.stamp.is_some(), "{}: no such file", path.display());
        let count = loaded.lines.len();
        let start = self.editor.cursor;
        self.editor.text.splice(below..below, loaded.lines);
        self.editor.text.commit(start);
        self.editor.cursor = at(below, 0);
        self.editor.clamp();
        self.editor.message = format!("{}: {count} lines read", path.display());
        Ok(())
    }

    fn next(&mut self, force: bool, back: bool) -> anyhow::Result<()> {
        self.may_leave(force)?;
        let next = if back { self.current.checked_sub(1) } else { Some(self.current + 1) };
        let next = next.filter(|next| *next < self.files.len()).context("no more files")?;
        let path = self.files[next].clone();
        self.load(&path).with_context(|| path.display().to_string())?;
        self.current = next;
        Ok(())
    }

    fn say_info(&mut self) {
        let name = self.path.as_ref().map_or("no name".into(), |path| path.display().to_string());
        let changed = if self.editor.text.is_changed() { " (changed)" } else { "" };
        let (line, count) = (self.editor.cursor.line + 1, self.editor.text.count());
        self.editor.message = format!("{name}{changed}: line {line} of {count}");
    }

    /// The terminal is gone: keep what was not saved in a file beside the one that was edited.
    fn rescue(&self) -> anyhow::Result<Option<PathBuf>> {
        if !self.editor.text.is_changed() {
            return Ok(None);
        }
        let mut name = self.path.clone().unwrap_or_else(|| "vi".into()).into_os_string();
        name.push(format!(".rescued-{}", std::process::id()));
        let path = PathBuf::from(name);
        let content = file::bytes(self.editor.text.lines());
        coracle_abi::atomic_write::write(&path, &content, 0o600, coracle_abi::atomic_write::Durability::Durable)
            .with_context(|| format!("{}: cannot rescue changes", path.display()))?;
        Ok(Some(path))
    }
}
