//! `less`, `more`: look at text one screen at a time.
//!
//! `source` has the lines, `line` lays one out, `pager` is keys in, rows out; this file gives them a terminal.

mod line;
mod pager;
mod source;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use crate::common;
use crate::registry::{Applet, Dir};
use crate::terminal::Screen;
use crate::terminal::keys::Key;
use pager::{Pager, Request, View};
use source::Source;

/// `less`, and `more` with its manners.
pub const APPLET: Applet =
    Applet { name: "less", aliases: &["more"], dir: Dir::Bin, summary: "look at text one screen at a time", run };

#[derive(Parser)]
#[command(name = "less", about = "Look at text one screen at a time; h tells the keys", disable_help_flag = true)]
struct Options {
    /// Number the lines
    #[arg(short = 'N', long = "LINE-NUMBERS")]
    numbers: bool,
    /// Chop long lines
    #[arg(short = 'S', long = "chop-long-lines")]
    chop: bool,
    /// Obey colours
    #[arg(short = 'R', long = "RAW-CONTROL-CHARS")]
    raw: bool,
    /// Upper and lower case are the same in searches, unless the pattern has an upper one
    #[arg(short = 'i', long = "ignore-case")]
    ignore_case: bool,
    /// Leave if all fits on the screen
    #[arg(short = 'F', long = "quit-if-one-screen")]
    one_screen: bool,
    /// Leave when going on at the end
    #[arg(short = 'e', short_alias = 'E', long = "quit-at-eof")]
    quit_at_end: bool,
    /// What was shown stays on the screen
    #[arg(short = 'X', long = "no-init")]
    no_init: bool,
    /// Begin at the first line that matches
    #[arg(short = 'p', long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// Print help
    #[arg(short = '?', long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Files, standard input if there are none or one is -; +N begins at a line, +G at the end, +/PATTERN at a match
    files: Vec<OsString>,
}

/// Options of the original that have a value: what follows them is no option.
const WITH_VALUE: &str = "bDhjkoOpPtTxyz#\"";

impl Options {
    /// Letters in the environment, as programs that start a pager set them (`LESS=FRX`). It is written for another less too: what is not
    /// known here is not for us.
    fn add_environment(&mut self, text: &str) {
        for word in text.split_whitespace().filter(|word| !word.starts_with("--")) {
            for letter in word.chars().take_while(|letter| !WITH_VALUE.contains(*letter)) {
                match letter {
                    'N' => self.numbers = true,
                    'S' => self.chop = true,
                    'R' => self.raw = true,
                    'i' => self.ignore_case = true,
                    'F' => self.one_screen = true,
                    'X' => self.no_init = true,
                    'e' | 'E' => self.quit_at_end = true,
                    _ => {}
                }
            }
        }
    }
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 2, |name, mut options: Options| {
        options.add_environment(&std::env::var("LESS").unwrap_or_default());
        if name == "more" {
            (options.no_init, options.quit_at_end, options.one_screen) = (true, true, true);
        }
        page(name, options)
    })
}

fn page(name: &str, mut options: Options) -> anyhow::Result<i32> {
    let start = match options.files.first().and_then(|word| word.to_str()).and_then(|word| word.strip_prefix('+')) {
        Some(start) => {
            let start = start.to_owned();
            options.files.remove(0);
            Some(start)
        }
        None => options.pattern.take().map(|pattern| format!("/{pattern}")),
    };
    if options.files.is_empty() {
        anyhow::ensure!(!io::stdin().is_terminal(), "no file named, and standard input is the terminal");
        options.files.push("-".into());
    }
    let files: Vec<PathBuf> = options.files.iter().map(PathBuf::from).collect();
    if !io::stdout().is_terminal() {
        return copy(name, &files);
    }
    let view = View {
        numbers: options.numbers,
        chop: options.chop,
        raw: options.raw,
        ignore_case: options.ignore_case,
        quit_at_end: options.quit_at_end,
    };
    let mut source = open(&files[0]).with_context(|| files[0].display().to_string())?;
    let mut pager = Pager::new(view, shown(&files[0]));
    let (rows, columns) = crate::terminal::size(io::stdout().as_fd());
    pager.resize(rows, columns);
    if options.one_screen && files.len() == 1 && fits(&mut source, &mut pager, rows)? {
        return Ok(0);
    }
    let screen = Screen::open(!options.no_init).context("no terminal to take keys from")?;
    let mut session = Session { pager, source, files, current: 0, screen, drawn: None };
    session.watch();
    if let Some(start) = start {
        session.begin(&start)?;
    }
    session.run()
}

/// If all of it fits on the screen, write it and be done.
fn fits(source: &mut Source, pager: &mut Pager, rows: usize) -> io::Result<bool> {
    // A pipe that goes on slowly may yet end: only the screen's worth is waited for.
    source.patiently(|source| source.reach(rows))?;
    if !source.is_complete() || !pager.at_end(source)? {
        return Ok(false);
    }
    let frame = pager.frame(source)?;
    let mut out = io::stdout().lock();
    // Rows behind the text are tildes; a line of the text may be one too.
    let used = frame.len() - 1 - frame.iter().rev().skip(1).take_while(|row| *row == "~").count().min(frame.len() - 1);
    let used = used.max(source.known().min(frame.len() - 1));
    frame[..used].iter().try_for_each(|row| writeln!(out, "{row}"))?;
    Ok(true)
}

