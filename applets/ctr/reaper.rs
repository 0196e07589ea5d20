//! What is left to do when a container has ended, whoever finds it: its monitor, or the next `ctr` if that was killed.

use anyhow::Context;

use super::lock::Lock;
use super::record::{Live, Record, Status, release_name};
use super::{events, files, limits, network, paths, spec_mounts, time, volumes};

/// Exit status of a payload that nobody saw end.
const UNSEEN: i32 = 137;

/// Undo what a run has made: network, cgroup (with whatever is left in it), volatile files; the whole container with `--rm`.
/// Repeatable; the lock goes last.
pub fn finish(id: &str, lock: Lock) -> anyhow::Result<()> {
    undo(id)?;
    let record = Record::read(id)?;
    if record.host_config.auto_remove {
        remove(&record, true)?;
    }
    lock.remove().context("cannot remove the container's volatile files")
}

/// Undo what a run has made, but keep the container its monitor's: it is about to be run again.
pub fn undo(id: &str) -> anyhow::Result<()> {
    kill_payload(id);
    let record = Record::read(id)?;
    let cgroup = limits::destroy(id).context("cannot remove the container's cgroup");
    let network = network::detach(&record).context("cannot take the container off its network");
    Live::remove(id)?;
    spec_mounts::release_shared_shm(id).context("cannot unmount the container's /dev/shm")?;
    // Both are tried before either counts.
    cgroup.and(network)
}

/// Put on record that a start or a run was cut off.
pub fn record_loss(id: &str, code: i32, reason: &str) {
    // If that fails the next sweep tries again.
    let _ = Record::change(id, |record| {
        record.state.status = Status::Exited;
        record.state.exit_code = code;
        record.state.error = reason.into();
        record.state.finished_at = time::now();
        Ok(())
    });
}

/// Clean up after a container that is on record as running while nobody watches it: its monitor was killed, or the machine was
/// restarted.
pub fn sweep(id: &str) -> anyhow::Result<()> {
    // The volatile directory goes last when a run is undone: where it still is, something may be left.
    let unfinished = paths::live_container(id).exists();
    if !unfinished && Record::exists(id) && !Record::read(id)?.state.status.is_live() {
        return Ok(());
    }
    let Some(lock) = Lock::try_take(id)? else { return Ok(()) };
    if !Record::exists(id) {
        return remove_remains(id, lock);
    }
    // Looked at under the lock: the end may have been written meanwhile.
    if Record::read(id)?.state.status.is_live() {
        record_loss(id, UNSEEN, "its monitor or the machine went away");
    }
    finish(id, lock)
}

/// A creation or a removal was cut off: no record, perhaps files and what a run has made.
fn remove_remains(id: &str, lock: Lock) -> anyhow::Result<()> {
    kill_payload(id);
    limits::destroy(id).context("cannot remove the container's cgroup")?;
    network::detach_unknown(id).context("cannot take the container off its network")?;
    spec_mounts::release_shared_shm(id).context("cannot unmount the container's /dev/shm")?;
    if let Some(draft) = Record::read_draft(id) {
        volumes::remove_of(&draft)?;
        release(&draft)?;
    }
    remove_dir(id)?;
    lock.remove().context("cannot remove the container's volatile files")
}

/// On a host without cgroup v2 only the payload's process id is left to go by.
fn kill_payload(id: &str) {
    if let Some(pidfd) = Live::read(id).and_then(|live| live.open().ok().flatten()) {
        // It may have ended already.
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    }
}

/// Sweep what has a volatile directory: cheap, and all that this boot can have left.
pub fn sweep_live() -> anyhow::Result<()> {
    sweep_each(super::record::live_ids()?)
}

/// Sweep all containers. One that cannot be cleaned up is named and left for the next time.
pub fn sweep_all() -> anyhow::Result<()> {
    sweep_live()?;
    sweep_each(super::record::ids()?)
}

fn sweep_each(ids: Vec<String>) -> anyhow::Result<()> {
    for id in ids {
        if let Err(error) = sweep(&id) {
            eprintln!("ctr: container {}: {error:#}", super::names::short(&id));
        }
    }
    Ok(())
}

/// Remove a container that does not run: its writable layer, its name, and with `with_volumes` its anonymous volumes. Cut off, it is
/// remains, not half a container.
pub fn remove(record: &Record, with_volumes: bool) -> anyhow::Result<()> {
    record.retire(with_volumes)?;
    if with_volumes {
        volumes::remove_of(record)?;
    }
    release(record)?;
    events::of_container(record, "destroy", &[]);
    Ok(())
}

/// The name goes last: as long as it leads somewhere, the removal can be repeated by it.
fn release(record: &Record) -> anyhow::Result<()> {
    remove_dir(&record.id)?;
    Ok(release_name(record.short_name(), &record.id)?)
}

fn remove_dir(id: &str) -> anyhow::Result<()> {
    let dir = paths::container(id);
    files::remove_tree(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}
