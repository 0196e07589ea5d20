//! Interfaces of containers on one of the host's: macvlan and ipvlan (`Documentation/networking/ipvlan.rst`,
//! `include/uapi/linux/if_link.h`).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::link::{self, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_MTU};
use crate::link::{IFLA_NET_NS_FD, MacAddress};
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Socket};
use crate::network::Driver;
use crate::{Error, Network, Result};

const IFLA_INFO_DATA: u16 = 2;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;

/// The kernel's number of a macvlan mode; empty is bridge.
fn macvlan_mode(mode: &str) -> Option<u32> {
    Some(match mode {
        "private" => 1,
        "vepa" => 2,
        "" | "bridge" => 4,
        "passthru" => 8,
        _ => return None,
    })
}

/// The kernel's numbers of an ipvlan mode and flag, "l3" or "l3,private"; empty is l2, bridge.
fn ipvlan_mode(mode: &str) -> Option<(u16, u16)> {
    let (mode, flag) = mode.split_once(',').unwrap_or((mode, ""));
    let mode = match mode {
        "" | "l2" => 0,
        "l3" => 1,
        "l3s" => 2,
        _ => return None,
    };
    let flag = match flag {
        "" | "bridge" => 0,
        "private" => 1,
        "vepa" => 2,
        _ => return None,
    };
    Some((mode, flag))
}

/// Whether a driver knows a mode.
pub fn knows_mode(driver: Driver, mode: &str) -> bool {
    match driver {
        Driver::Bridge => mode.is_empty(),
        Driver::Macvlan => macvlan_mode(mode).is_some(),
        Driver::Ipvlan => ipvlan_mode(mode).is_some(),
    }
}

/// Whether packets leave by the interface itself rather than by a gateway.
pub(crate) fn is_routed(network: &Network) -> bool {
    network.driver == Driver::Ipvlan && ipvlan_mode(&network.mode).is_some_and(|(mode, _)| mode != 0)
}

/// The number of the parent interface.
///
/// # Errors
/// [`Error::NoParent`], or what the kernel said.
pub fn parent(socket: &mut Socket, network: &Network) -> Result<u32> {
    match link::find(socket, &network.bridge) {
        Err(Error::NoSuchLink(parent)) => Err(Error::NoParent { network: network.name.clone(), parent }),
        found => Ok(found?.index),
    }
}

/// Make a container's interface, named, in its namespace, by one request.
///
/// # Errors
/// What the kernel said: `EBUSY` if the parent has interfaces of another kind on it, `EEXIST` if the name is taken.
pub fn create(
    socket: &mut Socket,
    network: &Network,
    parent: u32,
    name: &str,
    mac: MacAddress,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    link::check_name(name)?;
    let mut message = Message::new(link::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .fixed(&link::ifinfomsg(0, 0, 0))
        .string(IFLA_IFNAME, name)
        .u32(IFLA_LINK, parent)
        .u32(IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
    if let Some(mtu) = network.mtu {
        message = message.u32(IFLA_MTU, mtu);
    }
    let unknown = || Error::BadNetwork { network: network.name.clone(), reason: "has an unknown mode".into() };
    let message = if network.driver == Driver::Macvlan {
        let mode = macvlan_mode(&network.mode).ok_or_else(unknown)?;
        message.attribute(IFLA_ADDRESS, &mac.0).nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "macvlan").nested(IFLA_INFO_DATA, |data| data.u32(IFLA_MACVLAN_MODE, mode))
        })
    } else {
        let (mode, flags) = ipvlan_mode(&network.mode).ok_or_else(unknown)?;
        message.nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "ipvlan").nested(IFLA_INFO_DATA, |data| {
                data.attribute(IFLA_IPVLAN_MODE, &mode.to_ne_bytes()).attribute(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes())
            })
        })
    };
    let kind = network.driver.word();
    socket.request(message, format!("add a {kind} interface on {} for the container's {name}", network.bridge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_dockers() {
        for mode in ["", "bridge", "private", "vepa", "passthru"] {
            assert!(knows_mode(Driver::Macvlan, mode), "{mode}");
        }
        for mode in ["", "l2", "l3", "l3s", "l3,private", "l2,vepa", ",bridge"] {
            assert!(knows_mode(Driver::Ipvlan, mode), "{mode}");
        }
        assert!(!knows_mode(Driver::Macvlan, "l2") && !knows_mode(Driver::Ipvlan, "l4"));
        assert!(!knows_mode(Driver::Ipvlan, "l2,loud") && !knows_mode(Driver::Bridge, "l2"));
    }
}
