//! What is left to do when a container has ended, whoever finds it: its monitor, or the next `ctr` if that was killed.

use anyhow::Context;

use super::lock::Lock;
use super::record::{self, Live, Record, Status, release_name};
use super::{events, files, limits, name_server, names, network, paths, restart, spec_mounts, time, volumes};

/// Exit status of a payload that nobody saw end.
const UNSEEN: i32 = 137;

/// Undo what a run has made: network, cgroup (with whatever is left in it), volatile files; the whole container with `--rm`.
/// Repeatable; the lock goes last.
pub fn finish(id: &str, lock: Lock) -> anyhow::Result<()> {
    let record = Record::read(id)?;
    // One that was never started has no end to go with: what is cleaned up after is a copy or an export of its files.
    let goes = record.state.status != Status::Created && goes_with_its_end(&record);
    conclude(&record, lock, goes.then_some(true))
}

/// Remove a container that does not run: its writable layer, its name, and with `with_volumes` its anonymous volumes. Cut off, it is
/// remains, not half a container.
pub fn remove(id: &str, lock: Lock, with_volumes: bool) -> anyhow::Result<()> {
    match Record::exists(id) {
        // Its monitor may have been killed while a start was under way: what the launcher has made since then is nobody's.
        true => conclude(&Record::read(id)?, lock, Some(with_volumes)),
        // The monitor of one with --rm was faster, or a removal was cut off.
        false => remove_remains(id, lock),
    }
}

/// Remove a container whose record cannot be read, whether it runs or not. Its volumes stay: nobody knows which they are.
pub fn remove_unreadable(id: &str) -> anyhow::Result<()> {
    // Its monitor ends with it, and lets go of the lock.
    kill_payload(id);
    let lock = Lock::take(id)?.context("the container's monitor does not finish")?;
    remove_remains(id, lock)
}

/// Undo a run, and remove the container if that is wanted, with or without its anonymous volumes.
fn conclude(record: &Record, lock: Lock, removal: Option<bool>) -> anyhow::Result<()> {
    undo(record)?;
    if let Some(with_volumes) = removal {
        record.retire(with_volumes)?;
        if with_volumes {
            volumes::remove_of(record)?;
        }
        release(record)?;
        events::of_container(record, "destroy", &[]);
    }
    lock.remove().context("cannot remove the container's volatile files")
}

/// Whether the end of a container is its removal: `--rm`, unless it is being restarted.
pub fn goes_with_its_end(record: &Record) -> bool {
    record.host_config.auto_remove && !restart::is_kept(&record.id)
}

/// Undo what a run has made, but keep the container its monitor's: it is about to be run again.
pub fn undo(record: &Record) -> anyhow::Result<()> {
    let id = &record.id;
    kill_payload(id);
    let cgroup = limits::destroy(id).context("cannot remove the container's cgroup");
    let network = network::detach(record).context("cannot take the container off its network");
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
/// restarted. False if somebody does watch it, or is at work on it.
pub fn sweep(id: &str) -> anyhow::Result<bool> {
    // The volatile directory goes last when a run is undone: where it still is, something may be left.
    if !paths::live_container(id).exists() {
        let is_settled = match Record::exists(id) {
            true => !Record::read(id)?.state.status.is_live(),
            false => !paths::container(id).exists(),
        };
        if is_settled {
            return Ok(true);
        }
    }
    let Some(lock) = Lock::try_take(id)? else { return Ok(false) };
    if !Record::exists(id) {
        return remove_remains(id, lock).map(|()| true);
    }
    // Looked at under the lock: the end may have been written meanwhile.
    if Record::read(id)?.state.status.is_live() {
        record_loss(id, UNSEEN, "its monitor or the machine went away");
    }
    finish(id, lock).map(|()| true)
}

/// A creation or a removal was cut off: no record, perhaps files and what a run has made.
fn remove_remains(id: &str, lock: Lock) -> anyhow::Result<()> {
    kill_payload(id);
    limits::destroy(id).context("cannot remove the container's cgroup")?;
    network::detach_unknown(id).context("cannot take the container off its network")?;
    spec_mounts::release_shared_shm(id).context("cannot unmount the container's /dev/shm")?;
    if let Some(draft) = Record::read_draft(id) {
        volumes::remove_of(&draft)?;
    }
    remove_dir(id)?;
    record::release_names(id).context("cannot give the container's name back")?;
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
    name_server::revive();
    record::live_ids()?.iter().for_each(|id| sweep_or_say(id));
    Ok(())
}

/// Sweep all containers. One that cannot be cleaned up is named and left for the next time.
pub fn sweep_all() -> anyhow::Result<()> {
    name_server::revive();
    let mut ids = record::live_ids()?;
    ids.extend(record::ids()?);
    ids.sort();
    ids.dedup();
    ids.iter().for_each(|id| sweep_or_say(id));
    Ok(())
}

fn sweep_or_say(id: &str) {
    if let Err(error) = sweep(id) {
        eprintln!("ctr: container {}: {error:#}", names::short(id));
    }
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
