//! Options of `ctr run` about names: `--dns`, `--add-host`, `--domainname`, `--expose`.

use std::net::IpAddr;

use coracle_netns::{PortMapping, dns};

use super::record_host::HostConfig;

/// Docker's word for the host as its containers see it.
pub const HOST_GATEWAY: &str = "host-gateway";

/// How names are found.
#[derive(clap::Args)]
pub struct NameOptions {
    /// Name server
    #[arg(long, value_name = "ADDRESS", value_parser = parse_server)]
    dns: Vec<String>,

    /// Option of resolv.conf(5)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,

    /// Domain to search; . for none
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domain)]
    dns_search: Vec<String>,

    /// Line of /etc/hosts; the address may be host-gateway
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse_host)]
    add_host: Vec<String>,

    /// NIS domain name
    #[arg(long, value_name = "DOMAIN", value_parser = parse_domainname)]
    pub domainname: Option<String>,

    /// Port that it serves, without publishing it
    #[arg(long, value_name = "PORT[-PORT][/tcp|/udp]", value_parser = parse_expose)]
    expose: Vec<Exposed>,

    /// Publish all exposed ports at free ports of the host
    #[arg(short = 'P', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub publish_all: bool,
}

/// One `--expose`: all ports of a range.
#[derive(Clone)]
pub struct Exposed(Vec<String>);

impl NameOptions {
    /// Put them on record.
    pub fn apply(&self, host: &mut HostConfig) {
        host.dns = self.dns.clone();
        host.dns_options = self.dns_option.clone();
        host.dns_search = self.dns_search.clone();
        host.extra_hosts = self.add_host.clone();
        host.publish_all_ports = self.publish_all;
    }

    /// Ports of `--expose`, as `80/tcp`.
    pub fn exposed(&self) -> impl Iterator<Item = &String> {
        self.expose.iter().flat_map(|exposed| &exposed.0)
    }
}

fn parse_server(text: &str) -> Result<String, String> {
    text.trim().parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| format!("{text} is not an ip address"))
}

fn parse_domain(text: &str) -> Result<String, String> {
    let text = text.trim();
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let valid = text == "." || text.len() <= 255 && text.trim_end_matches('.').split('.').all(part);
    if valid { Ok(text.into()) } else { Err(format!("{text} is not a valid domain")) }
}

fn parse_domainname(text: &str) -> Result<String, String> {
    // The kernel's limit, less the end mark.
    let valid = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(text.into()) } else { Err(format!("{text:?} is no domain name")) }
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; put on record with a colon.
fn parse_host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: \"{text}\"");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(bad());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != HOST_GATEWAY && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: \"{address}\""));
    }
    Ok(format!("{name}:{bare}"))
}

fn parse_expose(text: &str) -> Result<Exposed, String> {
    let wrong = || format!("invalid range format for --expose: {text}");
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let all = PortMapping::parse_all(text).map_err(|_| wrong())?;
    Ok(Exposed(all.iter().map(|port| format!("{}/{}", port.container_port, port.protocol)).collect()))
}

