//! Published ports: which port of the host leads to which port of a container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
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
    /// The address of the host on which it is published; all of them if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<Ipv4Addr>,
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
        if rest.starts_with('[') {
            return Err(bad("container networks are IPv4 only, so is the address"));
        }
        let parts: Vec<&str> = rest.split(':').collect();
        let (address, host, container) = match parts.as_slice() {
            [container] => ("", "", *container),
            [host, container] => ("", *host, *container),
            [address, host, container] => (*address, *host, *container),
            _ => return Err(bad("too many colons")),
        };
        let host_ip = match address {
            "" | "0.0.0.0" => None,
            "localhost" => Some(Ipv4Addr::LOCALHOST),
            address => Some(address.parse().map_err(|_| bad("the address is not an IPv4 address"))?),
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
                host_ip,
                host_port: first_host.map_or(0, |first| first + (container_port - container.start())),
                container_port,
                protocol,
            })
            .collect())
    }

    /// "0.0.0.0:80/tcp".
    pub fn host_side(&self) -> String {
        format!("{}:{}/{}", self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED), self.host_port, self.protocol)
    }

    /// Make sure that no process of the host listens on the port, and choose a free one if it is 0.
    ///
    /// # Errors
    /// [`Error::PortInUse`], or what the kernel said.
    pub(crate) fn claim(mut self) -> Result<Self> {
        let address = SocketAddr::new(IpAddr::V4(self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED)), self.host_port);
        let bound = match self.protocol {
            Protocol::Tcp => TcpListener::bind(address).and_then(|socket| socket.local_addr()),
            Protocol::Udp => UdpSocket::bind(address).and_then(|socket| socket.local_addr()),
        };
        match bound {
            Ok(bound) => {
                self.host_port = bound.port();
                Ok(self)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(Error::PortInUse { port: self.host_side(), user: "another process".into() })
            }
            Err(error) => Err(Error::kernel(format!("publish port {}", self.host_side()), error)),
        }
    }
}

/// As `docker ps` shows it: `0.0.0.0:8080->80/tcp`.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        write!(f, "{address}:{}->{}/{}", self.host_port, self.container_port, self.protocol)
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
            "[::1]:1:2",
        ] {
            assert!(PortMapping::parse_all(bad).is_err(), "{bad:?}");
        }
        assert!("1-2".parse::<PortMapping>().is_err());
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[0-9:/\\-.a-z\\[\\]]{0,24}") {
            let _ = PortMapping::parse_all(&text);
        }
    }
}
