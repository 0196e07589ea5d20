//! The DHCP message (RFC 2131, section 2; options: RFC 2132).
//!
//! A codec of our own: `dhcproto` 0.15 panics on hostile replies (hardware address length over 16, option 80 with a
//! value), and what comes off the wire here is anybody's.

use std::net::Ipv4Addr;

use crate::link::MacAddress;

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const FIXED: usize = 240;
/// BOOTP's smallest message (RFC 951): some servers and relays drop what is shorter.
const SHORTEST: usize = 300;

/// Options, by their numbers.
pub(super) mod option {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const NTP: u8 = 42;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const LARGEST_MESSAGE: u8 = 57;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT: u8 = 61;
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub const END: u8 = 255;
}

/// What a message is for (RFC 2132, 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

/// A message, without the fields that a client has no use for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub is_reply: bool,
    pub xid: u32,
    pub seconds: u16,
    pub client: Ipv4Addr,
    pub yours: Ipv4Addr,
    pub mac: MacAddress,
    /// In order; of an option in several parts the parts are joined (RFC 3396).
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    pub fn new(xid: u32, mac: MacAddress, kind: Kind) -> Self {
        let any = Ipv4Addr::UNSPECIFIED;
        let options = vec![(option::MESSAGE_TYPE, vec![kind as u8])];
        Message { is_reply: false, xid, seconds: 0, client: any, yours: any, mac, options }
    }

    /// Append an option of at most 255 bytes.
    pub fn push(&mut self, code: u8, value: &[u8]) {
        self.options.push((code, value[..value.len().min(255)].to_vec()));
    }

    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(found, _)| *found == code).map(|(_, value)| value.as_slice())
    }

    pub fn u32(&self, code: u8) -> Option<u32> {
        self.option(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.u32(code).map(Ipv4Addr::from)
    }

    /// A list of addresses; a torn one at the end is dropped.
    pub fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.option(code).unwrap_or_default();
        bytes.chunks_exact(4).map(|bytes| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])).collect()
    }

    pub fn kind(&self) -> Option<Kind> {
        let known = [Kind::Discover, Kind::Offer, Kind::Request, Kind::Ack, Kind::Nak, Kind::Release];
        let [code] = self.option(option::MESSAGE_TYPE)? else { return None };
        known.into_iter().find(|kind| *kind as u8 == *code)
    }

    /// Destination, prefix length, gateway of each route (RFC 3442); `None` if malformed.
    pub fn classless_routes(&self) -> Option<Vec<(Ipv4Addr, u8, Ipv4Addr)>> {
        let mut rest = self.option(option::CLASSLESS_ROUTES)?;
        let mut routes = Vec::new();
        while let Some((&prefix, after)) = rest.split_first() {
            let significant = usize::from(prefix).div_ceil(8);
            let (network, after) = after.split_at_checked(significant).filter(|_| prefix <= 32)?;
            let (gateway, after) = after.split_at_checked(4)?;
            let mut octets = [0; 4];
            octets[..significant].copy_from_slice(network);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let network = Ipv4Addr::from(u32::from_be_bytes(octets) & mask);
            routes.push((network, prefix, Ipv4Addr::from(<[u8; 4]>::try_from(gateway).ok()?)));
            rest = after;
        }
        Some(routes)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![if self.is_reply { BOOTREPLY } else { BOOTREQUEST }, ETHERNET, 6, 0];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.client.octets());
        bytes.extend(self.yours.octets());
        bytes.extend([0; 8]);
        bytes.extend(self.mac.0);
        bytes.resize(FIXED - COOKIE.len(), 0);
        bytes.extend(COOKIE);
        for (code, value) in &self.options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(option::END);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }

    /// Read a message of an Ethernet host.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        if fixed[1..3] != [ETHERNET, 6] || fixed[236..] != COOKIE {
            return None;
        }
        let four = |at: usize| [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        let mut message = Message {
            is_reply: fixed[0] == BOOTREPLY,
            xid: u32::from_be_bytes(four(4)),
            seconds: u16::from_be_bytes([fixed[8], fixed[9]]),
            client: four(12).into(),
            yours: four(16).into(),
            mac: MacAddress(*fixed[28..].first_chunk()?),
            options: Vec::new(),
        };
        message.read_options(&bytes[FIXED..])?;
        // The server may go on in the fields for a boot file (1) and its own name (2).
        let overload = message.option(option::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        for (bit, field) in [(1, &fixed[108..236]), (2, &fixed[44..108])] {
            if overload & bit != 0 {
                message.read_options(field)?;
            }
        }
        Some(message)
    }

    fn read_options(&mut self, mut rest: &[u8]) -> Option<()> {
        while let Some((&code, after)) = rest.split_first() {
            match code {
                option::PAD => rest = after,
                option::END => break,
                code => {
                    let (&length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(usize::from(length))?;
                    match self.options.iter_mut().find(|(found, _)| *found == code) {
                        Some((_, whole)) => whole.extend(value),
                        None => self.options.push((code, value.to_vec())),
                    }
                    rest = after;
                }
            }
        }
        Some(())
    }
}
