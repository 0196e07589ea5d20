//! The conversation of parent and child between clone and exec, over a sequenced-packet socket pair.
//!
//! Child to parent: `R` (set up; carries the pty's master, if any), or a failure. Parent to child: `G` (go). The socket is
//! close-on-exec: its end tells the parent that the program has taken over, and the child that its parent is gone.
//!
//! With hooks in the caller's namespaces the child asks (`H`) before its root becomes `/`, and the parent answers `G` and the
//! child's process id when they have run.
//!
//! A process in a user namespace waits for a first `G`: until its ids are mapped.
//!
//! With `D` instead of `G` the parent takes its leave, and the child waits at its gate (a listening socket) for anybody to connect
//! and say `G`; it answers `S` (starting), and then that connection is what the parent's was.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use coracle_abi::clone::Child;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::Error;

/// Longest message; what a failure says beyond it is cut.
const LIMIT: usize = 1024;

/// What the child could not do.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: FailureKind,
    pub doing: String,
    pub errno: Errno,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FailureKind {
    Setup = b'S',
    NotFound = b'N',
    NotExecutable = b'X',
    /// A hook failed; the words say all.
    Hook = b'K',
}

/// A step of the child's set-up.
pub(super) type Step<T = ()> = Result<T, Failure>;

/// Say what was being done when a call failed. The words are made only then.
pub(super) trait Doing<T> {
    fn doing(self, words: impl FnOnce() -> String) -> Step<T>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, words: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|errno| Failure { kind: FailureKind::Setup, doing: words(), errno })
    }
}

impl<T> Doing<T> for Result<T, nix::errno::Errno> {
    fn doing(self, words: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|errno| Errno::from_raw_os_error(errno as i32)).doing(words)
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, words: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).doing(words)
    }
}

/// One end of the conversation.
pub(super) struct Channel(pub(super) OwnedFd);

/// What the parent hears.
pub(super) enum Heard {
    Ready(Option<OwnedFd>),
    /// The child waits for what the parent has to do.
    Asks,
    /// From a midwife: the child.
    Born(Child),
    /// The process at the gate has heard us.
    Starting,
    Failed(Error),
    Ended,
}

