//! ip: shows and changes interfaces, addresses, routes and neighbours, in the words of iproute2 (ip(8)).

mod change;
mod show;

use std::ffi::OsString;
use std::net::IpAddr;

use anyhow::{Context, bail};
use coracle_netns::netlink::Socket;

use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet = Applet {
    name: "ip",
    aliases: &[],
    dir: Dir::Sbin,
    summary: "Show and change interfaces, addresses, routes and neighbours",
    run,
};

const HELP: &str = "\
usage: ip [-4|-6] [-br] [-o] [-j] OBJECT [COMMAND]

  ip addr  [show [dev IFACE]]
  ip addr  add|del|replace ADDRESS/PREFIX [peer ADDRESS] [broadcast ADDRESS] [label NAME] dev IFACE
  ip addr  flush dev IFACE
  ip link  [show [dev IFACE]]
  ip link  set [dev] IFACE [up|down] [mtu N] [address MAC] [name NAME] [txqueuelen N] [master BRIDGE|nomaster]
           [netns PID] [promisc on|off]
  ip link  add [name] IFACE type KIND          KIND: bridge, dummy, ifb
  ip link  add [name] IFACE type veth peer name PEER
  ip link  del [dev] IFACE
  ip route [show [table N|main|local|all]]
  ip route add|del|replace PREFIX|default [via ADDRESS] [dev IFACE] [src ADDRESS] [metric N] [table N]
  ip route get ADDRESS
  ip route flush dev IFACE
  ip neigh [show [dev IFACE]]
  ip neigh add|replace ADDRESS lladdr MAC dev IFACE
  ip neigh del ADDRESS dev IFACE

  -4, -6  one family only    -br  one short line each    -o  one line each    -j  JSON
";

/// How to show.
#[derive(Clone, Copy, Default)]
struct Style {
    /// Keep only this family: 4 or 6.
    family: Option<u8>,
    brief: bool,
    one_line: bool,
    json: bool,
}

impl Style {
    fn wants(self, address: IpAddr) -> bool {
        self.family.is_none_or(|family| (family == 4) == address.is_ipv4())
    }
}

fn run(args: &[OsString]) -> i32 {
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    common::finish("ip", main(&words))
}

fn main(words: &[String]) -> anyhow::Result<i32> {
    let mut words = Words::new(words);
    let mut style = Style::default();
    while let Some(option) = words.peek().filter(|word| word.starts_with('-')) {
        match option.trim_start_matches('-') {
            "4" => style.family = Some(4),
            "6" => style.family = Some(6),
            "br" | "brief" => style.brief = true,
            "o" | "oneline" => style.one_line = true,
            "j" | "json" => style.json = true,
            "h" | "help" => return help(),
            _ => bail!("option {option} is unknown; try `ip --help`"),
        }
        words.next();
    }
    let Some(object) = words.next() else {
        help()?;
        return Ok(255);
    };
    let socket = &mut Socket::route()?;
    match object {
        "help" => return help(),
        object if abbreviates(object, "address", 1) || object == "addr" => address(socket, words, style)?,
        object if abbreviates(object, "link", 1) => link(socket, words, style)?,
        object if abbreviates(object, "route", 1) => route(socket, words, style)?,
        object if abbreviates(object, "neighbour", 1) || object == "neighbor" => neighbour(socket, words, style)?,
        _ => bail!("object {object:?} is unknown; try `ip --help`"),
    }
    Ok(0)
}

fn help() -> anyhow::Result<i32> {
    use std::io::Write;
    std::io::stdout().write_all(HELP.as_bytes())?;
    Ok(0)
}

fn address(socket: &mut Socket, mut words: Words, style: Style) -> anyhow::Result<()> {
    match words.next().unwrap_or("show") {
        word if is_show(word) => show::addresses(socket, words.only_device()?, style),
        "add" | "a" => change::address(socket, words, change::Verb::Add),
        "replace" | "change" => change::address(socket, words, change::Verb::Replace),
        "del" | "delete" | "d" => change::address(socket, words, change::Verb::Delete),
        "flush" => change::flush_addresses(socket, words, style),
        word => bail!("ip addr {word:?} is unknown; try `ip --help`"),
    }
}

