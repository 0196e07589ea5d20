//! The foreground client, of `ctr run` and `ctr attach`: streams and signals between the caller's terminal and a monitor.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, bail, ensure};
use clap::ArgAction;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::keys::{self, Keys, Watch};
use super::record::{self, Record, Status};
use super::wire::{self, CHUNK, Kind, Packet, Wire};
use super::{lifecycle, limits, reaper};

/// Signals that go on to the payload.
const PROXIED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// How to follow a container.
#[derive(clap::Args)]
pub struct Manner {
    /// Keys that leave the container's terminal while it runs on
    #[arg(long, value_name = "KEYS", default_value = keys::DEFAULT, value_parser = keys::parse)]
    detach_keys: Keys,

    /// Pass signals on to the container; false: they end ctr
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    sig_proxy: bool,
}

/// Which of the payload's streams a client prints.
#[derive(Clone, Copy)]
pub struct Show {
    /// Standard output, and all of a terminal.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Show {
    /// Both.
    pub const ALL: Show = Show { stdout: true, stderr: true };
}

/// `attach`.
#[derive(clap::Args)]
pub struct AttachArgs {
    #[command(flatten)]
    manner: Manner,

    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,

    /// Container, by name or id
    container: String,
}

/// Follow a container that runs; its exit status.
pub fn attach(args: &AttachArgs) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    reaper::sweep(&id)?;
    let record = Record::read(&id)?;
    ensure!(
        record.state.status != Status::Restarting,
        "You cannot attach to a restarting container, wait until it is running"
    );
    ensure!(!limits::is_frozen(&id), "You cannot attach to a paused container, unpause it first");
    let code = resume(&id, &args.manner, !args.no_stdin)?;
    code.context("You cannot attach to a stopped container, start it first")
}

/// Follow a container that runs to its end; its exit status, `None` if it does not run.
pub fn resume(id: &str, manner: &Manner, interactive: bool) -> anyhow::Result<Option<i32>> {
    let config = Record::read(id)?.config;
    let wire = lifecycle::connect(id)?.filter(|wire| wire.send(Kind::Attach, &[]).is_ok());
    let Some(wire) = wire else { return Ok(None) };
    if let (true, Some((rows, columns))) = (config.tty, terminal_size()) {
        // Another size first: a change is what makes full-screen programs paint themselves anew.
        wire.send(Kind::Size, &wire::size(rows.saturating_add(1), columns))?;
    }
    follow(&wire, manner, config.open_stdin && interactive, config.tty, Show::ALL).map(Some)
}

/// Rows and columns of the caller's terminal.
pub fn terminal_size() -> Option<(u16, u16)> {
    tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0).map(|size| (size.ws_row, size.ws_col))
}

/// The terminal in raw mode, and back when dropped.
pub struct Raw(Option<Termios>);

impl Raw {
    /// Switch, if standard input is a terminal.
    pub fn enter() -> anyhow::Result<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(Raw(None));
        }
        let old = tcgetattr(&stdin).context("cannot read the terminal's mode")?;
        let mut raw = old.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("cannot set the terminal's mode")?;
        Ok(Raw(Some(old)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, old);
        }
    }
}

/// Signals as a descriptor, so that none is lost between two calls of poll.
pub fn signals() -> anyhow::Result<SignalFd> {
    let mut set = SigSet::empty();
    PROXIED.into_iter().chain([Signal::SIGWINCH]).for_each(|signal| set.add(signal));
    set.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("cannot make a signalfd")
}

/// Follow a started container to its end; gives its exit status, 0 if the user left it by the detach keys.
pub fn follow(wire: &Wire, manner: &Manner, interactive: bool, tty: bool, show: Show) -> anyhow::Result<i32> {
    let signals = signals()?;
    let _raw = if tty && interactive { Some(Raw::enter()?) } else { None };
    let leave = tty.then(|| Watch::new(manner.detach_keys.clone()));
    let mut session = Session { wire, signals: &signals, input: interactive, leave, sig_proxy: manner.sig_proxy, show };
    session.send_size();
    session.run()
}

