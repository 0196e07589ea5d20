//! The one small process per container: it holds the payload's pidfd, the ends of its pipes or terminal, and its exit status.
//!
//! It is forked, never executed anew, before anything of size is in memory; the launcher that does the heavy work is its child and
//! gone when the payload runs. The payload is then reparented to the monitor, which is a child subreaper. One thread, one poll loop;
//! what it does not hold it does not have to copy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use coracle_abi::clone::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::farewell::{Listeners, Packets};
use super::lock::Lock;
use super::logfile::{Stream, Writer};
use super::options_log::rotation;
use super::record::{Record, Status};
use super::wire::{self, CHUNK, Kind, Listener, Packet, Wire};
use super::{events, limits, paths, reaper, time};

/// More clients at once are turned away.
const MAX_CLIENTS: usize = 32;

/// Exit status of what was lost or killed before it could say.
const KILLED: i32 = 137;

/// The monitor's ends of the payload's streams.
#[derive(Default)]
pub struct Ends {
    /// Writes to its standard input, if that is kept open.
    pub stdin: Option<OwnedFd>,
    /// Reads its standard output.
    pub stdout: Option<OwnedFd>,
    /// Reads its standard error.
    pub stderr: Option<OwnedFd>,
    /// The master of its terminal, which then stands for all three.
    pub console: Option<OwnedFd>,
}

/// What a monitor is born with.
pub struct Monitor {
    /// The container.
    pub id: String,
    /// Its lock, held until the end.
    pub lock: Lock,
    /// Whoever waits for the start.
    pub client: Wire,
    /// Whether that client also wants what follows.
    pub attached: bool,
}

impl Monitor {
    /// See the container from its start to its end. The result is an exit status that nobody reads.
    pub fn run(self, launcher: Child, from_launcher: Wire, ends: Ends) -> i32 {
        let Monitor { id, lock, client, attached } = self;
        let code = match await_start(&client, &launcher, &from_launcher) {
            Start::Running { pidfd, console } => {
                drop(from_launcher);
                // Before the word goes out: who hears it may connect at once.
                let listener = Listener::bind(&paths::live_container(&id)).ok();
                let told = client.send(Kind::Started, &[]).is_ok();
                let first = (told && attached).then_some(client);
                return supervise(&id, lock, first, listener, &pidfd, Ends { console, ..ends });
            }
            Start::Failed(code) => code,
            Start::Lost => {
                reaper::record_loss(&id, KILLED, "the start was interrupted");
                125
            }
        };
        drop(ends);
        if let Err(error) = reaper::finish(&id, lock) {
            report(&error);
        }
        // A client that is gone needs no answer.
        let _ = client.send(Kind::Failed, &code.to_le_bytes());
        0
    }
}

enum Start {
    Running { pidfd: OwnedFd, console: Option<OwnedFd> },
    Failed(i32),
    Lost,
}

/// Wait for the launcher's word, and stop it if the client goes away meanwhile.
fn await_start(client: &Wire, launcher: &Child, from_launcher: &Wire) -> Start {
    let mut buffer = [0; CHUNK];
    let mut fds = Vec::new();
    let start = loop {
        let mut polled = [
            PollFd::from_borrowed_fd(from_launcher.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(client.as_fd(), PollFlags::RDHUP),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break Start::Lost,
        }
        if polled[0].revents().is_empty() {
            if !polled[1].revents().is_empty() {
                // An unstarted payload ends with its launcher.
                let _ = rustix::process::pidfd_send_signal(&launcher.pidfd, rustix::process::Signal::KILL);
                break Start::Lost;
            }
            continue;
        }
        match from_launcher.receive_fds(&mut buffer, &mut fds) {
            Ok(Packet::Body(Kind::Started, _)) => {
                let mut fds = fds.into_iter();
                let Some(pidfd) = fds.next() else { break Start::Lost };
                break Start::Running { pidfd, console: fds.next() };
            }
            Ok(Packet::Body(Kind::Failed, _)) => break Start::Failed(wire::number(&buffer).unwrap_or(125)),
            _ => break Start::Lost,
        }
    };
    let _ = reap(launcher.pidfd.as_fd());
    start
}

/// Wait for a child and reap it.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signal).unwrap_or(KILLED));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn report(error: &anyhow::Error) {
    eprintln!("ctr: {error:#}");
}

