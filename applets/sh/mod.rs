//! `sh`: the command interpreter (POSIX sh(1), with most of bash's language).
//!
//! `options` reads the command line, `editor` and `history` serve a terminal, `engine` is the seam to the executor of the
//! language, `brush` the executor behind it for now.

mod brush;
mod buffer;
mod editor;
mod engine;
mod history;
mod keys;
mod kill;
mod options;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::common;
use crate::registry::{Applet, Dir};
use editor::{Editor, Line};
use engine::{Engine, Flow, Prompt};
use history::History;
use options::{Options, Source};

/// The shell.
pub const APPLET: Applet =
    Applet { name: "sh", aliases: &["ash", "bash"], dir: Dir::Bin, summary: "the command interpreter", run };

/// Exit status of a shell whose script is not there (POSIX sh(1), EXIT STATUS).
const NOT_FOUND: i32 = 127;
/// Exit status of a shell that cannot run the file it was given.
const CANNOT_EXECUTE: i32 = 126;
/// Exit status after bad usage.
const USAGE_ERROR: i32 = 2;

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let options = match options::parse(&words) {
        Ok(options) => options,
        Err(message) => {
            let _ = writeln!(io::stderr(), "{name}: {message}");
            return USAGE_ERROR;
        }
    };
    common::finish(&name, start(options))
}

fn start(mut options: Options) -> anyhow::Result<i32> {
    if let Source::Say(text) = &options.source {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(0);
    }
    let at_terminal = options.source == Source::Stdin && io::stdin().is_terminal() && io::stderr().is_terminal();
    options.settings.interactive = options.forced_interactive || at_terminal;
    let history = options.settings.interactive.then(History::open);
    options.settings.history_file =
        history.as_ref().and_then(History::file).map(|path| path.to_string_lossy().into_owned());
    let mut shell = brush::Brush::new(options.settings.clone())?;
    let flow = if options.profiles { shell.load_profile() } else { Flow::Continue };
    if flow == Flow::Continue {
        match &options.source {
            Source::Command(text) => {
                shell.run(text);
            }
            Source::File(name) => match find_script(name) {
                Ok(path) => {
                    shell.run_file(&path, &options.settings.args);
                }
                Err((status, message)) => {
                    writeln!(io::stderr(), "{}: {message}", options.settings.name)?;
                    return Ok(status);
                }
            },
            Source::Stdin | Source::Say(_) => match history {
                Some(history) if at_terminal => converse(&mut shell, history)?,
                _ => run_stdin(&mut shell)?,
            },
        }
    }
    Ok(shell.finish())
}

/// Find a script: as it is named, else, without a slash, through PATH.
fn find_script(name: &str) -> Result<PathBuf, (i32, String)> {
    let here = PathBuf::from(name);
    let found = if here.exists() || name.contains('/') { Some(here) } else { search_path(name) };
    match found {
        Some(path) if path.is_dir() => Err((CANNOT_EXECUTE, format!("{}: is a directory", path.display()))),
        Some(path) => match std::fs::File::open(&path) {
            Ok(_) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err((NOT_FOUND, format!("{name}: not found"))),
            Err(error) => Err((CANNOT_EXECUTE, format!("{}: cannot open: {error}", path.display()))),
        },
        None => Err((NOT_FOUND, format!("{name}: not found"))),
    }
}

fn search_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Run commands from a standard input that is no terminal. It is read by the byte and never past the end of a command, for the
/// commands themselves may read what follows.
fn run_stdin(shell: &mut impl Engine) -> anyhow::Result<()> {
    let mut text = String::new();
    loop {
        let line = read_line().context("cannot read commands from standard input")?;
        text.push_str(&line);
        if line.is_empty() || shell.is_whole(&text) {
            let flow = if text.trim().is_empty() { Flow::Continue } else { shell.run(&text) };
            if line.is_empty() || flow == Flow::Exit {
                return Ok(());
            }
            text.clear();
        }
    }
}

/// One line of standard input with its newline; empty at the end.
fn read_line() -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut byte))? == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Talk to the user at a terminal until `exit` or end of file.
fn converse(shell: &mut impl Engine, mut history: History) -> anyhow::Result<()> {
    // Held while the shell lives: on its end the terminal goes back to the process group that had it.
    let _terminal = brush::own_terminal()?;
    let mut editor = Editor::new(history.lines().to_vec());
    loop {
        let mut text = String::new();
        loop {
            let which = if text.is_empty() { Prompt::Primary } else { Prompt::Continuation };
            let prompt = shell.prompt(which);
            match editor.read_line(&prompt, &mut |line, cursor| shell.complete(line, cursor))? {
                Line::Text(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Line::Interrupted => {
                    shell.interrupted();
                    text.clear();
                    continue;
                }
                // Inside a command end of file ends the command: the parser says what is missing.
                Line::End if text.is_empty() => return say_exit(),
                Line::End => break,
            }
            if text.trim().is_empty() {
                text.clear();
            } else if shell.is_whole(&text) {
                break;
            }
        }
        let entry = text.trim_end();
        history.add(entry);
        editor.remember(entry);
        shell.remember(entry);
        if shell.run(&text) == Flow::Exit {
            return Ok(());
        }
    }
}

/// The cursor stands behind the prompt at end of file; bash and ash print this there.
fn say_exit() -> anyhow::Result<()> {
    writeln!(io::stderr(), "exit")?;
    Ok(())
}

/// The home directory, for files of the user's.
fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute()).map(PathBuf::from)
}
