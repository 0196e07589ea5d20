//! The seam between the shell's front end (options, line editor, history) and whatever executes the language.
//!
//! The front end knows only [`Engine`]; replacing the executor means implementing this trait once more.

use std::path::Path;

/// What becomes of the shell after it ran something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// `exit`, `set -e` or a fatal error: the shell ends with the engine's status.
    Exit,
}

/// Which prompt to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// PS1: a new command.
    Primary,
    /// PS2: the command goes on.
    Continuation,
}

/// Proposals for the word at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Byte offset in the line where the replaced part begins.
    pub start: usize,
    /// Byte offset where it ends.
    pub end: usize,
    /// What may stand there, quoted as the shell needs it; a final one carries its space or slash.
    pub candidates: Vec<String>,
}

/// How a shell is to behave: the options of its command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `$0`.
    pub name: String,
    /// `$1` and on.
    pub args: Vec<String>,
    /// Options switched on by their long name (`set -o NAME`).
    pub enabled: Vec<String>,
    /// Options switched off.
    pub disabled: Vec<String>,
    /// Prompts, job control and aliases.
    pub interactive: bool,
    /// Read the profile files.
    pub login: bool,
    /// Commands come from standard input.
    pub from_stdin: bool,
    /// Commands come from `-c`.
    pub from_command: bool,
    /// File that the list of past commands starts from.
    pub history_file: Option<String>,
}

/// An executor of the shell language.
pub trait Engine {
    /// Read /etc/profile and ~/.profile for a login shell, `$ENV` for an interactive one.
    fn load_profile(&mut self) -> Flow;

    /// Run a piece of program text. Errors are printed and reflected in the status.
    fn run(&mut self, text: &str) -> Flow;

    /// Run a script file with its positional arguments.
    fn run_file(&mut self, path: &Path, args: &[String]) -> Flow;

    /// Whether the text is more than the beginning of a command. Text with a syntax error counts as whole.
    fn is_whole(&self, text: &str) -> bool;

    /// The expanded prompt.
    fn prompt(&mut self, which: Prompt) -> String;

    /// Proposals for the word that ends at byte `cursor` of `line`.
    fn complete(&mut self, line: &str, cursor: usize) -> Completion;

    /// Put a line on the list that `history` and `fc` show.
    fn remember(&mut self, line: &str);

    /// The user gave up the line being typed: `$?` becomes 130.
    fn interrupted(&mut self);

    /// Run the EXIT trap and give the exit status.
    fn finish(&mut self) -> i32;
}
