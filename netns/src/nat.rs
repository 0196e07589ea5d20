//! Translation and isolation: the nf_tables table `inet coracle`.
//!
//! ```text
//! map ports       { type inet_proto . inet_service : ipv4_addr . inet_service }
//! map ports_on    { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//! chain guard       prerouting, raw:  a container sends from its subnet only, and never to 127.0.0.0/8
//! chain prerouting  dstnat:           published ports, for packets from outside
//! chain output      dstnat:           published ports, for packets of the host itself
//! chain forward     filter:           into a network: only answers, published ports and the network's own
//! chain postrouting srcnat:           masquerade what leaves a network; localhost and hairpin into it
//! ```
//! The table is always installed as a whole, in one transaction; only elements of the maps come and go one by one.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::nft::{self, Batch, Expression, Hook, Map, Meta, REG_1, REG32_01, REG32_02};
use crate::{Network, PortMapping, Result};

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
const PORTS_ID: u32 = 1;
const PORTS_ON_ID: u32 = 2;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;
const LOOPBACK: (Ipv4Addr, u32) = (Ipv4Addr::new(127, 0, 0, 0), 0xff00_0000);

/// Whether the table is there: another program may have flushed the whole ruleset.
///
/// # Errors
/// What the kernel said.
pub fn is_installed() -> Result<bool> {
    nft::table_exists(TABLE)
}

