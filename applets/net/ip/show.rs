//! The commands of `ip` that show something, in iproute2's layout.

use std::collections::HashMap;
use std::io::{self, Write};

use anyhow::{Context, bail};
use coracle_netns::address::{self, Address, FOREVER, IFA_F_PERMANENT, IFA_F_SECONDARY, IFA_F_TENTATIVE};
use coracle_netns::link::{self, Link};
use coracle_netns::neighbour;
use coracle_netns::netlink::Socket;
use coracle_netns::route::{self, Route};
use serde_json::{Value, json};

use super::{Style, Words};

const FLAGS: [(u32, &str); 8] = [
    (link::IFF_LOOPBACK, "LOOPBACK"),
    (link::IFF_BROADCAST, "BROADCAST"),
    (link::IFF_POINTOPOINT, "POINTOPOINT"),
    (link::IFF_MULTICAST, "MULTICAST"),
    (link::IFF_NOARP, "NOARP"),
    (link::IFF_ALLMULTI, "ALLMULTI"),
    (link::IFF_PROMISC, "PROMISC"),
    (link::IFF_UP, "UP"),
];
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_NONE: u16 = 0xfffe;

pub(super) fn links(socket: &mut Socket, device: Option<&str>, style: Style) -> anyhow::Result<()> {
    let all = link::list(socket)?;
    let names = names_of(&all);
    let shown = chosen(&all, device)?;
    let mut out = io::stdout().lock();
    if style.json {
        return print_json(shown.iter().map(|link| link_json(link, &names)).collect());
    }
    for link in shown {
        if style.brief {
            let flags = flags_of(link).join(",");
            writeln!(
                out,
                "{:<16} {:<14} {} <{flags}> ",
                shown_name(link, &names),
                state_of(link),
                hardware(&link.address)
            )?;
        } else {
            let line = head(link, &names, true);
            writeln!(out, "{line}{}{}", separator(style), link_line(link))?;
        }
    }
    Ok(())
}

pub(super) fn addresses(socket: &mut Socket, device: Option<&str>, style: Style) -> anyhow::Result<()> {
    let all = link::list(socket)?;
    let names = names_of(&all);
    let addresses = address::list(socket)?;
    let of = |link: &Link| -> Vec<&Address> {
        addresses.iter().filter(|address| address.index == link.index && style.wants(address.local)).collect()
    };
    let shown = chosen(&all, device)?;
    if style.json {
        return print_json(shown.iter().map(|link| address_json(link, &names, &of(link))).collect());
    }
    let mut out = io::stdout().lock();
    for link in shown {
        let own = of(link);
        if style.family.is_some() && own.is_empty() {
            continue;
        }
        if style.brief {
            let list: String = own.iter().map(|address| format!("{}/{} ", address.local, address.prefix)).collect();
            writeln!(out, "{:<16} {:<14} {list}", shown_name(link, &names), state_of(link))?;
            continue;
        }
        if style.one_line {
            for address in own {
                writeln!(out, "{}: {}    {}", link.index, link.name, address_lines(address, "\\       "))?;
            }
            continue;
        }
        writeln!(out, "{}", head(link, &names, false))?;
        if style.family.is_none() {
            writeln!(out, "{}", link_line(link))?;
        }
        for address in own {
            writeln!(out, "    {}", address_lines(address, "\n       "))?;
        }
    }
    Ok(())
}

pub(super) fn routes(socket: &mut Socket, mut words: Words, style: Style) -> anyhow::Result<()> {
    let (mut table, mut device) = (Some(route::TABLE_MAIN), None);
    while let Some(word) = words.next() {
        match word {
            "table" => {
                let name = words.value("table")?;
                table = if name == "all" { None } else { Some(table_number(name)?) };
            }
            "dev" => device = Some(words.value("dev")?),
            word => bail!("ip route show: {word:?} is not understood"),
        }
    }
    let device = device.map(|name| link::find(socket, name)).transpose()?.map(|link| link.index);
    let names = names_of(&link::list(socket)?);
    // As iproute2: IPv4 unless asked for IPv6.
    let family = Style { family: style.family.or(Some(4)), ..style };
    let mut shown = route::list(socket)?;
    shown.retain(|route| {
        table.is_none_or(|table| route.table == table)
            && family.wants(route.destination)
            && (device.is_none() || route.index == device)
    });
    if style.json {
        return print_json(shown.iter().map(|route| route_json(route, &names)).collect());
    }
    let mut out = io::stdout().lock();
    shown.iter().try_for_each(|route| writeln!(out, "{}", route_line(route, &names, table.is_none())))?;
    Ok(())
}

