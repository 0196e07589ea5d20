//! Translation and isolation: the nf_tables table `inet coracle`.
//!
//! ```text
//! map ports        { type inet_proto . inet_service : ipv4_addr . inet_service }
//! map ports_on     { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//! map ports6       { type inet_proto . inet_service : ipv6_addr . inet_service }
//! map ports6_on    { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service }
//! chain guard       prerouting, raw:  a container sends from its subnet only, and never to 127.0.0.0/8
//! chain prerouting  dstnat:           published ports, for packets from outside
//! chain output      dstnat:           published ports, for packets of the host itself
//! chain forward     filter:           into a network: only answers, published ports and the network's own
//! chain postrouting srcnat:           masquerade what leaves a network; localhost and hairpin into it
//! ```
//! The table is always installed as a whole, in one transaction; only elements of the maps come and go one by one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::nft::{self, Batch, Expression, Hook, Map, Meta, REG_1, REG32_01, REG32_02, REG32_04, REG32_05};
use crate::{Attachment, Network, PortMapping, Result};

const TABLE: &str = "coracle";
/// Ports published on every address.
const PORTS: Map = Map {
    name: "ports",
    key_type: nft::concatenated(nft::TYPE_PROTOCOL, nft::TYPE_SERVICE),
    key_length: 8,
    data_type: nft::concatenated(nft::TYPE_IPV4, nft::TYPE_SERVICE),
    data_length: 8,
};
/// Ports published on one address.
const PORTS_ON: Map = Map {
    name: "ports_on",
    key_type: nft::concatenated(nft::concatenated(nft::TYPE_IPV4, nft::TYPE_PROTOCOL), nft::TYPE_SERVICE),
    key_length: 12,
    ..PORTS
};
/// As [`PORTS`], of IPv6.
const PORTS6: Map =
    Map { name: "ports6", data_type: nft::concatenated(nft::TYPE_IPV6, nft::TYPE_SERVICE), data_length: 20, ..PORTS };
/// As [`PORTS_ON`], of IPv6.
const PORTS6_ON: Map = Map {
    name: "ports6_on",
    key_type: nft::concatenated(nft::concatenated(nft::TYPE_IPV6, nft::TYPE_PROTOCOL), nft::TYPE_SERVICE),
    key_length: 24,
    ..PORTS6
};
/// Each with its number within the transaction.
const MAPS: [(&Map, u32); 4] = [(&PORTS, 1), (&PORTS_ON, 2), (&PORTS6, 3), (&PORTS6_ON, 4)];

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const LOOPBACK: Block = Block::V4(Ipv4Addr::new(127, 0, 0, 0), 8);
const LINK_LOCAL: Block = Block::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
const UNSPECIFIED: Block = Block::V6(Ipv6Addr::UNSPECIFIED, 128);

/// Which address of a packet.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Addresses to compare with.
#[derive(Clone, Copy)]
enum Block {
    V4(Ipv4Addr, u8),
    V6(Ipv6Addr, u8),
}

/// Whether the table is there: another program may have flushed the whole ruleset.
///
/// # Errors
/// What the kernel said.
pub fn is_installed() -> Result<bool> {
    nft::table_exists(TABLE)
}

/// Install the table, or replace it, for these networks and what these attachments publish.
///
/// # Errors
/// What the kernel said; the table is then as it was.
pub fn install(networks: &[Network], published: &[Attachment]) -> Result<()> {
    let mut batch = Batch::new(TABLE);
    // Add, delete, add: replaces it whether or not it was there.
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    for (map, id) in MAPS {
        batch.add_map(map, id);
    }
    let chains = [
        ("guard", Hook { kind: "filter", number: 0, priority: -300 }),
        ("prerouting", Hook { kind: "nat", number: 0, priority: -100 }),
        ("output", Hook { kind: "nat", number: 3, priority: -100 }),
        ("forward", Hook { kind: "filter", number: 2, priority: 0 }),
        ("postrouting", Hook { kind: "nat", number: 4, priority: 100 }),
    ];
    for (name, hook) in &chains {
        batch.add_chain(name, hook);
    }
    for chain in ["prerouting", "output"] {
        published_rules(&mut batch, chain);
    }
    networks.iter().filter(|network| network.internal).for_each(|network| internal_rules(&mut batch, network));
    forward_opening(&mut batch);
    open_networks(&mut batch, networks);
    for network in networks {
        network_rules(&mut batch, network);
    }
    for attachment in published {
        for port in &attachment.ports {
            add_port(&mut batch, port, attachment.ip, attachment.ipv6);
        }
    }
    batch.commit("install the packet filter's table inet coracle")
}

