//! The bridge that a network's containers are ports of.

use std::net::Ipv4Addr;

use crate::address::{self, Address};
use crate::link::{self, IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, Link};
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Socket};
use crate::{Error, Result, forwarding};

const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_FORWARD_DELAY: u16 = 1;

/// Make sure that a bridge of this name is there, is up, has the gateway's address, and lets packets from localhost
/// out to containers (`route_localnet`). Being up is set last: a bridge that is up is complete.
///
/// # Errors
/// An interface of another kind has that name, or what the kernel said.
pub fn ensure(socket: &mut Socket, name: &str, gateway: Ipv4Addr, prefix: u8) -> Result<Link> {
    let bridge = match link::find(socket, name) {
        Ok(found) => found,
        Err(Error::NoSuchLink(_)) => {
            create(socket, name, gateway)?;
            link::find(socket, name)?
        }
        Err(error) => return Err(error),
    };
    if bridge.kind != "bridge" {
        let reason = format!("interface {name} exists and is no bridge; remove it or give the network another bridge");
        return Err(Error::BadNetwork { network: name.into(), reason });
    }
    if !bridge.is_up() {
        address::replace(socket, &Address::new(bridge.index, gateway.into(), prefix))?;
        forwarding::enable_route_localnet(name)?;
        link::up(socket, name)?;
    }
    Ok(bridge)
}

/// The hardware address is fixed: by itself a bridge takes the lowest of its ports', and containers would lose their
/// gateway whenever that changes.
fn create(socket: &mut Socket, name: &str, gateway: Ipv4Addr) -> Result<()> {
    let mac = crate::veth::mac_of(gateway);
    let message = Message::new(link::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .fixed(&link::ifinfomsg(0, 0, IFF_UP))
        .string(IFLA_IFNAME, name)
        .attribute(IFLA_ADDRESS, &mac.0)
        .nested(IFLA_LINKINFO, |info| {
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
    const AF_BRIDGE: u8 = 7;
    const IFLA_PROTINFO: u16 = 12;
    const IFLA_BRPORT_MODE: u16 = 4;
    let mut fixed = link::ifinfomsg(link::find(socket, port)?.index, 0, 0);
    fixed[0] = AF_BRIDGE;
    let message = Message::new(link::RTM_SETLINK, 0)
        .fixed(&fixed)
        .nested(IFLA_PROTINFO, |info| info.attribute(IFLA_BRPORT_MODE, &[1]));
    socket.request(message, format!("set hairpin mode of link {port}"))
}
