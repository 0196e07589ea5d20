//! Signals to PID 1. All are blocked and read from a descriptor.
//!
//! The kernel drops whatever is sent to init without a handler (`SIGNAL_UNKILLABLE`), SIGKILL included. The standard
//! library has a handler for SIGSEGV and SIGBUS; as these too are blocked, one that was sent only stays pending. A real
//! fault still kills, and the kernel reboots after `kernel.panic` seconds.

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::shutdown::Goal;

/// The real-time signals that systemd takes, counted from glibc's SIGRTMIN (34), see systemd(1).
const RTMIN: i32 = 34;

/// What a signal asks of PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A child has ended.
    Child,
    /// Go down.
    Go(Goal),
    /// Nothing that is served.
    Nothing,
}

/// Block every signal. A child inherits that: `launch` sets it right.
pub fn block_all() {
    let _ = SigSet::all().thread_block();
}

/// A descriptor to read all signals from.
///
/// # Errors
/// What signalfd(2) says.
pub fn descriptor() -> nix::Result<SignalFd> {
    SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// What a signal means: BusyBox init's signals, SIGINT from Ctrl-Alt-Del, SIGPWR from a failing supply, and systemd's
/// real-time signals, which managers of virtual machines and containers send.
#[must_use]
pub fn meaning(signal: i32) -> Meaning {
    match signal {
        libc::SIGCHLD => Meaning::Child,
        libc::SIGTERM | libc::SIGINT => Meaning::Go(Goal::Reboot),
        libc::SIGUSR1 => Meaning::Go(Goal::Halt),
        libc::SIGUSR2 | libc::SIGPWR => Meaning::Go(Goal::PowerOff),
        _ => match signal - RTMIN {
            3 => Meaning::Go(Goal::Halt),
            4 => Meaning::Go(Goal::PowerOff),
            5 => Meaning::Go(Goal::Reboot),
            _ => Meaning::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        assert_eq!(meaning(libc::SIGTERM), Meaning::Go(Goal::Reboot));
        assert_eq!(meaning(libc::SIGUSR2), Meaning::Go(Goal::PowerOff));
        assert_eq!(meaning(38), Meaning::Go(Goal::PowerOff));
        assert_eq!(meaning(libc::SIGSEGV), Meaning::Nothing);
        assert_eq!(meaning(libc::SIGHUP), Meaning::Nothing);
    }
}
