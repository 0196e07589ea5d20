//! What a process does to itself before it becomes a program: descriptors, signals, session keyring.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// close_range(2) flag, linux/close_range.h.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
/// keyctl(2) operation, linux/keyctl.h.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
/// Signals 1 to 64.
const SIGNALS: libc::c_int = 64;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Mark every descriptor from `first` on close-on-exec, known to this program or inherited from who started it.
///
/// # Errors
/// What close_range(2) says (`EINVAL` before Linux 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only a flag of descriptors is set; none is closed while this program runs.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Set every signal to its default action and unblock all: what a program expects when it starts, whatever its ancestors
/// ignored or blocked (Rust itself ignores SIGPIPE).
pub fn reset_signals() {
    for signal in 1..=SIGNALS {
        // SAFETY: SIG_DFL installs no code. SIGKILL, SIGSTOP and the C library's own signals are refused, which is no harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset before it is used, and outlives the call.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Block every signal in this process; a child inherits that. Returns a guard that restores the mask.
pub fn block_signals() -> SignalsBlocked {
    // SAFETY: both sets are valid for the calls; the old one is filled by the kernel.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut old = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        SignalsBlocked { old }
    }
}

/// Signals are blocked while this lives.
pub struct SignalsBlocked {
    old: libc::sigset_t,
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: old is a mask that the kernel gave.
        unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.old, std::ptr::null_mut());
        }
    }
}

/// Give this process a new, empty session keyring, so that it sees no key of the caller's session (keyctl(2)).
///
/// # Errors
/// `ENOSYS` without CONFIG_KEYS, `EDQUOT` when the user has too many keys.
pub fn new_session_keyring() -> io::Result<()> {
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) }).map(drop)
}

/// Send a signal, real-time ones included, to the process of a pidfd (pidfd_send_signal(2)).
///
/// # Errors
/// `ESRCH` if it has ended, `EINVAL` for no signal, `EPERM`.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and a null siginfo asks the kernel to fill in what kill(2) would.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_is_restored() {
        let blocked =
            || nix::sys::signal::SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::Signal::SIGUSR2);
        assert!(!blocked());
        let guard = block_signals();
        assert!(blocked());
        drop(guard);
        assert!(!blocked());
    }

    #[test]
    fn descriptors_become_close_on_exec() {
        use std::os::fd::AsFd;
        let file = std::fs::File::open("/").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        close_on_exec_from(3).unwrap();
        assert!(rustix::io::fcntl_getfd(file.as_fd()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
