//! Network interfaces: find, list, make, change and remove (`RTM_*LINK`, rtnetlink(7)).

use std::fmt;

use rustix::io::Errno;

use crate::netlink::{self, Answer, Attributes, Message, NLM_F_ACK, NLM_F_DUMP, Socket, string_of, u32_at, u32_of};
use crate::{Error, Result};

pub(crate) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_SETLINK: u16 = 19;

pub(crate) const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_STATS64: u16 = 23;
pub(crate) const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
pub(crate) const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
pub(crate) const IFLA_NET_NS_FD: u16 = 28;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
pub(crate) const IFLA_INFO_KIND: u16 = 1;

/// Interface flag: administratively up.
pub const IFF_UP: u32 = 0x1;
/// Interface flag: broadcast address valid.
pub const IFF_BROADCAST: u32 = 0x2;
/// Interface flag: is a loopback.
pub const IFF_LOOPBACK: u32 = 0x8;
/// Interface flag: point to point.
pub const IFF_POINTOPOINT: u32 = 0x10;
/// Interface flag: no ARP.
pub const IFF_NOARP: u32 = 0x80;
/// Interface flag: receives all packets.
pub const IFF_PROMISC: u32 = 0x100;
/// Interface flag: receives all multicast packets.
pub const IFF_ALLMULTI: u32 = 0x200;
/// Interface flag: multicast works.
pub const IFF_MULTICAST: u32 = 0x1000;
/// Interface flag: the driver sees a carrier.
pub const IFF_LOWER_UP: u32 = 0x1_0000;

const IFINFOMSG: usize = 16;

/// `struct ifinfomsg`.
pub(crate) fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG] {
    let mut bytes = [0; IFINFOMSG];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// A hardware address of Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::BadName {
            what: "hardware address",
            name: text.into(),
            rule: "six hexadecimal bytes, a:b:c:d:e:f",
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| (1..=2).contains(&part.len())).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(MacAddress(bytes)) }
    }
}

/// Packets and bytes through an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received packets.
    pub rx_packets: u64,
    /// Sent packets.
    pub tx_packets: u64,
    /// Received bytes.
    pub rx_bytes: u64,
    /// Sent bytes.
    pub tx_bytes: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Received packets dropped for want of buffers.
    pub rx_dropped: u64,
    /// Packets dropped before they were sent.
    pub tx_dropped: u64,
}

/// An interface as the kernel describes it.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `IFF_*`.
    pub flags: u32,
    /// `ARPHRD_*`: 1 Ethernet, 772 loopback.
    pub hardware_type: u16,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Hardware address, as many bytes as its type has.
    pub address: Vec<u8>,
    /// Hardware broadcast address.
    pub broadcast: Vec<u8>,
    /// The bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// The other end of a veth, or the interface below.
    pub peer: Option<u32>,
    /// The other end is in another namespace, under this number.
    pub peer_namespace: Option<i32>,
    /// Queueing discipline.
    pub qdisc: String,
    /// Send queue, packets.
    pub queue_length: u32,
    /// `IF_OPER_*`, RFC 2863.
    pub operational_state: u8,
    /// Group number.
    pub group: u32,
    /// Driver kind: "bridge", "veth"; empty for hardware.
    pub kind: String,
    /// Traffic counters.
    pub counters: Counters,
}

