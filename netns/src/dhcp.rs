//! A DHCP client (RFC 2131) as a state machine: time and messages go in, actions come out; no sockets, no clock.
//!
//! Times are since any fixed moment. The caller ticks the client at [`Client::deadline`] and hands it what it receives.

pub mod frame;
mod message;
pub mod setup;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::message::{Kind, Message, option};
use crate::link::MacAddress;

/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;
/// A lease without end (RFC 2131, 3.3).
pub const INFINITE: u32 = u32::MAX;
/// No server means a shorter lease; one that says so would make us spin.
const SHORTEST_LEASE: u32 = 4;
const REQUEST_ATTEMPTS: u32 = 4;
/// What we ask for. Classless routes come before the router, as RFC 3442 wants it.
const PARAMETERS: [u8; 10] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::DNS,
    option::HOSTNAME,
    option::DOMAIN,
    option::MTU,
    option::NTP,
    option::RENEWAL,
    option::REBINDING,
];

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Our address.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet, bits.
    pub prefix: u8,
    /// The gateway of the default route.
    pub gateway: Option<Ipv4Addr>,
    /// Other routes: network, prefix length, gateway (RFC 3442).
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Our domain.
    pub domain: Option<String>,
    /// Our name.
    pub hostname: Option<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Largest packet, bytes.
    pub mtu: Option<u16>,
    /// The server.
    pub server: Ipv4Addr,
    /// How long the lease lasts, seconds.
    pub lease_seconds: u32,
    /// When to renew it, seconds (T1).
    pub renewal_seconds: u32,
    /// When to ask any server, seconds (T2).
    pub rebinding_seconds: u32,
}

impl Lease {
    /// Read an offer or acknowledgement; `None` if it lacks what it must have or makes no sense.
    fn parse(message: &Message) -> Option<Self> {
        let address = message.yours;
        let usable =
            !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback());
        let mask = message.u32(option::SUBNET_MASK).unwrap_or(u32::MAX << 8);
        if !usable || mask.leading_ones() + mask.trailing_zeros() != 32 {
            return None;
        }
        let seconds = message.u32(option::LEASE_TIME)?.max(SHORTEST_LEASE);
        let mut lease = Lease {
            address,
            prefix: mask.leading_ones() as u8,
            gateway: message.addresses(option::ROUTER).first().copied(),
            routes: Vec::new(),
            dns: message.addresses(option::DNS),
            domain: name_in(message, option::DOMAIN),
            hostname: name_in(message, option::HOSTNAME),
            ntp: message.addresses(option::NTP),
            mtu: message.option(option::MTU).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes),
            server: message.address(option::SERVER)?,
            lease_seconds: seconds,
            renewal_seconds: seconds / 2,
            rebinding_seconds: (u64::from(seconds) * 7 / 8) as u32,
        };
        // RFC 791: what every link must carry.
        lease.mtu = lease.mtu.filter(|mtu| *mtu >= 576);
        if let Some(routes) = message.classless_routes() {
            // They replace the router option, default route included (RFC 3442).
            let (default, others): (Vec<_>, Vec<_>) = routes.into_iter().partition(|(_, prefix, _)| *prefix == 0);
            lease.gateway = default.first().map(|(_, _, gateway)| *gateway);
            lease.routes = others;
        }
        if let (Some(t1), Some(t2)) = (message.u32(option::RENEWAL), message.u32(option::REBINDING))
            && 0 < t1
            && t1 < t2
            && t2 < seconds
        {
            (lease.renewal_seconds, lease.rebinding_seconds) = (t1, t2);
        }
        Some(lease)
    }
}

fn name_in(message: &Message, code: u8) -> Option<String> {
    checked_name(std::str::from_utf8(message.option(code)?).ok()?)
}

/// A name ends up in files that others parse: letters, digits, dots and hyphens only.
fn checked_name(name: &str) -> Option<String> {
    let name = name.trim_end_matches(['\0', '.']);
    let valid = (1..=253).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    valid.then(|| name.to_owned())
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to everyone on the link, from this address.
    Broadcast {
        /// Source address; unspecified as long as we have none.
        from: Ipv4Addr,
        /// The message.
        message: Vec<u8>,
    },
    /// Send this to the server.
    Unicast {
        /// Source address: ours.
        from: Ipv4Addr,
        /// The server.
        to: Ipv4Addr,
        /// The message.
        message: Vec<u8>,
    },
    /// Use this lease from now on; it may be the one in use, prolonged.
    Configure(Box<Lease>),
    /// The address is ours no longer.
    Deconfigure,
}

