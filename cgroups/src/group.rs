//! One group: its processes, freezing, killing, events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};

use crate::{Error, Limits, Result, files};

/// How long a killed group may take to become empty before its removal is given up.
const REMOVE_PATIENCE: Duration = Duration::from_secs(5);

/// An open cgroup directory. Dropping it closes the descriptor only.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    dir: OwnedFd,
}

/// `cgroup.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The group or a descendant holds a live process.
    pub populated: bool,
    /// The group is frozen.
    pub frozen: bool,
}

impl Cgroup {
    /// Open the group at an absolute path.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(path, flags, Mode::empty())
            .map_err(|errno| Error::Open { path: path.into(), source: errno.into() })?;
        Ok(Cgroup { path: path.into(), dir })
    }

    /// The group's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's descriptor, as `clone3` wants it for `CLONE_INTO_CGROUP`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Read a control file.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub fn read(&self, name: &str) -> Result<String> {
        files::read(self.as_fd(), name).map_err(|source| Error::Read { file: self.path.join(name), source })
    }

    /// Write a control file.
    ///
    /// # Errors
    /// What the kernel refused, with file and value.
    pub fn write(&self, name: &str, value: &str) -> Result<()> {
        files::write(self.as_fd(), name, value).map_err(|source| Error::Write {
            file: self.path.join(name),
            value: value.into(),
            source,
        })
    }

    /// Read a control file that holds one number.
    pub(crate) fn read_number(&self, name: &str) -> Result<u64> {
        let text = self.read(name)?;
        text.trim().parse().map_err(|_| Error::Format { file: self.path.join(name), text })
    }

    /// Enable for the children every controller that this group has.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn enable_all(&self) -> Result<()> {
        let Ok(available) = self.read("cgroup.controllers") else { return Ok(()) };
        let enabled = self.read("cgroup.subtree_control")?;
        let has = |name: &str| enabled.split_ascii_whitespace().any(|other| other == name);
        // A threaded or real-time set-up can make single controllers unusable; rdma is of no use to a container.
        let wanted: Vec<_> = available
            .split_ascii_whitespace()
            .filter(|name| *name != "rdma" && !has(name))
            .map(|name| format!("+{name}"))
            .collect();
        if wanted.is_empty() { Ok(()) } else { self.write("cgroup.subtree_control", &wanted.join(" ")) }
    }

    /// Apply limits. All are validated before the first is written; what is `None` is left as it is.
    ///
    /// # Errors
    /// A value out of range, or the first write that the kernel refused.
    pub fn set(&self, limits: &Limits) -> Result<()> {
        for setting in limits.settings()? {
            self.write(&setting.file, &setting.value)?;
        }
        Ok(())
    }

    /// The processes in this group, as seen from the caller's pid namespace (one outside of it shows as 0).
    ///
    /// # Errors
    /// `cgroup.procs` cannot be read.
    pub fn procs(&self) -> Result<Vec<i32>> {
        let text = self.read("cgroup.procs")?;
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    /// Move a process into this group.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add(&self, pid: i32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Send SIGKILL to every process of the group and its descendants, atomically (`cgroup.kill`, Linux 5.14).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Stop every process of the group and its descendants; [`Events::frozen`] tells when that is done.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn freeze(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")
    }

    /// Undo [`Cgroup::freeze`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        self.write("cgroup.freeze", "0")
    }

    /// `cgroup.events`. A poll for `POLLPRI` on that file tells of changes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self) -> Result<Events> {
        let text = self.read("cgroup.events")?;
        Ok(files::flat_keyed(&text).fold(Events::default(), |events, (key, value)| match key {
            "populated" => Events { populated: value != 0, ..events },
            "frozen" => Events { frozen: value != 0, ..events },
            _ => events,
        }))
    }

    /// Kill what is left in the group, wait for it to become empty and remove it with its descendants. One that is gone is success.
    ///
    /// # Errors
    /// It is not empty after some seconds, or the kernel refuses.
    pub fn destroy(path: &Path) -> Result<()> {
        let deadline = Instant::now() + REMOVE_PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            match remove_tree(path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    // A frozen group dies as well: SIGKILL thaws a v2 freezer by itself.
                    if let Ok(group) = Cgroup::open(path) {
                        group.kill()?;
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(source) => return Err(Error::Remove { path: path.into(), source }),
            }
        }
    }

    /// Remove the empty group.
    ///
    /// # Errors
    /// It holds processes or groups.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir(&self.path).map_err(|source| Error::Remove { path: self.path, source })
    }
}

/// Make a group's directory; one that exists is fine.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::Create { path: path.into(), source })
        }
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            for entry in std::fs::read_dir(path)?.filter_map(|entry| entry.ok()) {
                if entry.file_type()?.is_dir() {
                    remove_tree(&entry.path())?;
                }
            }
            std::fs::remove_dir(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let group = Cgroup::open(dir.path()).unwrap();
        (dir, group)
    }

    #[test]
    fn events_and_processes() {
        let (_dir, group) =
            fixture(&[("cgroup.events", "populated 1\nfrozen 0\nnew 7\n"), ("cgroup.procs", "12\n34\n")]);
        assert_eq!(group.events().unwrap(), Events { populated: true, frozen: false });
        assert_eq!(group.procs().unwrap(), [12, 34]);
    }

    #[test]
    fn freeze_thaw_and_kill_write_their_files() {
        let (dir, group) = fixture(&[("cgroup.freeze", ""), ("cgroup.kill", "")]);
        let text = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        group.freeze().unwrap();
        assert_eq!(text("cgroup.freeze"), "1");
        group.thaw().unwrap();
        assert_eq!(text("cgroup.freeze"), "0");
        group.kill().unwrap();
        assert_eq!(text("cgroup.kill"), "1");
    }

    #[test]
    fn a_refused_write_names_file_and_value() {
        let (dir, group) = fixture(&[]);
        let error = group.write("memory.max", "5").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("memory.max") && text.contains("\"5\"") && text.contains(&dir.path().display().to_string()),
            "{text}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn what_is_gone_is_destroyed() {
        Cgroup::destroy(Path::new("/nonexistent/group")).unwrap();
    }
}
