//! The payload's pseudo-terminal.
//!
//! Its two ends are opened from the container's own devpts, the slave by the master (`TIOCGPTPEER`) and never by the name
//! /dev/pts/N, which a container could have replaced (CVE-2025-52565).

use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, OFlags, fstat, fstatfs, major, minor};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::channel::{Doing, Step};
use super::rootfs::{Links, Rootfs, Target, attach, clone_mount};

/// `DEVPTS_SUPER_MAGIC`, linux/magic.h.
const DEVPTS: u64 = 0x1cd1;
/// Device of the multiplexer, Documentation/admin-guide/devices.txt.
const PTMX: (u32, u32) = (5, 2);

/// Both ends of a terminal.
pub(super) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

impl Terminal {
    /// Open a new one of the container's devpts.
    pub(super) fn open(rootfs: &Rootfs, size: Option<(u16, u16)>) -> Step<Self> {
        let words = || "open a terminal of the container's /dev/pts".into();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let path = Path::new("/dev/pts/ptmx");
        // Looked at before it is opened: opening some devices does things.
        let found = rootfs.resolve(path, Links::Refuse).doing(words)?;
        if !is_ptmx(&found).doing(words)? {
            return Err(Errno::NODEV)
                .doing(|| "use /dev/pts/ptmx of the container: it is not devpts' multiplexer".into());
        }
        let master = rootfs.open(path, flags, Links::Refuse).doing(words)?;
        if !is_ptmx(&master).doing(words)? {
            return Err(Errno::NODEV).doing(words);
        }
        unlockpt(&master).doing(words)?;
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).doing(words)?;
        if let Some((rows, columns)) = size {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size).doing(|| "set the terminal's size".into())?;
        }
        Ok(Self { master, slave })
    }

    /// Show the slave as /dev/console.
    pub(super) fn bind_console(&self, rootfs: &Rootfs) -> Step {
        let words = || "mount the terminal on /dev/console".into();
        let target = rootfs.target(Path::new("/dev/console"), Target::File, Links::Refuse)?;
        let slave = clone_mount(self.slave.as_fd(), false).doing(words)?;
        attach(slave.as_fd(), target.as_fd()).doing(words)
    }
}

fn is_ptmx(file: &OwnedFd) -> Result<bool, Errno> {
    let stat = fstat(file)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    let is_devpts = u64::try_from(fstatfs(file)?.f_type).is_ok_and(|magic| magic == DEVPTS);
    Ok(is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == PTMX && is_devpts)
}
