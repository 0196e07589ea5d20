//! A network that containers are attached to: a driver, a subnet or two, a gateway.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::cidr::{Cidr4, Cidr6};
use crate::{Error, Result, link};

/// How containers are plugged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Ports of a bridge; the host is their gateway and translates addresses.
    #[default]
    Bridge,
    /// Interfaces of their own hardware address on one of the host's.
    Macvlan,
    /// Interfaces that share the hardware address of one of the host's.
    Ipvlan,
}

impl Driver {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
        }
    }
}

/// The IPv6 half of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet6 {
    /// All its addresses.
    pub subnet: Cidr6,
    /// The containers' gateway.
    pub gateway: Ipv6Addr,
    /// Where addresses are given out from; all of it if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Cidr6>,
}

impl Subnet6 {
    /// The gateway is the subnet's first address.
    pub fn new(subnet: Cidr6) -> Self {
        Subnet6 { subnet, gateway: subnet.nth(1), range: None }
    }
}

/// A network. What is absent in a file has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    #[serde(default)]
    pub id: String,
    /// When it was created, RFC 3339.
    #[serde(default)]
    pub created: String,
    /// How containers are plugged in.
    #[serde(default)]
    pub driver: Driver,
    /// The bridge's name; of macvlan and ipvlan, the name of the parent interface.
    pub bridge: String,
    /// The subnet's address.
    pub subnet: Ipv4Addr,
    /// The subnet's prefix length, bits.
    pub prefix: u8,
    /// The containers' gateway: the host's address on the bridge.
    pub gateway: Ipv4Addr,
    /// Where addresses are given out from; the whole subnet if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Cidr4>,
    /// Addresses that are not given out, by what they are for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, IpAddr>,
    /// The user chose the subnet.
    #[serde(default)]
    pub static_subnet: bool,
    /// Its IPv6 half, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Subnet6>,
    /// Its containers cannot reach out, nor be reached.
    #[serde(default)]
    pub internal: bool,
    /// Docker's word for "containers outside of services may join", which here they always may.
    #[serde(default)]
    pub attachable: bool,
    /// Largest packet, bytes; 1500 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// What leaves it seems to come from the host.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Its containers may talk to each other.
    #[serde(default = "yes")]
    pub inter_container: bool,
    /// Other networks do not get in; two that both gave this up reach each other.
    #[serde(default = "yes")]
    pub isolated: bool,
    /// Published ports without an address are on this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_binding: Option<Ipv4Addr>,
    /// The mode of macvlan or ipvlan, by its kernel name; the driver's default if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Containers resolve each other by name; the default network has no names.
    #[serde(default)]
    pub names: bool,
    /// Driver options as they were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

impl Network {
    /// The network of containers that name none: bridge `coracle0`, 10.88.0.0/16, gateway 10.88.0.1.
    pub fn default_bridge() -> Self {
        Network {
            // The SHA-256 digest of "bridge": the same on every host.
            id: "17f29b073143d8cd97b5bbe492bdeffec1c5fee55cc1fe2112c8b9335f8b6121".into(),
            ..Self::plain("bridge", "coracle0", Cidr4::of(Ipv4Addr::new(10, 88, 0, 0), 16))
        }
    }

    /// A network on `bridge`; the gateway is the first address of the subnet.
    ///
    /// # Errors
    /// A bad name, or a subnet without room for a gateway and a container.
    pub fn new(name: &str, bridge: &str, subnet: Ipv4Addr, prefix: u8) -> Result<Self> {
        let network = Self::plain(name, bridge, Cidr4::of(subnet, prefix));
        network.check()?;
        Ok(network)
    }

