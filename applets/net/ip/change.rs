//! The commands of `ip` that change something.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, bail};
use coracle_netns::address::{self, Address};
use coracle_netns::link::{self, Change};
use coracle_netns::neighbour::{self, NUD_PERMANENT, Neighbour};
use coracle_netns::netlink::Socket;
use coracle_netns::route::{self, Route};
use coracle_netns::veth;

use super::show::table_number;
use super::{Style, Words, parse_prefix};

/// What to do with an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Replace,
    Delete,
}

pub(super) fn address(socket: &mut Socket, mut words: Words, verb: Verb) -> anyhow::Result<()> {
    let (mut local, mut device, mut broadcast, mut peer, mut label) = (None, None, None, None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(words.value("dev")?),
            "broadcast" | "brd" => broadcast = Some(words.value(word)?),
            "peer" => peer = Some(parse_prefix(words.value("peer")?)?),
            "label" => label = Some(words.value("label")?),
            "local" => local = Some(parse_prefix(words.value("local")?)?),
            word => local = Some(parse_prefix(word)?),
        }
    }
    let (local, prefix) = local.context("an address is needed")?;
    let index = index_of(socket, device)?;
    let mut address = Address { broadcast: None, ..Address::new(index, local, prefix) };
    address.broadcast = match broadcast {
        Some("+") => Address::new(index, local, prefix).broadcast,
        Some(text) => Some(text.parse().with_context(|| format!("broadcast {text:?} is not an address"))?),
        None => None,
    };
    if let Some((other, prefix)) = peer {
        (address.peer, address.prefix) = (Some(other), prefix);
    }
    address.label = label.unwrap_or_default().into();
    match verb {
        Verb::Add => address::add(socket, &address)?,
        Verb::Replace => address::replace(socket, &address)?,
        Verb::Delete => address::remove(socket, &address)?,
    }
    Ok(())
}

