//! System calls that nix and rustix lack; the only room with unsafe code.

pub mod atomic_write;
pub mod block;
pub mod bpf;
pub mod child;
pub mod clone;
pub mod memory;
pub mod mount;
pub mod netdev;
pub mod packet;
pub mod process;
pub mod rtc;
pub mod sched;
pub mod seccomp;
pub mod swap;
