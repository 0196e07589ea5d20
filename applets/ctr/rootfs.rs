//! The root of a container as a descriptor, whether the container runs or not. Everything in it is addressed below that descriptor, by
//! openat2 with `RESOLVE_IN_ROOT`: what the container does with its links meanwhile leads nowhere else (CVE-2018-15664).

use anyhow::{Context, bail, ensure};
use nix::sched::CloneFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::lock::Lock;
use super::record::{Live, Record};
use super::{ENGINE_FAILED, lifecycle, paths};
use crate::runtime::{OfflineMount, Root, offline_root};

/// A container's root.
pub struct Rootfs {
    fd: OwnedFd,
    /// Held while the root of a container that does not run is mounted: nobody starts it meanwhile.
    lock: Option<Lock>,
}

impl Rootfs {
    /// Open the root of a container. One that does not run is mounted for this process, which moves to a mount namespace of its own.
    pub fn open(record: &Record) -> anyhow::Result<Self> {
        if lifecycle::payload(&record.id)?.is_some() {
            return Ok(Rootfs { fd: of_process(&record.id)?, lock: None });
        }
        let Some(lock) = Lock::take(&record.id)? else { bail!("the container is being started") };
        let dir = paths::container(&record.id);
        let (upper, work, target) = (dir.join("upper"), dir.join("work"), dir.join("rootfs"));
        let root = Root::Overlay { lower: &record.layers, upper: &upper, work: &work, target: &target };
        let mounts = record
            .mounts
            .iter()
            .map(|mount| OfflineMount { source: mount.source.clone(), destination: mount.destination.clone().into() });
        match offline_root(&root, &mounts.collect::<Vec<_>>()) {
            Ok(fd) => Ok(Rootfs { fd, lock: Some(lock) }),
            Err(error) => {
                lock.remove()?;
                Err(error.into())
            }
        }
    }

    /// The same without what is mounted in the root.
    pub fn open_alone(record: &Record) -> anyhow::Result<Self> {
        match lifecycle::payload(&record.id)? {
            Some(payload) => Ok(Rootfs { fd: clone_from_within(&payload)?, lock: None }),
            None => Self::open(&Record { mounts: Vec::new(), ..record.clone() }),
        }
    }

    /// The root's descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Done with it.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.lock.take().map_or(Ok(()), Lock::remove).context("cannot let go of the container")
    }

    /// Open a path of the container; relative ones start at its root.
    pub fn open_path(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { b"/" } else { path };
        loop {
            match openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The tree is being changed while it is walked.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
    }
}

impl Drop for Rootfs {
    /// What was to be done failed, which is what there is to say.
    fn drop(&mut self) {
        let _ = self.lock.take().map_or(Ok(()), Lock::remove);
    }
}

/// The root of a running container's payload.
fn of_process(id: &str) -> anyhow::Result<OwnedFd> {
    let live = Live::read(id).context("the container has just ended")?;
    let path = format!("/proc/{}/root", live.pid);
    let fd = openat(CWD, &path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let fd = fd.context("cannot open the container's root")?;
    // Looked at after the open: the process is still the payload.
    ensure!(live.open()?.is_some(), "the container has just ended");
    Ok(fd)
}

/// The root's mount of a running container. It can be cloned only from within its namespace, where every path is the container's:
/// this process is there for no longer than that.
fn clone_from_within(payload: &OwnedFd) -> anyhow::Result<OwnedFd> {
    let open = |path: &str, flags| openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty());
    let folder = OFlags::PATH | OFlags::DIRECTORY;
    let own = open("/proc/self/ns/mnt", OFlags::RDONLY).context("cannot open the own mount namespace")?;
    let root = open("/", folder).context("cannot open /")?;
    let here = open(".", folder).context("cannot open the working folder")?;
    nix::sched::setns(payload, CloneFlags::CLONE_NEWNS).context("cannot enter the container's mounts")?;
    let cloned = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
    let back = nix::sched::setns(&own, CloneFlags::CLONE_NEWNS).map_err(anyhow::Error::from).and_then(|()| {
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        Ok(rustix::process::fchdir(&here)?)
    });
    if back.is_err() {
        // Nothing may be done by a path here any more.
        std::process::exit(ENGINE_FAILED);
    }
    cloned.context("cannot open the container's root")
}
