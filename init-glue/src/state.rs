//! What outlives a reboot: the STATE partition on `/var`, and the writable layer of `/etc` on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use coracle_image_os::grow::{self, State};
use rustix::mount::MountFlags;

use crate::console::say;
use crate::mounts::mount_at;
use crate::supervise::{Io, Restart, Unit};
use crate::{STATE, early};

/// GPT name of the partition.
const LABEL: &str = "STATE";
/// How long disks on a bus that is searched in the background (SCSI, NVMe, USB) are waited for.
const DISK_PATIENCE: Duration = Duration::from_secs(3);

/// By how much the file system grows at once: a second or so, after which it can be stopped.
const GROWTH_STEP: u64 = 32 << 30;

/// Mount `/var`: the STATE partition, or, if there is none or it is damaged, memory. A damaged one is left as it is. True if its file
/// system has more room to grow, which [`grow_unit`] sees to while the machine works.
#[must_use]
pub fn mount_var() -> bool {
    match find() {
        Some(device) => match mount_state(&device) {
            Ok(more) => return more,
            Err(error) => {
                say(&format!("coracle: cannot mount {} (STATE) on /var: {error}", device.display()));
                say("coracle: STATE is left untouched; check it with fsck.ext4 from another system");
            }
        },
        None if boots_from_disk() => say("coracle: no partition named STATE was found"),
        None => {}
    }
    live_mode();
    false
}

/// The unit that lets STATE grow to its whole size.
#[must_use]
pub fn grow_unit() -> Unit {
    Unit {
        name: "grow-state".into(),
        program: "/usr/bin/init".into(),
        arg0: None,
        args: vec!["--grow-state".into()],
        io: Io::Log,
        restart: Restart::Never,
    }
}

/// What that unit runs: piece by piece, so that a signal ends it between two; the next boot goes on. Returns the exit status.
#[must_use]
pub fn grow() -> i32 {
    let Some(state) = find_in(Path::new("/sys/class/block")).and_then(|device| look_up(&device)) else { return 1 };
    loop {
        match grow_a_step(&state) {
            Some(0) => return 0,
            Some(_) => {}
            None => return 1,
        }
    }
}

fn look_up(device: &Path) -> Option<State> {
    let name = device.file_name()?.to_string_lossy();
    worked(State::from_name(Path::new("/sys"), &name), "STATE keeps its size")
}

fn grow_a_step(state: &State) -> Option<u64> {
    worked(state.grow_file_system(Path::new("/var"), GROWTH_STEP), "the file system of STATE keeps its size")
}

fn mount_state(device: &Path) -> io::Result<bool> {
    let state = look_up(device);
    if let Some(state) = &state {
        worked(state.grow_partition(), "STATE keeps its size");
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    mount_at(&device.to_string_lossy(), "/var", "ext4", flags, "errors=remount-ro")?;
    if let Some(state) = &state {
        worked(state.renew_file_system_id(Path::new("/var")), "STATE keeps the UUID of the image");
    }
    Ok(state.and_then(|state| grow_a_step(&state)).is_some_and(|left| left > 0))
}

/// The result, or else a line on the console: a STATE that does not grow is still a STATE.
fn worked<T>(result: Result<T, grow::Error>, otherwise: &str) -> Option<T> {
    result.inspect_err(|error| say(&format!("coracle: {otherwise}: {error}"))).ok()
}

fn live_mode() {
    say("coracle: live mode: /var is in RAM");
    if let Err(error) = mount_at("tmpfs", "/var", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, "mode=0755") {
        say(&format!("coracle: cannot mount a tmpfs on /var: {error}"));
    }
}

/// The STATE partition's device. Virtio disks are there before init is; others are waited for, if the machine has a bus
/// on which they may yet turn up.
fn find() -> Option<PathBuf> {
    let deadline = early::now() + DISK_PATIENCE;
    loop {
        let found = find_in(Path::new("/sys/class/block"));
        if found.is_some() || !disks_may_come() || early::now() >= deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn find_in(class: &Path) -> Option<PathBuf> {
    let mut names: Vec<String> = fs::read_dir(class)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let uevent = fs::read_to_string(entry.path().join("uevent")).ok()?;
            (uevent_value(&uevent, "PARTNAME")? == LABEL)
                .then(|| uevent_value(&uevent, "DEVNAME").map(str::to_owned))?
        })
        .collect();
    // More than one: the same one at every boot.
    names.sort_unstable();
    names.into_iter().next().map(|name| Path::new("/dev").join(name))
}

fn uevent_value<'a>(uevent: &'a str, key: &str) -> Option<&'a str> {
    uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn disks_may_come() -> bool {
    ["/sys/class/scsi_host", "/sys/class/nvme"]
        .iter()
        .any(|class| fs::read_dir(class).is_ok_and(|mut all| all.next().is_some()))
}

/// Did a boot loader on a disk start this system? See systemd's Boot Loader Interface.
fn boots_from_disk() -> bool {
    Path::new("/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f").exists()
}

/// Make the folders that programs expect in `/var`, and lay its `/etc` layer over the read-only one.
pub fn lay_over_root() {
    for dir in ["/var/lib", "/var/log", "/var/cache", "/var/spool", "/var/lib/coracle", "/var/lib/coracle/etc"] {
        make(Path::new(dir), 0o755);
    }
    make(Path::new("/var/roothome"), 0o700);
    // Root's home is an empty folder of the read-only root.
    if let Err(error) = rustix::mount::mount_bind("/var/roothome", "/root") {
        say(&format!("coracle: /root stays read-only: {error}"));
    }
    make(Path::new("/var/tmp"), 0o1777);
    link("/run", "/var/run");
    link("/run/lock", "/var/lock");
    make(Path::new("/run/lock"), 0o755);
    if let Err(error) = overlay_etc() {
        say(&format!("coracle: /etc stays read-only: {error}"));
    }
}

fn overlay_etc() -> io::Result<()> {
    let layer = Path::new(STATE).join("etc");
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    make(&upper, 0o755);
    make(&work, 0o755);
    let data = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    mount_at("overlay", "/etc", "overlay", MountFlags::NOSUID | MountFlags::NODEV, &data)
}

fn make(dir: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    // The umask would take bits away, so they are set; only on a folder that is new, one's own modes stay.
    match fs::create_dir(dir) {
        Ok(()) => drop(fs::set_permissions(dir, fs::Permissions::from_mode(mode))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => say(&format!("coracle: cannot make {}: {error}", dir.display())),
    }
}

fn link(target: &str, link: &str) {
    if fs::symlink_metadata(link).is_err() {
        let _ = std::os::unix::fs::symlink(target, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_partition_by_its_name() {
        let class = tempfile::tempdir().unwrap();
        for (name, uevent) in [
            ("vda", "MAJOR=254\nDEVNAME=vda\nDEVTYPE=disk\n"),
            ("vda1", "DEVNAME=vda1\nPARTN=1\nPARTNAME=ESP\n"),
            ("vdb2", "DEVNAME=vdb2\nPARTN=2\nPARTNAME=STATE\n"),
            ("vda2", "DEVNAME=vda2\nPARTN=2\nPARTNAME=STATE\n"),
            ("vda3", "DEVNAME=vda3\nPARTNAME=STATE2\n"),
        ] {
            fs::create_dir(class.path().join(name)).unwrap();
            fs::write(class.path().join(name).join("uevent"), uevent).unwrap();
        }
        assert_eq!(find_in(class.path()), Some("/dev/vda2".into()));
        assert_eq!(find_in(Path::new("/nonexistent")), None);
    }
}