/// Remove the table; none there is no error.
///
/// # Errors
/// What the kernel said.
pub fn remove() -> Result<()> {
    let mut batch = Batch::new(TABLE);
    batch.delete_table();
    tolerate_absence(batch.commit("remove the packet filter's table inet coracle"))
}

/// Publish ports of a container with these addresses.
///
/// # Errors
/// What the kernel said: `EEXIST` if one is published already; none is published then.
pub fn publish(ports: &[PortMapping], ip: Ipv4Addr, ipv6: Option<Ipv6Addr>) -> Result<()> {
    let mut batch = Batch::new(TABLE);
    ports.iter().for_each(|port| add_port(&mut batch, port, ip, ipv6));
    batch.commit("publish ports")
}

/// Take published ports back; those that are not there are no error.
///
/// # Errors
/// What the kernel said.
pub fn unpublish(ports: &[PortMapping]) -> Result<()> {
    let take = |keys: &[(&str, Vec<u8>)]| {
        let mut batch = Batch::new(TABLE);
        keys.iter().for_each(|(map, key)| batch.delete_element(map, key));
        batch.commit("take back published ports")
    };
    let keys: Vec<_> = ports.iter().flat_map(|port| [ipv4_key(port), ipv6_key(port)]).flatten().collect();
    if keys.is_empty() {
        return Ok(());
    }
    match take(&keys) {
        // One that is missing fails all: take them one by one.
        Err(error) if error.is(Errno::NOENT) => {
            keys.iter().try_for_each(|key| tolerate_absence(take(std::slice::from_ref(key))))
        }
        other => other,
    }
}

