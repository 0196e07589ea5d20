//! The kernel's own file systems, and those in memory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::console::say;

struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    data: &'static str,
    /// Not every kernel or machine has it: no word if it cannot be mounted.
    optional: bool,
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

const fn api(kind: &'static str, target: &'static str, data: &'static str) -> Mount {
    Mount { source: kind, target, kind, flags: SAFE, data, optional: false }
}

const fn optional(kind: &'static str, target: &'static str, data: &'static str) -> Mount {
    Mount { optional: true, ..api(kind, target, data) }
}

const fn with_flags(mount: Mount, flags: MountFlags) -> Mount {
    Mount { flags, ..mount }
}

/// In the order in which one is needed for the next.
const MOUNTS: &[Mount] = &[
    api("proc", "/proc", ""),
    api("sysfs", "/sys", ""),
    with_flags(api("devtmpfs", "/dev", "mode=0755"), MountFlags::NOSUID),
    // Group 5 is tty: who owns a terminal may be written to by that group.
    with_flags(
        api("devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666"),
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
    ),
    with_flags(api("tmpfs", "/dev/shm", "mode=1777"), NO_DEVICES),
    api("mqueue", "/dev/mqueue", ""),
    with_flags(api("tmpfs", "/run", "mode=0755"), NO_DEVICES),
    with_flags(api("tmpfs", "/tmp", "mode=1777"), NO_DEVICES),
    // Where folders to mount on can be made: the root is read-only. Not for data, hence the size.
    with_flags(api("tmpfs", "/mnt", "mode=0755,size=1m"), NO_DEVICES),
    // nsdelegate: a cgroup namespace is a boundary, a container cannot move processes out of it.
    // memory_recursiveprot: a protected cgroup protects its children without a setting on each.
    api("cgroup2", "/sys/fs/cgroup", "nsdelegate,memory_recursiveprot"),
    optional("bpf", "/sys/fs/bpf", "mode=0700"),
    optional("securityfs", "/sys/kernel/security", ""),
    optional("pstore", "/sys/fs/pstore", ""),
    optional("efivarfs", "/sys/firmware/efi/efivars", ""),
];

/// Mount them all. What cannot be mounted is said, and left out.
pub fn all() {
    for entry in MOUNTS {
        if let Err(error) = entry.mount()
            && !entry.optional
        {
            say(&format!("coracle: cannot mount {} on {}: {error}", entry.kind, entry.target));
        }
    }
}

impl Mount {
    fn mount(&self) -> io::Result<()> {
        if !Path::new(self.target).is_dir() {
            fs::create_dir_all(self.target)?;
        }
        mount_at(self.source, self.target, self.kind, self.flags, self.data)
    }
}

/// mount(2) with owned data; that it is there already is success.
///
/// # Errors
/// What the kernel says.
pub fn mount_at(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> io::Result<()> {
    let data = CString::new(data)?;
    match mount(source, target, kind, flags, data.as_c_str()) {
        Err(Errno::BUSY) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The links below `/dev` that programs expect; the nodes are made by the kernel.
pub fn device_links() {
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("pts/ptmx", "/dev/ptmx"),
    ];
    for (target, link) in links {
        // devtmpfs has a ptmx of its own, which serves the first devpts mount as well: it stays.
        let _ = std::os::unix::fs::symlink(target, link);
    }
}
