//! Published ports: which port of the host leads to which port of a container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A transport with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in an IP header (RFC 9293, RFC 768).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// The address of the host on which it is published; all of them, of both families, if not given. The unspecified
    /// address stands for all of its family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 lets [`crate::attach`] choose a free one.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The transport.
    #[serde(default)]
    pub protocol: Protocol,
}

impl PortMapping {
    /// Read what `-p` says: `[ADDRESS:][HOST_PORT[-LAST]:]PORT[-LAST][/tcp|/udp]`, one mapping for each port of a range.
    ///
    /// # Errors
    /// [`Error::BadPort`] with the reason.
    pub fn parse_all(spec: &str) -> Result<Vec<PortMapping>> {
        let bad = |reason| Error::BadPort { spec: spec.into(), reason };
        let (rest, protocol) = match spec.split_once('/') {
            None => (spec, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some(_) => return Err(bad("the protocol is neither tcp nor udp")),
        };
        let (address, ports) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (address, ports) = rest.split_once("]:").ok_or_else(|| bad("no ] and colon after the address"))?;
                let address = address.parse::<Ipv6Addr>().map_err(|_| bad("the address is not an IPv6 address"))?;
                (Some(address.into()), ports)
            }
            None => match rest.match_indices(':').count() {
                0 | 1 => (None, rest),
                2 => {
                    let (address, ports) = rest.split_once(':').unwrap_or_default();
                    (parse_host_address(address).map_err(bad)?, ports)
                }
                _ => return Err(bad("too many colons")),
            },
        };
        let (host, container) = match ports.split_once(':') {
            Some((_, container)) if container.contains(':') => return Err(bad("too many colons")),
            Some((host, container)) => (host, container),
            None if address.is_some() => return Err(bad("no port of the container")),
            None => ("", ports),
        };
        let container = range(container).ok_or_else(|| bad("the container's port is not a number from 1 to 65535"))?;
        let host = match host {
            "" => None,
            text => Some(range(text).ok_or_else(|| bad("the host's port is not a number from 1 to 65535"))?),
        };
        if host.as_ref().is_some_and(|host| host.len() != container.len()) {
            return Err(bad("the two ranges differ in length"));
        }
        let first_host = host.map(|host| *host.start());
        Ok(container
            .clone()
            .map(|container_port| PortMapping {
                host_ip: address,
                host_port: first_host.map_or(0, |first| first + (container_port - container.start())),
                container_port,
                protocol,
            })
            .collect())
    }

    /// "0.0.0.0:80".
    pub fn host_address(&self) -> String {
        SocketAddr::new(self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.host_port).to_string()
    }

    /// "0.0.0.0:80/tcp".
    pub fn host_side(&self) -> String {
        format!("{}/{}", self.host_address(), self.protocol)
    }

    /// Whether it is published on IPv4 addresses.
    pub fn has_ipv4(&self) -> bool {
        self.host_ip.is_none_or(|ip| ip.is_ipv4())
    }

    /// Whether it is published on IPv6 addresses, of a container that has one.
    pub fn has_ipv6(&self) -> bool {
        self.host_ip.is_none_or(|ip| ip.is_ipv6())
    }

    /// Whether a packet can be meant for both.
    pub fn collides(&self, other: &PortMapping) -> bool {
        let same = self.protocol == other.protocol && self.host_port == other.host_port;
        let shared = match (self.host_ip, other.host_ip) {
            (None, _) | (_, None) => true,
            (Some(one), Some(other)) if one.is_ipv4() != other.is_ipv4() => false,
            (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        };
        same && shared
    }

    /// Make sure that no process of the host listens on the port, and choose a free one if it is 0. `ipv6` says whether
    /// the container has an IPv6 address.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::BadHostAddress`], or what the kernel said.
    pub(crate) fn claim(mut self, ipv6: bool) -> Result<Self> {
        /// Attempts at finding a port that is free in both families.
        const ATTEMPTS: usize = 16;
        if let Some(address @ IpAddr::V6(_)) = self.host_ip
            && !ipv6
        {
            return Err(Error::BadHostAddress { address, reason: "the container's network has no IPv6" });
        }
        let chosen = self.host_port == 0;
        let mut attempt = 0;
        loop {
            let mut families = Vec::new();
            if self.has_ipv4() {
                families.push(self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
            }
            if self.has_ipv6() && ipv6 {
                families.push(self.host_ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()));
            }
            match families.into_iter().try_for_each(|address| self.try_bind(address)) {
                Err(Error::PortInUse { .. }) if chosen && attempt < ATTEMPTS => self.host_port = 0,
                result => return result.map(|()| self),
            }
            attempt += 1;
        }
    }

    /// Listen for a moment; a chosen port is kept in `host_port`.
    fn try_bind(&mut self, ip: IpAddr) -> Result<()> {
        let address = SocketAddr::new(ip, self.host_port);
        // One IPv6 socket must not stand for both families.
        let bound = match (self.protocol, ip) {
            (protocol, IpAddr::V6(_)) => bind_ipv6(protocol, address),
            (Protocol::Tcp, _) => TcpListener::bind(address).and_then(|socket| socket.local_addr()),
            (Protocol::Udp, _) => UdpSocket::bind(address).and_then(|socket| socket.local_addr()),
        };
        match bound {
            Ok(bound) => {
                self.host_port = bound.port();
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(Error::PortInUse { port: format!("{address}/{}", self.protocol) })
            }
            Err(error) => Err(Error::kernel(format!("publish port {address}/{}", self.protocol), error)),
        }
    }
}

