//! The bridge that a network's containers are ports of.

use crate::address::{self, Address, IFA_F_NODAD};
use crate::link::{self, IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, Link};
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Socket};
use crate::{Error, Network, Result, forwarding};

const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_FORWARD_DELAY: u16 = 1;

/// Make sure that a network's bridge is there, is up, has the gateway's addresses, and lets packets from localhost out to
/// containers (`route_localnet`). Being up is set last: a bridge that is up is complete.
///
/// # Errors
/// An interface of another kind has that name, or what the kernel said.
pub fn ensure(socket: &mut Socket, network: &Network) -> Result<Link> {
    let name = &network.bridge;
    let bridge = match link::find(socket, name) {
        Ok(found) => found,
        Err(Error::NoSuchLink(_)) => {
            create(socket, network)?;
            link::find(socket, name)?
        }
        Err(error) => return Err(error),
    };
    if bridge.kind != "bridge" {
        let reason = format!("interface {name} exists and is no bridge; remove it or give the network another bridge");
        return Err(Error::BadNetwork { network: network.name.clone(), reason });
    }
    if bridge.is_up() && is_own(&bridge, network) {
        return Ok(bridge);
    }
    address::replace(socket, &Address::new(bridge.index, network.gateway.into(), network.prefix))?;
    if let Some(six) = network.ipv6 {
        forwarding::enable_static_ipv6(name)?;
        // Nobody else can have it: not to be checked for duplicates, which takes a second.
        let gateway = Address::new(bridge.index, six.gateway.into(), six.subnet.prefix);
        address::replace(socket, &Address { flags: IFA_F_NODAD, ..gateway })?;
    }
    forwarding::enable_route_localnet(name)?;
    if !bridge.is_up() {
        link::up(socket, name)?;
    }
    Ok(bridge)
}

/// Whether a bridge is one that [`ensure`] has made, and not one that was there.
pub fn is_own(bridge: &Link, network: &Network) -> bool {
    bridge.mac() == Some(crate::veth::mac_of(network.gateway))
}

/// The hardware address is fixed: by itself a bridge takes the lowest of its ports', and containers would lose their
/// gateway whenever that changes. It also tells an own bridge from one that was there.
fn create(socket: &mut Socket, network: &Network) -> Result<()> {
    let name = &network.bridge;
    let mac = crate::veth::mac_of(network.gateway);
    let mut message = Message::new(link::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .fixed(&link::ifinfomsg(0, 0, IFF_UP))
        .string(IFLA_IFNAME, name)
        .attribute(IFLA_ADDRESS, &mac.0);
    if let Some(mtu) = network.mtu {
        message = message.u32(IFLA_MTU, mtu);
    }
    let message = message.nested(IFLA_LINKINFO, |info| {
        // No spanning tree here: a port may forward at once.
        info.string(IFLA_INFO_KIND, "bridge").nested(IFLA_INFO_DATA, |data| data.u32(IFLA_BR_FORWARD_DELAY, 0))
    });
    socket.request(message, format!("add bridge {name}"))
}

/// Let a port give packets back to where they came from: what a container that calls its own published port needs
/// where bridged packets pass the packet filter (`br_netfilter`), as they are then translated within the bridge.
///
/// # Errors
/// No such port, or what the kernel said.
pub fn set_hairpin(socket: &mut Socket, port: &str) -> Result<()> {
    const IFLA_BRPORT_MODE: u16 = 4;
    set_port(socket, port, IFLA_BRPORT_MODE, "hairpin mode")
}

/// Keep a port from other ports that are kept so; the bridge itself is in reach.
///
/// # Errors
/// No such port, or what the kernel said.
pub fn set_isolated(socket: &mut Socket, port: &str) -> Result<()> {
    const IFLA_BRPORT_ISOLATED: u16 = 33;
    set_port(socket, port, IFLA_BRPORT_ISOLATED, "isolation")
}

fn set_port(socket: &mut Socket, port: &str, attribute: u16, what: &str) -> Result<()> {
    const AF_BRIDGE: u8 = 7;
    const IFLA_PROTINFO: u16 = 12;
    let mut fixed = link::ifinfomsg(link::find(socket, port)?.index, 0, 0);
    fixed[0] = AF_BRIDGE;
    let message =
        Message::new(link::RTM_SETLINK, 0).fixed(&fixed).nested(IFLA_PROTINFO, |info| info.attribute(attribute, &[1]));
    socket.request(message, format!("set {what} of link {port}"))
}
