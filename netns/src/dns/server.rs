//! The server: one thread, one loop.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::directory::{Directory, Finding, Member};
use super::listener::Listener;
use super::message::{self, Code, Query};
use super::reactor::{Event, Reactor, Token};
use super::stream::Stream;
use super::summon::{Office, READY};
use super::upstream;
use crate::ipam::{View, runtime_dir};
use crate::{Result, namespace};

/// Questions that a container may have under way, and connections. What goes beyond is refused.
const MOST_UNDER_WAY: usize = 64;
/// How long a client's connection may be idle (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// After so long without a question the server gives back what memory it can.
const UNSETTLED: Duration = Duration::from_millis(500);
/// Datagrams that are taken from one container before the others have their turn.
const TURN: usize = 16;

/// Who wants an answer.
#[derive(Clone, Debug)]
enum Asker {
    /// A client by UDP.
    Address(SocketAddr),
    /// A client by TCP.
    Connection(Token),
}

/// A question that has been passed on.
#[derive(Debug)]
struct Errand {
    container: String,
    asker: Asker,
    query: Query,
    /// As it is sent, with a number of our own.
    message: Vec<u8>,
    id: u16,
    servers: std::vec::IntoIter<SocketAddr>,
    /// Whether the servers are the container's own, and are asked from where it is.
    from_container: bool,
}

#[derive(Debug)]
enum Source {
    Control(UnixListener),
    Changes(OwnedFd),
    Queries(String, UdpSocket),
    Connections(String, std::net::TcpListener),
    Ended(String, OwnedFd),
    Client { container: String, stream: Stream, waits: bool },
    Datagram(Errand, UdpSocket),
    Exchange(Errand, Stream),
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Control(socket) => socket.as_fd(),
            Source::Changes(fd) | Source::Ended(_, fd) => fd.as_fd(),
            Source::Queries(_, socket) | Source::Datagram(_, socket) => socket.as_fd(),
            Source::Connections(_, socket) => socket.as_fd(),
            Source::Client { stream, .. } | Source::Exchange(_, stream) => stream.as_fd(),
        }
    }
}

impl Source {
    /// The container that it is of.
    fn container(&self) -> Option<&str> {
        match self {
            Source::Control(_) | Source::Changes(_) => None,
            Source::Queries(container, _) | Source::Connections(container, _) | Source::Ended(container, _) => {
                Some(container)
            }
            Source::Client { container, .. } => Some(container),
            Source::Datagram(errand, _) | Source::Exchange(errand, _) => Some(&errand.container),
        }
    }

    fn is_under_way(&self) -> bool {
        matches!(self, Source::Client { .. } | Source::Datagram(..) | Source::Exchange(..))
    }
}

/// A container that is listened for.
#[derive(Debug)]
struct Place {
    namespace: OwnedFd,
    number: u64,
    /// A second descriptor of the socket that answers go out by.
    answers: UdpSocket,
    under_way: usize,
}

/// Be the name server of containers, until there are none; if another is in charge, return at once.
///
/// # Errors
/// What the kernel said.
pub fn serve() -> Result<()> {
    let Some(office) = Office::take()? else { return Ok(()) };
    raise_descriptor_limit();
    let result = Server::new(&office).and_then(Server::run);
    office.leave()?;
    result
}

/// Three for each container: more than a process has by default.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused, it serves as many as it can.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

struct Server {
    reactor: Reactor<Source>,
    directory: Directory,
    places: HashMap<String, Place>,
    /// Containers that cannot be listened for, with the reason.
    failures: BTreeMap<String, String>,
    buffer: Vec<u8>,
}

impl Server {
    fn new(office: &Office) -> Result<Self> {
        let directory = Directory::open(View::of(runtime_dir()))?;
        let mut reactor = Reactor::new()?;
        let failed = |source| crate::Error::kernel("copy a descriptor", source);
        reactor.add(Source::Control(office.socket.try_clone().map_err(failed)?), EventFlags::IN)?;
        reactor.add(Source::Changes(directory.as_fd().try_clone_to_owned().map_err(failed)?), EventFlags::IN)?;
        let (places, failures) = Default::default();
        let mut server = Server { reactor, directory, places, failures, buffer: vec![0; 1 << 16] };
        server.align();
        Ok(server)
    }

