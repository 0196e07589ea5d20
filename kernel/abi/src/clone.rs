//! clone3(2): a process born in its namespaces and cgroup, known by its pidfd.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Namespaces that a new process can be born in (`CLONE_NEW*` of clone(2)), combined with `|`.
pub const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWCGROUP) as u32 as u64;

/// linux/sched.h; wider than libc's constants.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args` of linux/sched.h, first extended version with `cgroup` (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A process made by [`spawn`].
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's PID namespace.
    pub pid: u32,
    /// A descriptor that stays true when the id is reused. Close-on-exec.
    pub pidfd: OwnedFd,
}

/// Whether the calling process has one thread. By unshare(2), `CLONE_THREAD` is refused to a process with more, and does
/// nothing otherwise.
pub fn is_single_threaded() -> bool {
    // SAFETY: no memory is passed; with one thread the call has no effect.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

/// Fork, in new `namespaces` (of [`NAMESPACES`]) and, where given, into the cgroup v2 directory `cgroup`. `child` runs in
/// the new process, which exits with what it returns; nothing of the caller's stack is unwound there. Signal handlers are
/// reset in the child; the signal mask is inherited.
///
/// # Errors
/// `EDEADLK` if the caller has more than one thread: a lock (the allocator's) held by another thread would stay locked in the
/// child. `EINVAL` for other flags than namespaces. Else what clone3(2) says.
pub fn spawn(namespaces: u64, cgroup: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> io::Result<Child> {
    clone3(namespaces, cgroup, false, child)
}

/// The same, but the new process is a child of the caller's parent (`CLONE_PARENT`), which waits for it. For a process that goes
/// into namespaces to have a child born there.
///
/// # Errors
/// As for [`spawn`]; `EINVAL` for the first process of a PID namespace.
pub fn spawn_sibling(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    clone3(namespaces, cgroup, true, child)
}

fn clone3(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    sibling: bool,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    if namespaces & !NAMESPACES != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    if !is_single_threaded() {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if sibling {
        args.flags |= libc::CLONE_PARENT as u64;
        // The caller's own counts.
        args.exit_signal = 0;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or_default();
    }
    // SAFETY: args is a valid clone_args of the size passed, and outlives the call. Without CLONE_VM the child has its own copy
    // of all memory and its own stack, so this is fork(2); with one thread no lock is held by anyone else.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    if pid == 0 {
        let unwinding = AbortOnDrop;
        let status = child();
        std::mem::forget(unwinding);
        // SAFETY: exit_group(2) takes a number and runs no handlers.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
        // It comes back where a seccomp filter denies it. _exit(3) would try for ever; no filter denies a fault.
        std::process::abort()
    }
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has put a new descriptor there, which nobody else owns.
    Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// A panic in the child must not unwind into the copy of the caller's stack.
struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_threads_and_other_flags() {
        // The test harness runs this in a second thread.
        assert!(!is_single_threaded());
        assert_eq!(spawn(0, None, || 0).unwrap_err().raw_os_error(), Some(libc::EDEADLK));
        assert_eq!(spawn(libc::CLONE_VM as u64, None, || 0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
