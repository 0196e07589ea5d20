//! A virtual cable between a bridge and a container's namespace (veth(4)).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::link::{self, IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU};
use crate::link::{IFLA_NET_NS_FD, MacAddress};
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Socket};

const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// A cable to be laid.
#[derive(Clone, Copy, Debug)]
pub struct Cable<'a> {
    /// Name of the host's end.
    pub host_name: &'a str,
    /// Number of the bridge that the host's end becomes a port of.
    pub bridge: u32,
    /// Name of the container's end.
    pub container_name: &'a str,
    /// Hardware address of the container's end.
    pub container_mac: MacAddress,
    /// Namespace of the container's end.
    pub namespace: BorrowedFd<'a>,
    /// Largest packet, bytes; the kernel's default (1500) if not given.
    pub mtu: Option<u32>,
}

/// Lay a cable: both ends made, named and plugged in by one request, so there is no half-laid state. The container's
/// end stays down: the kernel opens it before it knows the other (`veth_open` says ENOTCONN).
///
/// # Errors
/// What the kernel said; `EEXIST` if either name is taken.
pub fn create(socket: &mut Socket, cable: &Cable<'_>) -> Result<()> {
    link::check_name(cable.host_name)?;
    link::check_name(cable.container_name)?;
    let with_mtu = |message: Message| match cable.mtu {
        Some(mtu) => message.u32(IFLA_MTU, mtu),
        None => message,
    };
    let message = Message::new(link::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .fixed(&link::ifinfomsg(0, IFF_UP, IFF_UP))
        .string(IFLA_IFNAME, cable.host_name)
        .u32(IFLA_MASTER, cable.bridge);
    let message = with_mtu(message).nested(IFLA_LINKINFO, |info| {
        info.string(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |data| {
            data.nested(VETH_INFO_PEER, |peer| {
                let peer = peer
                    .fixed(&link::ifinfomsg(0, 0, 0))
                    .string(IFLA_IFNAME, cable.container_name)
                    .attribute(IFLA_ADDRESS, &cable.container_mac.0)
                    .u32(IFLA_NET_NS_FD, cable.namespace.as_raw_fd().cast_unsigned());
                with_mtu(peer)
            })
        })
    });
    socket.request(message, format!("add veth {} for the container's {}", cable.host_name, cable.container_name))
}

/// A cable with both ends in the socket's namespace, down.
///
/// # Errors
/// What the kernel said; `EEXIST` if either name is taken.
pub fn create_pair(socket: &mut Socket, one: &str, other: &str) -> Result<()> {
    link::check_name(one)?;
    link::check_name(other)?;
    let message = Message::new(link::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .fixed(&link::ifinfomsg(0, 0, 0))
        .string(IFLA_IFNAME, one)
        .nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| peer.fixed(&link::ifinfomsg(0, 0, 0)).string(IFLA_IFNAME, other))
            })
        });
    socket.request(message, format!("add veth {one} with peer {other}"))
}

/// The hardware address that belongs to an address: locally administered, and the same whenever the address is
/// given out again, so that neighbours' caches stay right.
pub fn mac_of(ip: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = ip.octets();
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// The container's address that a host's end is named after.
pub fn address_of(host_name: &str) -> Option<Ipv4Addr> {
    let address = Ipv4Addr::from(u32::from_str_radix(host_name.strip_prefix("veth")?, 16).ok()?);
    (host_name_of(address) == host_name).then_some(address)
}

/// The name of the host's end for a container's address; unique because subnets do not overlap.
pub fn host_name_of(ip: Ipv4Addr) -> String {
    format!("veth{:08x}", u32::from(ip))
}