fn tolerate_absence(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn add_port(batch: &mut Batch, port: &PortMapping, ip: Ipv4Addr, ipv6: Option<Ipv6Addr>) {
    let mut add = |key: Option<(&'static str, Vec<u8>)>, address: &[u8]| {
        if let Some((map, key)) = key {
            let mut value = address.to_vec();
            value.extend(padded_port(port.container_port));
            batch.add_element(map, &key, &value);
        }
    };
    add(ipv4_key(port), &ip.octets());
    if let Some(ipv6) = ipv6 {
        add(ipv6_key(port), &ipv6.octets());
    }
}

/// The map that a port belongs in, and its key there: each field padded to four bytes.
fn ipv4_key(port: &PortMapping) -> Option<(&'static str, Vec<u8>)> {
    match port.host_ip {
        None => Some((PORTS.name, port_key(port, &[]))),
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => Some((PORTS.name, port_key(port, &[]))),
        Some(IpAddr::V4(ip)) => Some((PORTS_ON.name, port_key(port, &ip.octets()))),
        Some(IpAddr::V6(_)) => None,
    }
}

fn ipv6_key(port: &PortMapping) -> Option<(&'static str, Vec<u8>)> {
    match port.host_ip {
        None => Some((PORTS6.name, port_key(port, &[]))),
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => Some((PORTS6.name, port_key(port, &[]))),
        Some(IpAddr::V6(ip)) => Some((PORTS6_ON.name, port_key(port, &ip.octets()))),
        Some(IpAddr::V4(_)) => None,
    }
}

fn port_key(port: &PortMapping, address: &[u8]) -> Vec<u8> {
    let mut key = address.to_vec();
    key.extend([port.protocol.number(), 0, 0, 0]);
    key.extend(padded_port(port.host_port));
    key
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn published_rules(batch: &mut Batch, chain: &str) {
    const RTN_LOCAL: u32 = 2;
    let lookup = |map: usize| nft::lookup(MAPS[map].0.name, MAPS[map].1);
    let protocol_and_port =
        |protocol, port| [nft::meta(Meta::Transport, protocol), nft::payload(TRANSPORT_HEADER, 2, 2, port)];
    let to_local = || [nft::destination_type(), nft::compare(true, RTN_LOCAL.to_ne_bytes().to_vec())];

    let mut on_one = family(Family::V4);
    on_one.push(nft::payload(NETWORK_HEADER, 16, 4, REG_1));
    on_one.extend(protocol_and_port(REG32_01, REG32_02));
    on_one.extend([lookup(1), nft::dnat(false, REG_1, REG32_01)]);
    batch.add_rule(chain, on_one);

    let mut on_all = family(Family::V4);
    on_all.extend(to_local());
    on_all.extend(protocol_and_port(REG_1, REG32_01));
    on_all.extend([lookup(0), nft::dnat(false, REG_1, REG32_01)]);
    batch.add_rule(chain, on_all);

    // An IPv6 address takes four registers.
    let mut on_one = family(Family::V6);
    on_one.push(nft::payload(NETWORK_HEADER, 24, 16, REG_1));
    on_one.extend(protocol_and_port(REG32_04, REG32_05));
    on_one.extend([lookup(3), nft::dnat(true, REG_1, REG32_04)]);
    batch.add_rule(chain, on_one);

    // There is no `route_localnet` for ::1: what is sent there stays there.
    let mut on_all = family(Family::V6);
    on_all.extend(address(Side::Destination, false, Block::V6(Ipv6Addr::LOCALHOST, 128)));
    on_all.extend(to_local());
    on_all.extend(protocol_and_port(REG_1, REG32_01));
    on_all.extend([lookup(2), nft::dnat(true, REG_1, REG32_04)]);
    batch.add_rule(chain, on_all);
}

/// Nothing passes between an internal network and anything else, answers included.
fn internal_rules(batch: &mut Batch, network: &Network) {
    for (key, other) in [(Meta::InputName, Meta::OutputName), (Meta::OutputName, Meta::InputName)] {
        let mut rule = interface(key, true, &network.bridge);
        rule.extend(interface(other, false, &network.bridge));
        rule.push(nft::drop_packet());
        batch.add_rule("forward", rule);
    }
    // Nor do its containers reach the host by another of its addresses.
    let mut rule = interface(Meta::InputName, true, &network.bridge);
    rule.extend(family(Family::V4));
    rule.extend(address(Side::Destination, false, Block::V4(network.subnet, network.prefix)));
    rule.push(nft::drop_packet());
    batch.add_rule("guard", rule);
}

/// Answers and published ports pass into any network.
fn forward_opening(batch: &mut Batch) {
    const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
    let mut answers = connection_has(CT_STATE, ESTABLISHED_OR_RELATED);
    answers.push(nft::accept());
    batch.add_rule("forward", answers);
    let mut published = was_published();
    published.push(nft::accept());
    batch.add_rule("forward", published);
}

/// Networks that are not isolated pass to each other.
fn open_networks(batch: &mut Batch, networks: &[Network]) {
    let open = || networks.iter().filter(|network| !network.isolated && !network.internal);
    for from in open() {
        for to in open().filter(|to| to.name != from.name) {
            let mut rule = interface(Meta::InputName, true, &from.bridge);
            rule.extend(interface(Meta::OutputName, true, &to.bridge));
            rule.push(nft::accept());
            batch.add_rule("forward", rule);
        }
    }
}

fn network_rules(batch: &mut Batch, network: &Network) {
    let bridge = network.bridge.as_str();
    let from_bridge = || interface(Meta::InputName, true, bridge);
    let to_bridge = || interface(Meta::OutputName, true, bridge);
    let mut rule =
        |chain: &str, parts: Vec<Vec<Expression>>| batch.add_rule(chain, parts.into_iter().flatten().collect());
    let drop_packet = || vec![nft::drop_packet()];
    let accept = || vec![nft::accept()];
    let masquerade = || vec![nft::masquerade()];

    // `route_localnet` is on, so without this the host's own loopback services could be reached from a container.
    rule("guard", vec![from_bridge(), family(Family::V4), address(Side::Destination, true, LOOPBACK), drop_packet()]);
    let subnet = Block::V4(network.subnet, network.prefix);
    rule("guard", vec![from_bridge(), family(Family::V4), address(Side::Source, false, subnet), drop_packet()]);
    // Of IPv6 also what neighbours say to each other, before they have an address even.
    let subnet6 = network.ipv6.map(|six| Block::V6(six.subnet.address, six.subnet.prefix));
    for block in [subnet6, Some(LINK_LOCAL), Some(UNSPECIFIED)].into_iter().flatten() {
        rule("guard", vec![from_bridge(), family(Family::V6), address(Side::Source, true, block), accept()]);
    }
    rule("guard", vec![from_bridge(), family(Family::V6), drop_packet()]);

    rule("forward", vec![to_bridge(), interface(Meta::InputName, false, bridge), drop_packet()]);
    if !network.inter_container {
        rule("forward", vec![from_bridge(), to_bridge(), drop_packet()]);
    }

    let subnets = [Some((Family::V4, subnet)), subnet6.map(|block| (Family::V6, block))];
    for (number, block) in subnets.into_iter().flatten() {
        let from_subnet = || vec![family(number), address(Side::Source, true, block)].into_iter().flatten().collect();
        if network.masquerade && !network.internal {
            rule("postrouting", vec![from_subnet(), interface(Meta::OutputName, false, bridge), masquerade()]);
        }
        // A container that calls a published port of its own network would be answered directly, by an address that it
        // did not call.
        rule("postrouting", vec![from_subnet(), to_bridge(), was_published(), masquerade()]);
    }
    let from_loopback = address(Side::Source, true, LOOPBACK);
    rule("postrouting", vec![family(Family::V4), from_loopback, to_bridge(), masquerade()]);
}

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;

fn was_published() -> Vec<Expression> {
    const IPS_DST_NAT: u32 = 1 << 5;
    connection_has(CT_STATUS, IPS_DST_NAT)
}

fn connection_has(key: u32, bits: u32) -> Vec<Expression> {
    vec![nft::connection(key), nft::mask(bits.to_ne_bytes().to_vec()), nft::compare(false, vec![0; 4])]
}

/// `NFPROTO_*`.
#[derive(Clone, Copy)]
enum Family {
    V4 = 2,
    V6 = 10,
}

fn family(family: Family) -> Vec<Expression> {
    vec![nft::meta(Meta::Family, REG_1), nft::compare(true, vec![family as u8])]
}

fn interface(key: Meta, equal: bool, name: &str) -> Vec<Expression> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    vec![nft::meta(key, REG_1), nft::compare(equal, padded)]
}

/// Compare an address of the packet's network header (RFC 791, RFC 8200), of a packet that is known to be of the family.
fn address(side: Side, equal: bool, block: Block) -> Vec<Expression> {
    let (offset, bytes, mask) = match (block, side) {
        (Block::V4(ip, prefix), side) => {
            let mask = crate::cidr::Cidr4::of(ip, prefix).mask();
            (if matches!(side, Side::Source) { 12 } else { 16 }, ip.octets().to_vec(), mask.to_be_bytes().to_vec())
        }
        (Block::V6(ip, prefix), side) => {
            let mask = crate::cidr::Cidr6::of(ip, prefix).mask();
            (if matches!(side, Side::Source) { 8 } else { 24 }, ip.octets().to_vec(), mask.to_be_bytes().to_vec())
        }
    };
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    vec![nft::payload(NETWORK_HEADER, offset, length, REG_1), nft::mask(mask), nft::compare(equal, bytes)]
}
