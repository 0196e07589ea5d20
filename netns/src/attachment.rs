//! Plugging a container into a network, and out again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::address::{Address, IFA_F_NODAD};
use crate::ipam::Registry;
use crate::link::MacAddress;
use crate::netlink::{Message, Socket};
use crate::network::{Driver, check_identifier};
use crate::route::Route;
use crate::veth::{self, Cable};
use crate::{Error, Network, PortMapping, Result, bridge, forwarding, link, namespace, nat, route, sublink};

/// What the container's interfaces are called, with a number behind it.
const INTERFACE: &str = "eth";

/// A container that is to be plugged in.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The container's identifier.
    pub container: &'a str,
    /// Its network namespace.
    pub namespace: BorrowedFd<'a>,
    /// A process in that namespace, by which it is found again; 0 if there is none.
    pub pid: i32,
    /// What to publish.
    pub ports: &'a [PortMapping],
    /// The address that it wants.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address that it wants.
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address that it wants.
    pub mac: Option<MacAddress>,
    /// What others on the network may call it.
    pub names: Vec<String>,
    /// DNS servers that it wants in place of the host's.
    pub servers: Vec<IpAddr>,
    /// An identifier for its place on the network.
    pub endpoint: String,
}

impl<'a> Request<'a> {
    /// A container that wants nothing in particular.
    pub fn new(container: &'a str, namespace: BorrowedFd<'a>, ports: &'a [PortMapping]) -> Self {
        Request {
            container,
            namespace,
            pid: 0,
            ports,
            ip: None,
            ipv6: None,
            mac: None,
            names: Vec::new(),
            servers: Vec::new(),
            endpoint: String::new(),
        }
    }
}

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
    /// Its gateway; unspecified if it has none.
    pub gateway: Ipv4Addr,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Prefix length of its IPv6 subnet, bits.
    #[serde(default)]
    pub prefix6: u8,
    /// Its IPv6 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<Ipv6Addr>,
    /// Its hardware address, "02:42:0a:58:00:02"; empty where it shares the parent's.
    pub mac: String,
    /// Its interface, in the container.
    pub interface: String,
    /// The other end, on the host; empty where there is none.
    pub host_interface: String,
    /// Published ports, with chosen ports filled in.
    pub ports: Vec<PortMapping>,
    /// What others on the network call it.
    #[serde(default)]
    pub names: Vec<String>,
    /// DNS servers that it wants in place of the host's.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    /// A process in its namespace.
    #[serde(default)]
    pub pid: i32,
    /// The namespace's inode number, which tells whether that process still is the one.
    #[serde(default)]
    pub namespace: u64,
    /// The identifier of its place on the network.
    #[serde(default)]
    pub endpoint: String,
}

impl Default for Attachment {
    fn default() -> Self {
        Attachment {
            network: String::new(),
            container: String::new(),
            ip: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway: Ipv4Addr::UNSPECIFIED,
            ipv6: None,
            prefix6: 0,
            gateway6: None,
            mac: String::new(),
            interface: String::new(),
            host_interface: String::new(),
            ports: Vec::new(),
            names: Vec::new(),
            servers: Vec::new(),
            pid: 0,
            namespace: 0,
            endpoint: String::new(),
        }
    }
}

impl Attachment {
    /// The container's namespace, if its process still is there.
    pub fn open_namespace(&self) -> Option<OwnedFd> {
        let namespace = namespace::of_process(self.pid).ok().filter(|_| self.pid > 0)?;
        (namespace::number(namespace.as_fd()).ok()? == self.namespace).then_some(namespace)
    }
}

