//! Device files and links in the container's /dev (runtime-spec config-linux.md, "Default Devices").

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, major, makedev, minor, mknodat, openat, symlinkat,
};
use rustix::io::Errno;

use super::Error;
use super::channel::{Doing, Step};
use super::rootfs::{Links, Rootfs, Target, attach, clone_mount, is_clean};

/// Name, major, minor. All character devices, mode 0666.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Name, where it leads.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Check the devices of a specification.
pub(super) fn check(devices: &[LinuxDevice]) -> Result<(), Error> {
    for device in devices {
        let what = || format!("linux.devices: {}", device.path().display());
        if !is_clean(device.path()) || device.path().file_name().is_none() {
            return Err(Error::spec(what(), "a path is absolute and without \"..\""));
        }
        if file_type(device.typ()).is_none() {
            return Err(Error::spec(what(), "the type is one of c, u, b, p"));
        }
        if numbers(device).is_none() {
            return Err(Error::spec(what(), "major and minor are numbers from 0"));
        }
    }
    Ok(())
}

/// Make the default devices and links, and those of the specification.
/// `bind`: show the host's instead, as in a user namespace nobody makes nodes.
pub(super) fn make(rootfs: &Rootfs, devices: &[LinuxDevice], bind: bool) -> Step {
    let dev = rootfs.target(Path::new("/dev"), Target::Directory, Links::Refuse)?;
    for (name, major, minor) in DEFAULT {
        if bind {
            show(rootfs, &Path::new("/dev").join(name), FileType::CharacterDevice, (major, minor))?;
            continue;
        }
        node(&dev, name, FileType::CharacterDevice, 0o666, (major, minor)).doing(|| format!("make /dev/{name}"))?;
    }
    for (name, leads_to) in LINKS {
        match symlinkat(leads_to, &dev, name) {
            Err(Errno::EXIST) => {}
            made => made.doing(|| format!("make the link /dev/{name}"))?,
        }
    }
    // Engines name all of the host's devices for a privileged container. Its ptmx is that of its own devpts all the same.
    let made = |device: &&LinuxDevice| device.path() != Path::new("/dev/ptmx");
    devices.iter().filter(made).try_for_each(|device| make_one(rootfs, device, bind))
}

fn make_one(rootfs: &Rootfs, device: &LinuxDevice, bind: bool) -> Step {
    let words = || format!("make the device {}", device.path().display());
    let (Some(kind), Some(numbers)) = (file_type(device.typ()), numbers(device)) else {
        return Err(Errno::INVAL).doing(words);
    };
    if bind && kind != FileType::Fifo {
        return show(rootfs, device.path(), kind, numbers);
    }
    let parent = device.path().parent().unwrap_or(Path::new("/"));
    let name = device.path().file_name().unwrap_or_default();
    let parent = rootfs.target(parent, Target::Directory, Links::Refuse)?;
    let name = Path::new(name);
    node(&parent, name, kind, device.file_mode().unwrap_or(0o666) & 0o7777, numbers).doing(words)?;
    if device.uid().is_some() || device.gid().is_some() {
        let (uid, gid) = (device.uid().map(Uid::from_raw), device.gid().map(Gid::from_raw));
        chownat(&parent, name, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).doing(words)?;
    }
    Ok(())
}

/// Mount a device of the host, which must have it by the same name.
fn show(rootfs: &Rootfs, path: &Path, kind: FileType, number: (u32, u32)) -> Step {
    let words = || format!("show the host's {}", path.display());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let device = openat(CWD, path, flags, Mode::empty()).doing(words)?;
    if !is_device(&device, kind, number).doing(words)? {
        return Err(Errno::NODEV).doing(words);
    }
    let target = rootfs.target(path, Target::File, Links::Refuse)?;
    if is_device(&target, kind, number).doing(words)? {
        return Ok(());
    }
    attach(clone_mount(device.as_fd(), false).doing(words)?.as_fd(), target.as_fd()).doing(words)
}

fn is_device(file: &OwnedFd, kind: FileType, number: (u32, u32)) -> Result<bool, Errno> {
    let stat = fstat(file)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == kind && (major(stat.st_rdev), minor(stat.st_rdev)) == number)
}

/// Make a node; one that is there must be the very device. The umask is 0 during set-up.
fn node(parent: &OwnedFd, name: impl AsRef<Path>, kind: FileType, mode: u32, number: (u32, u32)) -> Result<(), Errno> {
    let name = name.as_ref();
    match mknodat(parent, name, kind, Mode::from_raw_mode(mode), makedev(number.0, number.1)) {
        Err(Errno::EXIST) => {
            let found = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            if is_device(&found, kind, number)? { Ok(()) } else { Err(Errno::EXIST) }
        }
        made => made,
    }
}

fn file_type(kind: LinuxDeviceType) -> Option<FileType> {
    match kind {
        LinuxDeviceType::C | LinuxDeviceType::U => Some(FileType::CharacterDevice),
        LinuxDeviceType::B => Some(FileType::BlockDevice),
        LinuxDeviceType::P => Some(FileType::Fifo),
        LinuxDeviceType::A => None,
    }
}

fn numbers(device: &LinuxDevice) -> Option<(u32, u32)> {
    Some((u32::try_from(device.major()).ok()?, u32::try_from(device.minor()).ok()?))
}
