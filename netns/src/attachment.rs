//! Plugging a container into a network, and out again.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::ipam::Registry;
use crate::netlink::Socket;
use crate::network::check_identifier;
use crate::route::Route;
use crate::veth::{self, Cable};
use crate::{Error, Network, PortMapping, Result, bridge, forwarding, link, namespace, nat};

/// The container's name for its interface.
pub const INTERFACE: &str = "eth0";

/// What a container was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The container.
    pub container: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Prefix length of its subnet, bits.
    pub prefix: u8,
    /// Its gateway: the host.
    pub gateway: Ipv4Addr,
    /// Its hardware address, "02:42:0a:58:00:02".
    pub mac: String,
    /// Its interface, in the container.
    pub interface: String,
    /// The other end, on the host.
    pub host_interface: String,
    /// Published ports, with chosen ports filled in.
    pub ports: Vec<PortMapping>,
}

impl Attachment {
    pub(crate) fn plan(network: &Network, container: &str, ip: Ipv4Addr, ports: Vec<PortMapping>) -> Self {
        Attachment {
            network: network.name.clone(),
            container: container.into(),
            ip,
            prefix: network.prefix,
            gateway: network.gateway,
            mac: veth::mac_of(ip).to_string(),
            interface: INTERFACE.into(),
            host_interface: veth::host_name_of(ip),
            ports,
        }
    }
}

/// Plug a container into a network: an address, a default route, the loopback up, its ports published. An attachment
/// of this container that an earlier, killed attempt left behind is undone first.
///
/// The calling thread enters `namespace` for a moment to open a socket there, and comes back.
///
/// # Errors
/// A port is in use, the pool is exhausted, or what the kernel said; nothing is then left behind.
pub fn attach(
    network: &Network,
    container: &str,
    namespace: BorrowedFd<'_>,
    ports: &[PortMapping],
) -> Result<Attachment> {
    check_identifier("container name", container)?;
    let mut registry = Registry::lock()?;
    let mut socket = Socket::route()?;
    registry.activate(network)?;
    let result = plug(&mut registry, &mut socket, network, container, namespace, ports);
    if result.is_err() {
        // The first error is the one to report; a second attempt at attaching or detaching cleans up what this leaves.
        let _ = unplug(&registry, &mut socket, network, container);
        let _ = retire(&registry, &mut socket, network);
    }
    result
}

/// Plug a container out: its ports, its cable, its address. Nothing there is no error. The last one takes the bridge
/// and the packet filter's table with it.
///
/// # Errors
/// What the kernel said; may be repeated.
pub fn detach(network: &Network, container: &str) -> Result<()> {
    check_identifier("container name", container)?;
    let registry = Registry::lock()?;
    let mut socket = Socket::route()?;
    unplug(&registry, &mut socket, network, container)?;
    retire(&registry, &mut socket, network)
}

/// Free what belongs to containers that are gone (their cable vanished with their namespace) though nobody detached them.
///
/// # Errors
/// What the kernel said.
pub fn reclaim(network: &Network) -> Result<usize> {
    let registry = Registry::lock()?;
    let mut socket = Socket::route()?;
    let count = reclaim_locked(&registry, &mut socket, network)?;
    retire(&registry, &mut socket, network)?;
    Ok(count)
}

/// What a container has in a network.
///
/// # Errors
/// What the kernel said of the state's files.
pub fn find(network: &Network, container: &str) -> Result<Option<Attachment>> {
    check_identifier("container name", container)?;
    Registry::lock()?.attachment(network, container)
}

fn plug(
    registry: &mut Registry,
    socket: &mut Socket,
    network: &Network,
    container: &str,
    namespace: BorrowedFd<'_>,
    ports: &[PortMapping],
) -> Result<Attachment> {
    unplug(registry, socket, network, container)?;
    let bridge = bring_up(registry, socket, network)?;
    let ports = ports.iter().map(|port| port.claim()).collect::<Result<Vec<_>>>()?;
    free_ports(registry, socket, &ports)?;
    let ip = match registry.choose(network) {
        Err(Error::PoolExhausted { .. }) if reclaim_locked(registry, socket, network)? > 0 => {
            registry.choose(network)?
        }
        other => other?,
    };
    let attachment = Attachment::plan(network, container, ip, ports);
    // Written down before it is made: whatever happens from here on, `unplug` finds it.
    registry.record(network, &attachment)?;
    lay_cable(socket, network, &attachment, bridge, namespace)?;
    configure(network, &attachment, namespace)?;
    if !attachment.ports.is_empty() {
        bridge::set_hairpin(socket, &attachment.host_interface)?;
        nat::publish(&attachment.ports, attachment.ip)?;
    }
    Ok(attachment)
}

/// Filter first, bridge last: a bridge that is up is never without its filter.
fn bring_up(registry: &Registry, socket: &mut Socket, network: &Network) -> Result<u32> {
    let running = matches!(link::find(socket, &network.bridge), Ok(found) if found.is_up());
    if !running || !nat::is_installed()? {
        install_filter(registry)?;
    }
    forwarding::enable()?;
    Ok(bridge::ensure(socket, &network.bridge, network.gateway, network.prefix)?.index)
}