impl Link {
    fn parse(answer: Answer<'_>) -> Option<Self> {
        if answer.kind != RTM_NEWLINK {
            return None;
        }
        let mut link = Link {
            hardware_type: netlink::u16_at(answer.payload, 2)?,
            index: u32_at(answer.payload, 4)?,
            flags: u32_at(answer.payload, 8)?,
            ..Link::default()
        };
        for (kind, value) in answer.attributes(IFINFOMSG) {
            match kind {
                IFLA_IFNAME => link.name = string_of(value),
                IFLA_ADDRESS => link.address = value.to_vec(),
                IFLA_BROADCAST => link.broadcast = value.to_vec(),
                IFLA_MTU => link.mtu = u32_of(value),
                IFLA_MASTER => link.master = Some(u32_of(value)),
                IFLA_LINK => link.peer = Some(u32_of(value)),
                IFLA_LINK_NETNSID => link.peer_namespace = Some(u32_of(value).cast_signed()),
                IFLA_QDISC => link.qdisc = string_of(value),
                IFLA_TXQLEN => link.queue_length = u32_of(value),
                IFLA_OPERSTATE => link.operational_state = value.first().copied().unwrap_or(0),
                IFLA_GROUP => link.group = u32_of(value),
                IFLA_STATS64 => link.counters = counters(value),
                IFLA_LINKINFO => {
                    let kind = Attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                    link.kind = kind.map(|(_, value)| string_of(value)).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(link)
    }

    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Its Ethernet address, if it has one.
    pub fn mac(&self) -> Option<MacAddress> {
        Some(MacAddress(self.address.as_slice().try_into().ok()?))
    }
}

/// The first eight fields of `struct rtnl_link_stats64`.
fn counters(bytes: &[u8]) -> Counters {
    let field =
        |n: usize| bytes.get(n * 8..n * 8 + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    Counters {
        rx_packets: field(0),
        tx_packets: field(1),
        rx_bytes: field(2),
        tx_bytes: field(3),
        rx_errors: field(4),
        tx_errors: field(5),
        rx_dropped: field(6),
        tx_dropped: field(7),
    }
}

/// Check an interface's name as the kernel does (`dev_valid_name`).
///
/// # Errors
/// Empty, longer than 15 bytes, `.` or `..`, or with a slash, colon or white space.
pub fn check_name(name: &str) -> Result<()> {
    let valid = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    if valid {
        Ok(())
    } else {
        Err(Error::BadName {
            what: "interface name",
            name: name.into(),
            rule: "1 to 15 bytes, no slash, colon or space",
        })
    }
}

/// Find an interface by name.
///
/// # Errors
/// [`Error::NoSuchLink`], or what the kernel said.
pub fn find(socket: &mut Socket, name: &str) -> Result<Link> {
    check_name(name)?;
    let message = Message::new(RTM_GETLINK, 0).fixed(&ifinfomsg(0, 0, 0)).string(IFLA_IFNAME, name);
    let mut found = None;
    let result = socket.query(message, format!("find link {name}"), |answer| found = Link::parse(answer));
    match result {
        Err(error) if error.is(Errno::NODEV) => Err(Error::NoSuchLink(name.into())),
        Err(error) => Err(error),
        Ok(()) => found.ok_or(Error::Malformed),
    }
}

/// All interfaces of the socket's namespace.
///
/// # Errors
/// What the kernel said.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>> {
    let message = Message::new(RTM_GETLINK, NLM_F_DUMP).fixed(&ifinfomsg(0, 0, 0));
    let mut links = Vec::new();
    socket.query(message, "list links", |answer| links.extend(Link::parse(answer)))?;
    Ok(links)
}

/// A change of an interface.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Up or down.
    pub up: Option<bool>,
    /// Other `IFF_*` flags: value and mask.
    pub flags: Option<(u32, u32)>,
    /// Largest packet, bytes.
    pub mtu: Option<u32>,
    /// Send queue, packets.
    pub queue_length: Option<u32>,
    /// Hardware address.
    pub address: Option<MacAddress>,
    /// New name.
    pub name: Option<String>,
    /// Bridge to join, by number; 0 to leave.
    pub master: Option<u32>,
    /// Namespace to move to: that of a process.
    pub namespace_pid: Option<u32>,
    /// Namespace to move to, by descriptor.
    pub namespace_fd: Option<i32>,
}

/// Change interface `index`, called `name` in messages.
///
/// # Errors
/// What the kernel said.
pub fn change(socket: &mut Socket, index: u32, name: &str, change: &Change) -> Result<()> {
    let (mut flags, mut mask) = change.flags.unwrap_or((0, 0));
    if let Some(up) = change.up {
        mask |= IFF_UP;
        flags = if up { flags | IFF_UP } else { flags & !IFF_UP };
    }
    let mut message = Message::new(RTM_SETLINK, 0).fixed(&ifinfomsg(index, flags, mask));
    if let Some(new_name) = &change.name {
        check_name(new_name)?;
        message = message.string(IFLA_IFNAME, new_name);
    }
    if let Some(address) = change.address {
        message = message.attribute(IFLA_ADDRESS, &address.0);
    }
    let numbers = [
        (IFLA_MTU, change.mtu),
        (IFLA_TXQLEN, change.queue_length),
        (IFLA_MASTER, change.master),
        (IFLA_NET_NS_PID, change.namespace_pid),
        (IFLA_NET_NS_FD, change.namespace_fd.map(i32::cast_unsigned)),
    ];
    for (kind, value) in numbers {
        if let Some(value) = value {
            message = message.u32(kind, value);
        }
    }
    socket.request(message, format!("change link {name}"))
}

/// Bring an interface up.
///
/// # Errors
/// No such interface, or what the kernel said.
pub fn up(socket: &mut Socket, name: &str) -> Result<Link> {
    let link = find(socket, name)?;
    change(socket, link.index, name, &Change { up: Some(true), ..Change::default() })?;
    Ok(link)
}

/// Bring the loopback interface up; the kernel gives it 127.0.0.1 and ::1 by itself.
///
/// # Errors
/// What the kernel said.
pub fn loopback_up(socket: &mut Socket) -> Result<()> {
    socket.execute(vec![loopback_message()]).map_err(|refusal| Error::kernel("bring link lo up", refusal.source))
}

/// The loopback is number 1 in every namespace (`LOOPBACK_IFINDEX`).
pub(crate) fn loopback_message() -> Message {
    up_message(1)
}

/// The request that brings an interface up, to be sent with others.
pub(crate) fn up_message(index: u32) -> Message {
    Message::new(RTM_NEWLINK, NLM_F_ACK).fixed(&ifinfomsg(index, IFF_UP, IFF_UP))
}

/// Make an interface of a kind that needs no parameters ("dummy", "bridge", "ifb").
///
/// # Errors
/// It exists, or what the kernel said.
pub fn add(socket: &mut Socket, name: &str, kind: &str) -> Result<()> {
    check_name(name)?;
    let message = Message::new(RTM_NEWLINK, netlink::NLM_F_CREATE | netlink::NLM_F_EXCL)
        .fixed(&ifinfomsg(0, 0, 0))
        .string(IFLA_IFNAME, name)
        .nested(IFLA_LINKINFO, |info| info.string(IFLA_INFO_KIND, kind));
    socket.request(message, format!("add link {name} of kind {kind}"))
}

/// Remove an interface; one that is not there is no error. Tells whether it was there.
///
/// # Errors
/// What the kernel said.
pub fn remove(socket: &mut Socket, name: &str) -> Result<bool> {
    check_name(name)?;
    let message = Message::new(RTM_DELLINK, 0).fixed(&ifinfomsg(0, 0, 0)).string(IFLA_IFNAME, name);
    match socket.request(message, format!("remove link {name}")) {
        Err(error) if error.is(Errno::NODEV) => Ok(false),
        Err(error) => Err(error),
        Ok(()) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_kernel() {
        for good in ["eth0", "coracle0", "a", "veth0a580002", "123456789012345"] {
            check_name(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "1234567890123456"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hardware_addresses_are_read_and_shown() {
        let mac: MacAddress = "02:42:a:58:00:2".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:58:00:02");
        for bad in ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "1:2:3:4:5:100", "g:2:3:4:5:6", "1:2:3:4::6"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad:?}");
        }
    }
}
