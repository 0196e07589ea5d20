//! cgroup v2: tree, limits, accounting, events, freeze and kill.
//!
//! Principles: one file per controller, named after it; a limit is a typed value that is validated before anything is written; what the
//! kernel refuses is an error that names file, value and reason; unknown keys in the kernel's files are kept or skipped, never
//! fatal. The reference throughout is the kernel's `Documentation/admin-guide/cgroup-v2.rst`.
//!
//! ```no_run
//! use coracle_cgroups::{Hierarchy, Limits, pids};
//!
//! let tree = Hierarchy::find()?;
//! let group = tree.create("coracle/containers/web")?;
//! group.set(&Limits { pids: pids::Limits { max: Some(pids::Max::Count(100)) }, ..Limits::default() })?;
//! # Ok::<(), coracle_cgroups::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod cpu;
pub mod cpuset;
mod error;
mod files;
mod group;
mod hierarchy;
pub mod hugetlb;
pub mod io;
mod limits;
pub mod memory;
pub mod misc;
pub mod pids;
pub mod units;

pub use error::{Error, Result};
pub use files::Ceiling;
pub use group::{Cgroup, Events};
pub use hierarchy::Hierarchy;
pub use limits::{Limits, Setting};
