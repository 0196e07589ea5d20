//! Making sure that the name server is there and knows what has changed.
//!
//! Its socket is `dns/socket` in the volatile folder. Whoever connects is answered when all that was on file before has been
//! taken in: `ok`, then a line for each container that it could not listen for. An end without that means that the server has
//! gone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::ipam::{View, runtime_dir, volatile_dir};
use crate::{Error, Result};

/// How long a server may take to begin, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What an answer begins with.
pub(super) const READY: &str = "ok\n";

fn dir() -> PathBuf {
    volatile_dir().join("dns")
}

/// Have the server listen for a container that has been put on a network; `start` starts a server, which is one that calls
/// [`super::serve`].
///
/// # Errors
/// It does not start, or cannot listen there.
pub fn summon(container: &str, start: impl Fn() -> io::Result<Child>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut server: Option<Child> = None;
    loop {
        if let Some(answer) = ask() {
            let own = answer.lines().find_map(|line| line.strip_prefix(container)?.strip_prefix(' '));
            return own.map_or(Ok(()), |reason| Err(Error::NoNames { reason: reason.into() }));
        }
        let ended = match &mut server {
            None => None,
            Some(child) => child.try_wait().map_err(|source| Error::kernel("wait for the name server", source))?,
        };
        let late = Instant::now() >= deadline;
        if late || ended.is_some_and(|status| !status.success()) {
            let reason = ended.map_or_else(|| "it does not answer".to_owned(), |status| format!("it ended: {status}"));
            return Err(Error::NoNames { reason });
        }
        // One that ended well found another in charge, which may be about to go.
        if server.is_none() || ended.is_some() {
            server = Some(start().map_err(|source| Error::kernel("start the name server", source))?);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Have the server, if there is one, take in what has changed. With the last container on a network with names it is gone
/// when this returns. What one that was killed has left is removed if nobody needs another.
///
/// # Errors
/// What the kernel said.
pub fn settle() -> Result<()> {
    if ask().is_some() || !is_missing() {
        return Ok(());
    }
    let is_needed = View::of(runtime_dir()).networks()?.iter().any(|network| network.names);
    let office = if is_needed { None } else { Office::take()? };
    office.map_or(Ok(()), Office::leave)
}

/// Whether a server was killed: its socket is there, and nobody behind it.
pub fn is_missing() -> bool {
    let connected = UnixStream::connect(dir().join("socket"));
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// What a server says when it has caught up.
fn ask() -> Option<String> {
    let mut socket = UnixStream::connect(dir().join("socket")).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    answer.strip_prefix(READY).map(str::to_owned)
}

/// The right to be the server, and the socket.
#[derive(Debug)]
pub(super) struct Office {
    dir: PathBuf,
    _lock: File,
    /// Where it is asked.
    pub socket: UnixListener,
}

impl Office {
    /// Become the server; `None` if there is one.
    pub fn take() -> Result<Option<Self>> {
        let dir = dir();
        let lock = loop {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|error| Error::file("make", &dir, error))?;
            let path = dir.join("lock");
            let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
                // The last server has just removed the folder.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.map_err(|error| Error::file("open", &path, error))?,
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(Error::file("lock", &path, errno)),
            }
            // It is the lock only if it still has its name.
            if is_same(&path, &file) {
                break file;
            }
        };
        let path = dir.join("socket");
        remove(&path)?;
        let failed = |error| Error::file("listen at", &path, error);
        let socket = UnixListener::bind(&path).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Some(Office { dir, _lock: lock, socket }))
    }

    /// Leave it, without a trace. Whoever is waiting for an answer sees that there is none to come.
    pub fn leave(self) -> Result<()> {
        remove(&self.dir.join("socket"))?;
        remove(&self.dir.join("lock"))?;
        // A successor may be there already.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }
}

fn is_same(path: &Path, file: &File) -> bool {
    matches!((fs::metadata(path), file.metadata()), (Ok(named), Ok(held)) if named.ino() == held.ino())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}
