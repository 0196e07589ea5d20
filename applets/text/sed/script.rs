//! What a sed script is, once it is parsed.

use std::rc::Rc;

use crate::text::regex::Regex;

/// Where a command applies.
pub enum Address {
    /// A line number; 0 only as the start of `0,/re/`.
    Line(u64),
    /// `first~step`
    Step(u64, u64),
    /// `$`
    Last,
    /// A pattern; `None` is the one used last.
    Pattern(Option<Rc<Regex>>),
    /// `addr,+N`
    Plus(u64),
    /// `addr,~N`
    Multiple(u64),
}

/// A command with its addresses.
pub struct Command {
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub negated: bool,
    pub action: Action,
}

/// What a command does.
pub enum Action {
    /// `{`: where the block ends.
    Block(usize),
    Append(Vec<u8>),
    Insert(Vec<u8>),
    Change(Vec<u8>),
    /// `b`, `t`, `T`: the command to go on with.
    Branch(BranchWhen, usize),
    Delete,
    DeleteFirstLine,
    FileName,
    Get,
    GetAppend,
    Hold,
    HoldAppend,
    List(Option<usize>),
    Next,
    NextAppend,
    Nothing,
    Number,
    Print,
    PrintFirstLine,
    /// `q`, `Q`: the exit status, and whether the pattern space is printed first.
    Quit(i32, bool),
    ReadFile(Vec<u8>),
    /// `R`: index into [`Script::inputs`].
    ReadLine(usize),
    Substitute(Box<Substitution>),
    Translate(Vec<(Unit, Unit)>),
    /// `w`: index into [`Script::outputs`].
    WriteFile(usize),
    /// `W`: index into [`Script::outputs`].
    WriteFirstLine(usize),
    Exchange,
    Zap,
}

/// A character, or a byte that belongs to none.
pub type Unit = Result<char, u8>;

/// When a branch is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BranchWhen {
    Always,
    Substituted,
    NotSubstituted,
}

/// The `s` command.
pub struct Substitution {
    pub pattern: Option<Rc<Regex>>,
    pub replacement: Vec<Part>,
    pub global: bool,
    pub number: usize,
    pub print: bool,
    pub file: Option<usize>,
}

/// A part of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(Vec<u8>),
    Group(usize),
    Case(Case),
}

/// GNU's case conversions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Upper,
    Lower,
    NextUpper,
    NextLower,
    End,
}

/// A parsed script.
#[derive(Default)]
pub struct Script {
    pub commands: Vec<Command>,
    /// The files that `w` and `W` write.
    pub outputs: Vec<Vec<u8>>,
    /// The files that `R` reads line by line.
    pub inputs: Vec<Vec<u8>>,
    /// It begins with the line `#n`.
    pub quiet: bool,
}
