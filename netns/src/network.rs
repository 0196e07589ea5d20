//! A network that containers are attached to: a bridge, a subnet, a gateway.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, link};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The bridge's name.
    pub bridge: String,
    /// The subnet's address.
    pub subnet: Ipv4Addr,
    /// The subnet's prefix length, bits.
    pub prefix: u8,
    /// The host's address on the bridge: the containers' gateway.
    pub gateway: Ipv4Addr,
    /// Largest packet, bytes; 1500 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl Network {
    /// The network of containers that name none: bridge `coracle0`, 10.88.0.0/16, gateway 10.88.0.1.
    pub fn default_bridge() -> Self {
        Network {
            name: "bridge".into(),
            bridge: "coracle0".into(),
            subnet: Ipv4Addr::new(10, 88, 0, 0),
            prefix: 16,
            gateway: Ipv4Addr::new(10, 88, 0, 1),
            mtu: None,
        }
    }

    /// A network on `bridge`; the gateway is the first address of the subnet.
    ///
    /// # Errors
    /// A bad name, or a subnet without room for a gateway and a container.
    pub fn new(name: &str, bridge: &str, subnet: Ipv4Addr, prefix: u8) -> Result<Self> {
        let gateway = Ipv4Addr::from(u32::from(subnet).wrapping_add(1));
        let network = Network { name: name.into(), bridge: bridge.into(), subnet, prefix, gateway, mtu: None };
        network.check()?;
        Ok(network)
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
        if u32::from(self.subnet) & !self.mask() != 0 {
            return bad("the subnet's address has bits set beyond its prefix");
        }
        if !self.hosts().contains(&u32::from(self.gateway)) {
            return bad("the gateway is not an address of the subnet");
        }
        Ok(())
    }

    /// The bits of the prefix.
    pub(crate) fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix.clamp(1, 32)))
    }

    /// Addresses that can be given out, the gateway's included.
    pub(crate) fn hosts(&self) -> std::ops::Range<u32> {
        let first = u32::from(self.subnet);
        first + 1..(first | !self.mask())
    }

    /// "10.88.0.0/16".
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.subnet, self.prefix)
    }

    /// Whether the two share addresses.
    pub(crate) fn overlaps(&self, other: &Network) -> bool {
        let mask = self.mask() & other.mask();
        u32::from(self.subnet) & mask == u32::from(other.subnet) & mask
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
        assert!(Network { gateway: Ipv4Addr::new(10, 2, 0, 1), ..network }.check().is_err());
    }

    #[test]
    fn overlap_is_seen_both_ways() {
        let wide = Network::default_bridge();
        let narrow = Network::new("n", "br1", Ipv4Addr::new(10, 88, 7, 0), 24).unwrap();
        let other = Network::new("o", "br2", Ipv4Addr::new(10, 89, 0, 0), 24).unwrap();
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!wide.overlaps(&other) && !other.overlaps(&narrow));
    }
}