fn link(socket: &mut Socket, mut words: Words, style: Style) -> anyhow::Result<()> {
    match words.next().unwrap_or("show") {
        word if is_show(word) => show::links(socket, words.only_device()?, style),
        "set" => change::set_link(socket, words),
        "add" | "a" => change::add_link(socket, words),
        "del" | "delete" | "d" => change::delete_link(socket, words),
        word => bail!("ip link {word:?} is unknown; try `ip --help`"),
    }
}

fn route(socket: &mut Socket, mut words: Words, style: Style) -> anyhow::Result<()> {
    match words.next().unwrap_or("show") {
        word if is_show(word) => show::routes(socket, words, style),
        "add" | "a" => change::route(socket, words, change::Verb::Add),
        "replace" | "change" => change::route(socket, words, change::Verb::Replace),
        "del" | "delete" | "d" => change::route(socket, words, change::Verb::Delete),
        "get" | "g" => show::route_to(socket, words),
        "flush" => change::flush_routes(socket, words, style),
        word => bail!("ip route {word:?} is unknown; try `ip --help`"),
    }
}

fn neighbour(socket: &mut Socket, mut words: Words, style: Style) -> anyhow::Result<()> {
    match words.next().unwrap_or("show") {
        word if is_show(word) => show::neighbours(socket, words.only_device()?, style),
        "add" | "replace" => change::neighbour(socket, words, change::Verb::Replace),
        "del" | "delete" => change::neighbour(socket, words, change::Verb::Delete),
        word => bail!("ip neigh {word:?} is unknown; try `ip --help`"),
    }
}

fn is_show(word: &str) -> bool {
    abbreviates(word, "show", 1) || abbreviates(word, "list", 1)
}

/// iproute2 takes any beginning of a word.
fn abbreviates(word: &str, whole: &str, least: usize) -> bool {
    word.len() >= least && whole.starts_with(word)
}

/// The words of the command line, one after the other.
#[derive(Clone, Copy)]
struct Words<'a> {
    rest: &'a [String],
}

impl<'a> Words<'a> {
    fn new(rest: &'a [String]) -> Self {
        Words { rest }
    }

    fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(String::as_str)
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The word that must follow `after`.
    fn value(&mut self, after: &str) -> anyhow::Result<&'a str> {
        self.next().with_context(|| format!("{after} needs a value"))
    }

    /// The number that must follow `after`.
    fn number<N: std::str::FromStr>(&mut self, after: &str) -> anyhow::Result<N> {
        let word = self.value(after)?;
        word.parse().ok().with_context(|| format!("{after} {word:?} is not a number in range"))
    }

    /// The address that must follow `after`.
    fn address(&mut self, after: &str) -> anyhow::Result<IpAddr> {
        let word = self.value(after)?;
        word.parse().ok().with_context(|| format!("{after} {word:?} is not an address"))
    }

    /// `[[dev] IFACE]` and nothing else.
    fn only_device(mut self) -> anyhow::Result<Option<&'a str>> {
        let device = match self.next() {
            Some("dev") => Some(self.value("dev")?),
            other => other,
        };
        match self.next() {
            Some(word) => bail!("{word:?} is not understood here"),
            None => Ok(device),
        }
    }
}

/// An address with or without a prefix length.
fn parse_prefix(text: &str) -> anyhow::Result<(IpAddr, u8)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok().with_context(|| format!("{text:?} is not an address or prefix"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(length) => {
            let length = length.parse().ok().filter(|length| *length <= longest);
            length.with_context(|| format!("{text:?} has no prefix length from 0 to {longest}"))?
        }
    };
    Ok((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read() {
        assert_eq!(parse_prefix("10.0.0.1/8").unwrap(), ("10.0.0.1".parse().unwrap(), 8));
        assert_eq!(parse_prefix("fd00::1").unwrap().1, 128);
        for bad in ["", "10.0.0.1/33", "10.0.0/8", "fd00::1/129", "10.0.0.1/x"] {
            assert!(parse_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_may_be_shortened() {
        assert!(abbreviates("a", "address", 1) && abbreviates("ro", "route", 1) && !is_show("ls") && is_show("l"));
    }
}