#[derive(Clone, Debug)]
enum Phase {
    Selecting { attempt: u32, next: Duration },
    Requesting { offer: Box<Lease>, attempt: u32, next: Duration },
    Bound { lease: Box<Lease>, since: Duration },
    Renewing { lease: Box<Lease>, since: Duration, next: Duration },
    Rebinding { lease: Box<Lease>, since: Duration, next: Duration },
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub struct Client {
    mac: MacAddress,
    hostname: Option<String>,
    random: u64,
    xid: u32,
    started: Duration,
    discovers: u32,
    phase: Phase,
}

impl Client {
    /// A client that begins to look for a server at `now`. `seed` makes its transaction numbers differ from others'.
    pub fn new(mac: MacAddress, hostname: Option<String>, seed: u64, now: Duration) -> Self {
        let mut client = Client {
            mac,
            hostname,
            random: seed | 1,
            xid: 0,
            started: now,
            discovers: 0,
            phase: Phase::Selecting { attempt: 0, next: now },
        };
        client.restart(now);
        client
    }

    /// How many times it has asked for offers since it last had a lease.
    pub fn discovers(&self) -> u32 {
        self.discovers
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Bound { lease, .. } | Phase::Renewing { lease, .. } | Phase::Rebinding { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Whether an answer is awaited; else there is no need to listen.
    pub fn is_listening(&self) -> bool {
        !matches!(self.phase, Phase::Bound { .. })
    }

    /// When to call [`Client::tick`]; `None` is never.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Selecting { next, .. } | Phase::Requesting { next, .. } => Some(*next),
            Phase::Bound { lease, since } => after(*since, lease, lease.renewal_seconds),
            Phase::Renewing { lease, since, next } => {
                after(*since, lease, lease.rebinding_seconds).map(|t2| t2.min(*next))
            }
            Phase::Rebinding { lease, since, next } => {
                after(*since, lease, lease.lease_seconds).map(|end| end.min(*next))
            }
        }
    }

