//! Stage 1: from the initramfs to the root file system, an EROFS image in a file of the initramfs.

use std::convert::Infallible;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

use crate::tuning;

const IMAGE: &str = "/root.erofs";
const SYSROOT: &str = "/sysroot";
/// Where the image is copied to if it cannot be mounted where it is.
const COPY_DIR: &str = "/image";
const PROGRAM: &str = "/usr/bin/coracle";
/// Hands the time at which `/init` was started to the second stage: nanoseconds of CLOCK_MONOTONIC.
const START: &str = "CORACLE_INIT_START";
const NO_DATA: Option<&CStr> = None;

/// When `/init` was started, on the clock of [`now`].
#[must_use]
pub fn start_time() -> Duration {
    let handed_over = std::env::var(START).ok().and_then(|text| text.parse().ok()).map(Duration::from_nanos);
    let now = now();
    handed_over.filter(|start| *start <= now).unwrap_or(now)
}

/// Time since the machine was started: CLOCK_MONOTONIC, which nothing sets.
#[must_use]
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Mount the image, make it the root, and run its init. Comes back only with an error, and then in the initramfs.
pub fn enter_root(start: Duration) -> anyhow::Error {
    match try_enter_root(start) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_enter_root(start: Duration) -> anyhow::Result<Infallible> {
    make_dir(SYSROOT)?;
    mount_image()?;
    tuning::hurry(Path::new(SYSROOT));
    if !Path::new(SYSROOT).join("usr/bin/coracle").exists() {
        let _ = unmount(SYSROOT, UnmountFlags::DETACH);
        anyhow::bail!("{IMAGE} holds no {PROGRAM}");
    }
    std::env::set_current_dir(SYSROOT).context("cannot change to the new root")?;
    free_initramfs();
    // The root of the initramfs can be neither unmounted nor pivoted away; the new root is moved on top of it. It is a mount
    // with a parent, which is what pivot_root(2) asks of it when containers are made.
    mount_move(".", "/").context("cannot move the new root to /")?;
    rustix::process::chroot(".").context("cannot make the new root /")?;
    std::env::set_current_dir("/").context("cannot change to /")?;
    let error = Command::new(PROGRAM).arg0("init").env(START, start.as_nanos().to_string()).exec();
    Err(anyhow::Error::new(error).context(format!("cannot execute {PROGRAM}")))
}

fn mount_image() -> anyhow::Result<()> {
    match mount_erofs(IMAGE) {
        // A file of a ramfs serves as a device, one of a tmpfs (the kernel's choice unless told rootfstype=ramfs) does not.
        Err(Errno::NOTBLK) => {
            let copy = copy_to_ramfs().context("cannot copy the image from the tmpfs to a ramfs")?;
            let mounted = mount_erofs(&copy).with_context(|| format!("cannot mount {copy}"));
            // The mounted image keeps its file alive.
            let _ = unmount(COPY_DIR, UnmountFlags::DETACH);
            mounted
        }
        other => other.with_context(|| format!("cannot mount {IMAGE}")),
    }
}

fn mount_erofs(image: &str) -> rustix::io::Result<()> {
    mount(image, SYSROOT, "erofs", MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID, NO_DATA)
}

fn copy_to_ramfs() -> anyhow::Result<String> {
    make_dir(COPY_DIR)?;
    mount("ramfs", COPY_DIR, "ramfs", MountFlags::empty(), c"mode=0700").context("cannot mount a ramfs")?;
    let copy = format!("{COPY_DIR}{IMAGE}");
    let mut from = File::open(IMAGE)?;
    // What is copied is read from an open file, so that the name can go; memory for both is needed only here.
    let mut to = File::create(&copy)?;
    io::copy(&mut from, &mut to)?;
    Ok(copy)
}

/// Give back the memory of the initramfs. The image goes too: it is mounted, and with its name gone nothing can write to it.
fn free_initramfs() {
    let Ok(device) = fs::metadata("/").map(|meta| meta.dev()) else { return };
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let path = entry.path();
        // Never into another file system: those mounts are to live on.
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.dev() == device) {
            continue;
        }
        let _ = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}

fn make_dir(path: &str) -> anyhow::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {path}"))
        }
        _ => Ok(()),
    }
}
