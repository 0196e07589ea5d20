//! Collecting children, init's own and those that were left to it.
//!
//! One source of the news, wait(2) for any child, rather than a pidfd for each unit: PID 1 has to collect orphans
//! anyway, and only who collects a process can know that its number is not yet another's.

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, wait, waitid};

use crate::supervise::Ended;

/// Collect one child that has ended, if there is one: its process number and how it ended.
#[must_use]
pub fn next() -> Option<(i32, Ended)> {
    loop {
        let (pid, status) = match wait(WaitOptions::NOHANG) {
            Ok(Some(collected)) => collected,
            Err(Errno::INTR) => continue,
            Ok(None) | Err(_) => return None,
        };
        let ended = match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Ended::Exit(status),
            (None, Some(signal)) => Ended::Signal(signal),
            (None, None) => continue,
        };
        return Some((pid.as_raw_nonzero().get(), ended));
    }
}

/// Does init have any children left? They stay to be collected.
#[must_use]
pub fn has_children() -> bool {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, peek), Err(Errno::CHILD))
}