fn install_filter(registry: &Registry) -> Result<()> {
    let networks = registry.networks()?;
    let mut published = Vec::new();
    for network in &networks {
        for attachment in registry.attachments(network)? {
            published.extend(attachment.ports.iter().map(|port| (*port, attachment.ip)));
        }
    }
    nat::install(&networks, &published)
}

fn lay_cable(
    socket: &mut Socket,
    network: &Network,
    attachment: &Attachment,
    bridge: u32,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let cable = Cable {
        host_name: &attachment.host_interface,
        bridge,
        container_name: INTERFACE,
        container_mac: veth::mac_of(attachment.ip),
        namespace,
        mtu: network.mtu,
    };
    match veth::create(socket, &cable) {
        // The address was free, so the cable is a leftover of a container whose state is lost.
        Err(error) if error.is(Errno::EXIST) && link::remove(socket, &attachment.host_interface)? => {
            veth::create(socket, &cable)
        }
        other => other,
    }
}

fn configure(network: &Network, attachment: &Attachment, namespace: BorrowedFd<'_>) -> Result<()> {
    let mut inside = namespace::route_socket(namespace)?;
    let index = link::find(&mut inside, INTERFACE)?.index;
    let messages = vec![
        link::loopback_message(),
        link::up_message(index),
        Address::new(index, attachment.ip.into(), network.prefix).add_message(),
        Route::default_by(network.gateway.into(), index).add_message(),
    ];
    const ACTIONS: [&str; 4] = [
        "bring link lo up",
        "bring the container's link up",
        "add the container's address",
        "add the container's default route",
    ];
    inside.execute(messages).map_err(|refusal| {
        Error::kernel(ACTIONS.get(refusal.index).copied().unwrap_or("configure the container"), refusal.source)
    })
}

/// Make sure that no container has any of these ports; take them over from one that is dead. Done before anything is
/// written down, so that a port in an attachment's file is always its own to take back.
fn free_ports(registry: &Registry, socket: &mut Socket, ports: &[PortMapping]) -> Result<()> {
    for port in ports {
        let Some(ip) = nat::holder(port)? else { continue };
        for network in registry.networks()? {
            let Some((holder, _)) = registry.leases(&network)?.into_iter().find(|(_, held)| *held == ip) else {
                continue;
            };
            if !matches!(link::find(socket, &veth::host_name_of(ip)), Err(Error::NoSuchLink(_))) {
                return Err(Error::PortInUse { port: port.host_side(), user: format!("container {holder}") });
            }
            unplug(registry, socket, &network, &holder)?;
        }
        nat::unpublish(std::slice::from_ref(port))?;
    }
    Ok(())
}

fn unplug(registry: &Registry, socket: &mut Socket, network: &Network, container: &str) -> Result<()> {
    let Some(attachment) = registry.attachment(network, container)? else { return Ok(()) };
    nat::unpublish(&attachment.ports)?;
    link::remove(socket, &attachment.host_interface)?;
    registry.forget(network, &attachment)
}

fn reclaim_locked(registry: &Registry, socket: &mut Socket, network: &Network) -> Result<usize> {
    let alive: std::collections::HashSet<String> = link::list(socket)?.into_iter().map(|link| link.name).collect();
    let mut count = 0;
    for (container, ip) in registry.leases(network)? {
        if !alive.contains(&veth::host_name_of(ip)) {
            unplug(registry, socket, network, &container)?;
            count += 1;
        }
    }
    Ok(count)
}

/// With its last container gone, a network goes; with the last network, the filter's table.
fn retire(registry: &Registry, socket: &mut Socket, network: &Network) -> Result<()> {
    if !registry.leases(network)?.is_empty() || !registry.networks()?.contains(network) {
        return Ok(());
    }
    remove_stray_cables(socket, network)?;
    link::remove(socket, &network.bridge)?;
    registry.deactivate(network)?;
    if registry.networks()?.is_empty() { nat::remove() } else { install_filter(registry) }
}

/// Cables whose state was lost; a port that someone else plugged into the bridge is left alone.
fn remove_stray_cables(socket: &mut Socket, network: &Network) -> Result<()> {
    let Ok(bridge) = link::find(socket, &network.bridge) else { return Ok(()) };
    for port in link::list(socket)?.into_iter().filter(|link| link.master == Some(bridge.index)) {
        if veth::address_of(&port.name).is_some_and(|ip| network.hosts().contains(&u32::from(ip))) {
            link::remove(socket, &port.name)?;
        }
    }
    Ok(())
}

/// As [`attach`] to the namespace of a process.
///
/// # Errors
/// No such process.
pub fn attach_process(network: &Network, container: &str, pid: i32, ports: &[PortMapping]) -> Result<Attachment> {
    attach(network, container, namespace::of_process(pid)?.as_fd(), ports)
}
