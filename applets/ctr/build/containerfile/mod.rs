//! Containerfiles, as Docker's Dockerfile reference describes them: from text to typed instructions.
//!
//! Pure: nothing here touches a file. Variables are expanded when an instruction is carried out, by [`Expander`]; what is said of a
//! wrong file is what Docker says. Of the parsers on crates.io none reads parser directives, heredocs that are quoted or chomped, and the
//! expansions that Docker has since 2023.

mod expand;
mod flags;
mod instruction;
mod lines;
mod mount;
mod stages;
mod words;

pub use expand::Expander;
pub use instruction::{Add, CommandLine, Copy, Health, Instruction, Run, Sources};
pub use lines::Heredoc;
pub use mount::{Mount, MountKind, Sharing};
pub use stages::{File, Stage, Step};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", self.place())]
pub struct Error {
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn at(line: usize, message: impl Into<String>) -> Self {
        Error { line: Some(line), message: message.into() }
    }

    fn place(&self) -> String {
        self.line.map_or_else(String::new, |line| format!("dockerfile parse error on line {line}: "))
    }
}
