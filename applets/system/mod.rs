//! Looking at and steering the running system: mounts, processes, memory, the kernel's log and settings.
//!
//! The words and output are those of procps-ng and util-linux; each applet is one file, what several share has its own.

pub mod clock;
pub mod dmesg;
pub mod free;
pub mod hostname;
pub mod kill;
pub mod mount;
pub mod mount_options;
pub mod mount_table;
pub mod pgrep;
pub mod processes;
pub mod ps;
pub mod ps_fields;
pub mod signals;
#[cfg_attr(not(test), expect(dead_code, reason = "lsblk, which are to come, use the rest"))]
pub mod size;
pub mod superblock;
pub mod sysctl;
pub mod umount;
pub mod uptime;