    /// As [`Network::new`], unchecked.
    pub fn plain(name: &str, bridge: &str, subnet: Cidr4) -> Self {
        Network {
            name: name.into(),
            id: String::new(),
            created: String::new(),
            driver: Driver::Bridge,
            bridge: bridge.into(),
            subnet: subnet.address,
            prefix: subnet.prefix,
            gateway: subnet.nth(1),
            range: None,
            reserved: BTreeMap::new(),
            static_subnet: false,
            ipv6: None,
            internal: false,
            attachable: false,
            mtu: None,
            masquerade: true,
            inter_container: true,
            isolated: true,
            host_binding: None,
            mode: String::new(),
            names: false,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Check a definition that came from elsewhere.
    ///
    /// # Errors
    /// As of [`Network::new`].
    pub fn check(&self) -> Result<()> {
        check_identifier("network name", &self.name)?;
        link::check_name(&self.bridge)?;
        let bad = |reason: &str| Err(Error::BadNetwork { network: self.name.clone(), reason: reason.into() });
        if !(8..=30).contains(&self.prefix) {
            return bad("the subnet's prefix length must be from 8 to 30");
        }
        if !self.cidr4().is_aligned() {
            return bad("the subnet's address has bits set beyond its prefix");
        }
        if !self.hosts().contains(&u32::from(self.gateway)) {
            return bad("the gateway is not an address of the subnet");
        }
        if self.range.is_some_and(|range| !range.is_aligned() || !self.cidr4().holds(range)) {
            return bad("the range is not a part of the subnet");
        }
        let Some(six) = self.ipv6 else { return Ok(()) };
        if !(8..=126).contains(&six.subnet.prefix) {
            return bad("the IPv6 subnet's prefix length must be from 8 to 126");
        }
        if !six.subnet.is_aligned() {
            return bad("the IPv6 subnet's address has bits set beyond its prefix");
        }
        if !six.subnet.contains(six.gateway) {
            return bad("the IPv6 gateway is not an address of the subnet");
        }
        if six.range.is_some_and(|range| !range.is_aligned() || !six.subnet.holds(range)) {
            return bad("the IPv6 range is not a part of the subnet");
        }
        Ok(())
    }

    /// The subnet.
    pub fn cidr4(&self) -> Cidr4 {
        Cidr4::of(self.subnet, self.prefix)
    }

    /// The bits of the prefix.
    pub(crate) fn mask(&self) -> u32 {
        self.cidr4().mask()
    }

    /// Addresses that can be given out, the gateway's included.
    pub(crate) fn hosts(&self) -> std::ops::Range<u32> {
        let first = u32::from(self.subnet);
        first.saturating_add(1)..(first | !self.mask())
    }

    /// Addresses that are given out to those who ask for none.
    pub(crate) fn pool(&self) -> std::ops::Range<u32> {
        let hosts = self.hosts();
        match self.range {
            None => hosts,
            Some(range) => {
                let first = u32::from(range.address);
                let last = first | !range.mask();
                first.max(hosts.start)..last.saturating_add(1).min(hosts.end)
            }
        }
    }

    /// "10.88.0.0/16".
    pub fn cidr(&self) -> String {
        self.cidr4().to_string()
    }

    /// The first of its subnets that the two share addresses of, in text.
    pub(crate) fn overlap(&self, other: &Network) -> Option<String> {
        if self.cidr4().overlaps(other.cidr4()) {
            return Some(self.cidr());
        }
        let (own, foreign) = (self.ipv6?, other.ipv6?);
        own.subnet.overlaps(foreign.subnet).then(|| own.subnet.to_string())
    }
}

/// Names of networks and containers are parts of file names.
///
/// # Errors
/// Anything but 1 to 128 letters, digits, `_`, `.`, `-`, the first a letter or digit.
pub fn check_identifier(what: &'static str, name: &str) -> Result<()> {
    let valid = (1..=128).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let rule = "1 to 128 letters, digits, '_', '.' or '-', beginning with a letter or digit";
    if valid { Ok(()) } else { Err(Error::BadName { what, name: name.into(), rule }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_is_sound() {
        Network::default_bridge().check().unwrap();
    }

    #[test]
    fn unsound_networks_are_refused() {
        let ip = Ipv4Addr::new(10, 1, 0, 0);
        assert!(Network::new("n", "br1", ip, 31).is_err());
        assert!(Network::new("n", "br1", Ipv4Addr::new(10, 1, 0, 7), 24).is_err());
        assert!(Network::new("../n", "br1", ip, 24).is_err());
        assert!(Network::new("n", "bridge/1", ip, 24).is_err());
        let network = Network::new("n", "br1", ip, 24).unwrap();
        assert!(Network { gateway: Ipv4Addr::new(10, 2, 0, 1), ..network.clone() }.check().is_err());
        let range = |text: &str| Network { range: Some(text.parse().unwrap()), ..network.clone() }.check();
        range("10.1.0.128/25").unwrap();
        assert!(range("10.2.0.0/25").is_err());
        assert!(range("10.1.0.0/16").is_err());
        let six = |text: &str| Network { ipv6: Some(Subnet6::new(text.parse().unwrap())), ..network.clone() }.check();
        six("fd00:1::/64").unwrap();
        assert!(six("fd00::/127").is_err());
        assert!(six("fd00::1/64").is_err());
    }

    #[test]
    fn overlap_is_seen_both_ways() {
        let wide = Network::default_bridge();
        let narrow = Network::new("n", "br1", Ipv4Addr::new(10, 88, 7, 0), 24).unwrap();
        let other = Network::new("o", "br2", Ipv4Addr::new(10, 89, 0, 0), 24).unwrap();
        assert!(wide.overlap(&narrow).is_some() && narrow.overlap(&wide).is_some());
        assert!(wide.overlap(&other).is_none() && other.overlap(&narrow).is_none());
        let six = |network: &Network, text: &str| Network {
            ipv6: Some(Subnet6::new(text.parse().unwrap())),
            ..network.clone()
        };
        assert_eq!(six(&other, "fd00::/48").overlap(&six(&narrow, "fd00::/64")).as_deref(), Some("fd00::/48"));
    }

    #[test]
    fn the_pool_is_the_range_within_the_hosts() {
        let network = Network::new("n", "br1", Ipv4Addr::new(10, 1, 0, 0), 24).unwrap();
        let pool = |text: &str| Network { range: Some(text.parse().unwrap()), ..network.clone() }.pool();
        let at = |last: u8| u32::from(Ipv4Addr::new(10, 1, 0, last));
        assert_eq!(network.pool(), at(1)..at(255));
        assert_eq!(pool("10.1.0.128/25"), at(128)..at(255));
        assert_eq!(pool("10.1.0.0/30"), at(1)..at(4));
    }

    #[test]
    fn files_of_an_earlier_version_are_read() {
        let text = r#"{"name":"n","bridge":"b","subnet":"10.1.0.0","prefix":24,"gateway":"10.1.0.1"}"#;
        let network: Network = serde_json::from_str(text).unwrap();
        assert!(network.masquerade && network.isolated && network.inter_container && !network.internal);
        network.check().unwrap();
    }
}