pub(super) fn flush_addresses(socket: &mut Socket, words: Words, style: Style) -> anyhow::Result<()> {
    let index = index_of(socket, words.only_device()?)?;
    for address in address::list(socket)? {
        if address.index == index && style.wants(address.local) {
            match address::remove(socket, &address) {
                // A secondary address goes with its primary.
                Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

pub(super) fn set_link(socket: &mut Socket, mut words: Words) -> anyhow::Result<()> {
    let name = match words.value("set")? {
        "dev" => words.value("dev")?,
        name => name,
    };
    const IFF_PROMISC: u32 = 0x100;
    let mut change = Change::default();
    while let Some(word) = words.next() {
        match word {
            "up" => change.up = Some(true),
            "down" => change.up = Some(false),
            "mtu" => change.mtu = Some(words.number("mtu")?),
            "txqueuelen" | "qlen" => change.queue_length = Some(words.number(word)?),
            "address" => change.address = Some(words.value("address")?.parse()?),
            "name" => change.name = Some(words.value("name")?.into()),
            "master" => change.master = Some(link::find(socket, words.value("master")?)?.index),
            "nomaster" => change.master = Some(0),
            "netns" => change.namespace_pid = Some(words.number("netns")?),
            "promisc" => {
                change.flags = match words.value("promisc")? {
                    "on" => Some((IFF_PROMISC, IFF_PROMISC)),
                    "off" => Some((0, IFF_PROMISC)),
                    other => bail!("promisc is on or off, not {other:?}"),
                }
            }
            word => bail!("ip link set: {word:?} is not understood"),
        }
    }
    let index = link::find(socket, name)?.index;
    Ok(link::change(socket, index, name, &change)?)
}

pub(super) fn add_link(socket: &mut Socket, mut words: Words) -> anyhow::Result<()> {
    let (mut name, mut kind, mut peer) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "name" | "dev" if name.is_none() => name = Some(words.value(word)?),
            "type" => kind = Some(words.value("type")?),
            "peer" if kind == Some("veth") => {
                let word = words.value("peer")?;
                peer = Some(if word == "name" { words.value("name")? } else { word });
            }
            word if name.is_none() => name = Some(word),
            word => bail!("ip link add: {word:?} is not understood"),
        }
    }
    let name = name.context("a name is needed")?;
    match (kind.context("a type is needed")?, peer) {
        ("veth", Some(peer)) => veth::create_pair(socket, name, peer)?,
        ("veth", None) => bail!("veth needs `peer name NAME`"),
        (kind @ ("bridge" | "dummy" | "ifb"), _) => link::add(socket, name, kind)?,
        (kind, _) => bail!("type {kind:?} is not one of bridge, dummy, ifb, veth"),
    }
    Ok(())
}

pub(super) fn delete_link(socket: &mut Socket, words: Words) -> anyhow::Result<()> {
    let name = words.only_device()?.context("a name is needed")?;
    if !link::remove(socket, name)? {
        bail!("no interface named {name}");
    }
    Ok(())
}

pub(super) fn route(socket: &mut Socket, mut words: Words, verb: Verb) -> anyhow::Result<()> {
    let destination = words.value("route")?;
    let mut via: Option<IpAddr> = None;
    let mut made = match destination {
        "default" => Route::new(Ipv4Addr::UNSPECIFIED.into(), 0, None),
        text => {
            let (address, prefix) = parse_prefix(text)?;
            Route::new(address, prefix, None)
        }
    };
    while let Some(word) = words.next() {
        match word {
            "via" => via = Some(words.address("via")?),
            "dev" => made.index = Some(index_of(socket, Some(words.value("dev")?))?),
            "src" => made.source = Some(words.address("src")?),
            "metric" => made.metric = Some(words.number("metric")?),
            "table" => made.table = table_number(words.value("table")?)?,
            "onlink" => made.flags |= 4,
            word => bail!("ip route: {word:?} is not understood"),
        }
    }
    if destination == "default" && via.is_some_and(|via| via.is_ipv6()) {
        made.destination = Ipv6Addr::UNSPECIFIED.into();
        made.scope = route::SCOPE_UNIVERSE;
    }
    if via.is_some() {
        (made.gateway, made.scope) = (via, route::SCOPE_UNIVERSE);
    }
    match verb {
        Verb::Add => route::add(socket, &made)?,
        Verb::Replace => route::replace(socket, &made)?,
        Verb::Delete => {
            // Any scope (RT_SCOPE_NOWHERE) and any origin, as the user has not said which.
            (made.scope, made.protocol) = (255, 0);
            route::remove(socket, &made)?;
        }
    }
    Ok(())
}

pub(super) fn flush_routes(socket: &mut Socket, words: Words, style: Style) -> anyhow::Result<()> {
    let index = index_of(socket, words.only_device()?)?;
    for found in route::list(socket)? {
        if found.index == Some(index) && found.table == route::TABLE_MAIN && style.wants(found.destination) {
            route::remove(socket, &found)?;
        }
    }
    Ok(())
}

pub(super) fn neighbour(socket: &mut Socket, mut words: Words, verb: Verb) -> anyhow::Result<()> {
    let (mut destination, mut hardware, mut device) = (None, Vec::new(), None);
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(words.value("dev")?),
            "lladdr" => hardware = words.value("lladdr")?.parse::<link::MacAddress>()?.0.to_vec(),
            word => destination = Some(word.parse().with_context(|| format!("{word:?} is not an address"))?),
        }
    }
    let destination = destination.context("an address is needed")?;
    let index = index_of(socket, device)?;
    let made = Neighbour { index, destination, hardware, state: NUD_PERMANENT, flags: 0 };
    if verb == Verb::Delete {
        return Ok(neighbour::remove(socket, &Neighbour { state: 0, ..made })?);
    }
    if made.hardware.is_empty() {
        bail!("lladdr MAC is needed");
    }
    Ok(neighbour::replace(socket, &made)?)
}

fn index_of(socket: &mut Socket, device: Option<&str>) -> anyhow::Result<u32> {
    Ok(link::find(socket, device.context("dev IFACE is needed")?)?.index)
}