/// From the running payload to the record of its end.
fn supervise(
    id: &str,
    lock: Lock,
    first: Option<Wire>,
    listener: Option<Listener>,
    pidfd: &OwnedFd,
    ends: Ends,
) -> i32 {
    let log = Record::read(id).ok().and_then(|record| open_log(&record));
    let mut relay = Relay { log, listener, clients: Vec::new(), ends, owed: None, input: None, buffer: [0; CHUNK] };
    relay.clients.extend(first.map(|wire| Client { wire, attached: true, owes: false }));
    relay.until_exit(pidfd.as_fd());
    let code = reap(pidfd.as_fd()).unwrap_or(KILLED);
    let owed = usize::from(relay.owed.is_some());
    let mut packets = relay.drain();
    let result = record_end(id, code).and_then(|()| reaper::finish(id, lock));
    // The socket has no name any more: whoever has connected by now is told, and there will be no one else.
    while relay.accept() {}
    let end = packets.len();
    packets.push((Kind::Exited, code.to_le_bytes().to_vec()));
    let listeners = relay.clients.into_iter().map(|client| match client {
        Client { wire, owes: true, .. } => (wire, 0),
        Client { wire, attached: true, .. } => (wire, owed),
        Client { wire, .. } => (wire, end),
    });
    // Last, and with nothing held: this takes as long as the slowest of them.
    Listeners::new(listeners).tell(&packets);
    i32::from(result.is_err())
}

/// The log that the record wants, if any.
fn open_log(record: &Record) -> Option<Writer> {
    let rotation = rotation(&record.host_config.log_config).ok()??;
    Writer::open(&paths::container(&record.id).join("log"), rotation).ok()
}

fn record_end(id: &str, code: i32) -> anyhow::Result<()> {
    let record = Record::read(id)?;
    let oom_killed = limits::oom_killed(id);
    events::ended(&record, code, oom_killed);
    if record.host_config.auto_remove {
        // It is about to go.
        return Ok(());
    }
    let changed = Record::change(id, |record| {
        record.state.oom_killed = oom_killed;
        record.state.status = Status::Exited;
        record.state.exit_code = code;
        record.state.finished_at = time::now();
        Ok(())
    });
    changed.map(drop).context("cannot record the end")
}

struct Client {
    wire: Wire,
    /// It wants output; otherwise only the end.
    attached: bool,
    /// It has not taken the chunk in [`Relay::owed`] yet.
    owes: bool,
}

/// What goes between payload, log and clients. One chunk of output at a time: as long as a client has not taken it, no more is read,
/// so nothing piles up here and a slow client slows the payload.
struct Relay {
    log: Option<Writer>,
    listener: Option<Listener>,
    clients: Vec<Client>,
    ends: Ends,
    /// The chunk of `buffer` that some client has not taken: kind and length.
    owed: Option<(Kind, usize)>,
    /// Input that the payload has not taken.
    input: Option<Vec<u8>>,
    buffer: [u8; CHUNK],
}

/// Who a polled descriptor belongs to.
#[derive(Clone, Copy)]
enum Source {
    Payload,
    Stdout,
    Stderr,
    Console,
    Stdin,
    Listener,
    Client(usize),
}