pub(super) fn route_to(socket: &mut Socket, mut words: Words) -> anyhow::Result<()> {
    let destination = words.address("get")?;
    let found = route::lookup(socket, destination)?;
    let names = names_of(&link::list(socket)?);
    let mut line = destination.to_string();
    if let Some(gateway) = found.gateway {
        line += &format!(" via {gateway}");
    }
    line += &device_part(&found, &names);
    if let Some(source) = found.source {
        line += &format!(" src {source}");
    }
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

pub(super) fn neighbours(socket: &mut Socket, device: Option<&str>, style: Style) -> anyhow::Result<()> {
    const NOARP: u16 = 0x40;
    const NTF_ROUTER: u8 = 0x80;
    const STATES: [(u16, &str); 7] = [
        (0x01, "INCOMPLETE"),
        (0x02, "REACHABLE"),
        (0x04, "STALE"),
        (0x08, "DELAY"),
        (0x10, "PROBE"),
        (0x20, "FAILED"),
        (0x80, "PERMANENT"),
    ];
    let device = device.map(|name| link::find(socket, name)).transpose()?.map(|link| link.index);
    let names = names_of(&link::list(socket)?);
    let mut rows = Vec::new();
    let mut out = io::stdout().lock();
    for found in neighbour::list(socket)? {
        let other = device.is_some_and(|index| index != found.index) || !style.wants(found.destination);
        // As iproute2: what has no need of a hardware address is not shown.
        if other || found.state == 0 || found.state & NOARP != 0 {
            continue;
        }
        let name = names.get(&found.index).map_or("?", String::as_str);
        let states: Vec<_> = STATES.iter().filter(|(bit, _)| found.state & bit != 0).map(|(_, name)| *name).collect();
        if style.json {
            rows.push(
                json!({"dst": found.destination, "dev": name, "lladdr": hardware(&found.hardware), "state": states}),
            );
            continue;
        }
        let mut line = format!("{} dev {name} ", found.destination);
        if !found.hardware.is_empty() {
            line += &format!("lladdr {} ", hardware(&found.hardware));
        }
        if found.flags & NTF_ROUTER != 0 {
            line += "router ";
        }
        writeln!(out, "{line}{} ", states.join(","))?;
    }
    if style.json { print_json(rows) } else { Ok(()) }
}

/// A table by number or by name of `/etc/iproute2/rt_tables`' fixed part.
pub(super) fn table_number(name: &str) -> anyhow::Result<u32> {
    match name {
        "main" => Ok(route::TABLE_MAIN),
        "local" => Ok(route::TABLE_LOCAL),
        "default" => Ok(253),
        number => number.parse().with_context(|| format!("table {number:?} is no number, main, local or default")),
    }
}

fn names_of(links: &[Link]) -> HashMap<u32, String> {
    links.iter().map(|link| (link.index, link.name.clone())).collect()
}

fn chosen<'a>(all: &'a [Link], device: Option<&str>) -> anyhow::Result<Vec<&'a Link>> {
    let shown: Vec<_> = all.iter().filter(|link| device.is_none_or(|name| link.name == name)).collect();
    match device {
        Some(name) if shown.is_empty() => bail!("Device \"{name}\" does not exist."),
        _ => Ok(shown),
    }
}

fn print_json(rows: Vec<Value>) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", Value::from(rows))?;
    Ok(())
}

fn separator(style: Style) -> &'static str {
    if style.one_line { "\\" } else { "\n" }
}

