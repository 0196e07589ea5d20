//! What goes between a payload, its log and the monitor's clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use coracle_abi::clone::{Child, spawn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::farewell::{Listeners, Packets};
use super::health::{self, Probes};
use super::lock::Lock;
use super::logfile::{Stream, Writer};
use super::monitor::Ends;
use super::options_log::rotation;
use super::record::Record;
use super::wire::{self, CHUNK, Kind, Listener, Packet, Wire};
use super::{paths, reaper};

/// More clients at once are turned away.
const MAX_CLIENTS: usize = 32;

/// With nothing to do for so long it settles down to wait.
const UNSETTLED: Duration = Duration::from_millis(200);

/// The log that the record wants, if any.
fn open_log(record: &Record) -> Option<Writer> {
    let rotation = rotation(&record.host_config.log_config).ok()??;
    Writer::open(&paths::container(&record.id).join("log"), rotation).ok()
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
pub struct Relay {
    /// The container's lock, held until the end.
    lock: Option<Lock>,
    log: Option<Writer>,
    probes: Option<Probes>,
    listener: Option<Listener>,
    clients: Vec<Client>,
    ends: Ends,
    /// The chunk of `buffer` that some client has not taken: kind and length.
    owed: Option<(Kind, usize)>,
    /// Input that the payload has not taken.
    input: Option<Vec<u8>>,
    /// What the payload has left when it ended.
    last: Packets,
    /// Those who tell clients of earlier runs.
    tellers: Vec<Child>,
    /// Memory that is of no use while it waits has been given back.
    is_settled: bool,
    buffer: [u8; CHUNK],
}

/// Who a polled descriptor belongs to.
#[derive(Clone, Copy)]
enum Source {
    Payload,
    Probe,
    Stdout,
    Stderr,
    Console,
    Stdin,
    Listener,
    Client(usize),
}

impl Relay {
    /// Of a container whose lock this takes over; `first` is a client that wants all output.
    pub fn new(lock: Lock, listener: Option<Listener>, first: Option<Wire>) -> Self {
        let clients = first.map(|wire| Client { wire, attached: true, owes: false }).into_iter().collect();
        Relay {
            lock: Some(lock),
            log: None,
            probes: None,
            listener,
            clients,
            ends: Ends::default(),
            owed: None,
            input: None,
            last: Vec::new(),
            tellers: Vec::new(),
            is_settled: false,
            buffer: [0; CHUNK],
        }
    }

    /// A payload runs, and these are its streams.
    pub fn begin(&mut self, id: &str, ends: Ends) {
        self.ends = ends;
        self.input = None;
        // The record is not kept: it is larger than all else here.
        if let Ok(record) = Record::read(id) {
            self.log = open_log(&record);
            self.probes = Probes::of(&record);
        }
    }

    /// The payload has ended.
    pub fn end(&mut self) {
        if let Some(probes) = self.probes.take() {
            probes.stop();
        }
        self.last = self.drain();
        self.log = None;
        self.ends = Ends::default();
    }

    /// The clients of a run with what each is still to be told, after which there is nothing.
    fn farewell(&mut self, code: i32) -> (Listeners, Packets) {
        while self.accept() {}
        let mut packets = std::mem::take(&mut self.last);
        let owed = usize::from(self.owed.take().is_some());
        let end = packets.len();
        packets.push((Kind::Exited, code.to_le_bytes().to_vec()));
        let listeners = self.clients.drain(..).map(|client| match client {
            Client { wire, owes: true, .. } => (wire, 0),
            Client { wire, attached: true, .. } => (wire, owed),
            Client { wire, .. } => (wire, end),
        });
        (Listeners::new(listeners), packets)
    }

    /// Tell all clients of the end of a run that is not the last. A child does it: it may take as long as the slowest of them.
    pub fn tell_apart(&mut self, code: i32) {
        self.tellers.retain(|teller| !has_ended(teller));
        let (listeners, packets) = self.farewell(code);
        if listeners.is_empty() {
            return;
        }
        let held = (&mut self.lock, &mut self.listener);
        let teller = spawn(0, None, move || {
            drop((held.0.take(), held.1.take()));
            listeners.tell(&packets);
            0
        });
        self.tellers.extend(teller);
    }

    /// Wait between two runs; false if `is_held` says that there is not to be another. Whoever connects makes it look.
    pub fn rest(&mut self, delay: Duration, is_held: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + delay;
        loop {
            if is_held() {
                return false;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let Some(listener) = &self.listener else {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                continue;
            };
            let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
            if poll(&mut polled, Some(&timespec(left))).is_ok_and(|count| count > 0) {
                self.accept();
            }
        }
    }

    /// After the last run: tidy up and tell all clients. The result is an exit status.
    pub fn conclude(mut self, id: &str, code: i32, recorded: anyhow::Result<()>) -> i32 {
        let result = match self.lock.take() {
            Some(lock) => recorded.and_then(|()| reaper::finish(id, lock)),
            None => recorded,
        };
        // The socket has no name any more: whoever has connected by now is told, and there will be no one else.
        let (listeners, packets) = self.farewell(code);
        // Last, and with nothing held: this takes as long as the slowest of them.
        listeners.tell(&packets);
        i32::from(result.is_err())
    }

    /// Start a health check.
    fn probe(&mut self, payload: BorrowedFd<'_>) {
        let Some(probes) = &mut self.probes else { return };
        let held = (&mut self.lock, &mut self.listener, &mut self.clients);
        let id = probes.id().to_owned();
        let child = spawn(0, None, move || {
            drop((held.0.take(), held.1.take(), std::mem::take(held.2)));
            health::probe(&id, payload)
        });
        probes.began(child.ok());
    }

    /// See the payload to its end.
    pub fn until_exit(&mut self, pidfd: BorrowedFd<'_>) {
        loop {
            let ready = match self.wait(pidfd) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                // Without poll there is still the end to wait for.
                Err(_) => return,
            };
            let mut ended = false;
            if self.probes.as_ref().is_some_and(Probes::is_due) {
                self.probe(pidfd);
            }
            // Clients last and from the highest index, as serving one may remove it.
            for (source, flags) in ready.into_iter().rev() {
                match source {
                    Source::Payload => ended = true,
                    Source::Probe => self.probes.iter_mut().for_each(Probes::ended),
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
    fn wait(&mut self, pidfd: BorrowedFd<'_>) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let mut sources = vec![Source::Payload];
        let mut polled = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        let mut add = |source, fd, flags| {
            sources.push(source);
            polled.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(fd) = self.probes.as_ref().and_then(Probes::fd) {
            add(Source::Probe, fd, PollFlags::IN);
        }
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
        let timeout = self.probes.as_ref().and_then(Probes::timeout);
        let timeout =
            if self.is_settled { timeout } else { Some(timeout.map_or(UNSETTLED, |left| left.min(UNSETTLED))) };
        let count = poll(&mut polled, timeout.map(timespec).as_ref())?;
        if count == 0 && !self.is_settled {
            // It is there to wait from now on, for long. What it did before needs no memory any more.
            // On arm64 frames were larger than what was kept of the stack, and monitors died; off there until it is tried anew.
            if cfg!(target_arch = "x86_64") {
                let _ = coracle_abi::memory::settle();
            }
            self.is_settled = true;
        }
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

/// Reap a child if it has ended.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::PidFd(child.pidfd.as_fd()), options), Ok(None))
}

/// For poll.
pub fn timespec(duration: Duration) -> rustix::time::Timespec {
    rustix::time::Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