/// resolv.conf(5) of a container: what the options say, in place of what `before` says of the same.
pub fn resolv_conf(before: &str, host: &HostConfig) -> String {
    let keyword = |line: &&str| line.split_ascii_whitespace().next().unwrap_or_default().to_owned();
    let replaced = |word: &str| match word {
        "nameserver" => !host.dns.is_empty(),
        "search" | "domain" => !host.dns_search.is_empty(),
        "options" => !host.dns_options.is_empty(),
        _ => false,
    };
    let mut lines: Vec<String> = before.lines().filter(|line| !replaced(&keyword(line))).map(str::to_owned).collect();
    lines.extend(host.dns.iter().map(|server| format!("nameserver {server}")));
    let domains: Vec<&str> = host.dns_search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !domains.is_empty() {
        lines.push(format!("search {}", domains.join(" ")));
    }
    if !host.dns_options.is_empty() {
        lines.push(format!("options {}", host.dns_options.join(" ")));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The same on a network with names: the one server is that of containers, which passes on what it does not know to those servers. Names
/// without a dot are complete, as under Docker: a search list would be tried first otherwise.
pub fn named_resolv_conf(before: &str, host: &HostConfig) -> String {
    let text = resolv_conf(before, host);
    let is_option = |line: &&str| line.split_ascii_whitespace().next() == Some("options");
    let server = |line: &&str| line.split_ascii_whitespace().next() == Some("nameserver");
    let mut options: Vec<&str> =
        text.lines().filter(is_option).flat_map(|line| line.split_ascii_whitespace().skip(1)).collect();
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0");
    }
    let kept: String =
        text.lines().filter(|line| !server(line) && !is_option(line)).map(|line| format!("{line}\n")).collect();
    format!("nameserver {}\n{kept}options {}\n", dns::SERVER, options.join(" "))
}

/// Lines of /etc/hosts of `--add-host`; `gateway` is what `host-gateway` stands for.
pub fn extra_hosts(host: &HostConfig, gateway: &str) -> String {
    let lines = host.extra_hosts.iter().filter_map(|entry| entry.split_once(':'));
    lines
        .map(|(name, address)| format!("{}\t{name}\n", if address == HOST_GATEWAY { gateway } else { address }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(parse_host("a:10.0.0.1").unwrap(), "a:10.0.0.1");
        assert_eq!(parse_host("a=[::1]").unwrap(), "a:::1");
        assert_eq!(parse_host("a:host-gateway").unwrap(), "a:host-gateway");
        for wrong in ["a", ":1.2.3.4", "a:b", "a b:1.2.3.4", "a:1.2.3"] {
            assert!(parse_host(wrong).is_err(), "{wrong}");
        }
        let host = HostConfig { extra_hosts: vec!["a:::1".into(), "b:host-gateway".into()], ..Default::default() };
        assert_eq!(extra_hosts(&host, "10.88.0.1"), "::1\ta\n10.88.0.1\tb\n");
    }

    #[test]
    fn options_replace_what_the_host_says() {
        let before = "nameserver 10.0.0.1\nsearch host\noptions ndots:2\nsortlist x\n";
        let host =
            HostConfig { dns: vec!["1.1.1.1".into()], dns_search: vec!["a".into(), "b".into()], ..Default::default() };
        assert_eq!(resolv_conf(before, &host), "options ndots:2\nsortlist x\nnameserver 1.1.1.1\nsearch a b\n");
        let none =
            HostConfig { dns_search: vec![".".into()], dns_options: vec!["rotate".into()], ..Default::default() };
        assert_eq!(resolv_conf(before, &none), "nameserver 10.0.0.1\nsortlist x\noptions rotate\n");
        assert_eq!(resolv_conf(before, &HostConfig::default()), before);
    }

    #[test]
    fn with_names_there_is_one_server() {
        let before = "nameserver 10.0.0.1\nsearch host\noptions edns0\n";
        let own = HostConfig { dns: vec!["1.1.1.1".into()], ..Default::default() };
        assert_eq!(named_resolv_conf(before, &own), "nameserver 127.0.0.11\nsearch host\noptions edns0 ndots:0\n");
        let own = HostConfig {
            dns_search: vec!["a".into()],
            dns_options: vec!["ndots:3".into(), "rotate".into()],
            ..Default::default()
        };
        assert_eq!(named_resolv_conf(before, &own), "nameserver 127.0.0.11\nsearch a\noptions ndots:3 rotate\n");
    }

    #[test]
    fn exposed_ports() {
        assert_eq!(parse_expose("80-81/udp").unwrap().0, ["80/udp", "81/udp"]);
        assert!(parse_expose("80:81").is_err() && parse_expose("x").is_err() && parse_expose("0").is_err());
    }
}
