//! Making an image on the build host.

pub mod cpio;
pub mod disk;
pub mod esp;
pub mod initramfs;
pub mod qcow2;
pub mod root;
pub mod sbom;
pub mod state;
mod tool;
pub mod uki;

use std::io;
use std::path::{Path, PathBuf};

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A tool of the build host is missing or cannot be started.
    #[error("cannot start {tool}: {source}; install {package} (Debian)")]
    NoTool {
        /// The command.
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A tool of the build host failed.
    #[error("{command} failed ({status}): {output}")]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed.
        output: String,
    },
    /// The input is not what it should be.
    #[error("{}: {why}", path.display())]
    Input {
        /// The input.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
}

/// Put what was being done, and to what, beside an I/O error.
trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { doing, path: path.into(), source })
    }
}

fn input(path: &Path, why: impl Into<String>) -> Error {
    Error::Input { path: path.into(), why: why.into() }
}