impl Relay {
    fn until_exit(&mut self, pidfd: BorrowedFd<'_>) {
        loop {
            let ready = match self.wait(pidfd) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                // Without poll there is still the end to wait for.
                Err(_) => return,
            };
            let mut ended = false;
            // Clients last and from the highest index, as serving one may remove it.
            for (source, flags) in ready.into_iter().rev() {
                match source {
                    Source::Payload => ended = true,
                    Source::Stdout => self.read(Source::Stdout),
                    Source::Stderr => self.read(Source::Stderr),
                    Source::Console if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) => {
                        self.read(Source::Console)
                    }
                    Source::Console | Source::Stdin => self.feed(),
                    Source::Listener => {
                        self.accept();
                    }
                    Source::Client(index) => self.serve(index, flags, pidfd),
                }
            }
            if ended {
                return;
            }
        }
    }

    /// Wait until something can be done.
    fn wait(&self, pidfd: BorrowedFd<'_>) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let mut sources = vec![Source::Payload];
        let mut polled = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        let mut add = |source, fd, flags| {
            sources.push(source);
            polled.push(PollFd::from_borrowed_fd(fd, flags));
        };
        let may_read = self.owed.is_none();
        if let (Some(fd), true) = (&self.ends.stdout, may_read) {
            add(Source::Stdout, fd.as_fd(), PollFlags::IN);
        }
        if let (Some(fd), true) = (&self.ends.stderr, may_read) {
            add(Source::Stderr, fd.as_fd(), PollFlags::IN);
        }
        if let Some(fd) = &self.ends.console {
            let mut flags = if may_read { PollFlags::IN } else { PollFlags::empty() };
            flags.set(PollFlags::OUT, self.input.is_some());
            if !flags.is_empty() {
                add(Source::Console, fd.as_fd(), flags);
            }
        }
        if let (Some(fd), true) = (&self.ends.stdin, self.input.is_some()) {
            add(Source::Stdin, fd.as_fd(), PollFlags::OUT);
        }
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::RDHUP;
            // Input is taken from a client only when there is room for it.
            flags.set(PollFlags::IN, self.input.is_none());
            flags.set(PollFlags::OUT, client.owes);
            add(Source::Client(index), client.wire.as_fd(), flags);
        }
        poll(&mut polled, None)?;
        let ready = sources.into_iter().zip(polled.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// Take output from the payload, to the log and to the clients.
    fn read(&mut self, source: Source) {
        if self.owed.is_none()
            && let Some((kind, length)) = self.take(source)
        {
            self.hand_out(kind, length);
        }
    }

    /// Take output from the payload into the buffer, and to the log.
    fn take(&mut self, source: Source) -> Option<(Kind, usize)> {
        let fd = match source {
            Source::Stdout => &self.ends.stdout,
            Source::Stderr => &self.ends.stderr,
            _ => &self.ends.console,
        };
        match rustix::io::read(fd.as_ref()?, &mut self.buffer[..]) {
            Ok(0) => self.close(source),
            Ok(length) => {
                let (stream, kind) = match source {
                    Source::Stderr => (Stream::Stderr, Kind::Error),
                    _ => (Stream::Stdout, Kind::Output),
                };
                if let Some(log) = &mut self.log {
                    // A full disk must not stop the payload.
                    let _ = log.write(stream, &self.buffer[..length]);
                }
                return Some((kind, length));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal says EIO when its last user is gone, for as long as there is none.
            Err(_) => self.close(source),
        }
        None
    }

    fn close(&mut self, source: Source) {
        match source {
            Source::Stdout => self.ends.stdout = None,
            Source::Stderr => self.ends.stderr = None,
            _ => self.ends.console = None,
        }
    }

    fn hand_out(&mut self, kind: Kind, length: usize) {
        for client in self.clients.iter_mut().filter(|client| client.attached) {
            client.owes = true;
        }
        self.owed = Some((kind, length));
        self.deliver();
    }

    /// Send the owed chunk to those who have not taken it.
    fn deliver(&mut self) {
        let Some((kind, length)) = self.owed else { return };
        let chunk = &self.buffer[..length];
        self.clients.retain_mut(|client| {
            if !client.owes {
                return true;
            }
            match client.wire.try_send(kind, chunk) {
                Ok(()) => client.owes = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            true
        });
        if !self.clients.iter().any(|client| client.owes) {
            self.owed = None;
        }
    }

    /// Take a client in; false if there is none waiting.
    fn accept(&mut self) -> bool {
        let Some(wire) = self.listener.as_ref().and_then(Listener::accept) else { return false };
        if self.clients.len() < MAX_CLIENTS {
            self.clients.push(Client { wire, attached: false, owes: false });
        }
        true
    }

    fn serve(&mut self, index: usize, flags: PollFlags, pidfd: BorrowedFd<'_>) {
        if flags.contains(PollFlags::OUT) {
            self.deliver();
        }
        if !flags.intersects(PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let mut body = [0; CHUNK];
        let Some(client) = self.clients.get_mut(index) else { return };
        match client.wire.try_receive(&mut body) {
            Ok(Packet::Body(kind, length)) => self.obey(index, kind, &body[..length], pidfd),
            Ok(Packet::Nothing) => {}
            Ok(Packet::Closed) | Err(_) => {
                self.clients.remove(index);
                self.deliver();
            }
        }
    }

    fn obey(&mut self, index: usize, kind: Kind, body: &[u8], pidfd: BorrowedFd<'_>) {
        match kind {
            Kind::Attach => {
                if let Some(client) = self.clients.get_mut(index) {
                    client.attached = true;
                }
            }
            Kind::Input => {
                self.input = Some(body.to_vec());
                self.feed();
            }
            Kind::CloseInput => self.ends.stdin = None,
            Kind::Size => {
                if let (Some(console), Some((rows, columns))) = (&self.ends.console, wire::parse_size(body)) {
                    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = rustix::termios::tcsetwinsize(console, size);
                }
            }
            Kind::Signal => {
                if let Some(signal) = wire::number(body) {
                    let _ = coracle_abi::process::pidfd_send_signal(pidfd, signal);
                }
            }
            _ => {}
        }
    }

    /// Give the payload its input, as much as it takes.
    fn feed(&mut self) {
        let Some(mut data) = self.input.take() else { return };
        let Some(fd) = self.ends.console.as_ref().or(self.ends.stdin.as_ref()) else { return };
        match rustix::io::write(fd, &data) {
            Ok(length) if length == data.len() => {}
            Ok(length) => {
                data.drain(..length);
                self.input = Some(data);
            }
            Err(Errno::AGAIN | Errno::INTR) => self.input = Some(data),
            // It has closed its standard input.
            Err(_) => self.ends.stdin = None,
        }
    }

    /// After the end: what is still in the pipes, to the log and as packets for those who listen. The first is the one that some
    /// clients have not taken, if there is one.
    fn drain(&mut self) -> Packets {
        let owed = self.owed.take().map(|(kind, length)| (kind, self.buffer[..length].to_vec()));
        let mut rest: Packets = owed.into_iter().collect();
        let is_heard = self.clients.iter().any(|client| client.attached);
        // All descriptors are non-blocking: with every process of the container gone, empty is the end.
        for source in [Source::Stdout, Source::Stderr, Source::Console] {
            while self.has_data(source) {
                if let (Some((kind, length)), true) = (self.take(source), is_heard) {
                    rest.push((kind, self.buffer[..length].to_vec()));
                }
            }
        }
        if let Some(log) = &mut self.log {
            let _ = log.finish();
        }
        rest
    }

    fn has_data(&self, source: Source) -> bool {
        let fd = match source {
            Source::Stdout => &self.ends.stdout,
            Source::Stderr => &self.ends.stderr,
            _ => &self.ends.console,
        };
        let Some(fd) = fd else { return false };
        let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        poll(&mut polled, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
    }
}

/// Make this process a monitor: no terminal, no folder, no streams of the caller's.
pub fn detach() -> anyhow::Result<()> {
    rustix::process::setsid().context("cannot start a session")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("cannot become a subreaper")?;
    std::env::set_current_dir("/").context("cannot change to /")?;
    rustix::thread::set_name(c"ctr-monitor").context("cannot set the process' name")
}

/// Let go of the caller's standard streams.
pub fn release_streams() -> anyhow::Result<()> {
    let null =
        open(Path::new("/dev/null"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
