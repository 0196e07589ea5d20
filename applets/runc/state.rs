//! What is on disk about a container: `ROOT/ID/{config.json,state.json,start.sock}`.
//!
//! A directory is made before anything else of the container and removed after everything else. While a container is being made, its
//! maker holds a lock (flock(2)) on the directory, and `state.json` says that it is not complete. What is neither complete nor locked
//! was left by a maker that was killed: it does not count as a container, and the next `create` or `delete` of that name clears it away.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use coracle_abi::atomic_write::{self, Durability};
use coracle_cgroups::Cgroup;
use oci_spec::runtime::Spec;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::options::Global;
use super::words;
use crate::runtime::Identity;

/// Name of the socket at which the first process waits for `start`.
pub const GATE: &str = "start.sock";
const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// Longest name that a file system takes.
const ID_MAX: usize = 255;

/// `state.json`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container's name.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The first process, 0 before there is one.
    pub pid: i32,
    /// Its start time in clock ticks after boot, which tells it from a later process of that number.
    pub start_time: u64,
    /// Directory of its cgroup.
    pub cgroup: Option<PathBuf>,
    /// Whether it was created to the end.
    pub complete: bool,
}

impl Record {
    /// Who the container is to its hooks.
    pub fn identity(&self) -> Identity<'_> {
        Identity { id: &self.id, bundle: &self.bundle }
    }
}

/// The directory of a container's state, open.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    dir: File,
}

/// Check a container's name, as runc does: it becomes a file name, and part of a cgroup's.
pub fn check_id(id: &str) -> anyhow::Result<()> {
    anyhow::ensure!(!id.is_empty(), "container id cannot be empty");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    let is_name = id.bytes().all(allowed) && id != "." && id != ".." && id.len() <= ID_MAX;
    anyhow::ensure!(is_name, "invalid container ID format");
    Ok(())
}

impl StateDir {
    /// Take the name of a new container and lock its directory.
    pub fn reserve(global: &Global, id: &str) -> anyhow::Result<Self> {
        check_id(id)?;
        let exists = || anyhow::anyhow!("container with given ID already exists");
        make_root(&global.root)?;
        let path = global.root.join(id);
        loop {
            match DirBuilder::new().mode(0o711).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
                _ => {}
            }
            let Some(state) = Self::open_path(&path)? else { continue };
            if !state.lock()? {
                return Err(exists());
            }
            // Removed by its last owner while we waited for the lock: begin anew.
            if !state.is_current() {
                continue;
            }
            if state.record()?.is_some_and(|record| record.complete) {
                return Err(exists());
            }
            state.sweep()?;
            return Ok(state);
        }
    }

    /// Open the directory of a container; `None` if there is none.
    pub fn open(global: &Global, id: &str) -> anyhow::Result<Option<Self>> {
        check_id(id)?;
        Self::open_path(&global.root.join(id))
    }

    fn open_path(path: &Path) -> anyhow::Result<Option<Self>> {
        match File::open(path) {
            Ok(dir) => Ok(Some(Self { path: path.to_owned(), dir })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
        }
    }

    /// Take the lock; false if somebody else has it.
    pub fn lock(&self) -> anyhow::Result<bool> {
        match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("cannot lock {}", self.path.display())),
        }
    }

    /// Give the lock back. A child shares it, so closing is not enough.
    pub fn unlock(&self) {
        // What has no lock has none afterwards either.
        let _ = rustix::fs::flock(&self.dir, FlockOperation::Unlock);
    }

    fn is_current(&self) -> bool {
        let same = |now: fs::Metadata, own: fs::Metadata| (now.dev(), now.ino()) == (own.dev(), own.ino());
        fs::metadata(&self.path).is_ok_and(|now| self.dir.metadata().is_ok_and(|own| same(now, own)))
    }

    /// `state.json`; `None` before there is one.
    pub fn record(&self) -> anyhow::Result<Option<Record>> {
        let path = self.path.join(STATE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Write `state.json`.
    pub fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        self.write(STATE, &serde_json::to_vec(record)?)
    }

    /// The specification that the container was created from.
    pub fn spec(&self) -> anyhow::Result<Spec> {
        let path = self.path.join(CONFIG);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Keep the specification.
    pub fn write_spec(&self, spec: &Spec) -> anyhow::Result<()> {
        self.write(CONFIG, &serde_json::to_vec(spec)?)
    }

    fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        // The state is of this boot only.
        atomic_write::write(&path, content, 0o600, Durability::Volatile)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The open directory.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// When the directory was made and whose it is.
    pub fn owner(&self) -> u32 {
        self.dir.metadata().map_or(0, |metadata| metadata.uid())
    }

    /// Remove what a killed maker has left of the container, but for the directory.
    fn sweep(&self) -> anyhow::Result<()> {
        // Of what cannot be read nothing is known.
        if let Ok(Some(record)) = self.record() {
            remove_cgroup(&record)?;
        }
        for entry in fs::read_dir(&self.path).with_context(|| format!("cannot read {}", self.path.display()))? {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Remove the cgroup with what is in it, then the state. Waits for who is at work in the directory.
    pub fn remove(&self) -> anyhow::Result<()> {
        rustix::fs::flock(&self.dir, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", self.path.display()))?;
        // Another was faster, and the name may be a new container's.
        if !self.is_current() {
            return Ok(());
        }
        self.sweep()?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The names below the root, sorted.
pub fn ids(root: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", root.display()))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut ids: Vec<String> = names.filter(|name| check_id(name).is_ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Make the root below `XDG_RUNTIME_DIR`, marked as what is not to be cleared away (XDG Base Directory Specification).
pub fn make_lasting(root: &Path) -> anyhow::Result<()> {
    make_root(root)?;
    let marked = fs::set_permissions(root, Permissions::from_mode(0o1700));
    marked.with_context(|| format!("cannot mark {} to be kept", root.display()))
}

fn make_root(root: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.with_context(|| format!("cannot make the state directory {}", root.display()))
}

fn remove_cgroup(record: &Record) -> anyhow::Result<()> {
    match &record.cgroup {
        Some(path) => Cgroup::destroy(path).map_err(words::cgroup),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(root: &Path) -> Global {
        Global { root: root.to_owned(), systemd_cgroup: false, rootless: false, log: super::super::log::Log::stderr() }
    }

    #[test]
    fn names_are_runcs() {
        for id in ["a", "A_b+c-d.e", "...", "-x", &"x".repeat(255)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "/", "a b", "a\n", "ä", "a:b", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let global = global(&dir.path().join("root"));
        let state = StateDir::reserve(&global, "x").unwrap();
        assert!(StateDir::reserve(&global, "x").is_err(), "its maker is at work");
        state.write_record(&Record { complete: true, ..Record::default() }).unwrap();
        state.unlock();
        assert_eq!(StateDir::reserve(&global, "x").unwrap_err().to_string(), "container with given ID already exists");
        state.remove().unwrap();
        assert!(StateDir::open(&global, "x").unwrap().is_none());
    }

    #[test]
    fn what_a_killed_maker_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let global = global(dir.path());
        let state = StateDir::reserve(&global, "x").unwrap();
        state.write_record(&Record::default()).unwrap();
        fs::write(dir.path().join("x/.state.json.1-0.tmp"), "").unwrap();
        drop(state);
        let again = StateDir::reserve(&global, "x").unwrap();
        assert_eq!(again.record().unwrap(), None);
        assert_eq!(fs::read_dir(dir.path().join("x")).unwrap().count(), 0);
    }
}
