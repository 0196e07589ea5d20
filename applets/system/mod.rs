//! Looking at and steering the running system: mounts, processes, memory, the kernel's log and settings.
//!
//! The words and output are those of procps-ng and util-linux; each applet is one file, what several share has its own.

pub mod blkid;
pub mod clear;
pub mod clock;
pub mod dmesg;
pub mod free;
pub mod hostname;
pub mod hwclock;
pub mod kill;
pub mod lsblk;
pub mod mount;
pub mod mount_options;
pub mod mount_table;
pub mod mountpoint;
pub mod pgrep;
pub mod processes;
pub mod ps;
pub mod ps_fields;
pub mod signals;
pub mod size;
pub mod superblock;
pub mod swap;
pub mod sysctl;
pub mod top;
pub mod umount;
pub mod uptime;
pub mod watch;
pub mod which;