impl Channel {
    /// Parent's end, child's end.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (parent, child) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(parent), Self(child)))
    }

    pub(super) fn send_ready(&self, console: Option<&OwnedFd>) -> io::Result<()> {
        self.send_with(b"R", console)
    }

    /// From a midwife.
    pub(super) fn send_born(&self, child: &Child) -> io::Result<()> {
        self.send_with(&[&b"B"[..], &child.pid.to_le_bytes()].concat(), Some(&child.pidfd))
    }

    fn send_with(&self, message: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd.as_fd()]);
        if let Some(fds) = &fds {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&self.0, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    pub(super) fn send_failure(&self, failure: &Failure) {
        let mut message = Vec::with_capacity(LIMIT);
        message.push(failure.kind as u8);
        message.extend_from_slice(&failure.errno.raw_os_error().to_le_bytes());
        message.extend_from_slice(failure.doing.as_bytes());
        message.truncate(LIMIT);
        // A parent that is gone has no ear.
        let _ = rustix::net::send(&self.0, &message, SendFlags::NOSIGNAL);
    }

    pub(super) fn send_go(&self) -> io::Result<()> {
        rustix::net::send(&self.0, b"G", SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Have the parent do its part, and wait for it; the own process id as the parent sees it.
    pub(super) fn ask_parent(&self) -> io::Result<u32> {
        rustix::net::send(&self.0, b"H", SendFlags::NOSIGNAL)?;
        let mut answer = [0u8; 5];
        loop {
            match rustix::net::recv(&self.0, &mut answer, RecvFlags::empty()) {
                Ok((_, 5)) if answer[0] == b'G' => {
                    return Ok(u32::from_le_bytes([answer[1], answer[2], answer[3], answer[4]]));
                }
                Err(Errno::INTR) => {}
                _ => return Err(Errno::CANCELED.into()),
            }
        }
    }

    /// Answer a child that asks.
    pub(super) fn send_answer(&self, pid: u32) -> io::Result<()> {
        rustix::net::send(&self.0, &[&b"G"[..], &pid.to_le_bytes()].concat(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    pub(super) fn send_wait_at_gate(&self) -> io::Result<()> {
        rustix::net::send(&self.0, b"D", SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Wait for the parent's word, and if that is to wait at the gate, for somebody there; false if there is nobody to wait for.
    pub(super) fn wait_go(&mut self, gate: Option<BorrowedFd<'_>>) -> bool {
        match (self.receive_byte(), gate) {
            (Some(b'G'), _) => true,
            (Some(b'D'), Some(gate)) => match Channel::at_gate(gate) {
                Ok(connection) => {
                    self.0 = connection;
                    true
                }
                Err(_) => false,
            },
            _ => false,
        }
    }

    /// The connection over which the word came that the program may start.
    fn at_gate(gate: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let signals = ending_signals();
        loop {
            wait_or_end(gate, signals.as_ref())?;
            let channel = match rustix::net::accept_with(gate, SocketFlags::CLOEXEC) {
                Ok(connection) => Channel(connection),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(errno) => return Err(errno),
            };
            // Who only looks whether somebody waits here goes away without a word.
            if channel.receive_byte() == Some(b'G') && rustix::net::send(&channel.0, b"S", SendFlags::NOSIGNAL).is_ok()
            {
                return Ok(channel.0);
            }
        }
    }

    fn receive_byte(&self) -> Option<u8> {
        let mut byte = [0u8; 1];
        loop {
            match rustix::net::recv(&self.0, &mut byte, RecvFlags::empty()) {
                Ok((_, 1)) => return Some(byte[0]),
                Err(Errno::INTR) => {}
                _ => return None,
            }
        }
    }

    /// Wait for the child's next word.
    pub(super) fn hear(&self, program: &str) -> io::Result<Heard> {
        let mut buffer = [0u8; LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            match recvmsg(&self.0, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(match (&buffer[..length], fd) {
            ([], _) => Heard::Ended,
            ([b'R'], console) => Heard::Ready(console),
            ([b'B', a, b, c, d], Some(pidfd)) => {
                Heard::Born(Child { pid: u32::from_le_bytes([*a, *b, *c, *d]), pidfd })
            }
            ([b'S'], _) => Heard::Starting,
            ([b'H'], _) => Heard::Asks,
            (message, _) => Heard::Failed(failed(message, program)),
        })
    }
}

/// The signals that end a process which does nothing about them. They are blocked here, as the first process of a PID namespace
/// would not get them otherwise (pid_namespaces(7)).
fn ending_signals() -> Option<SignalFd> {
    const HARMLESS: [Signal; 7] = [
        Signal::SIGCHLD,
        Signal::SIGCONT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGURG,
        Signal::SIGWINCH,
    ];
    let set: SigSet = Signal::iterator().filter(|signal| !HARMLESS.contains(signal)).collect();
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()
}

/// Wait for a connection, and end on a signal as the program would that does nothing about it.
fn wait_or_end(gate: BorrowedFd<'_>, signals: Option<&SignalFd>) -> Result<(), Errno> {
    let Some(signals) = signals else { return Ok(()) };
    loop {
        let mut fds = [PollFd::from_borrowed_fd(gate, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        let [connected, signalled] = fds.map(|fd| !fd.revents().is_empty());
        if signalled && let Ok(Some(info)) = signals.read_signal() {
            std::process::exit(128 + i32::try_from(info.ssi_signo).unwrap_or_default());
        }
        if connected {
            return Ok(());
        }
    }
}

fn failed(message: &[u8], program: &str) -> Error {
    let program = program.to_owned();
    match message {
        [kind, a, b, c, d, doing @ ..] => {
            let source = io::Error::from_raw_os_error(i32::from_le_bytes([*a, *b, *c, *d]));
            match *kind {
                kind if kind == FailureKind::NotFound as u8 => Error::NotFound { program },
                kind if kind == FailureKind::Hook as u8 => {
                    Error::HookInContainer(String::from_utf8_lossy(doing).into_owned())
                }
                kind if kind == FailureKind::NotExecutable as u8 => Error::NotExecutable { program, source },
                _ => Error::setup(String::from_utf8_lossy(doing), source),
            }
        }
        _ => Error::Vanished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_arrives_whole_and_is_cut_when_long() {
        let (parent, child) = Channel::pair().unwrap();
        child.send_failure(&Failure {
            kind: FailureKind::Setup,
            doing: "mount proc on /proc".into(),
            errno: Errno::PERM,
        });
        child.send_failure(&Failure { kind: FailureKind::NotFound, doing: "x".repeat(5000), errno: Errno::NOENT });
        let Heard::Failed(error) = parent.hear("sh").unwrap() else { panic!("no failure") };
        assert_eq!(error.exit_code(), 125);
        let text = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(text, "cannot mount proc on /proc: Operation not permitted (os error 1)");
        let Heard::Failed(error) = parent.hear("sh").unwrap() else { panic!("no failure") };
        assert_eq!(error.exit_code(), 127);
        drop(child);
        assert!(matches!(parent.hear("sh").unwrap(), Heard::Ended));
    }

    #[test]
    fn ready_carries_a_descriptor() {
        let (parent, mut child) = Channel::pair().unwrap();
        let file: OwnedFd = std::fs::File::open("/").unwrap().into();
        child.send_ready(Some(&file)).unwrap();
        assert!(matches!(parent.hear("sh").unwrap(), Heard::Ready(Some(_))));
        parent.send_go().unwrap();
        assert!(child.wait_go(None));
        drop(parent);
        assert!(!child.wait_go(None));
    }
}
