//! Where processes live in the cgroup tree: PID 1 in `init`, units in `coracle/units/NAME`, containers in
//! `coracle/containers/ID`.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The cgroup v2 mount.
pub const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup of all units.
#[must_use]
pub fn units() -> PathBuf {
    Path::new(ROOT).join("coracle/units")
}

/// The cgroup of all containers.
#[must_use]
pub fn containers() -> PathBuf {
    Path::new(ROOT).join("coracle/containers")
}

/// Lay out the tree on a fresh cgroup v2 mount: PID 1 in a leaf of its own, all controllers enabled down to where limits
/// are set.
///
/// # Errors
/// The first step that failed; the rest was done all the same.
pub fn lay_out() -> io::Result<()> {
    let root = Path::new(ROOT);
    let init = root.join("init");
    let mut outcome = make(&init).and_then(|()| fs::write(init.join("cgroup.procs"), "1"));
    for dir in [root.into(), root.join("coracle"), units(), containers()] {
        outcome = make(&dir).and_then(|()| enable_controllers(&dir)).and(outcome);
    }
    outcome
}

/// A unit's cgroup, made if need be: its `cgroup.procs`, to put the unit in.
///
/// # Errors
/// What mkdir(2) or open(2) says.
pub fn of_unit(name: &str) -> io::Result<OwnedFd> {
    let dir = units().join(name);
    make(&dir)?;
    Ok(File::options().write(true).open(dir.join("cgroup.procs"))?.into())
}

/// All processes in a cgroup and below it.
#[must_use]
pub fn processes(dir: &Path) -> Vec<i32> {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
    for child in children(dir) {
        pids.extend(processes(&child));
    }
    pids
}

/// The cgroups directly below one.
#[must_use]
pub fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Is there any process in a cgroup or below it?
#[must_use]
pub fn is_populated(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Kill all processes in a cgroup and below it at once; they cannot fork away from it.
///
/// # Errors
/// What writing `cgroup.kill` gives.
pub fn kill(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.kill"), "1")
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// One by one, so that a controller that cannot be enabled does not keep the others off.
fn enable_controllers(dir: &Path) -> io::Result<()> {
    let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let control = dir.join("cgroup.subtree_control");
    if fs::write(&control, enable_line(&available)).is_ok() {
        return Ok(());
    }
    let mut outcome = Ok(());
    for name in available.split_whitespace() {
        outcome = fs::write(&control, format!("+{name}")).and(outcome);
    }
    outcome
}

fn enable_line(available: &str) -> String {
    available.split_whitespace().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_controllers_in_one_write() {
        assert_eq!(enable_line("cpuset cpu io\n"), "+cpuset +cpu +io");
        assert_eq!(enable_line(""), "");
    }

    #[test]
    fn processes_of_a_subtree() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(root.path().join("cgroup.procs"), "12\n0\n").unwrap();
        fs::write(below.join("cgroup.procs"), "13\n").unwrap();
        fs::write(below.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert_eq!(processes(root.path()), [12, 13]);
        assert!(is_populated(&below));
        assert!(!is_populated(root.path()));
    }
}
