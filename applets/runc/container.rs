//! A container that exists, and what the kernel says of it.

use std::fmt;
use std::os::fd::OwnedFd;

use anyhow::bail;
use coracle_cgroups::Cgroup;

use super::options::Global;
use super::process;
use super::state::{GATE, Record, StateDir};
use crate::runtime;

/// The status words of the runtime specification, and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Set up, its first process waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// All of it is frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A container that was created to the end.
pub struct Container {
    /// What is on disk.
    pub state: StateDir,
    /// `state.json`.
    pub record: Record,
}

impl Container {
    /// Find a container.
    pub fn load(global: &Global, id: &str) -> anyhow::Result<Self> {
        match Self::find(global, id)? {
            Some(container) => Ok(container),
            None => bail!("container does not exist"),
        }
    }

    /// Find a container, if there is one.
    pub fn find(global: &Global, id: &str) -> anyhow::Result<Option<Self>> {
        let Some(state) = StateDir::open(global, id)? else { return Ok(None) };
        let record = state.record()?.filter(|record| record.complete);
        Ok(record.map(|record| Self { state, record }))
    }

    /// pidfd of the first process, if it lives.
    pub fn pidfd(&self) -> anyhow::Result<Option<OwnedFd>> {
        Ok(process::open(self.record.pid, self.record.start_time)?)
    }

    /// Whether the first process waits for `start`.
    pub fn is_waiting(&self) -> bool {
        runtime::is_waiting(self.state.as_fd(), GATE)
    }

    /// The container's cgroup, if it has one.
    pub fn cgroup(&self) -> Option<Cgroup> {
        self.record.cgroup.as_deref().and_then(|path| Cgroup::open(path).ok())
    }

    /// What the kernel says.
    pub fn status(&self) -> anyhow::Result<Status> {
        if self.pidfd()?.is_none() {
            return Ok(Status::Stopped);
        }
        // A frozen process cannot answer, but the kernel does for it: a connection to its socket is queued.
        if self.cgroup().and_then(|cgroup| cgroup.events().ok()).is_some_and(|events| events.frozen) {
            return Ok(Status::Paused);
        }
        Ok(if self.is_waiting() { Status::Created } else { Status::Running })
    }

    /// The numbers of all processes in the container, sorted.
    pub fn pids(&self) -> anyhow::Result<Vec<i32>> {
        let mut pids = match self.cgroup() {
            Some(cgroup) => super::cgroup::all_pids(cgroup.path())?,
            None if self.pidfd()?.is_some() => vec![self.record.pid],
            None => Vec::new(),
        };
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }
}
