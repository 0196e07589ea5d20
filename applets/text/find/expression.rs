//! What a find expression is, once it is parsed.

use std::rc::Rc;

use super::format::Format;
use super::mode::ModeTest;
use crate::text::glob::Glob;
use crate::text::regex::Regex;

/// An expression.
pub enum Expression {
    Test(Test),
    Action(Action),
    Not(Box<Expression>),
    /// All, up to the first that is false.
    And(Vec<Expression>),
    /// All, up to the first that is true.
    Or(Vec<Expression>),
    /// All; the value is the last one's.
    List(Vec<Expression>),
}

/// A number as `N`, `+N` or `-N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal(u64),
    More(u64),
    Less(u64),
}

impl Compare {
    /// Whether `value` is as told.
    pub fn holds(self, value: u64) -> bool {
        match self {
            Self::Equal(n) => value == n,
            Self::More(n) => value > n,
            Self::Less(n) => value < n,
        }
    }
}

/// One of a file's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    Access,
    Birth,
    Change,
    Modification,
}

/// Nanoseconds since 1970.
pub type Nanoseconds = i128;

/// A condition on a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before(Nanoseconds),
    After(Nanoseconds),
    /// After the first, by no more than the second.
    Within(Nanoseconds, Nanoseconds),
}

impl When {
    /// Whether `time` is as told.
    pub fn holds(self, time: Nanoseconds) -> bool {
        match self {
            Self::Before(limit) => time < limit,
            Self::After(limit) => time > limit,
            Self::Within(from, length) => time > from && time - from <= length,
        }
    }
}

/// What a user may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Execute,
}

/// A condition on a file.
pub enum Test {
    Constant(bool),
    Name(Glob),
    Path(Glob),
    LinkName(Glob),
    Regex(Rc<Regex>),
    /// The letters of the types, in the sense of the walk's way with symbolic links.
    Type(Vec<u8>),
    /// The same, in the opposite sense.
    OtherType(Vec<u8>),
    /// Size in units of that many bytes, rounded up.
    Size(Compare, u64),
    Empty,
    Mode(ModeTest),
    User(Compare),
    Group(Compare),
    NoUser,
    NoGroup,
    Links(Compare),
    Inode(Compare),
    /// Device and inode.
    SameFile(u64, u64),
    Time(Stamp, When),
    /// Days from the change to the last access.
    Used(Compare),
    Access(Access),
    FileSystem(Vec<u8>),
}

/// What is done with a file. Outputs and batches are indices into those of the plan.
pub enum Action {
    Print { output: usize, end: u8 },
    Format { output: usize, format: Format },
    List { output: usize },
    Execute(Command),
    Batch(usize),
    Delete,
    Prune,
    Quit,
}

/// A command to run for each file; `{}` in its words stands for the path.
pub struct Command {
    pub words: Vec<Vec<u8>>,
    /// Run it in the file's folder.
    pub in_folder: bool,
    /// Ask before.
    pub ask: bool,
}

/// A command to run for many files, which are added to its words.
pub struct BatchCommand {
    pub words: Vec<Vec<u8>>,
    /// Run it in the files' folder.
    pub in_folder: bool,
}

/// When symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    #[default]
    Never,
    StartingPoints,
    Always,
}

/// All that the command line asks for.
pub struct Plan {
    pub starting_points: Vec<Vec<u8>>,
    pub expression: Expression,
    pub follow: Follow,
    pub min_depth: usize,
    pub max_depth: usize,
    /// A folder's content comes before it.
    pub contents_first: bool,
    pub one_file_system: bool,
    /// Files that vanish while the walk goes on are no error.
    pub ignore_races: bool,
    /// The files that actions write to; the first is standard output.
    pub outputs: Vec<Vec<u8>>,
    pub batches: Vec<BatchCommand>,
    /// When the run began.
    pub now: Nanoseconds,
}