fn bind_ipv6(protocol: Protocol, address: SocketAddr) -> std::io::Result<SocketAddr> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(AddressFamily::INET6, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    if protocol == Protocol::Tcp {
        // As the standard library does: what waits in TIME_WAIT is no obstacle.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        listen(&socket, 1)?;
    }
    SocketAddr::try_from(getsockname(&socket)?).map_err(|_| std::io::ErrorKind::InvalidData.into())
}

/// The host's address of `-p`; empty and `0.0.0.0` differ: the first is all of both families.
fn parse_host_address(text: &str) -> std::result::Result<Option<IpAddr>, &'static str> {
    match text {
        "" => Ok(None),
        "localhost" => Ok(Some(Ipv4Addr::LOCALHOST.into())),
        text => text.parse::<Ipv4Addr>().map(|ip| Some(ip.into())).map_err(|_| "the address is not an IPv4 address"),
    }
}

/// As `docker ps` shows it: `0.0.0.0:8080->80/tcp`.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}/{}", self.host_address(), self.container_port, self.protocol)
    }
}

/// One mapping, as [`PortMapping::parse_all`] without ranges.
impl FromStr for PortMapping {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self> {
        match PortMapping::parse_all(spec)?.as_slice() {
            [one] => Ok(*one),
            _ => Err(Error::BadPort { spec: spec.into(), reason: "a range is not allowed here" }),
        }
    }
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

fn port(text: &str) -> Option<u16> {
    // `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(spec: &str) -> Vec<String> {
        PortMapping::parse_all(spec).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dockers_forms_are_read() {
        assert_eq!(shown("8080:80"), ["0.0.0.0:8080->80/tcp"]);
        assert_eq!(shown("80"), ["0.0.0.0:0->80/tcp"]);
        assert_eq!(shown("127.0.0.1:53:5353/udp"), ["127.0.0.1:53->5353/udp"]);
        assert_eq!(shown("10.0.0.1::80"), ["10.0.0.1:0->80/tcp"]);
        assert_eq!(shown("8000-8001:90-91"), ["0.0.0.0:8000->90/tcp", "0.0.0.0:8001->91/tcp"]);
        assert_eq!(shown("[::1]:8080:80"), ["[::1]:8080->80/tcp"]);
        assert_eq!(shown("[fd00::1]::80/udp"), ["[fd00::1]:0->80/udp"]);
        assert_eq!(shown(":80:80"), ["0.0.0.0:80->80/tcp"]);
        assert_eq!(shown("65535:65535"), ["0.0.0.0:65535->65535/tcp"]);
    }

    #[test]
    fn others_are_refused() {
        for bad in [
            "",
            ":",
            "0",
            "65536",
            "+80",
            "80:",
            "1-2:3",
            "2-1",
            "80/sctp",
            "80/",
            "a:80",
            "x:1:2",
            "1:2:3:4",
            "[::1]1:2",
            "[::1]:1:2:3",
            "[::1]:2",
            "[1.2.3.4]:1:2",
            "::1:1:2",
        ] {
            assert!(PortMapping::parse_all(bad).is_err(), "{bad:?}");
        }
        assert!("1-2".parse::<PortMapping>().is_err());
    }

    #[test]
    fn what_may_meet_collides() {
        let collide = |one: &str, other: &str| {
            one.parse::<PortMapping>().unwrap().collides(&other.parse::<PortMapping>().unwrap())
        };
        for (one, other) in [
            ("80:1", "80:2"),
            ("80:1", "127.0.0.1:80:2"),
            ("[::]:80:1", "80:2"),
            ("0.0.0.0:80:1", "10.0.0.1:80:2"),
            ("10.0.0.1:80:1", "10.0.0.1:80:2"),
        ] {
            assert!(collide(one, other) && collide(other, one), "{one} {other}");
        }
        for (one, other) in
            [("80:1", "81:1"), ("80:1", "80:1/udp"), ("127.0.0.1:80:1", "10.0.0.1:80:1"), ("[::]:80:1", "0.0.0.0:80:1")]
        {
            assert!(!collide(one, other) && !collide(other, one), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[0-9:/\\-.a-z\\[\\]]{0,24}") {
            let _ = PortMapping::parse_all(&text);
        }
    }
}
