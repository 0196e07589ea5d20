//! One build: its working directory, its lock and its mount namespace.
//!
//! To the rest of `ctr` a build is a container that has not got a record yet: whoever finds one without the holder of its lock kills
//! what runs in it, takes it off the network, and removes its directory. So nothing is left of a build that is killed. Its mounts
//! are in a mount namespace of its own and go with it.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use coracle_abi::clone::spawn;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::super::lock::Lock;
use super::super::{files, names, paths, reaper};

/// Signals that cancel a build.
const CANCEL: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// A build under way.
pub struct Session {
    /// As of a container.
    pub id: String,
    /// Its working directory.
    pub dir: PathBuf,
    lock: Lock,
    count: Cell<u32>,
}

impl Session {
    fn open(id: &str) -> anyhow::Result<Self> {
        let lock = Lock::take(id).context("cannot lock the build")?.context("the new id is in use")?;
        let dir = paths::container(id);
        files::private_dir(&paths::containers())
            .and_then(|()| std::fs::create_dir(&dir))
            .with_context(|| format!("cannot create {}", dir.display()))?;
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace (builds need root)")?;
        // Unmounts on the host still arrive, nothing goes out.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .context("cannot cut the mount namespace off from the host's")?;
        Ok(Session { id: id.into(), dir, lock, count: Cell::new(0) })
    }

    /// A new directory in the working directory.
    pub fn new_dir(&self, what: &str) -> anyhow::Result<PathBuf> {
        self.count.set(self.count.get() + 1);
        let dir = self.dir.join(format!("{what}-{}", self.count.get()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    fn close(self) -> anyhow::Result<()> {
        files::remove_tree(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))?;
        self.lock.remove().context("cannot remove the build's volatile files")
    }
}

/// Build in a process of its own, of which nothing is left however it ends. Gives its exit status.
pub fn run(build: impl FnOnce(&Session) -> anyhow::Result<i32>) -> anyhow::Result<i32> {
    let id = names::new_id()?;
    let signals: SigSet = CANCEL.into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    let pending = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).context("cannot wait for signals")?;
    let child = spawn(0, None, || {
        let built = begin(&signals).and_then(|()| Session::open(&id)).and_then(|session| {
            let status = build(&session);
            session.close()?;
            status
        });
        built.unwrap_or_else(|error| {
            eprintln!("ctr: {error:#}");
            1
        })
    })
    .context("cannot fork the builder")?;
    let mut cancelled = None;
    loop {
        let mut fds =
            [PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(pending.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the builder"),
        }
        if fds[0].any() == Some(true) {
            break;
        }
        if let Ok(Some(signal)) = pending.read_signal() {
            cancelled = i32::try_from(signal.ssi_signo).ok();
            // What it leaves is removed below, as if it had been killed by someone else.
            let _ = pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
        }
    }
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?.context("the builder is gone")?;
    reaper::sweep(&id)?;
    match (cancelled, status.exit_status(), status.terminating_signal()) {
        (Some(signal), ..) => {
            eprintln!("ERROR: failed to build: canceled");
            Ok(128 + signal)
        }
        (None, Some(status), _) => Ok(status),
        (None, None, signal) => {
            let signal = signal.unwrap_or_default();
            eprintln!("ERROR: failed to build: the builder was ended by signal {signal}");
            Ok(128 + signal)
        }
    }
}

/// In the builder: signals act again, and it does not outlive who waits for it.
fn begin(signals: &SigSet) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    signals.thread_unblock().context("cannot unblock signals")
}

/// The host's path of something that is open, for a mount. It lies in the build's own directories, or in its context.
pub fn path_of(file: impl AsFd) -> anyhow::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    std::fs::read_link(Path::new(&link)).with_context(|| format!("cannot read {link}"))
}
