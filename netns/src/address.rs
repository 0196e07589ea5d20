//! Addresses of interfaces (`RTM_*ADDR`, rtnetlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Result;
use crate::netlink::{Answer, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Socket};
use crate::netlink::{string_of, u32_at, u32_of};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFADDRMSG: usize = 8;

/// Address flag: never times out.
pub const IFA_F_PERMANENT: u32 = 0x80;
/// Address flag: not the first of its subnet.
pub const IFA_F_SECONDARY: u32 = 0x01;
/// Address flag: still being checked for duplicates.
pub const IFA_F_TENTATIVE: u32 = 0x40;
/// Address flag: skip duplicate detection.
pub const IFA_F_NODAD: u32 = 0x02;

pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;
/// A lifetime without end.
pub const FOREVER: u32 = u32::MAX;

/// The family's number and the bytes of an address.
pub(crate) fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    }
}

/// An address from its bytes.
pub(crate) fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub local: IpAddr,
    /// The other end of a point-to-point link; else the address itself.
    pub peer: Option<IpAddr>,
    /// Length of the network's prefix, bits.
    pub prefix: u8,
    /// Broadcast address.
    pub broadcast: Option<IpAddr>,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// Label, of IPv4.
    pub label: String,
    /// How long it may be used, seconds.
    pub valid: u32,
    /// How long it is preferred, seconds.
    pub preferred: u32,
}

impl Address {
    /// An address without end on interface `index`, with the subnet's broadcast address where there is one.
    pub fn new(index: u32, local: IpAddr, prefix: u8) -> Self {
        let broadcast = match local {
            IpAddr::V4(v4) if prefix < 31 => {
                let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                Some(Ipv4Addr::from(u32::from(v4) | host).into())
            }
            _ => None,
        };
        let scope = if local.is_loopback() { 254 } else { 0 };
        Address {
            index,
            local,
            peer: None,
            prefix,
            broadcast,
            scope,
            flags: 0,
            label: String::new(),
            valid: FOREVER,
            preferred: FOREVER,
        }
    }

    fn parse(answer: Answer<'_>) -> Option<Self> {
        if answer.kind != RTM_NEWADDR {
            return None;
        }
        let fixed = answer.payload.get(..IFADDRMSG)?;
        let mut address = Address::new(u32_at(fixed, 4)?, Ipv4Addr::UNSPECIFIED.into(), fixed[1]);
        address.flags = u32::from(fixed[2]);
        address.scope = fixed[3];
        address.broadcast = None;
        let (mut local, mut other) = (None, None);
        for (kind, value) in answer.attributes(IFADDRMSG) {
            match kind {
                IFA_LOCAL => local = from_octets(value),
                IFA_ADDRESS => other = from_octets(value),
                IFA_BROADCAST => address.broadcast = from_octets(value),
                IFA_LABEL => address.label = string_of(value),
                IFA_FLAGS => address.flags = u32_of(value),
                IFA_CACHEINFO => {
                    address.preferred = u32_at(value, 0)?;
                    address.valid = u32_at(value, 4)?;
                }
                _ => {}
            }
        }
        // IPv6 gives IFA_LOCAL only on point-to-point links; IPv4 always, and IFA_ADDRESS is then the peer.
        address.local = local.or(other)?;
        address.peer = other.filter(|other| Some(*other) != local && local.is_some());
        Some(address)
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let (family, local) = octets(self.local);
        let mut fixed = [family, self.prefix, 0, self.scope, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&self.index.to_ne_bytes());
        let peer = self.peer.map_or_else(|| local.clone(), |peer| octets(peer).1);
        let mut message = Message::new(kind, flags).fixed(&fixed).attribute(IFA_LOCAL, &local);
        message = message.attribute(IFA_ADDRESS, &peer);
        if let Some(broadcast) = self.broadcast {
            message = message.attribute(IFA_BROADCAST, &octets(broadcast).1);
        }
        if !self.label.is_empty() {
            message = message.string(IFA_LABEL, &self.label);
        }
        if self.flags != 0 {
            message = message.u32(IFA_FLAGS, self.flags);
        }
        if self.valid != FOREVER {
            // struct ifa_cacheinfo: preferred, valid, created, updated.
            let mut cache = [0; 16];
            cache[..4].copy_from_slice(&self.preferred.to_ne_bytes());
            cache[4..8].copy_from_slice(&self.valid.to_ne_bytes());
            message = message.attribute(IFA_CACHEINFO, &cache);
        }
        message
    }

    /// The request that adds it, to be sent with others.
    pub(crate) fn add_message(&self) -> Message {
        self.message(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
    }
}

/// Add an address; one that is there already is an error.
///
/// # Errors
/// What the kernel said.
pub fn add(socket: &mut Socket, address: &Address) -> Result<()> {
    let message = address.message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    socket.request(message, format!("add address {}/{}", address.local, address.prefix))
}

/// Add an address, or give the one that is there new lifetimes.
///
/// # Errors
/// What the kernel said.
pub fn replace(socket: &mut Socket, address: &Address) -> Result<()> {
    socket.request(address.add_message(), format!("set address {}/{}", address.local, address.prefix))
}

/// Remove an address.
///
/// # Errors
/// What the kernel said.
pub fn remove(socket: &mut Socket, address: &Address) -> Result<()> {
    let message = address.message(RTM_DELADDR, 0);
    socket.request(message, format!("remove address {}/{}", address.local, address.prefix))
}

/// All addresses of the socket's namespace.
///
/// # Errors
/// What the kernel said.
pub fn list(socket: &mut Socket) -> Result<Vec<Address>> {
    let message = Message::new(RTM_GETADDR, NLM_F_DUMP).fixed(&[0; IFADDRMSG]);
    let mut addresses = Vec::new();
    socket.query(message, "list addresses", |answer| addresses.extend(Address::parse(answer)))?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_follows_from_the_prefix() {
        let of = |text: &str, prefix| Address::new(1, text.parse().unwrap(), prefix).broadcast.map(|ip| ip.to_string());
        assert_eq!(of("10.88.0.2", 16).as_deref(), Some("10.88.255.255"));
        assert_eq!(of("192.168.1.9", 24).as_deref(), Some("192.168.1.255"));
        assert_eq!(of("192.168.1.9", 31), None);
        assert_eq!(of("fd00::1", 64), None);
    }
}