    fn run(mut self) -> Result<()> {
        let mut is_settled = false;
        // A failure is to be told before it goes.
        while !(self.places.is_empty() && self.failures.is_empty()) {
            let events = self.reactor.wait((!is_settled).then_some(UNSETTLED))?;
            if events.is_empty() && !is_settled {
                is_settled = true;
                if cfg!(target_arch = "x86_64") {
                    let _ = coracle_abi::memory::settle();
                }
            }
            self.catch_up()?;
            for event in events {
                match event {
                    Event::Ready(token, flags) => self.ready(token, flags)?,
                    Event::Late(token) => self.late(token),
                }
            }
        }
        Ok(())
    }

    /// What was true when a question was sent is known before it is answered.
    fn catch_up(&mut self) -> Result<()> {
        if self.directory.catch_up()? {
            self.drop_gone();
        }
        Ok(())
    }

    fn wanted(&self) -> BTreeMap<String, Member> {
        self.directory.members().into_iter().map(|(id, member)| (id.to_owned(), member.clone())).collect()
    }

    /// Let go of containers that are not on file any more. New ones say so when they are complete.
    fn drop_gone(&mut self) {
        let wanted = self.wanted();
        let gone = |(id, place): (&String, &Place)| {
            let kept = wanted.get(id).is_some_and(|member| member.namespace == place.number);
            (!kept).then(|| id.clone())
        };
        for id in self.places.iter().filter_map(gone).collect::<Vec<_>>() {
            self.drop_place(&id);
        }
        self.failures.retain(|id, _| wanted.contains_key(id));
    }

    /// Listen for every container that is on file, and for no other.
    fn align(&mut self) {
        self.drop_gone();
        let wanted = self.wanted();
        self.failures.clear();
        for (id, member) in wanted.into_iter().filter(|(id, _)| !self.places.contains_key(id)).collect::<Vec<_>>() {
            if let Err(error) = self.add_place(&id, &member) {
                self.drop_place(&id);
                self.failures.insert(id, one_line(&error));
            }
        }
    }

    fn add_place(&mut self, id: &str, member: &Member) -> Result<()> {
        let Some(listener) = Listener::open(member)? else { return Ok(()) };
        let Listener { udp, tcp, process, namespace, number } = listener;
        let answers = udp.try_clone().map_err(|error| crate::Error::kernel("copy a descriptor", error))?;
        self.places.insert(id.into(), Place { namespace, number, answers, under_way: 0 });
        self.reactor.add(Source::Queries(id.into(), udp), EventFlags::IN)?;
        self.reactor.add(Source::Connections(id.into(), tcp), EventFlags::IN)?;
        self.reactor.add(Source::Ended(id.into(), process), EventFlags::IN)?;
        Ok(())
    }

    /// Let go of all that is of a container: what is held of its namespace keeps it from going.
    fn drop_place(&mut self, id: &str) {
        for token in self.reactor.tokens(|source| source.container() == Some(id)) {
            self.reactor.remove(token);
        }
        if let Some(place) = self.places.remove(id) {
            // It goes with the namespace anyhow, unless the container goes on on other networks.
            let _ = super::listener::remove_redirect(place.namespace.as_fd());
        }
    }

    fn remove(&mut self, token: Token) -> Option<Source> {
        let source = self.reactor.remove(token)?;
        if let Some(place) = source.container().filter(|_| source.is_under_way()).and_then(|id| self.places.get_mut(id))
        {
            place.under_way = place.under_way.saturating_sub(1);
        }
        Some(source)
    }

    /// Watch something that counts against its container's share.
    fn add_under_way(&mut self, source: Source, flags: EventFlags, time: Duration) -> Option<Token> {
        let id = source.container()?.to_owned();
        let token = self.reactor.add(source, flags).ok()?;
        self.reactor.set_deadline(token, Instant::now() + time);
        self.places.get_mut(&id)?.under_way += 1;
        Some(token)
    }

    fn is_full(&self, container: &str) -> bool {
        self.places.get(container).is_none_or(|place| place.under_way >= MOST_UNDER_WAY)
    }

