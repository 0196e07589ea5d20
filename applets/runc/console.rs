//! The payload's terminal: handed to the caller, or relayed to the caller's own.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use coracle_abi::process::pidfd_send_signal;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with,
};
use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::runtime::Running;

/// What the payload writes is passed on in pieces of this size.
const CHUNK: usize = 8192;

/// Rows and columns of the caller's terminal.
pub fn size() -> Option<(u16, u16)> {
    tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0).map(|size| (size.ws_row, size.ws_col))
}

/// Send a terminal's master to who listens on a Unix socket (SCM_RIGHTS), with its name as the message.
pub fn send(socket: &Path, console: &OwnedFd) -> anyhow::Result<()> {
    let doing = || format!("cannot send the terminal to the console socket {}", socket.display());
    send_descriptor(socket, console.as_fd(), "/dev/ptmx").with_context(doing)
}

/// The same with the descriptor of a process that is ours and not reaped yet.
pub fn send_pidfd(socket: &Path, pid: i32) -> anyhow::Result<()> {
    let doing = || format!("cannot send the process to the pidfd socket {}", socket.display());
    let number = rustix::process::Pid::from_raw(pid).with_context(doing)?;
    let pidfd = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()).with_context(doing)?;
    send_descriptor(socket, pidfd.as_fd(), "pidfd").with_context(doing)
}

fn send_descriptor(socket: &Path, fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let address = SocketAddrUnix::new(socket)?;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&stream, &address)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&stream, &[IoSlice::new(name.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Wait for a process' end, passing on the signals that this process gets, and between its terminal and ours; its exit status.
pub fn follow(running: &Running, console: Option<&OwnedFd>, signals: &SignalFd) -> anyhow::Result<i32> {
    let _raw = console.map(|_| Raw::enter()).transpose()?;
    let mut input = console.is_some();
    let mut output = console.is_some();
    loop {
        let ready = wait(running, signals, console.filter(|_| output), input)?;
        if ready.signal {
            pass_on(signals, running.pidfd(), console);
        }
        if let Some(console) = console {
            if ready.input {
                input = relay_input(console)?;
            }
            if ready.output {
                output = relay_output(console)?;
                // What was written before the end is read before it is noticed.
                continue;
            }
        }
        if ready.end {
            return Ok(running.wait()?.code());
        }
    }
}

#[derive(Default)]
struct Ready {
    end: bool,
    signal: bool,
    output: bool,
    input: bool,
}

fn wait(running: &Running, signals: &SignalFd, console: Option<&OwnedFd>, input: bool) -> anyhow::Result<Ready> {
    let stdin = io::stdin();
    let mut fds = vec![PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    if let Some(console) = console {
        fds.push(PollFd::new(console, PollFlags::IN));
    }
    if input {
        fds.push(PollFd::new(&stdin, PollFlags::IN));
    }
    match poll(&mut fds, None) {
        Err(Errno::INTR) => return Ok(Ready::default()),
        polled => polled.context("cannot wait for the process")?,
    };
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let mut next = |asked: bool| asked && ready.next().unwrap_or(false);
    Ok(Ready { end: next(true), signal: next(true), output: next(console.is_some()), input: next(input) })
}

/// All signals that a program can get from outside, as a descriptor: from now on none is lost.
pub fn signals() -> anyhow::Result<SignalFd> {
    let own = [
        // They tell of our own doing.
        Signal::SIGCHLD,
        Signal::SIGURG,
        Signal::SIGPIPE,
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
        Signal::SIGTRAP,
        Signal::SIGSYS,
        // The shell's job control of this process.
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGCONT,
        Signal::SIGKILL,
        Signal::SIGSTOP,
    ];
    let set: SigSet = Signal::iterator().filter(|signal| !own.contains(signal)).collect();
    set.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("cannot make a signalfd")
}

fn pass_on(signals: &SignalFd, pidfd: BorrowedFd<'_>, console: Option<&OwnedFd>) {
    while let Ok(Some(info)) = signals.read_signal() {
        let Ok(number) = i32::try_from(info.ssi_signo) else { continue };
        if number != Signal::SIGWINCH as i32 {
            // Who has ended needs no signal.
            let _ = pidfd_send_signal(pidfd, number);
        } else if let (Some(console), Some((rows, columns))) = (console, size()) {
            let _ = tcsetwinsize(console, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
        }
    }
}

/// False when there is no more input.
fn relay_input(console: &OwnedFd) -> anyhow::Result<bool> {
    let mut buffer = [0; CHUNK];
    let length = match rustix::io::read(io::stdin(), &mut buffer) {
        Ok(length) => length,
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        Err(_) => 0,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(console, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(Errno::IO) => return Ok(false),
            Err(errno) => return Err(errno).context("cannot write to the process' terminal"),
        }
    }
    Ok(length > 0)
}

/// False when the last user of the terminal is gone.
fn relay_output(console: &OwnedFd) -> anyhow::Result<bool> {
    let mut buffer = [0; CHUNK];
    match rustix::io::read(console, &mut buffer) {
        Ok(length) if length > 0 => {
            let mut out = io::stdout().lock();
            out.write_all(&buffer[..length]).and_then(|()| out.flush())?;
            Ok(true)
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(true),
        _ => Ok(false),
    }
}

/// The caller's terminal in raw mode, and back when dropped.
struct Raw(Option<Termios>);

impl Raw {
    /// Switch, if standard input is a terminal.
    fn enter() -> anyhow::Result<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(Raw(None));
        }
        let before = tcgetattr(&stdin).context("cannot read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("cannot set the terminal's mode")?;
        Ok(Raw(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no mode.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}
