//! Routes (`RTM_*ROUTE`, rtnetlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Result;
use crate::address::{AF_INET, AF_INET6, from_octets, octets};
use crate::netlink::{Answer, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Socket, u32_of};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const RTMSG: usize = 12;

/// The main routing table.
pub const TABLE_MAIN: u32 = 254;
/// The kernel's own table of local addresses.
pub const TABLE_LOCAL: u32 = 255;
/// Origin: made by the kernel with an address.
pub const PROTOCOL_KERNEL: u8 = 2;
/// Origin: made at boot, what `ip route add` says.
pub const PROTOCOL_BOOT: u8 = 3;
/// Origin: made by a DHCP client.
pub const PROTOCOL_DHCP: u8 = 16;
/// Scope: reaches everywhere.
pub const SCOPE_UNIVERSE: u8 = 0;
/// Scope: on the link.
pub const SCOPE_LINK: u8 = 253;
/// Scope: this host.
pub const SCOPE_HOST: u8 = 254;
/// Type: an ordinary route.
pub const TYPE_UNICAST: u8 = 1;

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination network's address; unspecified for the default route.
    pub destination: IpAddr,
    /// Destination network's prefix length, bits; 0 is the default route.
    pub prefix: u8,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Interface's number.
    pub index: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Priority: the lowest wins.
    pub metric: Option<u32>,
    /// Table.
    pub table: u32,
    /// Who made it, `RTPROT_*`.
    pub protocol: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `RTN_*`: 1 unicast, 2 local, 3 broadcast, 6 blackhole, 7 unreachable, 8 prohibit.
    pub kind: u8,
    /// `RTNH_F_*`: 1 dead, 4 on-link, 16 link down.
    pub flags: u32,
}

impl Route {
    /// A route to `destination`/`prefix` by an interface in the main table; on the link until `gateway` is set.
    pub fn new(destination: IpAddr, prefix: u8, index: Option<u32>) -> Self {
        Route {
            destination,
            prefix,
            gateway: None,
            index,
            source: None,
            metric: None,
            table: TABLE_MAIN,
            protocol: PROTOCOL_BOOT,
            scope: if destination.is_ipv4() { SCOPE_LINK } else { SCOPE_UNIVERSE },
            kind: TYPE_UNICAST,
            flags: 0,
        }
    }

    /// The default route by a gateway.
    pub fn default_by(gateway: IpAddr, index: u32) -> Self {
        let any = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Route { gateway: Some(gateway), scope: SCOPE_UNIVERSE, ..Route::new(any, 0, Some(index)) }
    }

    fn parse(answer: Answer<'_>) -> Option<Self> {
        let fixed = answer.payload.get(..RTMSG).filter(|_| answer.kind == RTM_NEWROUTE)?;
        let any = match fixed[0] {
            AF_INET => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut route = Route {
            table: u32::from(fixed[4]),
            protocol: fixed[5],
            scope: fixed[6],
            kind: fixed[7],
            flags: u32_of(&fixed[8..]),
            ..Route::new(any, fixed[1], None)
        };
        for (kind, value) in answer.attributes(RTMSG) {
            match kind {
                RTA_DST => route.destination = from_octets(value)?,
                RTA_GATEWAY => route.gateway = from_octets(value),
                RTA_OIF => route.index = Some(u32_of(value)),
                RTA_PREFSRC => route.source = from_octets(value),
                RTA_PRIORITY => route.metric = Some(u32_of(value)),
                RTA_TABLE => route.table = u32_of(value),
                _ => {}
            }
        }
        Some(route)
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let (family, destination) = octets(self.destination);
        let short_table = u8::try_from(self.table).unwrap_or(0);
        let mut fixed = [family, self.prefix, 0, 0, short_table, self.protocol, self.scope, self.kind, 0, 0, 0, 0];
        fixed[8..].copy_from_slice(&self.flags.to_ne_bytes());
        let mut message = Message::new(kind, flags).fixed(&fixed).u32(RTA_TABLE, self.table);
        if self.prefix > 0 {
            message = message.attribute(RTA_DST, &destination);
        }
        for (kind, address) in [(RTA_GATEWAY, self.gateway), (RTA_PREFSRC, self.source)] {
            if let Some(address) = address {
                message = message.attribute(kind, &octets(address).1);
            }
        }
        for (kind, number) in [(RTA_OIF, self.index), (RTA_PRIORITY, self.metric)] {
            if let Some(number) = number {
                message = message.u32(kind, number);
            }
        }
        message
    }

    fn describe(&self) -> String {
        if self.prefix == 0 { "default".into() } else { format!("{}/{}", self.destination, self.prefix) }
    }

    /// The request that adds it, to be sent with others.
    pub(crate) fn add_message(&self) -> Message {
        self.message(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
    }
}

/// Add a route; one that is there already is an error.
///
/// # Errors
/// What the kernel said.
pub fn add(socket: &mut Socket, route: &Route) -> Result<()> {
    let message = route.message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    socket.request(message, format!("add route {}", route.describe()))
}

/// Add a route or replace the one to the same destination with the same metric.
///
/// # Errors
/// What the kernel said.
pub fn replace(socket: &mut Socket, route: &Route) -> Result<()> {
    socket.request(route.add_message(), format!("set route {}", route.describe()))
}

/// Remove a route.
///
/// # Errors
/// What the kernel said.
pub fn remove(socket: &mut Socket, route: &Route) -> Result<()> {
    socket.request(route.message(RTM_DELROUTE, 0), format!("remove route {}", route.describe()))
}

/// All routes of the socket's namespace, of all tables and both families.
///
/// # Errors
/// What the kernel said.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>> {
    let message = Message::new(RTM_GETROUTE, NLM_F_DUMP).fixed(&[0; RTMSG]);
    let mut routes = Vec::new();
    socket.query(message, "list routes", |answer| routes.extend(Route::parse(answer)))?;
    Ok(routes)
}

/// The route that a packet to `destination` takes.
///
/// # Errors
/// Unreachable, or what the kernel said.
pub fn lookup(socket: &mut Socket, destination: IpAddr) -> Result<Route> {
    let (family, bytes) = octets(destination);
    let length = if family == AF_INET { 32 } else { 128 };
    let message =
        Message::new(RTM_GETROUTE, 0).fixed(&[family, length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).attribute(RTA_DST, &bytes);
    let mut found = None;
    socket.query(message, format!("find a route to {destination}"), |answer| found = Route::parse(answer))?;
    found.ok_or(crate::Error::Malformed)
}