/// Install the table, or replace it, for these networks and published ports (with the container's address).
///
/// # Errors
/// What the kernel said; the table is then as it was.
pub fn install(networks: &[Network], published: &[(PortMapping, Ipv4Addr)]) -> Result<()> {
    let mut batch = Batch::new(TABLE);
    // Add, delete, add: replaces it whether or not it was there.
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_map(&PORTS, PORTS_ID);
    batch.add_map(&PORTS_ON, PORTS_ON_ID);
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
    forward_opening(&mut batch);
    for network in networks {
        network_rules(&mut batch, network);
    }
    for (port, ip) in published {
        add_port(&mut batch, port, *ip);
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

/// Publish ports of a container with this address.
///
/// # Errors
/// What the kernel said: `EEXIST` if one is published already; none is published then.
pub fn publish(ports: &[PortMapping], ip: Ipv4Addr) -> Result<()> {
    let mut batch = Batch::new(TABLE);
    ports.iter().for_each(|port| add_port(&mut batch, port, ip));
    batch.commit("publish ports")
}

/// The container's address that a port of the host leads to, if it is published.
///
/// # Errors
/// What the kernel said.
pub fn holder(port: &PortMapping) -> Result<Option<Ipv4Addr>> {
    let (map, key) = key_of(port);
    let value = nft::element(TABLE, map, &key)?;
    Ok(value.and_then(|value| Some(Ipv4Addr::from(<[u8; 4]>::try_from(value.get(..4)?).ok()?))))
}

/// Take published ports back; those that are not there are no error.
///
/// # Errors
/// What the kernel said.
pub fn unpublish(ports: &[PortMapping]) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let take = |ports: &[PortMapping]| {
        let mut batch = Batch::new(TABLE);
        for port in ports {
            let (map, key) = key_of(port);
            batch.delete_element(map, &key);
        }
        batch.commit("take back published ports")
    };
    match take(ports) {
        // One that is missing fails all: take them one by one.
        Err(error) if error.is(Errno::NOENT) => {
            ports.iter().try_for_each(|port| tolerate_absence(take(std::slice::from_ref(port))))
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

fn add_port(batch: &mut Batch, port: &PortMapping, ip: Ipv4Addr) {
    let (map, key) = key_of(port);
    let mut value = ip.octets().to_vec();
    value.extend(padded_port(port.container_port));
    batch.add_element(map, &key, &value);
}

/// The map that a port belongs in, and its key there: each field padded to four bytes.
fn key_of(port: &PortMapping) -> (&'static str, Vec<u8>) {
    let mut key = port.host_ip.map(|ip| ip.octets().to_vec()).unwrap_or_default();
    key.extend([port.protocol.number(), 0, 0, 0]);
    key.extend(padded_port(port.host_port));
    (if port.host_ip.is_some() { PORTS_ON.name } else { PORTS.name }, key)
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn published_rules(batch: &mut Batch, chain: &str) {
    const RTN_LOCAL: u32 = 2;
    let to_map = |map: &Map, id| vec![nft::lookup(map.name, id), nft::dnat(REG_1, REG32_01)];
    let mut on_one = ipv4();
    on_one.push(nft::payload(NETWORK_HEADER, DESTINATION_OFFSET, 4, REG_1));
    on_one.push(nft::meta(Meta::Transport, REG32_01));
    on_one.push(nft::payload(TRANSPORT_HEADER, 2, 2, REG32_02));
    on_one.extend(to_map(&PORTS_ON, PORTS_ON_ID));
    batch.add_rule(chain, on_one);

    let mut on_all = ipv4();
    on_all.push(nft::destination_type());
    on_all.push(nft::compare(true, RTN_LOCAL.to_ne_bytes().to_vec()));
    on_all.push(nft::meta(Meta::Transport, REG_1));
    on_all.push(nft::payload(TRANSPORT_HEADER, 2, 2, REG32_01));
    on_all.extend(to_map(&PORTS, PORTS_ID));
    batch.add_rule(chain, on_all);
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

fn network_rules(batch: &mut Batch, network: &Network) {
    let bridge = network.bridge.as_str();
    let subnet = (network.subnet, network.mask());
    let from_bridge = || interface(Meta::InputName, true, bridge);
    let to_bridge = || interface(Meta::OutputName, true, bridge);
    let mut rule =
        |chain: &str, parts: Vec<Vec<Expression>>| batch.add_rule(chain, parts.into_iter().flatten().collect());

    // `route_localnet` is on, so without this the host's own loopback services could be reached from a container.
    let to_loopback = address(DESTINATION_OFFSET, true, LOOPBACK);
    rule("guard", vec![from_bridge(), ipv4(), to_loopback, vec![nft::drop_packet()]]);
    rule("guard", vec![from_bridge(), ipv4(), address(SOURCE_OFFSET, false, subnet), vec![nft::drop_packet()]]);

    let from_elsewhere = interface(Meta::InputName, false, bridge);
    rule("forward", vec![to_bridge(), from_elsewhere, vec![nft::drop_packet()]]);

    let outward = interface(Meta::OutputName, false, bridge);
    rule("postrouting", vec![ipv4(), address(SOURCE_OFFSET, true, subnet), outward, vec![nft::masquerade()]]);
    // A container that calls a published port of its own network would be answered directly, by an address that it did
    // not call.
    let hairpin = address(SOURCE_OFFSET, true, subnet);
    rule("postrouting", vec![ipv4(), hairpin, to_bridge(), was_published(), vec![nft::masquerade()]]);
    let from_loopback = address(SOURCE_OFFSET, true, LOOPBACK);
    rule("postrouting", vec![ipv4(), from_loopback, to_bridge(), vec![nft::masquerade()]]);
}

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;

fn was_published() -> Vec<Expression> {
    const IPS_DST_NAT: u32 = 1 << 5;
    connection_has(CT_STATUS, IPS_DST_NAT)
}

fn connection_has(key: u32, bits: u32) -> Vec<Expression> {
    vec![nft::connection(key), nft::mask(bits.to_ne_bytes()), nft::compare(false, vec![0; 4])]
}

fn ipv4() -> Vec<Expression> {
    const NFPROTO_IPV4: u8 = 2;
    vec![nft::meta(Meta::Family, REG_1), nft::compare(true, vec![NFPROTO_IPV4])]
}

fn interface(key: Meta, equal: bool, name: &str) -> Vec<Expression> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    vec![nft::meta(key, REG_1), nft::compare(equal, padded)]
}

fn address(offset: u32, equal: bool, (network, mask): (Ipv4Addr, u32)) -> Vec<Expression> {
    vec![
        nft::payload(NETWORK_HEADER, offset, 4, REG_1),
        nft::mask(mask.to_be_bytes()),
        nft::compare(equal, network.octets().to_vec()),
    ]
}
