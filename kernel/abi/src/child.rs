//! What a child does between fork and exec, as safe options on [`Command`].

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Set-up steps that run in the child, before its program replaces it.
pub trait ChildExt {
    /// Move the child into a cgroup; `procs` is that cgroup's `cgroup.procs`, open for writing.
    /// The child never runs a line of its program outside the cgroup. See cgroup-v2.rst, "Processes".
    fn cgroup(&mut self, procs: OwnedFd) -> &mut Self;

    /// Unblock all signals in the child and give each its default action; a child inherits its parent's mask otherwise, as
    /// the standard library leaves it alone.
    fn default_signals(&mut self) -> &mut Self;

    /// Leave the child no descriptor but its standard streams, also of those that this process itself inherited.
    fn close_descriptors(&mut self) -> &mut Self;

    /// Make the child the leader of a new session, see setsid(2).
    fn new_session(&mut self) -> &mut Self;

    /// Make the child the leader of a new session whose controlling terminal is its standard input, see
    /// TIOCSCTTY in ioctl_tty(2). The terminal is taken from another session if it has one (root only).
    fn new_terminal_session(&mut self) -> &mut Self;
}

impl ChildExt for Command {
    fn cgroup(&mut self, procs: OwnedFd) -> &mut Self {
        let join = move || {
            // SAFETY: write(2) is async-signal-safe; the descriptor is owned by this closure and the buffer is static.
            match unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) } {
                1 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes one async-signal-safe call and allocates nothing.
        unsafe { self.pre_exec(join) }
    }

    fn default_signals(&mut self) -> &mut Self {
        let reset = || {
            crate::process::reset_signals();
            Ok(())
        };
        // SAFETY: signal(2) and sigprocmask(2) are async-signal-safe and the closure allocates nothing.
        unsafe { self.pre_exec(reset) }
    }

    fn close_descriptors(&mut self) -> &mut Self {
        // SAFETY: close_range(2) with a flag that only marks descriptors; it is async-signal-safe and nothing is allocated.
        unsafe { self.pre_exec(|| crate::process::close_on_exec_from(3)) }
    }

    fn new_session(&mut self) -> &mut Self {
        // SAFETY: setsid(2) is async-signal-safe and the closure allocates nothing.
        unsafe { self.pre_exec(setsid) }
    }

    fn new_terminal_session(&mut self) -> &mut Self {
        let take_terminal = || {
            setsid()?;
            // SAFETY: TIOCSCTTY takes an integer argument, 1 = take it from its session; no memory is involved.
            match unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 1) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe { self.pre_exec(take_terminal) }
    }
}

fn setsid() -> io::Result<()> {
    // SAFETY: setsid(2) takes no arguments.
    match unsafe { libc::setsid() } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn child_leads_a_session_of_its_own() {
        let output = Command::new("sh").args(["-c", "cut -d' ' -f1,6 /proc/$$/stat"]).new_session().output().unwrap();
        let fields = String::from_utf8(output.stdout).unwrap();
        let (pid, session) = fields.trim().split_once(' ').unwrap();
        assert_eq!(pid, session);
    }

    #[test]
    fn inherited_descriptors_are_closed() {
        let file = File::open("/").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        let output = Command::new("ls").arg("/proc/self/fd").close_descriptors().output().unwrap();
        // The fourth is ls' own.
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 4);
    }

    #[test]
    fn blocked_signals_are_not_inherited() {
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        let output = Command::new("grep").args(["SigBlk", "/proc/self/status"]).default_signals().output();
        nix::sys::signal::SigSet::all().thread_unblock().unwrap();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(text, "SigBlk:\t0000000000000000\n");
    }

    #[test]
    fn child_without_terminal_is_an_error() {
        let error =
            Command::new("true").stdin(std::process::Stdio::null()).new_terminal_session().status().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }

    #[test]
    fn cgroup_gets_one_write() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let procs = File::options().write(true).open(file.path()).unwrap();
        assert!(Command::new("true").cgroup(procs.into()).status().unwrap().success());
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "0");
    }
}
