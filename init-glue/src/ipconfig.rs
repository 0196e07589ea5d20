//! The kernel parameter `ip=`, as Documentation/admin-guide/nfs/nfsroot.rst has it.

use std::net::Ipv4Addr;

/// How the first interface gets its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpConfig {
    /// The interface; by default the first one that has hardware behind it.
    pub device: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// Where the address comes from.
    pub method: Method,
    /// Name servers, at most two.
    pub dns: Vec<Ipv4Addr>,
}

/// Where the address comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// By DHCP.
    #[default]
    Dhcp,
    /// Leave the interface alone.
    Off,
    /// As given.
    Static {
        /// The machine's address.
        address: Ipv4Addr,
        /// Its network.
        netmask: Ipv4Addr,
        /// The default route, if there is one.
        gateway: Option<Ipv4Addr>,
    },
}

impl IpConfig {
    /// Parse `ip=`'s value: `off`, `none`, `dhcp`, `on`, `any`, or the colon-separated fields
    /// `client:server:gateway:netmask:hostname:device:autoconf:dns0:dns1:ntp0`.
    ///
    /// # Errors
    /// What is wrong with it, to be shown after the parameter.
    pub fn parse(value: &str) -> Result<Self, String> {
        if !value.contains(':') && !value.contains('.') {
            return Ok(Self { method: autoconf(value)?.unwrap_or_default(), ..Self::default() });
        }
        let fields: Vec<&str> = value.split(':').collect();
        if fields.len() > 10 {
            return Err("more than ten fields; IPv6 is configured by router advertisements".into());
        }
        let field = |index: usize| fields.get(index).copied().filter(|text| !text.is_empty());
        let address = |index| field(index).map(ipv4).transpose();
        // NFS servers (field 1) and NTP servers (field 9) are checked, so that a slip in counting colons shows.
        address(1)?;
        address(9)?;
        let method = match (address(0)?, autoconf(field(6).unwrap_or_default())?) {
            (Some(client), None | Some(Method::Off)) => {
                let netmask = address(3)?.unwrap_or_else(|| classful(client));
                if !is_netmask(netmask) {
                    return Err(format!("{netmask} is no netmask"));
                }
                Method::Static { address: client, netmask, gateway: address(2)? }
            }
            (_, method) => method.unwrap_or_default(),
        };
        let dns = [address(7)?, address(8)?].into_iter().flatten().collect();
        // What follows a dot is the NIS domain.
        let hostname = field(4).and_then(|name| name.split('.').next()).filter(|name| !name.is_empty()).map(Into::into);
        Ok(Self { device: field(5).map(Into::into), hostname, method, dns })
    }
}

/// `None` if the field is empty.
fn autoconf(value: &str) -> Result<Option<Method>, String> {
    match value {
        "" => Ok(None),
        "off" | "none" => Ok(Some(Method::Off)),
        "dhcp" | "on" | "any" => Ok(Some(Method::Dhcp)),
        "bootp" | "rarp" | "both" => Err(format!("{value} is not served here; use dhcp")),
        other => Err(format!("{other:?} is no method; use dhcp, off or an address")),
    }
}

fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IPv4 address"))
}

fn is_netmask(mask: Ipv4Addr) -> bool {
    let bits = mask.to_bits();
    bits.leading_ones() + bits.trailing_zeros() == 32
}

fn classful(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        0..128 => Ipv4Addr::new(255, 0, 0, 0),
        128..192 => Ipv4Addr::new(255, 255, 0, 0),
        _ => Ipv4Addr::new(255, 255, 255, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words() {
        for (value, method) in
            [("off", Method::Off), ("none", Method::Off), ("dhcp", Method::Dhcp), ("on", Method::Dhcp)]
        {
            assert_eq!(IpConfig::parse(value).unwrap().method, method);
        }
        for bad in [
            "bootp",
            "dhcp6",
            "1.2.3",
            "1.2.3.4:x",
            "10.0.0.1:::255.0.255.0",
            "1:2:3:4:5:6:7:8:9:10:11",
            "1.2.3.4::::::dhcpp",
        ] {
            assert!(IpConfig::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn static_configuration() {
        let ip = IpConfig::parse("10.0.2.9::10.0.2.2:255.255.255.0:box.lan:eth1:off:10.0.2.3").unwrap();
        let expected = IpConfig {
            device: Some("eth1".into()),
            hostname: Some("box".into()),
            method: Method::Static {
                address: Ipv4Addr::new(10, 0, 2, 9),
                netmask: Ipv4Addr::new(255, 255, 255, 0),
                gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            },
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
        };
        assert_eq!(ip, expected);
    }

    #[test]
    fn netmask_defaults_to_the_class() {
        let Method::Static { netmask, .. } = IpConfig::parse("172.16.0.1").unwrap().method else { panic!() };
        assert_eq!(netmask, Ipv4Addr::new(255, 255, 0, 0));
    }

    #[test]
    fn dhcp_on_a_named_device() {
        let ip = IpConfig::parse(":::::eth1:dhcp").unwrap();
        assert_eq!((ip.device.as_deref(), ip.method), (Some("eth1"), Method::Dhcp));
    }

    proptest! {
        #[test]
        fn never_panics(value in "[0-9a-f:.]{0,60}|.{0,30}") {
            let _ = IpConfig::parse(&value);
        }

        #[test]
        fn every_prefix_is_a_netmask(prefix in 0u32..=32) {
            let bits = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            prop_assert!(is_netmask(Ipv4Addr::from_bits(bits)));
        }
    }
}
