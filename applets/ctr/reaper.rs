//! What is left to do when a container has ended, whoever finds it: its monitor, or the next `ctr` if that was killed.

use anyhow::Context;

use super::lock::Lock;
use super::record::{Live, Record, Status, release_name};
use super::{files, limits, network, paths, time};

/// Exit status of a payload that nobody saw end.
const UNSEEN: i32 = 137;

/// Undo what a run has made: network, cgroup (with whatever is left in it), volatile files; the whole container with `--rm`.
/// Repeatable; the lock goes last.
pub fn finish(id: &str, lock: Lock) -> anyhow::Result<()> {
    let record = Record::read(id)?;
    let cgroup = limits::destroy(id).context("cannot remove the container's cgroup");
    let network = network::detach(&record).context("cannot take the container off its network");
    Live::remove(id)?;
    // Both are tried before either counts.
    cgroup.and(network)?;
    if record.host_config.auto_remove {
        remove_files(&record)?;
    }
    lock.remove().context("cannot remove the container's volatile files")
}

/// Put on record that a start or a run was cut off.
pub fn record_loss(id: &str, code: i32, reason: &str) {
    if let Ok(mut record) = Record::read(id) {
        record.state.status = Status::Exited;
        record.state.exit_code = code;
        record.state.error = reason.into();
        record.state.finished_at = time::now();
        // The next sweep tries again.
        let _ = record.write();
    }
}

/// Clean up after a container that is on record as running while nobody watches it: its monitor was killed, or the machine was
/// restarted.
pub fn sweep(id: &str) -> anyhow::Result<()> {
    let record = Record::read(id)?;
    if record.state.status != Status::Running {
        return Ok(());
    }
    let Some(lock) = Lock::try_take(id)? else { return Ok(()) };
    // Looked at again under the lock: the end may have been written meanwhile.
    if Record::read(id)?.state.status == Status::Running {
        record_loss(id, UNSEEN, "its monitor or the machine went away");
    }
    finish(id, lock)
}

/// Sweep all containers. One that cannot be cleaned up is named and left for the next time.
pub fn sweep_all() -> anyhow::Result<()> {
    for id in super::record::ids()? {
        if let Err(error) = sweep(&id) {
            eprintln!("ctr: container {}: {error:#}", super::names::short(&id));
        }
    }
    Ok(())
}

/// Remove a container that does not run, its writable layer and its name.
pub fn remove_files(record: &Record) -> anyhow::Result<()> {
    let dir = paths::container(&record.id);
    release_name(record.short_name(), &record.id)?;
    files::remove_tree(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}
