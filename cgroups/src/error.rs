//! What can go wrong, said with the file, the value and the kernel's reason.

use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error; `source()` is what the kernel said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no cgroup v2 tree.
    #[error("no cgroup v2 hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup)")]
    NoHierarchy,
    /// The tree lacks a controller that a limit needs.
    #[error("the cgroup v2 hierarchy at {} has no {controller} controller{}", root.display(), if *v1 { ": it is taken by a cgroup v1 hierarchy (boot with cgroup_no_v1=all)" } else { "" })]
    NoController {
        /// The controller's name.
        controller: &'static str,
        /// Where the hierarchy is mounted.
        root: PathBuf,
        /// Whether a v1 hierarchy has it.
        v1: bool,
    },
    /// The kernel refused a value.
    #[error("cannot write {value:?} to {}{}", file.display(), hint(source))]
    Write {
        /// The control file.
        file: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A control file could not be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The control file.
        file: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A control file holds what this crate does not understand.
    #[error("{}: cannot understand {text:?}", file.display())]
    Format {
        /// The control file.
        file: PathBuf,
        /// The text that was found.
        text: String,
    },
    /// A group could not be made.
    #[error("cannot create the cgroup {}", path.display())]
    Create {
        /// The group's directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A group could not be opened.
    #[error("cannot open the cgroup {}", path.display())]
    Open {
        /// The group's directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A group could not be removed.
    #[error("cannot remove the cgroup {}", path.display())]
    Remove {
        /// The group's directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A limit is outside what its controller takes; nothing was written.
    #[error("{what} {value} is out of range ({range})")]
    Range {
        /// Which limit.
        what: &'static str,
        /// The value that was asked for.
        value: String,
        /// What is possible.
        range: &'static str,
    },
}

/// What the kernel means by some of its terser reasons.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
            " (a group that holds processes cannot have controllers enabled for its children)"
        }
        Some(code) if code == rustix::io::Errno::NOENT.raw_os_error() => {
            " (no such control: its controller is not enabled here, or the kernel lacks it)"
        }
        _ => "",
    }
}
