//! Where a created process waits when its creator leaves: a listening socket in a directory of the host.
//!
//! As the process' descriptor is close-on-exec, whether somebody waits is known by the kernel and nowhere else: a connection is refused
//! once the program runs or the process has ended, whatever files are left.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::Error;
use super::channel::{Channel, Heard};

/// Callers that may be waiting for an answer at once.
const BACKLOG: i32 = 16;

/// Make a gate, to be given to [`super::create`] as `caller.gate`: the socket NAME in the directory `dir`.
///
/// # Errors
/// `EADDRINUSE` if NAME exists, else what the kernel said.
pub fn gate_socket(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    bind(&socket, &address(dir, name)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether a process waits at a gate.
pub fn is_waiting(dir: BorrowedFd<'_>, name: &str) -> bool {
    let connected = new_socket().and_then(|socket| Ok(connect(&socket, &address(dir, name)?)?));
    connected.is_ok()
}

/// Let the process at a gate run its `program`; returns once that is being executed.
///
/// # Errors
/// [`Error::NotWaiting`], or why the program could not be executed.
pub fn open_gate(dir: BorrowedFd<'_>, name: &str, program: &str) -> Result<(), Error> {
    let doing = |source: io::Error| Error::setup("speak to the container's first process", source);
    let socket = new_socket().map_err(doing)?;
    match connect(&socket, &address(dir, name).map_err(doing)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Err(Error::NotWaiting),
        connected => connected.map_err(|errno| doing(errno.into()))?,
    }
    let channel = Channel(socket);
    channel.send_go().map_err(|_| Error::NotWaiting)?;
    match channel.hear(program) {
        Ok(Heard::Starting) => {}
        // Another caller was first.
        _ => return Err(Error::NotWaiting),
    }
    match channel.hear(program).map_err(doing)? {
        Heard::Ended => Ok(()),
        Heard::Failed(error) => Err(error),
        Heard::Ready(_) | Heard::Starting | Heard::Asks | Heard::Born(_) => Err(Error::Vanished),
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// By the descriptor: the address of a Unix socket has room for 107 bytes only.
fn address(dir: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_gate_tells_whether_somebody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(folder.path()).unwrap();
        assert!(!is_waiting(dir.as_fd(), "gate"));
        let gate = gate_socket(dir.as_fd(), "gate").unwrap();
        assert!(is_waiting(dir.as_fd(), "gate") && is_waiting(dir.as_fd(), "gate"));
        assert!(gate_socket(dir.as_fd(), "gate").is_err());
        drop(gate);
        assert!(!is_waiting(dir.as_fd(), "gate"));
        assert!(matches!(open_gate(dir.as_fd(), "gate", "sh"), Err(Error::NotWaiting)));
    }

    #[test]
    fn the_process_at_a_gate_hears_who_says_go() {
        let folder = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(folder.path()).unwrap();
        let gate = gate_socket(dir.as_fd(), "gate").unwrap();
        let (parent, mut child) = Channel::pair().unwrap();
        parent.send_wait_at_gate().unwrap();
        drop(parent);
        let waiting = std::thread::spawn(move || assert!(child.wait_go(Some(gate.as_fd()))));
        assert!(is_waiting(dir.as_fd(), "gate"));
        assert!(open_gate(dir.as_fd(), "gate", "sh").is_ok());
        waiting.join().unwrap();
        assert!(!is_waiting(dir.as_fd(), "gate"));
    }
}