/// "eth0@if5": the other end of a veth is in another namespace; "eth0@eth1": here.
fn shown_name(link: &Link, names: &HashMap<u32, String>) -> String {
    match (link.peer, link.peer_namespace) {
        (Some(peer), Some(_)) => format!("{}@if{peer}", link.name),
        (Some(peer), None) => match names.get(&peer) {
            Some(other) => format!("{}@{other}", link.name),
            None => link.name.clone(),
        },
        _ => link.name.clone(),
    }
}

fn flags_of(link: &Link) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if link.is_up() && link.flags & link::IFF_LOWER_UP == 0 {
        flags.push("NO-CARRIER");
    }
    flags.extend(FLAGS.iter().filter(|(bit, _)| link.flags & bit != 0).map(|(_, name)| *name));
    if link.flags & link::IFF_LOWER_UP != 0 {
        flags.push("LOWER_UP");
    }
    flags
}

/// RFC 2863's operational states, by number.
fn state_of(link: &Link) -> &'static str {
    const STATES: [&str; 7] = ["UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"];
    STATES.get(usize::from(link.operational_state)).copied().unwrap_or("UNKNOWN")
}

fn head(link: &Link, names: &HashMap<u32, String>, with_mode: bool) -> String {
    let mut line =
        format!("{}: {}: <{}> mtu {}", link.index, shown_name(link, names), flags_of(link).join(","), link.mtu);
    if !link.qdisc.is_empty() {
        line += &format!(" qdisc {}", link.qdisc);
    }
    if let Some(master) = link.master.and_then(|master| names.get(&master)) {
        line += &format!(" master {master}");
    }
    line += &format!(" state {}", state_of(link));
    if with_mode {
        line += " mode DEFAULT";
    }
    line += if link.group == 0 { " group default" } else { "" };
    if link.queue_length > 0 {
        line += &format!(" qlen {}", link.queue_length);
    }
    line
}

fn link_line(link: &Link) -> String {
    let mut line = format!("    link/{} {} brd {}", kind_of(link), hardware(&link.address), hardware(&link.broadcast));
    if let Some(namespace) = link.peer_namespace {
        line += &format!(" link-netnsid {namespace}");
    }
    line
}

fn kind_of(link: &Link) -> String {
    match link.hardware_type {
        ARPHRD_ETHER => "ether".into(),
        ARPHRD_LOOPBACK => "loopback".into(),
        ARPHRD_NONE => "none".into(),
        other => format!("[{other}]"),
    }
}

