//! Who owns a container: one lock file per container, held by its monitor for as long as it lives, or for a moment by whoever
//! starts, removes or cleans up.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::{files, paths};

/// How long to wait for a lock that nobody holds for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The held lock. It is inherited by forked children and free once the last of them has closed it.
pub struct Lock {
    file: File,
    dir: PathBuf,
}

impl Lock {
    /// Try to take a container's lock; `None` if someone else has it.
    pub fn try_take(id: &str) -> io::Result<Option<Self>> {
        let dir = paths::live_container(id);
        loop {
            match files::private_dir(&paths::live_containers()).and_then(|()| fs::create_dir_all(&dir)) {
                // It was there and is gone: the last owner has just removed it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let path = dir.join("lock");
            let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
                Ok(file) => file,
                // The last owner removed the directory in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // It is the lock only if it still has its name.
            match fs::metadata(&path) {
                Ok(meta) if meta.ino() == file.metadata()?.ino() => return Ok(Some(Lock { file, dir })),
                _ => {}
            }
        }
    }

    /// Take the lock of a container that does not run. Whoever sweeps holds it for a moment, and so does a monitor that is about to be
    /// gone, so this waits; `None` if someone else still has it after ten seconds.
    pub fn take(id: &str) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(id)? {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                taken => return Ok(taken),
            }
        }
    }

    /// Remove the volatile directory with the lock in it: nobody is in charge any more.
    pub fn remove(self) -> io::Result<()> {
        // The lock file goes last, and while it is held: who opens it before that fails the check for its name.
        for entry in fs::read_dir(&self.dir)?.filter_map(Result::ok) {
            if entry.file_name() != "lock" {
                files::remove(&entry.path())?;
            }
        }
        files::remove(&self.dir.join("lock"))?;
        // Someone may have made a new lock file already.
        let _ = fs::remove_dir(&self.dir);
        drop(self.file);
        Ok(())
    }
}