/// Without a terminal to show it on, all goes through.
fn copy(name: &str, files: &[PathBuf]) -> anyhow::Result<i32> {
    let mut out = io::stdout().lock();
    let mut status = 0;
    for path in files {
        let result = match path.as_os_str() == "-" {
            true => source::copy(io::stdin().lock(), &mut out),
            false => File::open(path).and_then(|file| source::copy(file, &mut out)),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error.into()),
            Err(error) => {
                writeln!(io::stderr(), "{name}: {}: {}", path.display(), crate::text::reason(&error))?;
                status = 1;
            }
            Ok(()) => {}
        }
    }
    Ok(status)
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() }
}

fn open(path: &Path) -> anyhow::Result<Source> {
    if path.as_os_str() == "-" {
        return Ok(Source::pipe(io::stdin().as_fd().try_clone_to_owned()?));
    }
    let file = File::open(path).map_err(|error| anyhow::anyhow!(crate::text::reason(&error)))?;
    let meta = file.metadata()?;
    anyhow::ensure!(!meta.is_dir(), "is a directory");
    Ok(if meta.is_file() && meta.len() > 0 { Source::file(file) } else { Source::pipe(file.into()) })
}

/// Milliseconds between looks at a pipe that has sent less than a screen.
const PIPE_PAUSE: u16 = 100;

struct Session {
    pager: Pager,
    source: Source,
    files: Vec<PathBuf>,
    current: usize,
    screen: Screen,
    drawn: Option<Vec<String>>,
}

impl Session {
    fn watch(&mut self) {
        if let Ok(keyboard) = self.screen.keyboard() {
            self.source.watch(keyboard);
        }
    }

    /// `+` of the command line.
    fn begin(&mut self, start: &str) -> io::Result<()> {
        if let Some(pattern) = start.strip_prefix('/') {
            // The first line may be the one.
            self.pager.search_from_start(pattern, &mut self.source)?;
        } else if start == "G" {
            self.pager.end(&mut self.source)?;
        } else {
            for key in start.chars().map(Key::Char).chain([Key::Char('g')]) {
                self.pager.key(key, &mut self.source)?;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<i32> {
        loop {
            self.draw()?;
            // What a pipe has not sent yet may come at any time.
            let waits =
                !self.source.is_complete() && self.drawn.as_ref().is_some_and(|rows| rows.iter().any(|row| row == "~"));
            let request = match self.screen.key(waits.then_some(PIPE_PAUSE))? {
                Some(Key::Gone) => return Ok(1),
                Some(Key::Resized) => Some(Request::Redraw),
                Some(key) => self.pager.key(key, &mut self.source)?,
                None => None,
            };
            match request {
                Some(Request::Quit) => {
                    self.leave()?;
                    return Ok(0);
                }
                Some(Request::Next) => self.switch(self.current.checked_add(1)),
                Some(Request::Previous) => self.switch(self.current.checked_sub(1)),
                Some(Request::Redraw) => self.drawn = None,
                Some(Request::Suspend) => {
                    self.screen.suspend()?;
                    self.drawn = None;
                }
                None => {}
            }
        }
    }

    /// The prompt goes, the text stays.
    fn leave(&mut self) -> io::Result<()> {
        let (rows, _) = self.screen.size();
        self.screen.draw(&format!("\x1b[{rows};1H\x1b[K"))
    }

    fn switch(&mut self, to: Option<usize>) {
        let Some((index, path)) = to.and_then(|to| self.files.get(to).map(|path| (to, path.clone()))) else {
            return self.pager.say("no more files");
        };
        match open(&path) {
            Ok(source) => {
                self.source = source;
                self.current = index;
                self.watch();
                self.pager.restart(format!("{} ({} of {})", shown(&path), index + 1, self.files.len()));
            }
            Err(error) => self.pager.say(&format!("{}: {error:#}", path.display())),
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let (rows, columns) = self.screen.size();
        self.pager.resize(rows, columns);
        let frame = self.pager.frame(&mut self.source)?;
        let old = self.drawn.take().filter(|old| old.len() == frame.len());
        if old.as_ref() == Some(&frame) {
            self.drawn = old;
            return Ok(());
        }
        let mut out = String::from(if old.is_none() { "\x1b[H\x1b[2J" } else { "" });
        for (row, text) in frame.iter().enumerate() {
            if old.as_ref().and_then(|old| old.get(row)) != Some(text) || row + 1 == frame.len() {
                out.push_str(&format!("\x1b[{};1H\x1b[K{text}", row + 1));
            }
        }
        self.screen.draw(&out)?;
        self.drawn = Some(frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_the_environment() {
        let set = |text: &str| {
            let mut options = Options::parse_from(["less"]);
            options.add_environment(text);
            (options.one_screen, options.raw, options.no_init, options.quit_at_end)
        };
        assert_eq!(set("FRX"), (true, true, true, false));
        assert_eq!(set("-R -e --mouse -PpromptF"), (false, true, false, true));
        assert_eq!(set("--use-color -x4R"), (false, false, false, false));
    }
}
