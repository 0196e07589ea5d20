//! A process known by its number and its start time, and the signals it gets.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;

/// State and start time of a process, from the text of /proc/PID/stat (proc_pid_stat(5)).
pub fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The name in parentheses may hold anything, parentheses included.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Start time of a process in clock ticks after boot; `None` if it is gone or only waits to be reaped.
pub fn start_time(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (state, start_time) = parse_stat(&text)?;
    (!matches!(state, 'Z' | 'X')).then_some(start_time)
}

/// The pidfd of a live process that has this number and start time.
pub fn open(pid: i32, started: u64) -> io::Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        // EINVAL, in newer kernels ENOENT: it was reaped while one looked, or the number is now a thread's.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    // Read after the descriptor was made: what it says is about the process of the descriptor, or that is dead.
    Ok((start_time(pid) == Some(started)).then_some(pidfd))
}

/// Wait until a process has ended; false if it has not in time.
pub fn wait_for_end(pidfd: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    loop {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(&format!("12 (a) Z (b) {fields}")), Some(('S', 4711)));
        assert_eq!(parse_stat("12 (a"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_number_alone_is_no_identity() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = start_time(own).unwrap();
        assert!(open(own, started).unwrap().is_some());
        assert!(open(own, started + 1).unwrap().is_none());
        assert!(open(0, 0).unwrap().is_none());
    }

    #[test]
    fn a_number_that_a_thread_has_is_of_no_process() {
        let thread = std::thread::spawn(|| open(rustix::thread::gettid().as_raw_nonzero().get(), 0).unwrap().is_none());
        assert!(thread.join().unwrap());
    }
}