    /// Do what is due.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.phase.clone() {
            Phase::Selecting { attempt, .. } => {
                self.discovers += 1;
                let next = now + self.backoff(attempt);
                self.phase = Phase::Selecting { attempt: attempt + 1, next };
                vec![self.discover(now)]
            }
            Phase::Requesting { attempt, .. } if attempt >= REQUEST_ATTEMPTS => {
                self.restart(now);
                self.tick(now)
            }
            Phase::Requesting { offer, attempt, .. } => self.request_offer(offer, attempt, now),
            Phase::Bound { lease, since } => {
                self.new_exchange(now);
                self.renew(lease, since, now)
            }
            Phase::Renewing { lease, since, .. } if now >= since + seconds(lease.rebinding_seconds) => {
                self.rebind(lease, since, now)
            }
            Phase::Renewing { lease, since, .. } => self.renew(lease, since, now),
            Phase::Rebinding { lease, since, .. } if now >= since + seconds(lease.lease_seconds) => {
                self.restart(now);
                let mut actions = vec![Action::Deconfigure];
                actions.extend(self.tick(now));
                actions
            }
            Phase::Rebinding { lease, since, .. } => self.rebind(lease, since, now),
        }
    }

    /// Take a message that came to the client's port; one that is not for us, or malformed, changes nothing.
    pub fn receive(&mut self, now: Duration, bytes: &[u8]) -> Vec<Action> {
        let Some(message) = self.read(bytes) else { return Vec::new() };
        let kind = message.kind();
        let lease = Lease::parse(&message);
        match (self.phase.clone(), kind, lease) {
            (Phase::Selecting { .. }, Some(Kind::Offer), Some(offer)) => self.request_offer(Box::new(offer), 0, now),
            (
                Phase::Requesting { .. } | Phase::Renewing { .. } | Phase::Rebinding { .. },
                Some(Kind::Ack),
                Some(lease),
            ) => {
                self.discovers = 0;
                let lease = Box::new(lease);
                self.phase = Phase::Bound { lease: lease.clone(), since: now };
                vec![Action::Configure(lease)]
            }
            (Phase::Requesting { .. }, Some(Kind::Nak), _) => {
                self.restart(now);
                // Not at once: a server that refuses what it offers would keep us and itself busy.
                self.phase = Phase::Selecting { attempt: 0, next: now + seconds(1) };
                Vec::new()
            }
            (Phase::Renewing { .. } | Phase::Rebinding { .. }, Some(Kind::Nak), _) => {
                self.restart(now);
                vec![Action::Deconfigure]
            }
            _ => Vec::new(),
        }
    }

    /// Renew the lease now.
    pub fn renew_now(&mut self, now: Duration) -> Vec<Action> {
        let Phase::Bound { lease, since } = self.phase.clone() else { return Vec::new() };
        self.new_exchange(now);
        self.renew(lease, since, now)
    }

    /// Give the lease back.
    pub fn release(&mut self, now: Duration) -> Vec<Action> {
        let Some(lease) = self.lease().cloned() else { return Vec::new() };
        self.new_exchange(now);
        let mut message = self.message(now, Kind::Release);
        message.client = lease.address;
        message.push(option::SERVER, &lease.server.octets());
        self.restart(now);
        let send = Action::Unicast { from: lease.address, to: lease.server, message: message.encode() };
        vec![send, Action::Deconfigure]
    }

    fn read(&self, bytes: &[u8]) -> Option<Message> {
        Message::decode(bytes).filter(|message| message.is_reply && message.xid == self.xid && message.mac == self.mac)
    }

    fn restart(&mut self, now: Duration) {
        self.new_exchange(now);
        self.phase = Phase::Selecting { attempt: 0, next: now };
    }

    fn new_exchange(&mut self, now: Duration) {
        self.xid = self.next_random();
        self.started = now;
    }

    fn request_offer(&mut self, offer: Box<Lease>, attempt: u32, now: Duration) -> Vec<Action> {
        let mut message = self.message(now, Kind::Request);
        message.push(option::REQUESTED_ADDRESS, &offer.address.octets());
        message.push(option::SERVER, &offer.server.octets());
        let next = now + self.backoff(attempt);
        self.phase = Phase::Requesting { offer, attempt: attempt + 1, next };
        vec![Action::Broadcast { from: Ipv4Addr::UNSPECIFIED, message: message.encode() }]
    }

    fn discover(&self, now: Duration) -> Action {
        let message = self.message(now, Kind::Discover);
        Action::Broadcast { from: Ipv4Addr::UNSPECIFIED, message: message.encode() }
    }

    fn renew(&mut self, lease: Box<Lease>, since: Duration, now: Duration) -> Vec<Action> {
        let mut message = self.message(now, Kind::Request);
        message.client = lease.address;
        let send = Action::Unicast { from: lease.address, to: lease.server, message: message.encode() };
        let next = now + half_the_rest(since + seconds(lease.rebinding_seconds), now);
        self.phase = Phase::Renewing { lease, since, next };
        vec![send]
    }

    fn rebind(&mut self, lease: Box<Lease>, since: Duration, now: Duration) -> Vec<Action> {
        let mut message = self.message(now, Kind::Request);
        message.client = lease.address;
        let send = Action::Broadcast { from: lease.address, message: message.encode() };
        let next = now + half_the_rest(since + seconds(lease.lease_seconds), now);
        self.phase = Phase::Rebinding { lease, since, next };
        vec![send]
    }

    fn message(&self, now: Duration, kind: Kind) -> Message {
        let mut message = Message::new(self.xid, self.mac, kind);
        message.seconds = u16::try_from(now.saturating_sub(self.started).as_secs()).unwrap_or(u16::MAX);
        // Type 1, Ethernet, then the address (RFC 2132, 9.14): keeps our lease ours even if a relay rewrites chaddr.
        let identity: Vec<u8> = std::iter::once(1).chain(self.mac.0).collect();
        message.push(option::CLIENT, &identity);
        if kind == Kind::Release {
            return message;
        }
        message.push(option::LARGEST_MESSAGE, &1500_u16.to_be_bytes());
        message.push(option::PARAMETERS, &PARAMETERS);
        if let Some(hostname) = &self.hostname {
            message.push(option::HOSTNAME, hostname.as_bytes());
        }
        message
    }

    /// 1, 2, 4 ... 64 seconds, give or take a fifth (RFC 2131, 4.1, begins at 4: too slow for a machine that boots).
    fn backoff(&mut self, attempt: u32) -> Duration {
        let base = 1000_u64 << attempt.min(6);
        let jitter = u64::from(self.next_random()) % (base * 2 / 5);
        Duration::from_millis(base * 4 / 5 + jitter)
    }

    /// xorshift64*.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

fn after(since: Duration, lease: &Lease, count: u32) -> Option<Duration> {
    (lease.lease_seconds != INFINITE).then(|| since + seconds(count))
}

/// RFC 2131, 4.4.5: half of the remaining time, but at least a minute.
fn half_the_rest(end: Duration, now: Duration) -> Duration {
    (end.saturating_sub(now) / 2).max(Duration::from_secs(60))
}

#[cfg(test)]
#[path = "dhcp/tests.rs"]
mod tests;