    fn ready(&mut self, token: Token, flags: EventFlags) -> Result<()> {
        match self.reactor.get(token) {
            None | Some(Source::Changes(_)) => {}
            Some(Source::Control(socket)) => {
                if let Ok((client, _)) = socket.accept() {
                    self.directory.catch_up()?;
                    // Also what was looked at while it was still being made.
                    self.align();
                    self.report(client);
                }
            }
            Some(Source::Ended(container, _)) => {
                let container = container.clone();
                self.drop_place(&container);
            }
            Some(Source::Queries(..)) => self.take_queries(token),
            Some(Source::Connections(container, socket)) => {
                let container = container.clone();
                match socket.accept() {
                    Ok((client, _)) => self.greet(container, client),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // Without descriptors it would be called again at once.
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
            Some(Source::Client { .. }) => self.converse(token, flags),
            Some(Source::Datagram(..)) => self.take_datagram(token),
            Some(Source::Exchange(..)) => self.take_exchange(token),
        }
        Ok(())
    }

    /// Tell who asked that all is known.
    fn report(&self, mut client: std::os::unix::net::UnixStream) {
        let mut answer = READY.to_owned();
        for (id, reason) in &self.failures {
            answer.push_str(&format!("{id} {reason}\n"));
        }
        // A client that is gone needs no answer, and none waits without reading.
        let _ = client.set_nonblocking(true).and_then(|()| client.write_all(answer.as_bytes()));
    }

    fn take_queries(&mut self, token: Token) {
        for _ in 0..TURN {
            let Some(Source::Queries(container, socket)) = self.reactor.get(token) else { return };
            let Ok((length, from)) = socket.recv_from(&mut self.buffer) else { return };
            let (container, message) = (container.clone(), self.buffer[..length].to_vec());
            self.answer(&container, Asker::Address(from), message);
        }
    }

    fn greet(&mut self, container: String, client: TcpStream) {
        if self.is_full(&container) || client.set_nonblocking(true).is_err() {
            return;
        }
        let client = Source::Client { container, stream: Stream::new(client), waits: false };
        self.add_under_way(client, EventFlags::IN, IDLE);
    }

    /// Take a client's questions one after the other, and send it the answers.
    fn converse(&mut self, token: Token, flags: EventFlags) {
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.remove(token);
            return;
        }
        for _ in 0..TURN {
            let Some(Source::Client { container, stream, waits }) = self.reactor.get(token) else { return };
            let is_free = !*waits && !stream.owes();
            if !stream.flush() || is_free && !stream.fill(&mut self.buffer) {
                self.remove(token);
                return;
            }
            let message = if is_free { stream.take() } else { None };
            let Some(message) = message else { return self.watch(token) };
            *waits = true;
            let container = container.clone();
            self.answer(&container, Asker::Connection(token), message);
        }
        // The others first. What was taken in already causes no event.
        self.reactor.set_deadline(token, Instant::now());
    }

    /// See to it that a client is heard when it is its turn.
    fn watch(&mut self, token: Token) {
        let Some(Source::Client { stream, waits, .. }) = self.reactor.get(token) else { return };
        let flags = match (stream.owes(), *waits) {
            (true, _) => EventFlags::OUT,
            (false, true) => EventFlags::empty(),
            (false, false) => EventFlags::IN,
        };
        self.reactor.change(token, flags);
        self.reactor.set_deadline(token, Instant::now() + IDLE);
    }

    /// Answer a question, or pass it on.
    fn answer(&mut self, container: &str, asker: Asker, message: Vec<u8>) {
        let query = match message::parse(&message) {
            Ok(query) => query,
            Err(Some(answer)) => return self.reply(container, &asker, &answer),
            Err(None) => {
                if let Asker::Connection(token) = asker {
                    self.remove(token);
                }
                return;
            }
        };
        let limit = self.limit(&asker, &query);
        let finding = match &query.name {
            Some(name) => self.directory.find(container, name, query.kind),
            None => self.directory.find(container, "", query.kind),
        };
        let answer = match finding {
            Finding::Addresses(mut addresses) => {
                upstream::shuffle(&mut addresses);
                query.addresses(&addresses, limit)
            }
            Finding::Name(name) if query.kind == message::PTR => query.pointer(&name, limit),
            Finding::Name(_) => query.refuse(Code::NoError),
            Finding::Unreachable => query.refuse(Code::ServerFailure),
            Finding::Foreign if self.is_full(container) => query.refuse(Code::Refused),
            Finding::Foreign => return self.pass_on(container, asker, query, message),
        };
        self.reply(container, &asker, &answer);
    }

    fn limit(&self, asker: &Asker, query: &Query) -> usize {
        match asker {
            Asker::Address(_) => usize::from(query.udp_size),
            Asker::Connection(_) => usize::from(u16::MAX),
        }
    }

    fn reply(&mut self, container: &str, asker: &Asker, answer: &[u8]) {
        match asker {
            Asker::Address(address) => {
                if let Some(place) = self.places.get(container) {
                    // Lost, it is asked for again.
                    let _ = place.answers.send_to(answer, address);
                }
            }
            Asker::Connection(token) => {
                let Some(Source::Client { stream, waits, .. }) = self.reactor.get(*token) else { return };
                *waits = false;
                if !stream.send(answer) {
                    self.remove(*token);
                }
            }
        }
    }

    /// Go on with a client that has been answered.
    fn resume(&mut self, asker: &Asker) {
        if let Asker::Connection(token) = asker {
            self.converse(*token, EventFlags::empty());
        }
    }

    fn pass_on(&mut self, container: &str, asker: Asker, query: Query, mut message: Vec<u8>) {
        let own = self.directory.servers(container);
        let from_container = !own.is_empty();
        let servers =
            if from_container { upstream::addresses(own) } else { upstream::addresses(&upstream::host_servers()) };
        let id = upstream::random();
        message::renumber(&mut message, id);
        let container = container.to_owned();
        let servers = servers.into_iter();
        self.try_next(Errand { container, asker, query, message, id, servers, from_container });
    }

    /// Ask the next server; with none left, the question is one that nobody could answer.
    fn try_next(&mut self, mut errand: Errand) {
        let container = errand.container.clone();
        while let Some(server) = errand.servers.next() {
            let Some(place) = self.places.get(&container) else { return };
            let is_connection = matches!(errand.asker, Asker::Connection(_));
            let message = errand.message.clone();
            let failed = |source| crate::Error::kernel("ask a name server", source);
            let open = || {
                if is_connection {
                    return upstream::stream_socket(server).map(Socket::Stream).map_err(failed);
                }
                upstream::datagram_socket(server).map(Socket::Datagram).map_err(failed)
            };
            let opened = if errand.from_container { namespace::within(place.namespace.as_fd(), open) } else { open() };
            let (source, flags) = match opened {
                Ok(Socket::Datagram(socket)) if socket.send(&message).is_ok() => {
                    (Source::Datagram(errand, socket), EventFlags::IN)
                }
                Ok(Socket::Stream(socket)) => {
                    let mut stream = Stream::new(socket);
                    if !stream.send(&message) {
                        continue;
                    }
                    let flags = if stream.owes() { EventFlags::OUT } else { EventFlags::IN };
                    (Source::Exchange(errand, stream), flags)
                }
                _ => continue,
            };
            self.add_under_way(source, flags, upstream::PATIENCE);
            return;
        }
        let answer = errand.query.refuse(Code::ServerFailure);
        self.reply(&container, &errand.asker, &answer);
    }

    fn take_datagram(&mut self, token: Token) {
        let Some(Source::Datagram(errand, socket)) = self.reactor.get(token) else { return };
        match socket.recv(&mut self.buffer) {
            Ok(length) => {
                let answer = &self.buffer[..length];
                // Whatever else comes is not waited for any less.
                if errand.query.is_answered_by(answer, errand.id) {
                    let answer = answer.to_vec();
                    self.bring(token, answer);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.late(token),
        }
    }

    fn take_exchange(&mut self, token: Token) {
        let Some(Source::Exchange(errand, stream)) = self.reactor.get(token) else { return };
        if !stream.flush() {
            return self.late(token);
        }
        if stream.owes() {
            return;
        }
        let is_open = stream.fill(&mut self.buffer);
        match stream.take() {
            Some(answer) if errand.query.is_answered_by(&answer, errand.id) => self.bring(token, answer),
            Some(_) => self.late(token),
            None if is_open => self.reactor.change(token, EventFlags::IN),
            None => self.late(token),
        }
    }

    /// Bring an answer to who asked, unless it is none and there is another server to ask.
    fn bring(&mut self, token: Token, answer: Vec<u8>) {
        let Some(Source::Datagram(errand, _) | Source::Exchange(errand, _)) = self.remove(token) else { return };
        let asker = errand.asker.clone();
        if message::is_failure(&answer) && errand.servers.len() > 0 {
            self.try_next(errand);
        } else {
            let answer = errand.query.relay(answer, self.limit(&asker, &errand.query));
            self.reply(&errand.container, &asker, &answer);
        }
        self.resume(&asker);
    }

    /// A source's time is up, or it is broken.
    fn late(&mut self, token: Token) {
        if let Some(Source::Client { stream, waits: false, .. }) = self.reactor.get(token)
            && stream.is_complete()
        {
            return self.converse(token, EventFlags::empty());
        }
        if let Some(Source::Datagram(errand, _) | Source::Exchange(errand, _)) = self.remove(token) {
            let asker = errand.asker.clone();
            self.try_next(errand);
            self.resume(&asker);
        }
    }
}

enum Socket {
    Datagram(UdpSocket),
    Stream(TcpStream),
}

fn one_line(error: &crate::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}").replace('\n', " ")
}