fn hardware(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn scope_name(scope: u8) -> String {
    match scope {
        0 => "global".into(),
        200 => "site".into(),
        253 => "link".into(),
        254 => "host".into(),
        other => other.to_string(),
    }
}

fn lifetime(seconds: u32) -> String {
    if seconds == FOREVER { "forever".into() } else { format!("{seconds}sec") }
}

fn address_lines(address: &Address, separator: &str) -> String {
    let family = if address.local.is_ipv4() { "inet" } else { "inet6" };
    let mut line = match address.peer {
        Some(peer) => format!("{family} {} peer {peer}/{}", address.local, address.prefix),
        None => format!("{family} {}/{}", address.local, address.prefix),
    };
    if let Some(broadcast) = address.broadcast {
        line += &format!(" brd {broadcast}");
    }
    line += &format!(" scope {} ", scope_name(address.scope));
    for (bit, name) in [(IFA_F_SECONDARY, "secondary "), (IFA_F_TENTATIVE, "tentative ")] {
        if address.flags & bit != 0 {
            line += name;
        }
    }
    if address.flags & IFA_F_PERMANENT == 0 {
        line += "dynamic ";
    }
    format!(
        "{line}{}{separator}valid_lft {} preferred_lft {}",
        address.label,
        lifetime(address.valid),
        lifetime(address.preferred)
    )
}

fn device_part(route: &Route, names: &HashMap<u32, String>) -> String {
    match route.index.and_then(|index| names.get(&index)) {
        Some(name) => format!(" dev {name}"),
        None => String::new(),
    }
}

fn destination_of(route: &Route) -> String {
    let longest = if route.destination.is_ipv4() { 32 } else { 128 };
    match route.prefix {
        0 => "default".into(),
        prefix if prefix == longest => route.destination.to_string(),
        prefix => format!("{}/{prefix}", route.destination),
    }
}

fn protocol_name(protocol: u8) -> Option<String> {
    match protocol {
        0 | 3 => None,
        1 => Some("redirect".into()),
        2 => Some("kernel".into()),
        4 => Some("static".into()),
        9 => Some("ra".into()),
        16 => Some("dhcp".into()),
        other => Some(other.to_string()),
    }
}

fn route_line(route: &Route, names: &HashMap<u32, String>, with_table: bool) -> String {
    let kind = match route.kind {
        2 => "local ",
        3 => "broadcast ",
        4 => "anycast ",
        5 => "multicast ",
        6 => "blackhole ",
        7 => "unreachable ",
        8 => "prohibit ",
        _ => "",
    };
    let mut line = format!("{kind}{}", destination_of(route));
    if let Some(gateway) = route.gateway {
        line += &format!(" via {gateway}");
    }
    line += &device_part(route, names);
    if with_table && route.table != route::TABLE_MAIN {
        let local = route.table == route::TABLE_LOCAL;
        line += &if local { " table local".into() } else { format!(" table {}", route.table) };
    }
    if let Some(protocol) = protocol_name(route.protocol) {
        line += &format!(" proto {protocol}");
    }
    if route.scope != 0 && route.destination.is_ipv4() {
        line += &format!(" scope {}", scope_name(route.scope));
    }
    if let Some(source) = route.source {
        line += &format!(" src {source}");
    }
    if let Some(metric) = route.metric {
        line += &format!(" metric {metric}");
    }
    for (bit, name) in [(1, " dead"), (4, " onlink"), (16, " linkdown")] {
        if route.flags & bit != 0 {
            line += name;
        }
    }
    if route.destination.is_ipv6() {
        line += " pref medium";
    } else {
        line += " ";
    }
    line
}

fn link_json(link: &Link, names: &HashMap<u32, String>) -> Value {
    let counters = &link.counters;
    json!({
        "ifindex": link.index,
        "ifname": link.name,
        "flags": flags_of(link),
        "mtu": link.mtu,
        "qdisc": link.qdisc,
        "master": link.master.and_then(|master| names.get(&master)),
        "operstate": state_of(link),
        "txqlen": link.queue_length,
        "link_type": kind_of(link),
        "address": hardware(&link.address),
        "broadcast": hardware(&link.broadcast),
        "stats64": {
            "rx": {"bytes": counters.rx_bytes, "packets": counters.rx_packets, "errors": counters.rx_errors,
                   "dropped": counters.rx_dropped},
            "tx": {"bytes": counters.tx_bytes, "packets": counters.tx_packets, "errors": counters.tx_errors,
                   "dropped": counters.tx_dropped},
        },
    })
}

fn address_json(link: &Link, names: &HashMap<u32, String>, addresses: &[&Address]) -> Value {
    let list: Vec<Value> = addresses
        .iter()
        .map(|address| {
            json!({
                "family": if address.local.is_ipv4() { "inet" } else { "inet6" },
                "local": address.local,
                "prefixlen": address.prefix,
                "broadcast": address.broadcast,
                "scope": scope_name(address.scope),
                "dynamic": address.flags & IFA_F_PERMANENT == 0,
                "label": address.label,
                "valid_life_time": address.valid,
                "preferred_life_time": address.preferred,
            })
        })
        .collect();
    let mut value = link_json(link, names);
    value["addr_info"] = list.into();
    value
}

fn route_json(route: &Route, names: &HashMap<u32, String>) -> Value {
    json!({
        "dst": destination_of(route),
        "gateway": route.gateway,
        "dev": route.index.and_then(|index| names.get(&index)),
        "protocol": protocol_name(route.protocol).unwrap_or_else(|| "boot".into()),
        "scope": scope_name(route.scope),
        "prefsrc": route.source,
        "metric": route.metric,
    })
}