struct Session<'a> {
    wire: &'a Wire,
    signals: &'a SignalFd,
    /// Standard input is still read.
    input: bool,
    /// The container has a terminal, which these keys leave.
    leave: Option<Watch>,
    sig_proxy: bool,
    show: Show,
}

impl Session<'_> {
    fn run(&mut self) -> anyhow::Result<i32> {
        let mut buffer = [0; CHUNK];
        loop {
            let ready = self.wait()?;
            if ready[1]
                && let Some(signal) = self.take_signals()
            {
                return Ok(128 + signal);
            }
            if ready[2] && self.read_input()? {
                return Ok(0);
            }
            if !ready[0] {
                continue;
            }
            match self.wire.receive(&mut buffer)? {
                Packet::Body(Kind::Output, length) if self.show.stdout => {
                    print(&mut io::stdout().lock(), &buffer[..length])?
                }
                Packet::Body(Kind::Error, length) if self.show.stderr => {
                    print(&mut io::stderr().lock(), &buffer[..length])?
                }
                Packet::Body(Kind::Exited, _) => {
                    return wire::number(&buffer).context("the monitor sent a broken exit status");
                }
                Packet::Body(..) | Packet::Nothing => {}
                Packet::Closed => bail!("the container's monitor went away; `ctr ps -a` tells what is left"),
            }
        }
    }

    fn wait(&self) -> anyhow::Result<[bool; 3]> {
        let stdin = io::stdin();
        let input = if self.input { PollFlags::IN } else { PollFlags::empty() };
        let fds: [(BorrowedFd<'_>, PollFlags); 3] =
            [(self.wire.as_fd(), PollFlags::IN), (self.signals.as_fd(), PollFlags::IN), (stdin.as_fd(), input)];
        let count = if self.input { 3 } else { 2 };
        let mut polled: Vec<PollFd<'_>> =
            fds[..count].iter().map(|&(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        match poll(&mut polled, None) {
            Ok(_) => {
                let ready = |index: usize| polled.get(index).is_some_and(|fd| !fd.revents().is_empty());
                Ok([ready(0), ready(1), ready(2)])
            }
            Err(Errno::INTR) => Ok([false; 3]),
            Err(errno) => Err(errno).context("cannot wait for the container"),
        }
    }

    /// Pass signals on; gives one that is to end this client.
    fn take_signals(&self) -> Option<i32> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).unwrap_or(0);
            if signal == Signal::SIGWINCH as i32 {
                self.send_size();
            } else if self.sig_proxy {
                // A monitor that is gone is noticed when reading.
                let _ = self.wire.send(Kind::Signal, &signal.to_le_bytes());
            } else {
                return Some(signal);
            }
        }
        None
    }

    fn send_size(&self) {
        if let (true, Some((rows, columns))) = (self.leave.is_some(), terminal_size()) {
            let _ = self.wire.send(Kind::Size, &wire::size(rows, columns));
        }
    }

    /// Pass input on; true if the user wants to leave.
    fn read_input(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; CHUNK / 2];
        let length = match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(_) => 0,
        };
        if length == 0 {
            self.input = false;
            let _ = self.wire.send(Kind::CloseInput, &[]);
            return Ok(false);
        }
        let mut data = Vec::with_capacity(length);
        let left = match &mut self.leave {
            Some(watch) => watch.take(&buffer[..length], &mut data),
            None => {
                data.extend_from_slice(&buffer[..length]);
                false
            }
        };
        if !data.is_empty() {
            let _ = self.wire.send(Kind::Input, &data);
        }
        Ok(left)
    }
}

fn print(out: &mut impl Write, data: &[u8]) -> anyhow::Result<()> {
    // The payload goes on when nobody reads any more; its log has it all.
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the container's output"),
    }
}
