//! Which subnet a new network gets when its user names none.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::cidr::{Cidr4, Cidr6};
use crate::netlink::Socket;
use crate::{Error, Network, Result, address, route};

/// Docker's default pools, less the one of its own default network: 172.18.0.0/16 to 172.31.0.0/16, then the /20 of
/// 192.168.0.0/16.
fn candidates() -> impl Iterator<Item = Cidr4> {
    let wide = (18..=31).map(|second| Cidr4::of(Ipv4Addr::new(172, second, 0, 0), 16));
    wide.chain((0..=15).map(|third| Cidr4::of(Ipv4Addr::new(192, 168, third * 16, 0), 20)))
}

/// Addresses that the host uses or knows a way to, the default route aside.
#[derive(Clone, Debug, Default)]
pub struct Used {
    v4: Vec<Cidr4>,
    v6: Vec<Cidr6>,
}

impl Used {
    /// Of these networks, and of the host's addresses and routes.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn of(networks: &[Network]) -> Result<Self> {
        let mut used = Used::default();
        let mut socket = Socket::route()?;
        for address in address::list(&mut socket)? {
            used.add(address.local, address.prefix);
        }
        for route in route::list(&mut socket)?.into_iter().filter(|route| route.prefix > 0) {
            used.add(route.destination, route.prefix);
        }
        for network in networks {
            used.v4.push(network.cidr4());
            used.v6.extend(network.ipv6.map(|six| six.subnet));
        }
        Ok(used)
    }

    fn add(&mut self, address: IpAddr, prefix: u8) {
        match address {
            IpAddr::V4(ip) => self.v4.push(Cidr4::of(ip, prefix)),
            IpAddr::V6(ip) => self.v6.push(Cidr6::of(ip, prefix)),
        }
    }

    /// A subnet that none of it overlaps.
    ///
    /// # Errors
    /// [`Error::NoPool`].
    pub fn free4(&self) -> Result<Cidr4> {
        candidates().find(|subnet| !self.v4.iter().any(|used| used.overlaps(*subnet))).ok_or(Error::NoPool)
    }

    /// A unique local /64 (RFC 4193) that none of it overlaps: the global identifier is random.
    ///
    /// # Errors
    /// [`Error::NoPool`], or what the kernel said of /dev/urandom.
    pub fn free6(&self) -> Result<Cidr6> {
        let path = Path::new("/dev/urandom");
        let mut random = File::open(path).map_err(|source| Error::file("open", path, source))?;
        for _ in 0..16 {
            let mut bytes = [0; 16];
            bytes[0] = 0xfd;
            random.read_exact(&mut bytes[1..6]).map_err(|source| Error::file("read", path, source))?;
            let subnet = Cidr6::of(Ipv6Addr::from(bytes), 64);
            if !self.v6.iter().any(|used| used.overlaps(subnet)) {
                return Ok(subnet);
            }
        }
        Err(Error::NoPool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_uses_is_left_out() {
        let mut used = Used::default();
        assert_eq!(used.free4().unwrap().to_string(), "172.18.0.0/16");
        used.add("172.18.7.1".parse().unwrap(), 24);
        used.add("172.16.0.0".parse().unwrap(), 14);
        assert_eq!(used.free4().unwrap().to_string(), "172.20.0.0/16");
        used.add("172.16.0.0".parse().unwrap(), 12);
        assert_eq!(used.free4().unwrap().to_string(), "192.168.0.0/20");
        used.add("192.168.0.0".parse().unwrap(), 16);
        assert!(matches!(used.free4(), Err(Error::NoPool)));
    }

    #[test]
    fn ipv6_is_unique_local() {
        let subnet = Used::default().free6().unwrap();
        assert!(subnet.is_aligned() && subnet.prefix == 64 && subnet.address.octets()[0] == 0xfd);
    }
}