/// Plug a container into a network: addresses, a default route unless it has one, the loopback up, its ports published.
/// An attachment of this container that an earlier, killed attempt left behind is undone first.
///
/// The calling thread enters the namespace for a moment to open a socket there, and comes back.
///
/// # Errors
/// A port is in use, the pool is exhausted, or what the kernel said; nothing is then left behind.
pub fn attach(network: &Network, request: &Request<'_>) -> Result<Attachment> {
    check_identifier("container name", request.container)?;
    let mut registry = Registry::lock()?;
    let mut socket = Socket::route()?;
    registry.activate(network)?;
    let result = plug(&mut registry, &mut socket, network, request);
    if result.is_err() {
        // The first error is the one to report; a second attempt at attaching or detaching cleans up what this leaves.
        let _ = unplug(&registry, &mut socket, network, request.container);
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

/// Plug a container out of whatever it is plugged in, as [`detach`] does. Tells whether there was a network with names
/// among them.
///
/// # Errors
/// What the kernel said; may be repeated.
pub fn detach_all(container: &str) -> Result<bool> {
    check_identifier("container name", container)?;
    let registry = Registry::lock()?;
    let held = registry.attachments_of(container)?;
    if held.is_empty() {
        return Ok(false);
    }
    let mut socket = Socket::route()?;
    for (network, _) in &held {
        unplug(&registry, &mut socket, network, container)?;
        retire(&registry, &mut socket, network)?;
    }
    Ok(held.iter().any(|(network, _)| network.names))
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

/// Give a container other names on a network where it is. Tells whether it is there.
///
/// # Errors
/// What the kernel said of the state's files.
pub fn rename(network: &Network, container: &str, names: Vec<String>) -> Result<bool> {
    let registry = Registry::lock()?;
    let Some(attachment) = registry.attachment(network, container)? else { return Ok(false) };
    registry.record(network, &Attachment { names, ..attachment })?;
    Ok(true)
}

fn plug(registry: &mut Registry, socket: &mut Socket, network: &Network, request: &Request<'_>) -> Result<Attachment> {
    unplug(registry, socket, network, request.container)?;
    let below = match network.driver {
        Driver::Bridge => bring_up(registry, socket, network)?,
        _ => sublink::parent(socket, network)?,
    };
    let mut inside = namespace::route_socket(request.namespace)?;
    let attachment = plan(registry, socket, network, request, &mut inside)?;
    // Written down before it is made: whatever happens from here on, `unplug` finds it.
    registry.record(network, &attachment)?;
    let mac = request.mac.unwrap_or_else(|| veth::mac_of(attachment.ip));
    match network.driver {
        Driver::Bridge => lay_cable(socket, network, &attachment, mac, below, request.namespace)?,
        _ => sublink::create(socket, network, below, &attachment.interface, mac, request.namespace)?,
    }
    configure(network, &attachment, &mut inside)?;
    if network.driver == Driver::Bridge && !network.inter_container {
        bridge::set_isolated(socket, &attachment.host_interface)?;
    }
    if !attachment.ports.is_empty() {
        bridge::set_hairpin(socket, &attachment.host_interface)?;
        nat::publish(&attachment.ports, attachment.ip, attachment.ipv6)?;
    }
    Ok(attachment)
}

/// Decide what the container gets; nothing is made yet.
fn plan(
    registry: &mut Registry,
    socket: &mut Socket,
    network: &Network,
    request: &Request<'_>,
    inside: &mut Socket,
) -> Result<Attachment> {
    let is_bridge = network.driver == Driver::Bridge;
    let mut ports = Vec::new();
    // An internal network is out of reach, and on the others a container has the network's own addresses.
    if is_bridge && !network.internal {
        for port in request.ports {
            let bound = PortMapping { host_ip: port.host_ip.or(network.host_binding.map(Into::into)), ..*port };
            ports.push(bound.claim(network.ipv6.is_some())?);
        }
        free_ports(registry, socket, &ports)?;
    }
    let ip = match registry.choose(network, request.ip) {
        Err(Error::PoolExhausted { .. }) if reclaim_locked(registry, socket, network)? > 0 => {
            registry.choose(network, None)?
        }
        other => other?,
    };
    let ipv6 = registry.choose6(network, ip, request.ipv6)?;
    let has_gateway = !network.internal && !sublink::is_routed(network);
    let mac = request.mac.unwrap_or_else(|| veth::mac_of(ip));
    Ok(Attachment {
        network: network.name.clone(),
        container: request.container.into(),
        ip,
        prefix: network.prefix,
        gateway: if has_gateway { network.gateway } else { Ipv4Addr::UNSPECIFIED },
        ipv6,
        prefix6: network.ipv6.map_or(0, |six| six.subnet.prefix),
        gateway6: network.ipv6.map(|six| six.gateway).filter(|_| has_gateway),
        mac: if network.driver == Driver::Ipvlan { String::new() } else { mac.to_string() },
        interface: free_interface(inside)?,
        host_interface: if is_bridge { veth::host_name_of(ip) } else { String::new() },
        ports,
        names: request.names.clone(),
        servers: request.servers.clone(),
        pid: request.pid,
        namespace: namespace::number(request.namespace)?,
        endpoint: request.endpoint.clone(),
    })
}

/// The first name that no interface of the namespace has.
fn free_interface(inside: &mut Socket) -> Result<String> {
    let taken: Vec<String> = link::list(inside)?.into_iter().map(|link| link.name).collect();
    let mut names = (0..=taken.len()).map(|number| format!("{INTERFACE}{number}"));
    Ok(names.find(|name| !taken.contains(name)).unwrap_or_default())
}

/// Filter first, bridge last: a bridge that is up is never without its filter.
fn bring_up(registry: &Registry, socket: &mut Socket, network: &Network) -> Result<u32> {
    let running = matches!(link::find(socket, &network.bridge), Ok(found) if found.is_up());
    if !running || !nat::is_installed()? {
        install_filter(registry)?;
    }
    forwarding::enable()?;
    if network.ipv6.is_some() {
        forwarding::enable_ipv6()?;
    }
    Ok(bridge::ensure(socket, network)?.index)
}

fn install_filter(registry: &Registry) -> Result<()> {
    let mut networks = registry.networks()?;
    networks.retain(|network| network.driver == Driver::Bridge);
    let mut published = Vec::new();
    for network in &networks {
        published.extend(registry.attachments(network)?.into_iter().filter(|held| !held.ports.is_empty()));
    }
    nat::install(&networks, &published)
}

fn lay_cable(
    socket: &mut Socket,
    network: &Network,
    attachment: &Attachment,
    mac: MacAddress,
    bridge: u32,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    let cable = Cable {
        host_name: &attachment.host_interface,
        bridge,
        container_name: &attachment.interface,
        container_mac: mac,
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

fn configure(network: &Network, attachment: &Attachment, inside: &mut Socket) -> Result<()> {
    let index = link::find(inside, &attachment.interface)?.index;
    let mut messages = vec![
        link::loopback_message(),
        link::up_message(index),
        Address::new(index, attachment.ip.into(), network.prefix).add_message(),
    ];
    if let Some(ipv6) = attachment.ipv6 {
        // Nobody else can have it: not to be checked for duplicates, which takes a second.
        let address = Address::new(index, ipv6.into(), attachment.prefix6);
        messages.push(Address { flags: IFA_F_NODAD, ..address }.add_message());
    }
    const ACTIONS: [&str; 4] = [
        "bring link lo up",
        "bring the container's link up",
        "add the container's address",
        "add the container's IPv6 address (is IPv6 off in /proc/sys/net/ipv6/conf/default/disable_ipv6?)",
    ];
    execute(inside, messages, &ACTIONS)?;
    add_default_routes(network, attachment, inside, index)
}

fn execute(socket: &mut Socket, messages: Vec<Message>, actions: &[&str]) -> Result<()> {
    socket.execute(messages).map_err(|refusal| {
        Error::kernel(actions.get(refusal.index).copied().unwrap_or("configure the container"), refusal.source)
    })
}

/// A container that has a default route keeps it: the first network that leads out is the one.
fn add_default_routes(network: &Network, attachment: &Attachment, inside: &mut Socket, index: u32) -> Result<()> {
    let mut routes = Vec::new();
    if !attachment.gateway.is_unspecified() {
        routes.push(Route::default_by(attachment.gateway.into(), index));
    }
    routes.extend(attachment.gateway6.map(|gateway| Route::default_by(gateway.into(), index)));
    if sublink::is_routed(network) && !network.internal {
        routes.push(Route::new(Ipv4Addr::UNSPECIFIED.into(), 0, Some(index)));
        if attachment.ipv6.is_some() {
            routes.push(Route::new(Ipv6Addr::UNSPECIFIED.into(), 0, Some(index)));
        }
    }
    for route in routes {
        match route::add(inside, &route) {
            Err(error) if error.is(Errno::EXIST) => {}
            added => added?,
        }
    }
    Ok(())
}

/// After a container has left a network: the default route, if that went with it, by one of the networks that are left.
///
/// # Errors
/// What the kernel said.
pub fn restore_default_routes(container: &str) -> Result<()> {
    let registry = Registry::lock()?;
    for (network, attachment) in registry.attachments_of(container)? {
        let Some(namespace) = attachment.open_namespace() else { continue };
        let mut inside = namespace::route_socket(namespace.as_fd())?;
        let index = link::find(&mut inside, &attachment.interface)?.index;
        add_default_routes(&network, &attachment, &mut inside, index)?;
    }
    Ok(())
}

/// Make sure that no container has any of these ports; take them over from one that is dead. Done before anything is
/// written down, so that a port in an attachment's file is always its own to take back.
fn free_ports(registry: &Registry, socket: &mut Socket, ports: &[PortMapping]) -> Result<()> {
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].iter().any(|other| other.collides(port)) {
            return Err(Error::PortAllocated { address: port.host_address(), holder: "the container itself".into() });
        }
    }
    if ports.is_empty() {
        return Ok(());
    }
    for network in registry.networks()? {
        for held in registry.attachments(&network)? {
            let Some(port) = ports.iter().find(|port| held.ports.iter().any(|other| other.collides(port))) else {
                continue;
            };
            if !matches!(link::find(socket, &held.host_interface), Err(Error::NoSuchLink(_))) {
                return Err(Error::PortAllocated { address: port.host_address(), holder: held.container });
            }
            unplug(registry, socket, &network, &held.container)?;
        }
    }
    // Of a container whose state is lost.
    nat::unpublish(ports)
}

fn unplug(registry: &Registry, socket: &mut Socket, network: &Network, container: &str) -> Result<()> {
    let Some(attachment) = registry.attachment(network, container)? else { return Ok(()) };
    nat::unpublish(&attachment.ports)?;
    if network.driver == Driver::Bridge {
        link::remove(socket, &attachment.host_interface)?;
    } else if let Some(namespace) = attachment.open_namespace() {
        link::remove(&mut namespace::route_socket(namespace.as_fd())?, &attachment.interface)?;
    }
    registry.forget(network, &attachment)
}

fn reclaim_locked(registry: &Registry, socket: &mut Socket, network: &Network) -> Result<usize> {
    let alive: std::collections::HashSet<String> = link::list(socket)?.into_iter().map(|link| link.name).collect();
    let mut count = 0;
    for attachment in registry.attachments(network)? {
        let is_alive = match network.driver {
            Driver::Bridge => alive.contains(&attachment.host_interface),
            // Without a process to look at, it has the benefit of the doubt.
            _ => attachment.pid == 0 || attachment.open_namespace().is_some(),
        };
        if !is_alive {
            unplug(registry, socket, network, &attachment.container)?;
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
    if network.driver == Driver::Bridge {
        remove_stray_cables(socket, network)?;
        remove_bridge(socket, network)?;
    }
    registry.deactivate(network)?;
    if registry.networks()?.iter().all(|network| network.driver != Driver::Bridge) {
        nat::remove()
    } else {
        install_filter(registry)
    }
}

/// A bridge that was there before stays, without the gateway's addresses.
fn remove_bridge(socket: &mut Socket, network: &Network) -> Result<()> {
    let bridge = match link::find(socket, &network.bridge) {
        Err(Error::NoSuchLink(_)) => return Ok(()),
        found => found?,
    };
    if bridge::is_own(&bridge, network) {
        return link::remove(socket, &network.bridge).map(drop);
    }
    let gateways = [
        Some((IpAddr::from(network.gateway), network.prefix)),
        network.ipv6.map(|six| (six.gateway.into(), six.subnet.prefix)),
    ];
    for (gateway, prefix) in gateways.into_iter().flatten() {
        match crate::address::remove(socket, &Address::new(bridge.index, gateway, prefix)) {
            Err(error) if error.is(Errno::ADDRNOTAVAIL) => {}
            removed => removed?,
        }
    }
    Ok(())
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
